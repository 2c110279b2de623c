# SPDX-License-Identifier: Apache-2.0
"""The log's verdicts and revocations as values, for the questions that ask about nodes."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from attestation.audit.bundle.log_view import Logged, LogView
from attestation.tlog.entry import JSON, Kind
from attestation.tlog.schema import parse_time


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """One `attest.verdict` entry; of a refusal, texts that could not be read are empty."""

    index: int
    at: datetime
    passed: bool
    provider: str
    worker_id: str
    keyset_id: str
    policy: str
    """Id and version, for people."""
    policy_sha256: str
    verifier: str
    verifier_sha256: str
    reasons: tuple[str, ...]
    valid_until: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Revoked:
    """One `attest.revoke` entry."""

    index: int
    at: datetime
    keyset_id: str
    worker_id: str
    reason: str
    by: str


def judged(view: LogView) -> Iterator[Judged]:
    """Every verdict, oldest first."""
    return (verdict_of(logged) for logged in view.of(Kind.ATTEST_VERDICT))


def verdict_of(logged: Logged) -> Judged:
    """The verdict of an entry of that kind."""
    body = logged.entry.body
    policy, verifier = _object(body["policy"]), _object(body["verifier"])
    until, reasons = body.get("valid_until"), body["reasons"]
    return Judged(
        index=logged.index,
        at=logged.entry.at,
        passed=body["verdict"] == "pass",
        provider=logged.text("provider"),
        worker_id=logged.text("worker_id"),
        keyset_id=logged.text("keyset_id"),
        policy=f"{policy['id']} version {policy['version']}",
        policy_sha256=str(policy["sha256"]),
        verifier=str(verifier["version"]),
        verifier_sha256=str(verifier["sha256"]),
        reasons=tuple(str(reason) for reason in reasons) if isinstance(reasons, (list, tuple)) else (),
        valid_until=None if until is None else parse_time(until, "valid_until"),
    )


def revoked(view: LogView) -> Iterator[Revoked]:
    """Every revocation, oldest first."""
    for logged in view.of(Kind.ATTEST_REVOKE):
        yield Revoked(
            index=logged.index,
            at=logged.entry.at,
            keyset_id=logged.text("keyset_id"),
            worker_id=logged.text("worker_id"),
            reason=logged.text("reason"),
            by=logged.text("by"),
        )


def first_revocations(view: LogView) -> Mapping[str, Revoked]:
    """The first revocation of each keyset."""
    found: dict[str, Revoked] = {}
    for one in revoked(view):
        found.setdefault(one.keyset_id, one)
    return found


def _object(value: JSON) -> Mapping[str, JSON]:
    return value if isinstance(value, Mapping) else {}
