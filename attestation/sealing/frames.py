# SPDX-License-Identifier: Apache-2.0
"""Frames: padding, sealing and opening of one direction of one call (docs/spec.md, 6).

    P     = u8 kind || u32 n || n bytes || zeros                      kind: 1 data, 2 error, 3 trailer
    frame = GCM(key, u32 direction || u64 j, P, label || what || u64 j || u8 final)

The index and the final flag are authenticated, so a frame that was altered, moved, repeated, dropped or taken from
another call does not open. Refused beside that: filler that is not zero, a length beyond the frame, a frame over
1 MiB, a message not padded as the rule says, and anything after the final frame. A refusal ends the direction.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from hashlib import sha256
from typing import Final

from cryptography.exceptions import InvalidTag

from attestation.errors import Malformed, Reason, SealingError, Tampered
from attestation.sealing.header import MAX_FRAME_BYTES, MAX_PADDED_BYTES, QUANTUM
from attestation.sealing.schedule import TAG_BYTES, FrameKeys

MAX_MESSAGE_BYTES: Final = 64 << 20
"""What one direction may carry unless the caller states another limit."""

MAX_FRAMES: Final = 1 << 32
_HEAD: Final = struct.Struct(">BI")
HEAD_BYTES: Final = _HEAD.size
_ZEROS: Final = memoryview(bytes(MAX_FRAME_BYTES))


class FrameKind(IntEnum):
    """What a frame's bytes are."""

    DATA = 1
    ERROR = 2
    TRAILER = 3


_KINDS: Final = {int(kind): kind for kind in FrameKind}


@dataclass(frozen=True, slots=True, kw_only=True)
class Transcript:
    """What a receipt says of one direction: the hash of its ciphertext frames and the commitment to its data (B12)."""

    ct_sha256: bytes
    commit: bytes


def padme(length: int) -> int:
    """Padmé: `length` rounded up so that at most log2(log2(length)) bits of it show."""
    exponent = length.bit_length() - 1
    low = exponent - exponent.bit_length()
    return -(-length >> low) << low if low > 0 else length


