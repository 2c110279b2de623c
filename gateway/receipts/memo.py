# SPDX-License-Identifier: Apache-2.0
"""The memo: what a restarted gateway needs to finish a receipt, kept by the worker, closed to it (docs/spec.md, 11.6).

    memo = GCM(Exp(memo key, "memo key", dd, 32), 0^12, u32 n || cbor(n) || zeros, L("memo") || dd)
    cbor = {0:"sealbid/memo/1", 1:instance(16), 2:request_id(16), 3:tenant, 4:model, 5:method, 6:[attempt,..],
            7:award of the last attempt, 8:wu_cap, 9:max_total_nanos, 10:started (microseconds), 11:profile}
    attempt = [number, worker_id, keyset_id, binding_digest, dispatch, reason]

It travels with a call and comes back with the worker's half after a new hello. The key belongs to one dispatch, so a
worker cannot show one call's memo for another, and no nonce repeats. Padding leaves only the coarse length.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from attestation.binding import Profile
from attestation.codec import cbor
from attestation.codec.cbor import Item
from attestation.codec.fields import array, octets, text, uint
from attestation.codec.labels import expand32, label
from attestation.errors import Malformed, Reason, WrongKey
from attestation.sealing.dispatch import Dispatch, digest_of
from attestation.sealing.halves import code
from attestation.sealing.header import Method
from gateway.request import Attempt

LABEL: Final = "sealbid/memo/1"
INSTANCE_BYTES: Final = 16
MAX_MEMO_BYTES: Final = 4096
QUANTUM: Final = 1024
_TAG_BYTES: Final = 16
_MAX_ATTEMPTS: Final = 16
_MAX_MICROSECONDS: Final = 253_402_300_799 * 1_000_000
_KEY_LABEL: Final = label("memo key")
_AAD_LABEL: Final = label("memo")
_NONCE: Final = bytes(12)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Memo:
    """A request as its newest attempt left the gateway. Earlier attempts keep no award: a receipt shows the last one's.

    `instance` is random for each gateway process: a memo of the running process is never recovered, its outcome is
    still to come.
    """

    instance: bytes
    request_id: bytes
    tenant: str
    model: str
    method: Method
    attempts: tuple[Attempt, ...]
    wu_cap: int
    max_total_nanos: int
    started: datetime
    profile: Profile

    def encode(self) -> bytes:
        """The canonical CBOR."""
        return cbor.encode(
            {
                0: LABEL,
                1: self.instance,
                2: self.request_id,
                3: self.tenant,
                4: self.model,
                5: int(self.method),
                6: [_attempt_item(attempt) for attempt in self.attempts],
                7: self.attempts[-1].award,
                8: self.wu_cap,
                9: self.max_total_nanos,
                10: (self.started - _EPOCH) // timedelta(microseconds=1),
                11: self.profile.value,
            }
        )

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """The memo of exactly these bytes. Raises `Malformed`."""
        items = cbor.decode_map(data, LABEL, 12)
        rows = array(items[6], "memo.attempts", _MAX_ATTEMPTS)
        if not rows:
            raise Malformed("memo.attempts is empty, want at least one")
        award = octets(items[7], "memo.award", maximum=MAX_MEMO_BYTES)
        last = len(rows) - 1
        return cls(
            instance=octets(items[1], "memo.instance", INSTANCE_BYTES),
            request_id=octets(items[2], "memo.request_id", 16),
            tenant=text(items[3], "memo.tenant"),
            model=text(items[4], "memo.model"),
            method=code(items[5], Method, "memo.method"),
            attempts=tuple(_attempt(row, award if i == last else b"") for i, row in enumerate(rows)),
            wu_cap=uint(items[8], "memo.wu_cap"),
            max_total_nanos=uint(items[9], "memo.max_total_nanos"),
            started=_EPOCH + timedelta(microseconds=uint(items[10], "memo.started", _MAX_MICROSECONDS)),
            profile=_profile(items[11]),
        )


class MemoKey:
    """Closes and opens memos under the gateway's own key of 32 bytes."""

    def __init__(self, key: bytes) -> None:
        self._key = octets(key, "memo key", 32)

    def seal(self, memo: Memo, dispatch_sha256: bytes) -> bytes:
        """The closed memo for exactly this dispatch. A dispatch is unique, so its key is used once.

        Raises:
            Malformed: too many attempts to fit; the caller bounds attempts.
        """
        plain = memo.encode()
        used = 4 + len(plain)
        size = -(-(used + _TAG_BYTES) // QUANTUM) * QUANTUM
        if size > MAX_MEMO_BYTES:
            raise Malformed(f"memo has {size} bytes, want at most {MAX_MEMO_BYTES}")
        padded = b"".join((len(plain).to_bytes(4, "big"), plain, bytes(size - _TAG_BYTES - used)))
        return self._aead(dispatch_sha256).encrypt(_NONCE, padded, _AAD_LABEL + dispatch_sha256)

    def open(self, sealed: bytes, dispatch_sha256: bytes) -> Memo:
        """The memo this gateway closed for this dispatch.

        Raises:
            WrongKey: another key or another dispatch, or altered bytes.
            Malformed: what was closed is no memo.
        """
        if not _TAG_BYTES < len(sealed) <= MAX_MEMO_BYTES:
            raise Malformed(f"memo has {len(sealed)} bytes, want {_TAG_BYTES + 1}..{MAX_MEMO_BYTES}")
        try:
            padded = self._aead(dispatch_sha256).decrypt(_NONCE, sealed, _AAD_LABEL + dispatch_sha256)
        except InvalidTag:
            raise WrongKey(Reason.WRONG_KEY, "memo does not open for this dispatch under this gateway's key") from None
        end = 4 + int.from_bytes(padded[:4], "big")
        if len(padded) < 4 or end > len(padded) or any(padded[end:]):
            raise Malformed("memo padding is not zeros up to its size")
        return Memo.decode(padded[4:end])

    def _aead(self, dispatch_sha256: bytes) -> AESGCM:
        return AESGCM(expand32(self._key, _KEY_LABEL, dispatch_sha256))


def _attempt_item(attempt: Attempt) -> Sequence[Item]:
    return [
        attempt.number,
        attempt.worker_id,
        attempt.keyset_id,
        attempt.binding_digest,
        attempt.dispatch,
        attempt.reason,
    ]


def _attempt(item: Item, award: bytes) -> Attempt:
    row = array(item, "memo.attempt", 6)
    if len(row) != 6:
        raise Malformed(f"memo.attempt has {len(row)} items, want 6")
    raw = octets(row[4], "memo.attempt.dispatch", maximum=MAX_MEMO_BYTES)
    dispatch = Dispatch.decode(raw)
    return Attempt(
        number=uint(row[0], "memo.attempt.number"),
        worker_id=octets(row[1], "memo.attempt.worker_id", 32),
        keyset_id=octets(row[2], "memo.attempt.keyset_id", 32),
        binding_digest=octets(row[3], "memo.attempt.binding_digest", 32),
        offer_id=dispatch.offer_id,
        price_nanos=dispatch.price_nanos,
        award=award,
        award_sha256=dispatch.award_sha256,
        dispatch=raw,
        dispatch_sha256=digest_of(raw),
        reason=text(row[5], "memo.attempt.reason", 64),
    )


def _profile(item: Item) -> Profile:
    value = text(item, "memo.profile")
    try:
        return Profile(value)
    except ValueError:
        raise Malformed(f"memo.profile is {value!r}, want one of {', '.join(Profile)}") from None
