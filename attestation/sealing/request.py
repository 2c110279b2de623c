# SPDX-License-Identifier: Apache-2.0
"""The sealed request: header, content key and frames, the same for every worker it is wrapped for (docs/spec.md, 5).

    CEK         = 32 random bytes, fresh per request
    cek_commit  = Exp(CEK, "cek commit", request_id || salt, 32)      in the header
    frame j     = GCM(Exp(CEK, "request key", hh, 32), u32 0 || u64 j, P, L("req frame") || hh || u64 j || u8 final)

The frames are sealed once; each attempt adds a wrap of the CEK for one worker (`session`). Any worker the request was
wrapped for may read it. The opener refuses what `frames` refuses, and any kind but data.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from attestation.errors import Malformed, Reason, Truncated
from attestation.sealing.frames import (
    MAX_MESSAGE_BYTES,
    FrameKind,
    FrameOpener,
    FrameSealer,
    OpenedFrame,
    Transcript,
    check_layout,
)
from attestation.sealing.header import REQUEST_ID_BYTES, Header, RequestLimits
from attestation.sealing.schedule import FrameKeys, cek_commit, request_keys

Entropy: TypeAlias = Callable[[int], bytes]
"""So many unpredictable bytes, for example `os.urandom`."""

CEK_BYTES: Final = 32
SALT_BYTES: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedRequest:
    """A sealed request before it is wrapped for anyone. `cek` is secret; `frames[-1]` is the final frame."""

    header: Header
    frames: tuple[bytes, ...]
    sealer: FrameSealer = field(repr=False)
    cek: bytes = field(repr=False)

    @property
    def transcript(self) -> Transcript:
        """What the worker's half must say of the request. Hashed when first asked for: no frame waits for it."""
        return self.sealer.transcript()

    @property
    def header_bytes(self) -> bytes:
        """The header as it travels."""
        return self.header.encode()

    @property
    def header_sha256(self) -> bytes:
        """`hh`."""
        return self.header.digest

    @property
    def request_id(self) -> bytes:
        """The 16 bytes by which the request, and later its receipt, is known."""
        return self.header.request_id


def seal_request(limits: RequestLimits, plaintext: bytes, *, entropy: Entropy) -> SealedRequest:
    """Seals `plaintext` under a fresh content key. The limits cannot be changed afterwards."""
    cek, request_id, salt = entropy(CEK_BYTES), entropy(REQUEST_ID_BYTES), entropy(SALT_BYTES)
    header = Header(request_id=request_id, limits=limits, salt=salt, cek_commit=cek_commit(cek, request_id, salt))
    sealer = FrameSealer(request_keys(cek, header.digest), later=True)
    frames = tuple(sealer.message(plaintext, limits.req_quantum, final=True))
    return SealedRequest(header=header, frames=frames, sealer=sealer, cek=cek)


class RequestOpener:
    """Opens the frames of one request as they arrive."""

    __slots__ = ("_complete", "_frames", "_opener", "_quantum")

    def __init__(self, keys: FrameKeys, *, quantum: int, max_bytes: int = MAX_MESSAGE_BYTES) -> None:
        self._opener = FrameOpener(keys, name="request", max_bytes=max_bytes, too_large=Reason.REQUEST_TOO_LARGE)
        self._frames: list[OpenedFrame] = []
        self._quantum = quantum
        self._complete = False

    @property
    def complete(self) -> bool:
        """True once the final frame was opened."""
        return self._complete

    def feed(self, frame: bytes, final: bool) -> bytes:
        """The data of the next frame.

        Raises:
            Malformed, Tampered, SealingError: see `FrameOpener.open`; the request is over.
        """
        opened = self._opener.open(frame, final=final)
        self._frames.append(opened)
        if opened.kind is not FrameKind.DATA:
            self._opener.close()
            raise Malformed(f"request frame has kind {int(opened.kind)}, want 1")
        if final:
            check_layout(self._frames, self._quantum, "request")
            self._complete = True
        return opened.data

    def plaintext(self) -> bytes:
        """The whole plaintext.

        Raises:
            Truncated: the final frame has not been opened.
        """
        self._require_complete()
        return self._frames[0].data if len(self._frames) == 1 else b"".join(frame.data for frame in self._frames)

    def transcript(self) -> Transcript:
        """What the worker's half says of the request.

        Raises:
            Truncated: the final frame has not been opened.
        """
        self._require_complete()
        return self._opener.transcript()

    def _require_complete(self) -> None:
        if not self._complete:
            raise Truncated(Reason.TRUNCATED, f"request ended after {len(self._frames)} frames without its final one")


def open_request(cek: bytes, header: Header, *, max_bytes: int = MAX_MESSAGE_BYTES) -> RequestOpener:
    """The opener of a request whose content key was unwrapped and found to be the one the header commits to."""
    return RequestOpener(request_keys(cek, header.digest), quantum=header.limits.req_quantum, max_bytes=max_bytes)
