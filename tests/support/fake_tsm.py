# SPDX-License-Identifier: Apache-2.0
"""Fakes of what attesters ask: the kernel's configfs-tsm with its rules, Gramine's pseudo-files, and an NVML.

`FakeTSM` behaves as the kernel documents and its source does: making a directory makes an object with its files,
`generation` counts writes, a binary attribute takes its bytes at close and says nothing when it drops them, a report is
made when `outblob` is read, and the object's files go with its directory.
"""

import errno
import os
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from attestation.binding import KeyBinding, Profile
from enclave.attesters.device import DeviceFailed
from enclave.attesters.nvml import CCState
from enclave.attesters.tsm import REPORTS

VCEK = "63da758d-e664-4564-adc5-f4b93be8accd"
ASK = "4ab7b379-bbac-4fe4-a02f-05aef327c782"
ARK = "c0b406a4-a803-4952-9743-3fb6014cd0ae"
CRL = "92f81bc3-5811-4d3d-97ff-d19f88dc67ea"


def table(*entries: tuple[str, bytes], lie: int = 0) -> bytes:
    """A certificate table as a host lays it out: entries, an empty one, then what they point to."""
    at = 24 * (len(entries) + 1)
    head, body = b"", b""
    for guid, data in entries:
        head += uuid.UUID(guid).bytes + (at + len(body)).to_bytes(4, "little") + (len(data) + lie).to_bytes(4, "little")
        body += data
    return head + bytes(24) + body


def binding(profile: Profile = Profile.PRODUCTION, *, devices: tuple[tuple[str, bytes], ...] = ()) -> KeyBinding:
    """A binding of no keys in particular."""
    return KeyBinding(
        profile=profile,
        purpose="worker",
        verifier_nonce=bytes(31) + b"\x01",
        keyset_id=bytes(31) + b"\x02",
        provider_id=bytes(31) + b"\x03",
        audience="registry.test",
        devices=devices,
        engines=(),
        config_sha256=bytes(32),
        not_after=1_800_000_000,
    )


@dataclass(slots=True)
class TSMObject:
    """One report object."""

    generation: int = 0
    inblob: bytes = b""
    privlevel: int = 0


@dataclass(slots=True)
class FakeTSM:
    """`DeviceFiles` of a guest. `faults` gives errno values to raise, by the last part of a path, one per use."""

    make_report: Callable[[bytes], bytes]
    provider: str = "tdx_guest"
    auxblob: bytes | None = None
    floor: int | None = None
    faults: dict[str, list[int]] = field(default_factory=dict)
    dropped: int = 0
    """How many writes of inblob the kernel drops without a word."""
    interfering: int = 0
    """How many times somebody else writes before the report is read."""
    objects: dict[str, TSMObject] = field(default_factory=dict)
    made: list[str] = field(default_factory=list)
    levels: list[int] = field(default_factory=list)

    def exists(self, path: str) -> bool:
        name = self._name(path)
        there = {"generation", "inblob", "outblob", "provider"}
        there |= {"auxblob"} if self.auxblob is not None else set()
        there |= {"privlevel", "privlevel_floor"} if self.floor is not None else set()
        return name in there

    def read(self, path: str, limit: int) -> bytes:
        entry, name = self._at(path)
        self._fault(name)
        match name:
            case "generation":
                return b"%d\n" % entry.generation
            case "provider":
                return self.provider.encode() + b"\n"
            case "privlevel_floor" if self.floor is not None:
                return b"%d\n" % self.floor
            case "auxblob" if self.auxblob is not None:
                return self.auxblob
            case "outblob":
                return self._outblob(entry, limit)
        raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))

    def write(self, path: str, data: bytes) -> None:
        entry, name = self._at(path)
        self._fault(name)
        if name == "privlevel":
            if self.floor is None or int(data) < self.floor:
                raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
            entry.privlevel = int(data)
            self.levels.append(entry.privlevel)
        elif name == "inblob" and self.dropped:
            self.dropped -= 1
            return
        elif name == "inblob" and len(data) <= 64:
            entry.inblob = data
        else:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        entry.generation += 1

    def make(self, path: str) -> None:
        self._fault("mkdir")
        if path in self.objects:
            raise OSError(errno.EEXIST, os.strerror(errno.EEXIST))
        self.objects[path] = TSMObject()
        self.made.append(path)

    def remove(self, path: str) -> None:
        self._fault("rmdir")
        del self.objects[path]

    def _outblob(self, entry: TSMObject, limit: int) -> bytes:
        if self.interfering:
            self.interfering -= 1
            entry.inblob, entry.generation = b"x" * 64, entry.generation + 1
        if not entry.inblob:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        report = self.make_report(entry.inblob)
        if len(report) > limit:
            raise DeviceFailed("too much")
        return report

    def _at(self, path: str) -> tuple[TSMObject, str]:
        folder, _, name = path.rpartition("/")
        if folder not in self.objects:
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))
        return self.objects[folder], name

    def _name(self, path: str) -> str:
        assert path.startswith(f"{REPORTS}/")
        return path.rpartition("/")[2]

    def _fault(self, name: str) -> None:
        if waiting := self.faults.get(name):
            code = waiting.pop(0)
            raise OSError(code, os.strerror(code))


@dataclass(slots=True)
class FakeGramine:
    """`DeviceFiles` inside an enclave: what is written to one file comes back inside the other."""

    make_quote: Callable[[bytes], bytes]
    kind: str = "dcap"
    faults: Mapping[str, int] = field(default_factory=dict)
    written: bytes = b""

    def exists(self, path: str) -> bool:
        return path.startswith("dev/attestation/")

    def read(self, path: str, limit: int) -> bytes:
        name = self._allowed(path)
        return f"{self.kind}\n".encode() if name == "attestation_type" else self.make_quote(self.written)[:limit]

    def write(self, path: str, data: bytes) -> None:
        assert self._allowed(path) == "user_report_data"
        self.written = data

    def make(self, path: str) -> None:
        raise AssertionError(path)

    def remove(self, path: str) -> None:
        raise AssertionError(path)

    def _allowed(self, path: str) -> str:
        name = path.removeprefix("dev/attestation/")
        if name in self.faults:
            raise OSError(self.faults[name], os.strerror(self.faults[name]))
        return name


@dataclass(slots=True)
class FakeNVML:
    """An `NVML` of a few GPUs. `asked` records what was asked; a report made of None fails."""

    make_report: Callable[[int, bytes], bytes | None]
    chains: list[bytes]
    cc: CCState | None = None
    asked: list[str] = field(default_factory=list)

    def state(self) -> CCState:
        self.asked.append("state")
        gpus = len(self.chains)
        return self.cc or CCState(enabled=True, development_tools=False, ready=True, gpus=gpus)

    def report(self, index: int, nonce: bytes) -> bytes:
        self.asked.append(f"report {index}")
        report = self.make_report(index, nonce)
        if report is None:
            raise DeviceFailed("gpu report is not supported by this GPU or in this mode, want success")
        return report

    def chain(self, index: int) -> bytes:
        self.asked.append(f"chain {index}")
        return self.chains[index]

    def close(self) -> None:
        self.asked.append("close")
