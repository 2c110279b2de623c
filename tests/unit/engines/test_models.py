# SPDX-License-Identifier: Apache-2.0
"""Where models come from: made here with stable bytes, or taken from an installed package with a pinned digest."""

import hashlib
from io import BytesIO
from pathlib import Path

import numpy as np
import onnx
import pytest

from attestation.errors import SettingsError
from enclave.engines.interface import EngineError
from enclave.models import magika
from enclave.models.catalog import find_model, open_engine
from enclave.models.tiny import TINY_SHA256, SplitMix64, add_one_model, identity_model, tiny_model
from tests.support.models import engine
from tests.support.tree import ROOT


@pytest.mark.parametrize("make", [tiny_model, identity_model, add_one_model])
def test_models_made_here_are_valid(make) -> None:  # type: ignore[no-untyped-def]
    """The onnx package, which did not write them, accepts them with full shape inference, and they are small."""
    model = make()
    onnx.checker.check_model(onnx.load_from_string(model), full_check=True)
    assert len(model) < 50_000
    assert make() == model


def test_the_generative_model_has_a_stable_digest() -> None:
    """Its bytes are pinned: a change of the generator or the writer is seen."""
    assert hashlib.sha256(tiny_model()).digest() == TINY_SHA256


def test_the_weight_generator_is_the_published_one() -> None:
    """The integers are SplitMix64's, as its authors' reference gives them for seed 1234567."""
    numbers = SplitMix64(1234567)
    assert [numbers.next() for _ in range(3)] == [6457827717110365317, 3203168211198807973, 9817491932198370423]


def test_add_one_adds_one() -> None:
    """The measuring model's answer differs from its request in the known way."""
    rows = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert (engine("add-one").run({"x": rows})["y"] == rows + 1).all()


def test_magika_is_found_without_importing_it() -> None:
    """The model has the pinned digest, its interface, and one label for each output."""
    source = find_model("magika")
    assert hashlib.sha256(source.model).digest() == source.sha256 == magika.MODEL_SHA256
    spec = open_engine(source, threads=1, entropy=bytes).describe()
    assert [(t.name, t.datatype, t.shape) for t in spec.inputs] == [(magika.INPUT, "INT32", (2048,))]
    assert [(t.name, t.datatype, t.shape) for t in spec.outputs] == [(magika.OUTPUT, "FP32", (len(spec.labels),))]


def test_magikas_preparation_equals_its_own() -> None:
    """Files of many kinds and lengths become the same 2048 integers that magika's own code makes of them."""
    from magika import Magika
    from magika.types import Seekable

    contents = [path.read_bytes() for path in sorted(ROOT.glob("proto/inference/*.proto"))]
    contents += [b"", b"a", b"  a \n", b" " * 5000, b"x" * 1024, b"y" * 4096, b"z" * 4097, bytes(range(256)) * 40]
    contents += [b" " * 3000 + b"front" + b"m" * 9000 + b"back" + b"\n" * 3500]
    for content in contents:
        theirs = Magika._extract_features_from_seekable(
            Seekable(BytesIO(content)), magika.SIDE, 0, magika.SIDE, magika.PADDING, magika.BLOCK, False
        )
        assert magika.features(content).tolist() == [*theirs.beg, *theirs.end]


def test_magika_knows_a_file_of_this_checkout() -> None:
    """A real file through the real model gives its real type."""
    source = find_model("magika")
    row = magika.features((ROOT / "enclave" / "models" / "magika.py").read_bytes())
    answer = open_engine(source, threads=1, entropy=bytes).run({magika.INPUT: row[np.newaxis]})
    label, probability = magika.best_label(answer[magika.OUTPUT][0], source.labels)
    assert label == "python"
    assert probability > 0.9


def test_a_model_file_is_served_under_its_name(tmp_path: Path) -> None:
    """A file is used as it is, named after itself or as the configuration says."""
    path = tmp_path / "mine.onnx"
    path.write_bytes(add_one_model())
    source = find_model(f"onnx:{path}", max_batch_size=4)
    assert (source.name, source.max_batch_size) == ("mine", 4)
    named = find_model(f"onnx:{path}", name="other")
    assert open_engine(named, threads=1, entropy=bytes).describe().name == "other"


def test_references_that_lead_nowhere_are_refused(tmp_path: Path) -> None:
    """Unknown names, missing files and batches of a streaming model do not start."""
    for reference in ("nothing", f"onnx:{tmp_path}/none.onnx"):
        with pytest.raises(SettingsError, match="model"):
            find_model(reference)
    with pytest.raises(SettingsError, match="max_batch_size"):
        find_model("tiny", max_batch_size=2)
    with pytest.raises(SettingsError, match="max_batch_size"):
        find_model("identity", max_batch_size=-1)


def test_a_source_with_another_digest_does_not_open() -> None:
    """What the catalogue pins is what the engine checks."""
    from dataclasses import replace

    with pytest.raises(EngineError, match="model digest is"):
        open_engine(replace(find_model("magika"), sha256=bytes(32)), threads=1, entropy=bytes)
