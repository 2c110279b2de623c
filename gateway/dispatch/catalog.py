# SPDX-License-Identifier: Apache-2.0
"""What linked workers serve: the interface of each engine digest, as attested workers describe it (docs/spec.md, 11.2).

A description counts only for an engine that the worker's key binding names, so a worker cannot speak for engines it was
not attested with. Where two workers describe one engine differently, the first one's word holds while it is linked.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from google.protobuf.message import DecodeError
from sealbid_oip.errors import OIPError
from sealbid_oip.messages import ModelConfigResponse
from sealbid_oip.spec import ModelSpec, spec_from_config

from attestation.errors import Malformed

MAX_MODELS: Final = 64
MAX_DESCRIPTION_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedModel:
    """One model of one worker."""

    name: str
    engine_sha256: bytes
    spec: ModelSpec
    streams: bool


def read_model(*, name: str, engine_sha256: bytes, config: bytes, streams: bool) -> ServedModel:
    """A worker's description of one model; `config` is a serialized ModelConfigResponse.

    Raises:
        Malformed: it does not parse, or its parts contradict each other.
    """
    if len(engine_sha256) != 32 or len(config) > MAX_DESCRIPTION_BYTES:
        raise Malformed(f"model.engine_sha256 has {len(engine_sha256)} bytes, want 32, or its description is too long")
    try:
        spec = spec_from_config(ModelConfigResponse.FromString(config).config)
    except (DecodeError, OIPError):
        raise Malformed("model.config does not describe a model") from None
    if spec.name != name or spec.decoupled != streams:
        raise Malformed("model.name or model.streams is another than its config says")
    return ServedModel(name=name, engine_sha256=engine_sha256, spec=spec, streams=streams)


class ServedModels:
    """The descriptions of all linked workers, in memory."""

    def __init__(self) -> None:
        self._described: dict[bytes, tuple[ServedModel, ...]] = {}
        self._by_worker: dict[bytes, tuple[ServedModel, ...]] = {}
        self._specs: Mapping[bytes, ModelSpec] = {}

    def replace(self, worker_id: bytes, models: Iterable[ServedModel], *, engines: Collection[bytes]) -> None:
        """Makes these the worker's models; those of engines outside `engines` do not count."""
        self._described[worker_id] = tuple(models)
        self.attest(worker_id, engines)

    def attest(self, worker_id: bytes, engines: Collection[bytes]) -> None:
        """Says anew which engines the worker was attested with: a description may come before its binding."""
        described = self._described.get(worker_id, ())
        self._by_worker[worker_id] = tuple(model for model in described if model.engine_sha256 in engines)
        self._index()

    def remove(self, worker_id: bytes) -> None:
        """Forgets a worker that is no longer linked."""
        self._described.pop(worker_id, None)
        if self._by_worker.pop(worker_id, None) is not None:
            self._index()

    def spec_of(self, engine_sha256: bytes) -> ModelSpec | None:
        """The interface of this engine, or None while no linked worker serves it."""
        return self._specs.get(engine_sha256)

    def of(self, worker_id: bytes) -> tuple[ServedModel, ...]:
        """What this worker serves."""
        return self._by_worker.get(worker_id, ())

    def _index(self) -> None:
        specs: dict[bytes, ModelSpec] = {}
        for models in self._by_worker.values():
            for model in models:
                specs.setdefault(model.engine_sha256, model.spec)
        self._specs = specs
