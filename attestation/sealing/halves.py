# SPDX-License-Identifier: Apache-2.0
"""The two halves of a receipt: what the worker did, and what the gateway did with it (docs/spec.md, 9.2 and 9.3).

The worker's half names the dispatch, so it cannot be joined to another award or price; the gateway's half names the
worker's, so neither can be exchanged. Both carry a gapless sequence number: a missing one is an audit finding.
These values check form; signatures are `batch`'s business, and whether the halves fit one request is `receipt`'s.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, Self, TypeVar

from attestation.codec.cbor import Item, decode_map, encode_map
from attestation.codec.fields import array, octets, uint
from attestation.codec.labels import sha256
from attestation.errors import Malformed
from attestation.sealing.digest_fields import DigestFields

WORKER_HALF_LABEL: Final = "sealbid/worker-half/1"
GATEWAY_HALF_LABEL: Final = "sealbid/gateway-half/1"
MAX_ATTEMPTS: Final = 64
MAX_HALF_BYTES: Final = 4096

_WORKER_DIGESTS: Final = DigestFields(
    "worker_half",
    "worker_id",
    "keyset_id",
    "binding_digest",
    "dispatch_sha256",
    "header_sha256",
    "req_ct",
    "resp_ct",
    "req_commit",
    "resp_commit",
    "engine_sha256",
)
_Code = TypeVar("_Code", bound=IntEnum)


class WorkerStatus(IntEnum):
    """How the execution of a request ended."""

    OK = 0
    INVALID = 1
    ENGINE_FAILED = 2
    CANCELLED = 3
    DEADLINE = 4
    OVERLOADED = 5


class Outcome(IntEnum):
    """How the request ended for the caller."""

    ANSWERED = 0
    REFUSED = 1
    FAILED = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerHalf:
    """What a worker signs about one execution (B12). Times are the worker's claims, in unix seconds.

    Raises:
        Malformed: a field of the wrong size.
    """

    worker_id: bytes
    keyset_id: bytes
    binding_digest: bytes
    dispatch_sha256: bytes
    header_sha256: bytes
    req_ct: bytes
    resp_ct: bytes
    req_commit: bytes
    resp_commit: bytes
    engine_sha256: bytes
    units: int
    status: WorkerStatus
    started: int
    ended: int
    seq: int

    def __post_init__(self) -> None:
        _WORKER_DIGESTS.check(self)
        uint(self.units, "worker_half.units")
        uint(self.started, "worker_half.started")
        uint(self.ended, "worker_half.ended")
        uint(self.seq, "worker_half.seq")

    def encode(self) -> bytes:
        """The canonical bytes."""
        return encode_map(
            WORKER_HALF_LABEL,
            *_WORKER_DIGESTS.read(self),
            self.units,
            int(self.status),
            self.started,
            self.ended,
            self.seq,
        )

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """The half of exactly these bytes. Raises `Malformed`."""
        items = _items(data, WORKER_HALF_LABEL, 16)
        return cls(
            worker_id=octets(items[1], "worker_half.worker_id"),
            keyset_id=octets(items[2], "worker_half.keyset_id"),
            binding_digest=octets(items[3], "worker_half.binding_digest"),
            dispatch_sha256=octets(items[4], "worker_half.dispatch_sha256"),
            header_sha256=octets(items[5], "worker_half.header_sha256"),
            req_ct=octets(items[6], "worker_half.req_ct"),
            resp_ct=octets(items[7], "worker_half.resp_ct"),
            req_commit=octets(items[8], "worker_half.req_commit"),
            resp_commit=octets(items[9], "worker_half.resp_commit"),
            engine_sha256=octets(items[10], "worker_half.engine_sha256"),
            units=uint(items[11], "worker_half.units"),
            status=code(items[12], WorkerStatus, "worker_half.status"),
            started=uint(items[13], "worker_half.started"),
            ended=uint(items[14], "worker_half.ended"),
            seq=uint(items[15], "worker_half.seq"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayHalf:
    """What a gateway signs about one request: the worker's half it got, every attempt, price, outcome and charge.

    `worker_half_sha256` is empty where no worker answered: a refused or failed request leaves a receipt too.

    Raises:
        Malformed: a field of the wrong size, an answered request without a worker's half, or without an attempt.
    """

    worker_half_sha256: bytes
    award_sha256: bytes
    price_nanos: int
    dispatches: tuple[bytes, ...]
    gateway_id: bytes
    seq: int
    request_id: bytes
    outcome: Outcome
    charge_nanos: int
    time: int

    def __post_init__(self) -> None:
        octets(self.worker_half_sha256, "gateway_half.worker_half_sha256", 32 if self.worker_half_sha256 else 0)
        octets(self.award_sha256, "gateway_half.award_sha256", 32)
        octets(self.gateway_id, "gateway_half.gateway_id", 32)
        octets(self.request_id, "gateway_half.request_id", 16)
        for dispatch in array(self.dispatches, "gateway_half.dispatches", MAX_ATTEMPTS):
            octets(dispatch, "gateway_half.dispatch", 32)
        for name in ("price_nanos", "seq", "charge_nanos", "time"):
            uint(getattr(self, name), f"gateway_half.{name}")
        if self.outcome is Outcome.ANSWERED and not (self.worker_half_sha256 and self.dispatches):
            raise Malformed("gateway_half.outcome is answered, want a worker half and an attempt")

    def encode(self) -> bytes:
        """The canonical bytes."""
        return encode_map(
            GATEWAY_HALF_LABEL,
            self.worker_half_sha256,
            self.award_sha256,
            self.price_nanos,
            self.dispatches,
            self.gateway_id,
            self.seq,
            self.request_id,
            int(self.outcome),
            self.charge_nanos,
            self.time,
        )

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """The half of exactly these bytes. Raises `Malformed`."""
        items = _items(data, GATEWAY_HALF_LABEL, 11)
        attempts = array(items[4], "gateway_half.dispatches", MAX_ATTEMPTS)
        return cls(
            worker_half_sha256=octets(items[1], "gateway_half.worker_half_sha256"),
            award_sha256=octets(items[2], "gateway_half.award_sha256"),
            price_nanos=uint(items[3], "gateway_half.price_nanos"),
            dispatches=tuple(octets(dispatch, "gateway_half.dispatch") for dispatch in attempts),
            gateway_id=octets(items[5], "gateway_half.gateway_id"),
            seq=uint(items[6], "gateway_half.seq"),
            request_id=octets(items[7], "gateway_half.request_id"),
            outcome=code(items[8], Outcome, "gateway_half.outcome"),
            charge_nanos=uint(items[9], "gateway_half.charge_nanos"),
            time=uint(items[10], "gateway_half.time"),
        )


def worker_half_digest(half: bytes) -> bytes:
    """`H(worker half)`, by which the gateway's half names it."""
    return sha256(half)


def code(item: Item, kind: type[_Code], name: str) -> _Code:
    """The member of `kind` with this number. Raises `Malformed` naming the field."""
    value = uint(item, name, 255)
    try:
        return kind(value)
    except ValueError:
        raise Malformed(f"{name} is {value}, want one of {[int(member) for member in kind]}") from None


def _items(data: bytes, label: str, size: int) -> Mapping[int, Item]:
    if len(data) > MAX_HALF_BYTES:
        raise Malformed(f"half has {len(data)} bytes, want at most {MAX_HALF_BYTES}")
    return decode_map(data, label, size)
