# SPDX-License-Identifier: Apache-2.0
"""What a request was answered by, and the checks all vendors' answers share."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509

from attestation.bundle import Collateral
from attestation.errors import MalformedEvidence, Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The collateral of one request and the moment its own bytes, or our limit for them, stop being valid."""

    items: tuple[Collateral, ...]
    valid_until: datetime


def earliest(times: Sequence[datetime | None], name: str) -> datetime:
    """The first of these ends. Raises `MalformedEvidence` if one states none, for then it would never be renewed."""
    known = [time for time in times if time is not None]
    if not known or len(known) != len(times):
        raise MalformedEvidence(Reason.MALFORMED, f"{name} next update is missing, want a time")
    return min(known)


def common_name(name: x509.Name) -> str:
    """The first common name, or nothing."""
    found = name.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return str(found[0].value) if found else ""


def wrong(what: str, got: str, want: str) -> MalformedEvidence:
    """The error for an answer that is not what was asked for."""
    return MalformedEvidence(Reason.MALFORMED, f"{what} is {got}, want {want}")
