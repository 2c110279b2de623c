# SPDX-License-Identifier: Apache-2.0
"""Where one message ends among others: lengths as protobuf's varints, and as the big-endian u32 of a stream.

The latter is the form in which the answers of ModelStreamInfer are sealed; frames of the sealed protocol may
cut it anywhere.
"""

from sealbid_oip.errors import OIPError, OIPReason

MAX_MESSAGE_BYTES = 16 * 1024 * 1024


def varint(value: int) -> bytes:
    """A number, not below zero, as protobuf writes it: seven bits a byte, the lowest first."""
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def prefix_message(message: bytes) -> bytes:
    """One message with its length before it."""
    return len(message).to_bytes(4, "big") + message


class MessageSplitter:
    """Gives back the messages of a stream whose bytes arrive in any pieces; holds at most one unfinished message."""

    def __init__(self, *, max_bytes: int = MAX_MESSAGE_BYTES) -> None:
        self._max_bytes = max_bytes
        self._held = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """The messages that `data` completes, in order.

        Raises:
            OIPError: RESPONSE_TOO_LARGE, as soon as a length above the limit is seen.
        """
        self._held += data
        messages, position = [], 0
        while len(self._held) - position >= 4:
            length = int.from_bytes(self._held[position : position + 4], "big")
            if length > self._max_bytes:
                want = f"at most {self._max_bytes}"
                raise OIPError(OIPReason.RESPONSE_TOO_LARGE, field="message", got=f"{length} bytes", want=want)
            if len(self._held) - position - 4 < length:
                break
            messages.append(bytes(self._held[position + 4 : position + 4 + length]))
            position += 4 + length
        del self._held[:position]
        return messages

    def finish(self) -> None:
        """Say that no byte follows.

        Raises:
            OIPError: MALFORMED, when the stream ends inside a message.
        """
        if self._held:
            raise OIPError(OIPReason.MALFORMED, field="stream", got="ending inside a message", want="whole messages")
