# SPDX-License-Identifier: Apache-2.0
"""Models by reference: `magika`, `tiny`, `identity`, `add-one`, or `onnx:/path/to/model.onnx`.

magika's files are taken from the installed package of that name without importing it (its import loads onnxruntime),
and only if their digests are the pinned ones. Nothing is ever fetched. A file named by path is used as it is: its
digest goes into the worker's attestation, and the caller's policy decides.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path

from attestation.errors import SettingsError
from enclave.engines.generative import GenerativeEngine
from enclave.engines.interface import Engine
from enclave.engines.onnxruntime import ONNXRuntimeEngine
from enclave.models import magika
from enclave.models.tiny import TINY_SHA256, add_one_model, identity_model, tiny_model

MAGIKA_FOLDER = "magika/models/standard_v3_3"
FILE_PREFIX = "onnx:"
MAX_MODEL_BYTES = 2**31


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSource:
    """A model's bytes, the digest they must have, and how to serve it."""

    name: str
    model: bytes
    sha256: bytes
    max_batch_size: int = 0
    generative: bool = False
    labels: tuple[str, ...] = ()


def find_model(reference: str, *, name: str = "", max_batch_size: int | None = None) -> ModelSource:
    """The model of that reference, served under `name` (its own, if empty).

    Raises:
        SettingsError: an unknown reference, a missing file or package, or a batch size for a model without batches.
    """
    source = _find(reference)
    if max_batch_size is not None:
        if max_batch_size < 0 or (source.generative and max_batch_size):
            raise SettingsError(f"max_batch_size of {reference} is {max_batch_size}, want 0")
        source = replace(source, max_batch_size=max_batch_size)
    return replace(source, name=name) if name else source


def open_engine(source: ModelSource, *, threads: int, entropy: Callable[[int], bytes]) -> Engine:
    """An engine with the model loaded, its digest checked.

    Raises:
        EngineError: as `Engine.load`.
    """
    graph = ONNXRuntimeEngine(
        name=source.name, max_batch_size=source.max_batch_size, threads=threads, labels=source.labels
    )
    engine: Engine = graph
    if source.generative:
        engine = GenerativeEngine(graph=graph, name=source.name, entropy=entropy)
    engine.load(source.model, source.sha256)
    return engine


def _find(reference: str) -> ModelSource:
    if reference == magika.NAME:
        return _magika()
    if reference == "tiny":
        return ModelSource(name="tiny", model=tiny_model(), sha256=TINY_SHA256, generative=True)
    if reference == "identity":
        return _own("identity", identity_model(), max_batch_size=16)
    if reference == "add-one":
        return _own("add-one", add_one_model(), max_batch_size=16)
    if reference.startswith(FILE_PREFIX):
        return _file(Path(reference.removeprefix(FILE_PREFIX)))
    raise SettingsError(f"model is {reference}, want magika, tiny, identity, add-one or onnx:PATH")


def _own(name: str, model: bytes, *, max_batch_size: int = 0) -> ModelSource:
    return ModelSource(name=name, model=model, sha256=hashlib.sha256(model).digest(), max_batch_size=max_batch_size)


def _file(path: Path) -> ModelSource:
    try:
        if path.stat().st_size > MAX_MODEL_BYTES:
            raise SettingsError(f"model file is over {MAX_MODEL_BYTES} bytes, want at most that")
        return _own(path.stem, path.read_bytes())
    except OSError as error:
        raise SettingsError(f"model file {path} is unreadable ({error.strerror}), want an ONNX file") from None


def _magika() -> ModelSource:
    try:
        package = metadata.distribution("magika")
        model = Path(str(package.locate_file(f"{MAGIKA_FOLDER}/model.onnx"))).read_bytes()
        config = Path(str(package.locate_file(f"{MAGIKA_FOLDER}/config.min.json"))).read_bytes()
    except (metadata.PackageNotFoundError, OSError):
        raise SettingsError("model magika is not installed, want the extra [models]") from None
    if hashlib.sha256(config).digest() != magika.CONFIG_SHA256:
        raise SettingsError("magika's configuration is of another version, want the one of magika 1.0.3")
    labels = tuple(str(label) for label in json.loads(config)["target_labels_space"])
    return ModelSource(name=magika.NAME, model=model, sha256=magika.MODEL_SHA256, max_batch_size=8, labels=labels)
