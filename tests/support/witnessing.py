# SPDX-License-Identifier: Apache-2.0
"""Logs to witness, made of leaves in memory, and witnesses of them."""

import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey
from prometheus_client import CollectorRegistry

from attestation.collateral.transport import Response, TransportError
from attestation.errors import Reason
from attestation.http.message import Request
from attestation.tlog import merkle
from attestation.tlog.add_checkpoint import PATH, AddCheckpoint, monitoring_path
from attestation.tlog.checkpoint import Checkpoint, sign_checkpoint
from attestation.tlog.cosignature import CosignatureSigner
from attestation.tlog.note import NoteSigner
from attestation.tlog.store import LogError
from attestation.witness.app import Identity, initialise, running
from attestation.witness.config import LogSettings, WitnessSettings
from attestation.witness.quota import Buckets
from attestation.witness.routes import Routes
from attestation.witness.store import WitnessStore
from attestation.witness.telemetry import Telemetry
from attestation.witness.witness import Answered, Witness, WitnessedLog
from tests.support.log import NOW, ORIGIN, log_signer


class Hands:
    """A clock that a test moves."""

    def __init__(self, now: datetime = NOW) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def forward(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@dataclass
class Leaves:
    """A log of numbered leaves; another `world` is another history under the same key."""

    world: str = "one"
    signer: NoteSigner = field(default_factory=log_signer)

    def hashes(self, size: int) -> list[bytes]:
        return [merkle.leaf_hash(f"{self.world} {index}".encode()) for index in range(size)]

    def head(self, size: int) -> Checkpoint:
        return Checkpoint(origin=self.signer.name, size=size, root=merkle.root_of(self.hashes(size)))

    def note(self, size: int) -> bytes:
        return sign_checkpoint(self.head(size), self.signer)

    def proof(self, old: int, size: int) -> tuple[bytes, ...]:
        if not 0 < old < size:
            return ()
        return tuple(merkle.consistency_proof(old, size, _InMemory(self.hashes(size))))

    def request(self, old: int, size: int) -> bytes:
        """A request as an honest log writes it."""
        return AddCheckpoint(old=old, proof=self.proof(old, size), note=self.note(size)).encode()


class _InMemory:
    def __init__(self, leaves: Sequence[bytes]) -> None:
        self._leaves = leaves

    def read(self, level: int, index: int) -> bytes:
        return merkle.root_of(self._leaves[index << level : (index + 1) << level])


def witness_signer(seed: int = 51, name: str = "witness.example/w1") -> CosignatureSigner:
    """The same Ed25519 cosigner for the same seed."""
    return CosignatureSigner(name=name, key=Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32))


def lattice_signer(seed: int = 52, name: str = "witness.example/w1") -> CosignatureSigner:
    """The same ML-DSA-44 cosigner for the same seed."""
    return CosignatureSigner(name=name, key=MLDSA44PrivateKey.from_seed_bytes(bytes([seed]) * 32))


class MemoryWitnessStore:
    """`WitnessStore` in memory; `failing` makes every call fail."""

    def __init__(self) -> None:
        self.notes: dict[str, bytes] = {}
        self.forgotten: dict[str, bytes] = {}
        self.failing = False
        self._lock = threading.Lock()

    def load(self, origin: str) -> bytes | None:
        self._want_sound()
        if origin in self.forgotten:
            raise LogError(Reason.LOG_ROLLBACK, "state is behind what was cosigned")
        return self.notes.get(origin)

    def swap(self, origin: str, expected: bytes | None, new: bytes) -> None:
        self._want_sound()
        with self._lock:
            if self.notes.get(origin) != expected:
                raise LogError(Reason.LOG_FORK, "store holds another note than expected")
            self.notes[origin] = new

    def remember(self, origin: str, note: bytes) -> None:
        self.forgotten[origin] = note

    def _want_sound(self) -> None:
        if self.failing:
            raise LogError(Reason.STORE_UNAVAILABLE, "storage failed, as the test asked")


def new_witness(
    store: WitnessStore | None = None,
    *,
    signers: Sequence[CosignatureSigner] = (),
    clock: Hands | None = None,
    per_day: int = 86_400,
    logs: Sequence[WitnessedLog] = (),
) -> Witness:
    """A witness of the test log (or of `logs`) that remembers nothing yet."""
    known = logs or (WitnessedLog(origin=ORIGIN, keys=(log_signer().verifier,), per_day=per_day),)
    return Witness(
        signers=signers or (witness_signer(),),
        logs=known,
        store=store if store is not None else MemoryWitnessStore(),
        clock=clock or Hands(),
    )


def cosigned(witness: Witness, log: Leaves, *sizes: int) -> Answered:
    """The last answer after the log was cosigned at each of these sizes in turn."""
    known = 0
    answered = None
    for size in sizes:
        answered = witness.add_checkpoint(log.request(known, size))
        known = size
    assert answered is not None
    return answered


# ---- witnesses as a registry asks them -------------------------------------------------------------------------------

Answering = Callable[[bytes], Response]


class Network:
    """`Transport` to answers by URL; what is not there refuses connections."""

    def __init__(self, **answers: Answering) -> None:
        self.answers = answers
        self.monitors: dict[str, Answering] = {}
        self.asked: list[tuple[str, bytes]] = []

    def get(self, url: str, *, limit: int) -> Response:
        name, _, path = url.removeprefix("https://").partition(".example")
        if name not in self.monitors:
            raise TransportError(f"{name} answer is connectionrefusederror, want a whole one in time", passing=True)
        return self.monitors[name](path.encode())

    def post(self, url: str, body: bytes, *, media_type: str, limit: int) -> Response:
        name = url.removeprefix("https://").partition(".")[0]
        self.asked.append((name, body))
        if name not in self.answers:
            raise TransportError(f"{name} answer is connectionrefusederror, want a whole one in time", passing=True)
        return self.answers[name](body)


def serving(witness: Witness) -> Answering:
    """The answers of an honest witness process."""
    routes = Routes(
        witness=witness,
        peers=Buckets(per_second=1000, burst=1000),
        telemetry=Telemetry(registry=CollectorRegistry()),
        clock=Hands(),
    )

    def answer(body: bytes) -> Response:
        got = routes.answer(Request(method="POST", path=PATH, body=body, peer="192.0.2.1"))
        return Response(status=got.status, headers=got.headers, body=got.body)

    return answer


def showing(witness: Witness) -> Answering:
    """What monitors are shown of the test log."""

    def answer(path: bytes) -> Response:
        assert path.decode() == monitoring_path(ORIGIN)
        note = witness.last(ORIGIN)
        return Response(status=404 if note is None else 200, headers={}, body=note or b"")

    return answer


def policy_of(**signers: CosignatureSigner) -> str:
    """Witness lines of a policy, by name, each with an address; groups and quorum are the caller's."""
    return "".join(f"witness {name} {key.verifier.vkey} https://{name}.example\n" for name, key in signers.items())


# ---- witness processes on loopback -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Post:
    """A witness made on disk, to be run in the test's process."""

    settings: WitnessSettings
    identity: Identity

    def run(self, **changes: object) -> AbstractAsyncContextManager[str]:
        return running(replace(self.settings, **changes))  # type: ignore[arg-type]


def make_post(folder: Path, name: str, *vkeys: str) -> Post:
    """A witness called `name` below `folder`, of the logs with these keys."""
    logs = tuple(LogSettings(origin=vkey.partition("+")[0], vkeys=(vkey,)) for vkey in vkeys)
    settings = WitnessSettings(name=name, state_dir=folder / "state", listen="127.0.0.1:0", logs=logs)
    return Post(settings, initialise(settings))
