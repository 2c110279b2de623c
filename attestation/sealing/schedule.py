# SPDX-License-Identifier: Apache-2.0
"""The key schedule: every key, salt, nonce and AAD of the sealed protocol in one place (docs/spec.md, 4.4 and 5 to 7).

    session_id = H(L("session") || lp(info) || lp(ct))       prk = HKDF-Extract(session_id, S)
    CEK        random per request                            keys the request, and nothing else
    prk        random per session with one worker            keys the wrap, the response, the dispatch

Response keys never depend on the CEK, so a worker that shares the request cannot make another worker's answer. Every
key depends on `hh`, which holds fresh random bytes, so a sender cloned with its counter still repeats no key and nonce.
"""

import hmac
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final, NoReturn

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from attestation.codec.labels import expand32, extract, label, lp, u64

NONCE_BYTES: Final = 12
TAG_BYTES: Final = 16
ZERO_NONCE: Final = bytes(NONCE_BYTES)

_SESSION: Final = label("session")
_CEK_COMMIT: Final = label("cek commit")
_WRAP_KEY: Final = label("wrap key")
_WRAP: Final = label("wrap")
_REQUEST_KEY: Final = label("request key")
_REQUEST_FRAME: Final = label("req frame")
_REQUEST_SALT: Final = label("req salt")
_REQUEST_CT: Final = label("req ct")
_RESPONSE_KEY: Final = label("response key")
_RESPONSE_FRAME: Final = label("resp frame")
_RESPONSE_SALT: Final = label("resp salt")
_RESPONSE_CT: Final = label("resp ct")
_DISPATCH_KEY: Final = label("dispatch key")


def refuse_copy(self: object) -> NoReturn:
    """`__reduce__` of what holds a secret and a counter: a copy would use the same key and nonce twice."""
    raise TypeError(f"{type(self).__name__} holds a key and is not copied or pickled")


def session_id(info: bytes, ciphertext: bytes) -> bytes:
    """`H(L("session") || lp(info) || lp(ct))`."""
    return sha256(b"".join((_SESSION, lp(info), lp(ciphertext)))).digest()


def session_prk(identifier: bytes, secret: bytes) -> bytes:
    """`HKDF-Extract(salt=session_id, ikm=S)`."""
    return extract(identifier, secret)


def cek_commit(cek: bytes, request_id: bytes, salt: bytes) -> bytes:
    """What commits the header to one CEK: AES-GCM alone would open under several."""
    return expand32(cek, _CEK_COMMIT, request_id + salt)


def wrap_key(prk: bytes, counter: int, header_sha256: bytes) -> bytes:
    """The key that wraps the CEK in one attempt."""
    return expand32(prk, _WRAP_KEY, u64(counter) + header_sha256)


def wrap_aad(identifier: bytes, counter: int, header_sha256: bytes) -> bytes:
    """What the wrap authenticates."""
    return b"".join((_WRAP, identifier, u64(counter), header_sha256))


def dispatch_key(prk: bytes) -> bytes:
    """The key of a control session's dispatch tags."""
    return expand32(prk, _DISPATCH_KEY, b"")


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameKeys:
    """What one direction of one call needs until its final frame, and nothing from which more could be derived."""

    aead: AESGCM = field(repr=False)
    nonce_prefix: bytes
    aad_prefix: bytes
    salt: bytes = field(repr=False)
    transcript_prefix: bytes

    def nonce(self, index: int) -> bytes:
        """`u32 direction || u64 j`."""
        return self.nonce_prefix + index.to_bytes(8, "big")

    def aad(self, index: int, final: bool) -> bytes:
        """The label, what the call is, the frame's index and whether it is the last."""
        return b"".join((self.aad_prefix, index.to_bytes(8, "big"), b"\x01" if final else b"\x00"))

    def commitment(self) -> "hmac.HMAC":
        """A running `HMAC-SHA256(salt, data)`."""
        return hmac.new(self.salt, digestmod="sha256")


def request_keys(cek: bytes, header_sha256: bytes) -> FrameKeys:
    """The keys of the request frames (B8, B12)."""
    return FrameKeys(
        aead=AESGCM(expand32(cek, _REQUEST_KEY, header_sha256)),
        nonce_prefix=bytes(4),
        aad_prefix=_REQUEST_FRAME + header_sha256,
        salt=expand32(cek, _REQUEST_SALT, header_sha256),
        transcript_prefix=_REQUEST_CT + header_sha256,
    )


def response_keys(prk: bytes, identifier: bytes, counter: int, header_sha256: bytes) -> FrameKeys:
    """The keys of one attempt's response frames (B9, B12)."""
    context = u64(counter) + header_sha256
    return FrameKeys(
        aead=AESGCM(expand32(prk, _RESPONSE_KEY, context)),
        nonce_prefix=b"\x00\x00\x00\x01",
        aad_prefix=b"".join((_RESPONSE_FRAME, identifier, context)),
        salt=expand32(prk, _RESPONSE_SALT, context),
        transcript_prefix=_RESPONSE_CT + header_sha256,
    )
