# SPDX-License-Identifier: Apache-2.0
"""Entries of the evidence log: one JSON object each, canonical, at most 16 KiB (docs/spec.md, 10.4).

The stored bytes are the leaf: whoever verifies hashes what was stored and never writes it anew. Refused, when reading
and when writing alike: bytes that are not canonical JSON, a key the kind does not have, and one that is missing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Final

from attestation.errors import MalformedEvidence, Reason
from attestation.tlog import jcs, merkle, schema
from attestation.tlog.jcs import JSON
from attestation.tlog.schema import Kind, format_time

__all__ = [
    "JSON",
    "MAX_ENTRY_BYTES",
    "Blob",
    "Entry",
    "Kind",
    "PolicyRef",
    "VerifierRef",
    "admin_change",
    "attest_revoke",
    "attest_verdict",
    "audit_access",
    "genesis",
    "key_add",
    "parse_entry",
    "platform_move",
    "policy_publish",
]

MAX_ENTRY_BYTES: Final = 16 * 1024

_SUBJECT: Final[Mapping[Kind, str]] = {
    Kind.GENESIS: "origin",
    Kind.KEY_ADD: "subject",
    Kind.ATTEST_VERDICT: "worker_id",
    Kind.ATTEST_REVOKE: "worker_id",
    Kind.PLATFORM_MOVE: "platform",
    Kind.POLICY_PUBLISH: "id",
    Kind.ADMIN_CHANGE: "action",
    Kind.AUDIT_ACCESS: "target",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """An entry that keeps to its kind's table; `encoded` is what is stored, hashed and served."""

    kind: Kind
    at: datetime
    encoded: bytes
    body: Mapping[str, JSON] = field(compare=False, repr=False)

    @property
    def leaf_hash(self) -> bytes:
        """The entry's hash in the tree."""
        return merkle.leaf_hash(self.encoded)

    @property
    def subject(self) -> str:
        """What the entry is about, for finding it again; empty for a refusal that could not name its worker."""
        value = self.body.get(_SUBJECT[self.kind], "")
        return value if isinstance(value, str) else ""

    @property
    def simulated(self) -> bool:
        """Whether the entry says that it comes from simulated evidence, which proves nothing."""
        return self.body.get("simulated") is True


@dataclass(frozen=True, slots=True, kw_only=True)
class Blob:
    """Evidence or collateral that stands beside the log under its digest."""

    type: str
    sha256: bytes
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyRef:
    """The appraisal policy a verdict was reached under."""

    id: str
    version: int
    sha256: bytes
    profile: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifierRef:
    """The verifier build that reached a verdict."""

    version: str
    sha256: bytes


def parse_entry(data: bytes) -> Entry:
    """The entry of stored bytes.

    Raises:
        MalformedEvidence: ENTRY_INVALID; the bytes are no entry that this module would have written.
    """
    body = jcs.decode(data, MAX_ENTRY_BYTES)
    kind, at = schema.check_entry(body)
    return Entry(kind=kind, at=at, encoded=bytes(data), body=MappingProxyType(body))


def genesis(*, origin: str, log_key: str, lease_key: bytes, at: datetime) -> Entry:
    """The first entry: whose log this is, the key (vkey) that signs it, and the key that signs leases."""
    return _entry(Kind.GENESIS, at, {"origin": origin, "log_key": log_key, "lease_key": lease_key.hex()})


def key_add(
    *, use: str, key: bytes, subject: bytes, at: datetime, by: str | None = None, not_after: datetime | None = None
) -> Entry:
    """A key that speaks for `subject` (32 bytes) from here on.

    `use` is "gateway-sign" (Ed25519 public key), "gateway-tls" (SHA-256 of the SPKI), "lease" or a later one.
    """
    body: dict[str, JSON] = {"use": use, "key": key.hex(), "subject": subject.hex()}
    _put(body, "by", by)
    _put(body, "not_after", _time(not_after))
    return _entry(Kind.KEY_ADD, at, body)


