# SPDX-License-Identifier: Apache-2.0
"""Models and engines for tests: a specification with every element type, and loaded engines by reference."""

from collections.abc import Iterator

import numpy as np
from sealbid_oip.codec import NUMPY, Array
from sealbid_oip.datatypes import BYTES, DATATYPES
from sealbid_oip.spec import ModelSpec, TensorSpec

from enclave.engines.interface import Engine
from enclave.models.catalog import find_model, open_engine


def counting_entropy() -> "Iterator[bytes]":
    """Eight bytes at a time, different each time, the same in every run."""
    number = 0
    while True:
        number += 1
        yield number.to_bytes(8, "big")


def engine(reference: str, *, max_batch_size: int | None = None, threads: int = 1) -> Engine:
    """A loaded engine."""
    source = find_model(reference, max_batch_size=max_batch_size)
    numbers = counting_entropy()
    return open_engine(source, threads=threads, entropy=lambda size: next(numbers)[:size])


def spec_of(*inputs: TensorSpec, outputs: tuple[TensorSpec, ...] = (), max_batch_size: int = 0) -> ModelSpec:
    """A model with the given inputs; its outputs are the same tensors unless said."""
    return ModelSpec(name="m", platform="test", inputs=inputs, outputs=outputs or inputs, max_batch_size=max_batch_size)


def tensor(name: str = "x", datatype: str = "FP32", *shape: int, optional: bool = False) -> TensorSpec:
    """One tensor's specification; no shape means one free dimension."""
    return TensorSpec(name=name, datatype=datatype, shape=shape or (-1,), optional=optional)


def everything() -> ModelSpec:
    """A model with one input of each element type, named after it."""
    return spec_of(*(tensor(name.lower(), name) for name in DATATYPES))


def array_of(datatype: str, count: int, seed: int = 1) -> Array:
    """Elements of one type from a seed."""
    numbers = np.random.default_rng(seed)
    if datatype == BYTES:
        objects = np.empty(count, np.object_)
        objects[:] = [numbers.bytes(int(numbers.integers(0, 9))) for _ in range(count)]
        return objects
    if datatype == "BOOL":
        return numbers.integers(0, 2, count).astype(np.bool_)
    return np.frombuffer(numbers.bytes(count * NUMPY[datatype].itemsize), NUMPY[datatype])
