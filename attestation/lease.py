# SPDX-License-Identifier: Apache-2.0
"""The registry's two signed statements: a lease on one keyset, the heartbeat of revocations (docs/spec.md, 3.7, 3.8).

    Lease     COSE_Sign1(lease key, "lease")     over {0:"sealbid/lease/1", 1:worker_id, 2:keyset_id, 3:binding_digest,
              4:provider_id, 5:policy_sha256, 6:verdict index, 7:verdict leaf hash, 8:profile, 9:issued, 10:expires}
    Heartbeat COSE_Sign1(lease key, "heartbeat") over {0:"sealbid/heartbeat/1", 1:log origin, 2:log size, 3:log root,
              4:[revoked keyset_id,..] ascending, 5:profile, 6:made}

The lease key is not the log key. A lease longer than an hour, or one that ends before it begins, does not parse.
What these do not prove: that the evidence was any good; a relying party verifies that itself (`attestation.verify`).
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from attestation.binding import Profile
from attestation.codec import cbor, cose
from attestation.codec.fields import digests, octets, text, uint
from attestation.errors import Malformed, Reason

MAX_LEASE_SECONDS: Final = 3600
MAX_REVOKED: Final = 8192
"""Bounds a heartbeat to a quarter MiB. A revoked keyset leaves the list when its lease has ended."""

_MAX_TIME: Final = 253_402_300_799  # the last second a datetime can hold
_LEASE, _HEARTBEAT = "sealbid/lease/1", "sealbid/heartbeat/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """Permission to serve with one keyset until `expires`; cites the logged verdict it rests on."""

    worker_id: bytes
    keyset_id: bytes
    binding_digest: bytes
    provider_id: bytes
    policy_sha256: bytes
    verdict_index: int
    verdict_leaf: bytes
    profile: Profile
    issued: int
    expires: int

    def encode(self) -> bytes:
        """The canonical CBOR. Raises `Malformed` for a value `decode` would refuse."""
        data = cbor.encode(
            {
                0: _LEASE,
                1: self.worker_id,
                2: self.keyset_id,
                3: self.binding_digest,
                4: self.provider_id,
                5: self.policy_sha256,
                6: self.verdict_index,
                7: self.verdict_leaf,
                8: self.profile.value,
                9: self.issued,
                10: self.expires,
            }
        )
        Lease.decode(data)
        return data

    @classmethod
    def decode(cls, data: bytes) -> "Lease":
        """Reads exactly these bytes. Raises `Malformed`."""
        fields = cbor.decode_map(data, _LEASE, 11)
        lease = cls(
            worker_id=octets(fields[1], "lease.worker_id", 32),
            keyset_id=octets(fields[2], "lease.keyset_id", 32),
            binding_digest=octets(fields[3], "lease.binding_digest", 32),
            provider_id=octets(fields[4], "lease.provider_id", 32),
            policy_sha256=octets(fields[5], "lease.policy_sha256", 32),
            verdict_index=uint(fields[6], "lease.verdict_index"),
            verdict_leaf=octets(fields[7], "lease.verdict_leaf", 32),
            profile=_profile(fields[8], "lease.profile"),
            issued=uint(fields[9], "lease.issued", _MAX_TIME),
            expires=uint(fields[10], "lease.expires", _MAX_TIME),
        )
        if not lease.issued < lease.expires <= lease.issued + MAX_LEASE_SECONDS:
            lasts = lease.expires - lease.issued
            raise Malformed(f"lease lasts {lasts} seconds, want 1..{MAX_LEASE_SECONDS}")
        return lease

    @property
    def expires_at(self) -> datetime:
        """`expires` as an aware datetime."""
        return datetime.fromtimestamp(self.expires, UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat:
    """The registry's newest word on revocation: what is revoked, as of which log head, said when."""

    origin: str
    size: int
    root: bytes
    revoked: tuple[bytes, ...]
    profile: Profile
    made: int

    def encode(self) -> bytes:
        """The canonical CBOR. Raises `Malformed` for a value `decode` would refuse."""
        data = cbor.encode(
            {
                0: _HEARTBEAT,
                1: self.origin,
                2: self.size,
                3: self.root,
                4: list(self.revoked),
                5: self.profile.value,
                6: self.made,
            }
        )
        Heartbeat.decode(data)
        return data

    @classmethod
    def decode(cls, data: bytes) -> "Heartbeat":
        """Reads exactly these bytes. Raises `Malformed`."""
        fields = cbor.decode_map(data, _HEARTBEAT, 7)
        return cls(
            origin=text(fields[1], "heartbeat.origin"),
            size=uint(fields[2], "heartbeat.size"),
            root=octets(fields[3], "heartbeat.root", 32),
            revoked=digests(fields[4], "heartbeat.revoked", MAX_REVOKED),
            profile=_profile(fields[5], "heartbeat.profile"),
            made=uint(fields[6], "heartbeat.made", _MAX_TIME),
        )

    @property
    def made_at(self) -> datetime:
        """`made` as an aware datetime."""
        return datetime.fromtimestamp(self.made, UTC)


def sign_lease(key: Ed25519PrivateKey, lease: Lease) -> bytes:
    """The signed lease, as workers carry it."""
    return cose.sign(key, "lease", lease.encode())


def open_lease(data: bytes, lease_key: bytes) -> Lease:
    """The lease inside, signed by `lease_key`. Does not check expiry or whose it is.

    Raises:
        Malformed: the bytes do not parse.
        NotGenuine: another key signed them (LEASE_INVALID).
    """
    return Lease.decode(cose.verify(data, lease_key, "lease", Reason.LEASE_INVALID))


def sign_heartbeat(key: Ed25519PrivateKey, heartbeat: Heartbeat) -> bytes:
    """The signed heartbeat, as it is pushed to every gateway."""
    return cose.sign(key, "heartbeat", heartbeat.encode())


def open_heartbeat(data: bytes, lease_key: bytes) -> Heartbeat:
    """The heartbeat inside, signed by `lease_key`. Does not check its age.

    Raises:
        Malformed: the bytes do not parse.
        NotGenuine: another key signed them (HEARTBEAT_INVALID).
    """
    return Heartbeat.decode(cose.verify(data, lease_key, "heartbeat", Reason.HEARTBEAT_INVALID))


def _profile(item: cbor.Item, name: str) -> Profile:
    value = text(item, name)
    try:
        return Profile(value)
    except ValueError:
        raise Malformed(f"{name} is {value!r}, want production or development") from None
