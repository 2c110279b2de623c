# SPDX-License-Identifier: Apache-2.0
"""The evidence bundle: all that proves one binding of keys, and its content address (docs/spec.md, 3.9).

    Bundle = {0:"sealbid/bundle/1", 1:challenge bstr, 2:keyset bstr, 3:binding bstr,
              4:[[kind tstr, format tstr, data bstr],..] 1..32, 5:[[kind tstr, data bstr],..] 0..128}

The inner bytes are kept as received, so that a verdict can be re-derived from the archive years later. A bundle holds
raw platform identities: it is archived for auditors, never put into the log. Verifies nothing.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from attestation.claims import TEEKind
from attestation.codec import cbor
from attestation.codec.fields import array, octets, text
from attestation.errors import Malformed, MalformedEvidence, Reason

MAX_EVIDENCE: Final = 32
MAX_COLLATERAL: Final = 128
MAX_EVIDENCE_BYTES: Final = 1 << 20
MAX_COLLATERAL_BYTES: Final = 4 << 20
MAX_PART_BYTES: Final = 16 << 10
"""Challenge, keyset and binding are a few KiB at most."""

MAX_BUNDLE_BYTES: Final = 16 << 20
_LABEL: Final = "sealbid/bundle/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """One piece of evidence of one device, byte for byte as the device made it."""

    kind: TEEKind
    format: str
    data: bytes

    @property
    def sha256(self) -> bytes:
        """The content address."""
        return hashlib.sha256(self.data).digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Collateral:
    """One endorsement or other statement that verification needs besides the evidence."""

    kind: str
    data: bytes

    @property
    def sha256(self) -> bytes:
        """The content address."""
        return hashlib.sha256(self.data).digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceBundle:
    """Challenge, keys, binding and the evidence that holds the binding, with collateral; nothing of it verified."""

    challenge: bytes
    keyset: bytes
    binding: bytes
    evidence: tuple[Evidence, ...]
    collateral: tuple[Collateral, ...]

    def __post_init__(self) -> None:
        """Raises `MalformedEvidence` for counts or sizes out of bounds, before anything parses the parts."""
        _bounded("bundle.evidence", len(self.evidence), 1, MAX_EVIDENCE)
        _bounded("bundle.collateral", len(self.collateral), 0, MAX_COLLATERAL)
        for name, part in (("challenge", self.challenge), ("keyset", self.keyset), ("binding", self.binding)):
            _bounded(f"bundle.{name} size", len(part), 1, MAX_PART_BYTES)
        for evidence in self.evidence:
            _bounded("evidence size", len(evidence.data), 1, MAX_EVIDENCE_BYTES)
        for collateral in self.collateral:
            _bounded("collateral size", len(collateral.data), 1, MAX_COLLATERAL_BYTES)
        total = sum(len(part.data) for part in self.evidence) + sum(len(part.data) for part in self.collateral)
        _bounded("bundle size", total, 1, MAX_BUNDLE_BYTES)

    def encode(self) -> bytes:
        """The canonical CBOR, as archived."""
        return cbor.encode(
            {
                0: _LABEL,
                1: self.challenge,
                2: self.keyset,
                3: self.binding,
                4: [[part.kind.value, part.format, part.data] for part in self.evidence],
                5: [[part.kind, part.data] for part in self.collateral],
            }
        )

    @classmethod
    def decode(cls, data: bytes) -> "EvidenceBundle":
        """Reads exactly these bytes. Raises `Malformed` or `MalformedEvidence`."""
        fields = cbor.decode_map(data, _LABEL, 6)
        return cls(
            challenge=octets(fields[1], "bundle.challenge"),
            keyset=octets(fields[2], "bundle.keyset"),
            binding=octets(fields[3], "bundle.binding"),
            evidence=tuple(_evidence(item) for item in array(fields[4], "bundle.evidence", MAX_EVIDENCE)),
            collateral=tuple(_collateral(item) for item in array(fields[5], "bundle.collateral", MAX_COLLATERAL)),
        )

    @property
    def sha256(self) -> bytes:
        """The content address of the whole bundle."""
        return hashlib.sha256(self.encode()).digest()


def tee_kind(name: str) -> TEEKind:
    """The kind called `name`. Raises `MalformedEvidence` (UNSUPPORTED) for one this version does not know."""
    try:
        return TEEKind(name)
    except ValueError:
        known = ", ".join(kind.value for kind in TEEKind)
        raise MalformedEvidence(Reason.UNSUPPORTED, f"evidence kind is {name[:32]!r}, want one of {known}") from None


def _evidence(item: cbor.Item) -> Evidence:
    kind, form, data = _exactly(item, "evidence", 3)
    return Evidence(
        kind=tee_kind(text(kind, "evidence.kind")),
        format=text(form, "evidence.format"),
        data=octets(data, "evidence.data"),
    )


def _collateral(item: cbor.Item) -> Collateral:
    kind, data = _exactly(item, "collateral", 2)
    return Collateral(kind=text(kind, "collateral.kind"), data=octets(data, "collateral.data"))


def _exactly(item: cbor.Item, name: str, count: int) -> Sequence[cbor.Item]:
    parts = array(item, name, count)
    if len(parts) != count:
        raise Malformed(f"{name} has {len(parts)} fields, want {count}")
    return parts


def _bounded(name: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise MalformedEvidence(Reason.MALFORMED, f"{name} is {value}, want {least}..{most}")