def attest_verdict(
    *,
    provider: str,
    provider_id: bytes,
    audience: str,
    evidence: Sequence[Blob],
    collateral: Sequence[Blob],
    policy: PolicyRef,
    verifier: VerifierRef,
    passed: bool,
    simulated: bool,
    at: datetime,
    reasons: Sequence[str] = (),
    worker_id: bytes | None = None,
    keyset_id: bytes | None = None,
    binding_digest: bytes | None = None,
    challenge: bytes | None = None,
    claims: Mapping[str, str] | None = None,
    engines: Sequence[bytes] | None = None,
    keys: Sequence[tuple[str, bytes]] | None = None,
    tls_spki_sha256: bytes | None = None,
    platforms: Sequence[bytes] = (),
    valid_until: datetime | None = None,
) -> Entry:
    """A verdict on one worker's evidence, passes and refusals alike.

    A pass names everything; a refusal has reasons and as much of the rest as could be read. `keys` are (use, SHA-256)
    pairs; `platforms` are HMACs of hardware identities under a key of the log, never the identities.
    """
    body: dict[str, JSON] = {
        "provider": provider,
        "provider_id": provider_id.hex(),
        "audience": audience,
        "evidence": _blobs(evidence),
        "collateral": _blobs(collateral),
        "policy": {
            "id": policy.id,
            "version": policy.version,
            "sha256": policy.sha256.hex(),
            "profile": policy.profile,
        },
        "verifier": {"version": verifier.version, "sha256": verifier.sha256.hex()},
        "verdict": "pass" if passed else "fail",
        "reasons": list(map(str, reasons)),
        "simulated": simulated,
    }
    _put(body, "worker_id", _hex(worker_id))
    _put(body, "keyset_id", _hex(keyset_id))
    _put(body, "binding_digest", _hex(binding_digest))
    _put(body, "challenge", _hex(challenge))
    _put(body, "tls_spki_sha256", _hex(tls_spki_sha256))
    _put(body, "claims", None if claims is None else dict(claims))
    _put(body, "engines", None if engines is None else [digest.hex() for digest in engines])
    _put(body, "keys", None if keys is None else [{"use": use, "sha256": sha.hex()} for use, sha in keys])
    _put(body, "platforms", [mac.hex() for mac in platforms] or None)
    _put(body, "valid_until", _time(valid_until))
    return _entry(Kind.ATTEST_VERDICT, at, body)


def attest_revoke(*, keyset_id: bytes, worker_id: bytes, reason: str, by: str, simulated: bool, at: datetime) -> Entry:
    """The end of a keyset before its time; `by` is a staff pseudonym or the name of a service."""
    body: dict[str, JSON] = {
        "keyset_id": keyset_id.hex(),
        "worker_id": worker_id.hex(),
        "reason": reason,
        "by": by,
        "simulated": simulated,
    }
    return _entry(Kind.ATTEST_REVOKE, at, body)


def platform_move(
    *, platform: bytes, from_provider: bytes, to_provider: bytes, worker_id: bytes, simulated: bool, at: datetime
) -> Entry:
    """Hardware that has one owner at a time, by its HMAC, now serves another provider than the last one known."""
    body: dict[str, JSON] = {
        "platform": platform.hex(),
        "from": from_provider.hex(),
        "to": to_provider.hex(),
        "worker_id": worker_id.hex(),
        "simulated": simulated,
    }
    return _entry(Kind.PLATFORM_MOVE, at, body)


def policy_publish(
    *,
    id: str,
    version: int,
    sha256: bytes,
    profile: str,
    at: datetime,
    text: str | None = None,
    by: str | None = None,
) -> Entry:
    """An appraisal policy in force from here on; `text`, where it fits, is the file that `sha256` is of."""
    body: dict[str, JSON] = {"id": id, "version": version, "sha256": sha256.hex(), "profile": profile}
    _put(body, "text", text)
    _put(body, "by", by)
    return _entry(Kind.POLICY_PUBLISH, at, body)


def admin_change(
    *,
    by: str,
    action: str,
    at: datetime,
    target: str | None = None,
    detail: str | None = None,
    approved_by: str | None = None,
) -> Entry:
    """A change an administrator made; people stand as pseudonyms, whose list is kept elsewhere."""
    body: dict[str, JSON] = {"by": by, "action": action}
    _put(body, "target", target)
    _put(body, "detail", detail)
    _put(body, "approved_by", approved_by)
    return _entry(Kind.ADMIN_CHANGE, at, body)


def audit_access(*, by: str, action: str, target: str, at: datetime, purpose: str | None = None) -> Entry:
    """A reading or export of what is not public: who (a pseudonym), what, and for what purpose."""
    body: dict[str, JSON] = {"by": by, "action": action, "target": target}
    _put(body, "purpose", purpose)
    return _entry(Kind.AUDIT_ACCESS, at, body)


def _entry(kind: Kind, at: datetime, body: dict[str, JSON]) -> Entry:
    if at.tzinfo is None:
        raise MalformedEvidence(Reason.ENTRY_INVALID, f"{kind} at is a time without zone, want an aware one")
    return parse_entry(jcs.encode({"v": schema.VERSION, "kind": str(kind), "at": format_time(at), **body}))


def _put(body: dict[str, JSON], key: str, value: JSON) -> None:
    if value is not None:
        body[key] = value


def _hex(value: bytes | None) -> str | None:
    return None if value is None else value.hex()


def _time(value: datetime | None) -> str | None:
    return None if value is None else format_time(value)


def _blobs(blobs: Sequence[Blob]) -> list[JSON]:
    return [{"type": blob.type, "sha256": blob.sha256.hex(), "size": blob.size} for blob in blobs]
