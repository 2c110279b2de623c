# SPDX-License-Identifier: Apache-2.0
"""The receipt file: everything one request left behind, in one JSON object (docs/spec.md, 9.5).

    receipt = { "v": "sealbid/receipt/1", "simulated": bool, "award": b64, "dispatches": [b64, ..],
                "gateway_half": b64, "gateway_batch": batch, "gateway_key": logged,
                "worker_half": b64 | null, "worker_batch": batch | null, "keyset": b64 | null,
                "verdict": logged | null }
    batch   = { "cose": b64, "index": int, "size": int, "path": [b64, ..] }
    logged  = { "entry": b64, "proof": b64 }

b64 is canonical base64 with padding. Exactly these keys; duplicates, other types and unknown keys are refused. The four
worker fields are all present, all null (no worker answered), or all but `worker_batch`: the worker never signed its
half, and only the gateway says that it made it. Parsing says nothing about truth: `attestation.receipt` verifies.
"""

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from attestation.errors import MalformedEvidence, Reason

VERSION: Final = "sealbid/receipt/1"
MAX_FILE_BYTES: Final = 1 << 20
MAX_ATTEMPTS: Final = 64
MAX_PATH: Final = 32
_BATCH_KEYS: Final = ("cose", "index", "size", "path")
_KEYS: Final = (
    "v",
    "simulated",
    "award",
    "dispatches",
    "gateway_half",
    "gateway_batch",
    "gateway_key",
    "worker_half",
    "worker_batch",
    "keyset",
    "verdict",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchProof:
    """A half's place in a signed batch, as the file states it; `attestation.sealing.batch` judges it."""

    cose: bytes
    index: int
    size: int
    path: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedEntry:
    """An evidence-log entry, byte for byte, with its tlog-proof."""

    entry: bytes
    proof: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerPart:
    """What the worker that answered or refused made, and what proves its key; `batch` is None where it never signed."""

    half: bytes
    batch: BatchProof | None
    keyset: bytes
    verdict: LoggedEntry


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptFile:
    """A parsed, unverified receipt. `worker` is None when no worker answered."""

    version: str
    simulated: bool
    award: bytes
    dispatches: tuple[bytes, ...]
    gateway_half: bytes
    gateway_batch: BatchProof
    gateway_key: LoggedEntry
    worker: WorkerPart | None

    def encode(self) -> bytes:
        """The JSON file, keys in the order of the grammar."""
        worker = self.worker
        document = {
            "v": self.version,
            "simulated": self.simulated,
            "award": _b64(self.award),
            "dispatches": [_b64(dispatch) for dispatch in self.dispatches],
            "gateway_half": _b64(self.gateway_half),
            "gateway_batch": _batch_json(self.gateway_batch),
            "gateway_key": _logged_json(self.gateway_key),
            "worker_half": None if worker is None else _b64(worker.half),
            "worker_batch": None if worker is None or worker.batch is None else _batch_json(worker.batch),
            "keyset": None if worker is None else _b64(worker.keyset),
            "verdict": None if worker is None else _logged_json(worker.verdict),
        }
        return json.dumps(document, indent=1).encode() + b"\n"

    @classmethod
    def decode(cls, data: bytes) -> "ReceiptFile":
        """Reads a receipt file. Raises `MalformedEvidence` naming the field."""
        document = _Fields(_load(data), "receipt", _KEYS)
        return cls(
            version=document.text("v"),
            simulated=document.flag("simulated"),
            award=document.octets("award"),
            dispatches=document.octets_list("dispatches", MAX_ATTEMPTS),
            gateway_half=document.octets("gateway_half"),
            gateway_batch=_batch(document.fields("gateway_batch", _BATCH_KEYS)),
            gateway_key=_logged(document.fields("gateway_key", ("entry", "proof"))),
            worker=_worker(document),
        )


def _worker(document: "_Fields") -> WorkerPart | None:
    names = ("worker_half", "keyset", "verdict")
    present = [name for name in names if not document.is_null(name)]
    signed = not document.is_null("worker_batch")
    if not present and not signed:
        return None
    if len(present) != len(names):
        want = "all, all but worker_batch, or none"
        raise _malformed("receipt worker fields", f"only {', '.join(present) or 'worker_batch'}", want)
    return WorkerPart(
        half=document.octets("worker_half"),
        batch=_batch(document.fields("worker_batch", _BATCH_KEYS)) if signed else None,
        keyset=document.octets("keyset"),
        verdict=_logged(document.fields("verdict", ("entry", "proof"))),
    )


def _batch(fields: "_Fields") -> BatchProof:
    return BatchProof(
        cose=fields.octets("cose"),
        index=fields.integer("index"),
        size=fields.integer("size"),
        path=fields.octets_list("path", MAX_PATH),
    )


def _logged(fields: "_Fields") -> LoggedEntry:
    return LoggedEntry(entry=fields.octets("entry"), proof=fields.octets("proof"))


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _batch_json(batch: BatchProof) -> dict[str, object]:
    path = [_b64(step) for step in batch.path]
    return {"cose": _b64(batch.cose), "index": batch.index, "size": batch.size, "path": path}


def _logged_json(logged: LoggedEntry) -> dict[str, object]:
    return {"entry": _b64(logged.entry), "proof": _b64(logged.proof)}


def _malformed(field: str, got: str, want: str) -> MalformedEvidence:
    return MalformedEvidence(Reason.MALFORMED, f"{field} is {got}, want {want}")


def _load(data: bytes) -> object:
    if len(data) > MAX_FILE_BYTES:
        raise _malformed("receipt", f"{len(data)} bytes", f"at most {MAX_FILE_BYTES}")
    try:
        return json.loads(data.decode(), object_pairs_hook=_unique)
    except (ValueError, RecursionError):
        raise _malformed("receipt", "not JSON", "one JSON object without duplicate keys") from None


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise ValueError("duplicate key")
    return document


class _Fields:
    """Typed reads of one JSON object whose keys are exactly `keys`."""

    def __init__(self, value: object, name: str, keys: tuple[str, ...]) -> None:
        if not isinstance(value, Mapping) or set(value) != set(keys):
            raise _malformed(name, "another shape", f"an object with the keys {', '.join(keys)}")
        self._value = value
        self._name = name

    def is_null(self, key: str) -> bool:
        return self._value[key] is None

    def text(self, key: str) -> str:
        value = self._value[key]
        if not isinstance(value, str):
            raise self._wrong(key, "a string")
        return value

    def flag(self, key: str) -> bool:
        value = self._value[key]
        if not isinstance(value, bool):
            raise self._wrong(key, "true or false")
        return value

    def integer(self, key: str) -> int:
        value = self._value[key]
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 32:
            raise self._wrong(key, "an integer 0..4294967295")
        return value

    def octets(self, key: str) -> bytes:
        return self._decode(self._value[key], key)

    def octets_list(self, key: str, maximum: int) -> tuple[bytes, ...]:
        value = self._value[key]
        if not isinstance(value, list) or len(value) > maximum:
            raise self._wrong(key, f"an array of at most {maximum} base64 strings")
        return tuple(self._decode(item, key) for item in value)

    def fields(self, key: str, keys: tuple[str, ...]) -> "_Fields":
        return _Fields(self._value[key], f"{self._name}.{key}", keys)

    def _decode(self, value: object, key: str) -> bytes:
        if not isinstance(value, str):
            raise self._wrong(key, "base64")
        try:
            data = base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            raise self._wrong(key, "base64") from None
        if _b64(data) != value:
            raise self._wrong(key, "canonical base64")
        return data

    def _wrong(self, key: str, want: str) -> MalformedEvidence:
        return _malformed(f"{self._name}.{key}", "something else", want)