def padded_frames(length: int, quantum: int) -> tuple[int, ...]:
    """The lengths of `P` in the frames of a message of `length` bytes.

    All but the last are as long as a frame may be, and their sum is `max(512, Padmé(length + 5 per frame))` rounded up
    to the quantum, over the fewest frames that hold it.
    """
    largest = MAX_PADDED_BYTES // quantum * quantum
    frames = max(1, -(-length // (largest - HEAD_BYTES)))
    while True:
        total = -(-max(QUANTUM, padme(length + HEAD_BYTES * frames)) // quantum) * quantum
        if total <= frames * largest:
            return (*(largest,) * (frames - 1), total - (frames - 1) * largest)
        frames += 1


class FrameSealer:
    """Seals the frames of one direction in order and keeps their transcript."""

    __slots__ = ("_commit", "_ended", "_index", "_keys", "_later", "_transcript", "_unhashed")

    def __init__(self, keys: FrameKeys, *, later: bool = False) -> None:
        """`later` leaves hashing until `transcript` is asked for, so that the frames can leave first; it keeps them."""
        self._keys = keys
        self._later = later
        self._unhashed: list[tuple[bytes, bytes | memoryview]] = []
        self._index = 0
        self._ended = False
        self._transcript = sha256(keys.transcript_prefix)
        self._commit = keys.commitment()

    def seal(self, kind: FrameKind, data: bytes | memoryview, size: int, *, final: bool) -> bytes:
        """The next frame: `data` padded to `size` bytes, the head included."""
        filler = size - HEAD_BYTES - len(data)
        if self._ended or filler < 0 or self._index >= MAX_FRAMES:
            raise Malformed(f"frame {self._index} holds {len(data)} bytes in {size}, or follows the final one")
        padded = b"".join((_HEAD.pack(kind, len(data)), data, _ZEROS[:filler]))
        frame = self._keys.aead.encrypt(self._keys.nonce(self._index), padded, self._keys.aad(self._index, final))
        self._index += 1
        self._ended = final
        if kind is not FrameKind.TRAILER:
            self._unhashed.append((frame, data if kind is FrameKind.DATA else b""))
        if not self._later:
            self._hash()
        return frame

    def message(self, data: bytes, quantum: int, *, final: bool) -> list[bytes]:
        """The frames of a whole message; `final` ends the direction with the last of them."""
        view, start, frames = memoryview(data), 0, []
        sizes = padded_frames(len(data), quantum)
        for number, size in enumerate(sizes, start=1):
            part = view[start : start + size - HEAD_BYTES]
            start += len(part)
            frames.append(self.seal(FrameKind.DATA, part, size, final=final and number == len(sizes)))
        return frames

    def transcript(self) -> Transcript:
        """The transcript of the frames sealed so far."""
        self._hash()
        return Transcript(ct_sha256=self._transcript.digest(), commit=self._commit.digest())

    def _hash(self) -> None:
        for frame, data in self._unhashed:
            self._transcript.update(sha256(frame).digest())
            self._commit.update(data)
        self._unhashed.clear()


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedFrame:
    """An authenticated frame: its kind, its bytes, and the length of its `P`."""

    kind: FrameKind
    data: bytes
    size: int


class FrameOpener:
    """Opens the frames of one direction in order and keeps their transcript. The first refusal ends it."""

    __slots__ = ("_commit", "_ended", "_index", "_keys", "_left", "_name", "_too_large", "_transcript")

    def __init__(self, keys: FrameKeys, *, name: str, max_bytes: int, too_large: Reason) -> None:
        """`name` is "request" or "response" in refusals; `max_bytes` bounds the sum of all data."""
        self._keys = keys
        self._name = name
        self._left = max_bytes
        self._too_large = too_large
        self._index = 0
        self._ended = False
        self._transcript = sha256(keys.transcript_prefix)
        self._commit = keys.commitment()

    def close(self) -> None:
        """Refuses every later frame."""
        self._ended = True

    def open(self, frame: bytes, *, final: bool) -> OpenedFrame:
        """The next frame.

        Raises:
            Malformed: it follows the final frame or a refused one, or its padding is not zeros up to the quantum.
            Tampered: it does not authenticate at this place in this call.
            SealingError: it is over 1 MiB, or the data is over the limit.
        """
        if self._ended or self._index >= MAX_FRAMES:
            raise Malformed(f"{self._name} frame {self._index} follows the final or a refused frame")
        self._ended = True
        padded = self._authenticate(frame, final)
        opened = self._parse(padded)
        self._record(opened, frame)
        self._index += 1
        self._ended = final
        return opened

    def transcript(self) -> Transcript:
        """The transcript of the frames opened so far."""
        return Transcript(ct_sha256=self._transcript.digest(), commit=self._commit.digest())

    def _authenticate(self, frame: bytes, final: bool) -> bytes:
        if len(frame) > MAX_FRAME_BYTES:
            want = f"at most {MAX_FRAME_BYTES}"
            raise SealingError(
                Reason.FRAME_TOO_LARGE, f"{self._name} frame {self._index} has {len(frame)} bytes, want {want}"
            )
        if len(frame) < QUANTUM + TAG_BYTES or (len(frame) - TAG_BYTES) % QUANTUM:
            want = f"a multiple of {QUANTUM} and {TAG_BYTES}"
            raise Malformed(f"{self._name} frame {self._index} has {len(frame)} bytes, want {want}")
        nonce, aad = self._keys.nonce(self._index), self._keys.aad(self._index, final)
        try:
            return self._keys.aead.decrypt(nonce, frame, aad)
        except InvalidTag:
            message = f"{self._name} frame {self._index} does not authenticate, final {str(final).lower()}"
            raise Tampered(Reason.TAMPERED, message) from None

    def _parse(self, padded: bytes) -> OpenedFrame:
        number, length = _HEAD.unpack_from(padded)
        end = HEAD_BYTES + length
        kind = _KINDS.get(number)
        if kind is None:
            raise Malformed(f"{self._name} frame {self._index} has kind {number}, want 1..3")
        if end > len(padded) or not padded.endswith(_ZEROS[: len(padded) - end]):
            raise Malformed(f"{self._name} frame {self._index} is not padded with zeros up to its quantum")
        return OpenedFrame(kind=kind, data=padded[HEAD_BYTES:end], size=len(padded))

    def _record(self, opened: OpenedFrame, frame: bytes) -> None:
        self._left -= len(opened.data)
        if self._left < 0:
            raise SealingError(self._too_large, f"{self._name} is larger than the limit")
        if opened.kind is not FrameKind.TRAILER:
            self._transcript.update(sha256(frame).digest())
        if opened.kind is FrameKind.DATA:
            self._commit.update(opened.data)


def check_layout(frames: Sequence[OpenedFrame], quantum: int, name: str) -> None:
    """Accepts a message cut and padded exactly as the rule says.

    Raises:
        Malformed: other lengths, which would show more of the message's length than the rule allows.
    """
    left = sum(len(frame.data) for frame in frames)
    got = tuple(frame.size for frame in frames)
    want = padded_frames(left, quantum)
    if got != want:
        raise Malformed(f"{name} is padded to {list(got)}, want {list(want)}")
    for frame in frames:
        if len(frame.data) != min(left, frame.size - HEAD_BYTES):
            raise Malformed(f"{name} has a frame that is not full before its last")
        left -= len(frame.data)
