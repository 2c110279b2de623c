# SPDX-License-Identifier: Apache-2.0
"""Stream data: output bytes cut into fixed frames, each with a running hash (docs/spec.md, 7.3).

    chunk = CBOR {0: token_offset u64, 1: H(all output bytes up to and with these), 2: bytes}

`token_offset` counts the tokens whose output was complete before the frame's first byte. Every frame of a stream has
the same length, so a token's length does not show; an empty chunk keeps the interval. A second worker that answers
the same request from its start must pass through the same bytes, which `PrefixCheck` holds it to.
"""

from hashlib import sha256
from typing import Final

from attestation.codec import cbor
from attestation.codec.fields import numbered, octets, uint
from attestation.errors import Malformed, Reason, SealingError

FRAME_HEAD_BYTES: Final = 5
_CHUNK_OVERHEAD: Final = 52
"""The most bytes a chunk needs beside its output: map 1, three keys 3, offset 9, hash 34, length 5."""


def chunk_capacity(quantum: int) -> int:
    """How many output bytes one stream frame of this quantum carries: 455 for 512."""
    return quantum - FRAME_HEAD_BYTES - _CHUNK_OVERHEAD


class ChunkWriter:
    """Cuts output into chunks that fit one frame each."""

    __slots__ = ("_capacity", "_hash", "_tokens")

    def __init__(self, quantum: int) -> None:
        self._capacity = chunk_capacity(quantum)
        self._hash = sha256()
        self._tokens = 0

    def write(self, output: bytes, tokens: int) -> list[bytes]:
        """The encoded chunks of `output`, one empty chunk where it is empty; it completes `tokens` tokens."""
        starts = range(0, max(1, len(output)), self._capacity)
        chunks = [self._chunk(output[start : start + self._capacity]) for start in starts]
        self._tokens += tokens
        return chunks

    def _chunk(self, part: bytes) -> bytes:
        self._hash.update(part)
        return cbor.encode({0: self._tokens, 1: self._hash.digest(), 2: part})


class ChunkReader:
    """Checks each chunk's running hash and that its token offset never falls."""

    __slots__ = ("_hash", "_tokens")

    def __init__(self) -> None:
        self._hash = sha256()
        self._tokens = 0

    def read(self, data: bytes) -> bytes:
        """The output bytes of one chunk.

        Raises:
            Malformed: no chunk, or a token offset below the last one.
            SealingError: the running hash is not that of the bytes received (STREAM_DIVERGED).
        """
        items = numbered(cbor.decode(data), "chunk", 3)
        tokens, output = uint(items[0], "chunk.token_offset"), octets(items[2], "chunk.bytes")
        if tokens < self._tokens:
            raise Malformed(f"chunk.token_offset is {tokens}, want at least {self._tokens}")
        self._tokens = tokens
        self._hash.update(output)
        if octets(items[1], "chunk.sha256", 32) != self._hash.digest():
            raise _diverged("chunk.sha256 is not the hash of the output received so far")
        return output


class PrefixCheck:
    """Drops what a second worker repeats, and only if it is what the first worker had sent."""

    __slots__ = ("_digest", "_hash", "_left")

    def __init__(self, *, length: int, sha256_of_prefix: bytes) -> None:
        """`length` output bytes with this hash were already given to the caller."""
        self._left = length  # -1 once the prefix differed: what differed once stays refused
        self._digest = sha256_of_prefix
        self._hash = sha256()

    @property
    def passed(self) -> bool:
        """True once the whole prefix was repeated and agreed."""
        return self._left == 0

    def feed(self, output: bytes) -> bytes:
        """The bytes past the prefix.

        Raises:
            SealingError: the prefix repeated differs (STREAM_DIVERGED).
        """
        if self._left < 0:
            raise _diverged("output follows a prefix that differed")
        if not self._left:
            return output
        repeated = output[: self._left]
        self._hash.update(repeated)
        self._left -= len(repeated)
        if not self._left and self._hash.digest() != self._digest:
            self._left = -1
            raise _diverged("output of the second worker differs from what the first had sent")
        return output[len(repeated) :]


def _diverged(message: str) -> SealingError:
    return SealingError(Reason.STREAM_DIVERGED, message)
