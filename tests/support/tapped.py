# SPDX-License-Identifier: Apache-2.0
"""Runs the real `sealbid` command and writes down what it sends and receives on links; and a relay for raw bytes.

    python -m tests.support.tapped worker serve --config worker.toml        TEST_TAP_DIR says where to

    PID-in.frames, PID-out.frames    link messages below TLS, each u32 length || bytes, in order

The product has no hook for this: the functions that parse and give link messages are wrapped before the command runs.
"""

import os
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from sealbid_wire.worker.v1 import worker_pb2 as pb

TAP_DIR: Final = "TEST_TAP_DIR"
_CHUNK: Final = 1 << 16


class Recorder:
    """One file of messages."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab", buffering=0)

    def add(self, data: bytes) -> None:
        """Appends one message."""
        self._file.write(len(data).to_bytes(4, "big") + data)


def recorded(path: Path) -> list[bytes]:
    """The messages of one file; one cut short at the end is given as far as it was written."""
    data, messages, offset = path.read_bytes(), [], 0
    while offset + 4 <= len(data):
        size = int.from_bytes(data[offset : offset + 4], "big")
        messages.append(data[offset + 4 : offset + 4 + size])
        offset += 4 + size
    return messages


def sealed_frames(messages: list[bytes], *, outgoing: bool) -> dict[int, list[bytes]]:
    """The sealed frames of each call within link messages, in order. `outgoing` is the way from gateway to worker."""
    frames: dict[int, list[bytes]] = {}
    for message in messages:
        if outgoing:
            for sent in pb.LinkRequest.FromString(message).frames:
                for part in (sent.call, sent.call_frames):
                    frames.setdefault(part.call_id, []).extend(part.frames)
        else:
            for given in pb.LinkResponse.FromString(message).frames:
                frames.setdefault(given.answer.call_id, []).extend(given.answer.frames)
    return {call_id: parts for call_id, parts in frames.items() if parts}


class Relay:
    """Passes TCP connections on to `target` and keeps every byte of both directions."""

    def __init__(self, target: str) -> None:
        self._target = target.rpartition(":")
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address: Final = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.captured: list[bytearray] = []
        """One for each direction of each connection."""
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def close(self) -> None:
        """Takes no new connections and waits for those of now to end."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                thread = threading.Thread(target=self._connect, args=(near,), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _connect(self, near: socket.socket) -> None:
        with near, suppress(OSError), socket.create_connection((self._target[0], int(self._target[2]))) as far:
            there, back = bytearray(), bytearray()
            self.captured += [there, back]
            thread = threading.Thread(target=_copy, args=(far, near, back), daemon=True)
            thread.start()
            _copy(near, far, there)
            thread.join()


def _copy(source: socket.socket, sink: socket.socket, kept: bytearray) -> None:
    with suppress(OSError):
        while data := source.recv(_CHUNK):
            kept += data
            sink.sendall(data)
    for end in (source, sink):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


def tap_worker(folder: Path) -> None:
    """Wraps the worker's links."""
    from enclave.link import Link

    _tap_link(Link, folder, lambda frame: pb.LinkRequest(frames=[frame]).SerializeToString())


def tap_gateway(folder: Path) -> None:
    """Wraps the gateway's links."""
    from gateway.dispatch.link import Link

    _tap_link(Link, folder, bytes)


def _tap_link(link: Any, folder: Path, serialized: Callable[[Any], bytes]) -> None:
    """Records what a link takes (`serialized` gives its bytes) and the bytes it gives."""
    incoming = Recorder(folder / f"{os.getpid()}-in.frames")
    outgoing = Recorder(folder / f"{os.getpid()}-out.frames")
    receive, give = link.receive, link.next

    def tapped_receive(self: Any, message: Any) -> None:
        incoming.add(serialized(message))
        receive(self, message)

    async def tapped_give(self: Any) -> Any:
        data = await give(self)
        if data is not None:
            outgoing.add(data)
        return data

    link.receive, link.next = tapped_receive, tapped_give


def main() -> None:
    """Taps the process the arguments name and runs it."""
    from sealbid.__main__ import main as command

    folder = Path(os.environ[TAP_DIR])
    taps = {"worker": tap_worker, "gateway": tap_gateway}
    tap = taps.get(sys.argv[1])
    if tap is not None:
        tap(folder)
    command()


if __name__ == "__main__":
    main()
