# SPDX-License-Identifier: Apache-2.0
"""Writes small ONNX files without the onnx package, so that their bytes, and digests, depend on nothing but this code.

The format is the protobuf message `onnx.ModelProto`; field numbers are those of the public onnx.proto. Only what the
models made here need exists: named nodes, integer attributes, float32 and integer initializers, typed inputs and
outputs.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sealbid_oip.framing import varint

IR_VERSION = 8
OPSET = 17
FLOAT, INT32, INT64 = 1, 6, 7  # onnx.TensorProto.DataType

_ELEMENT_TYPES = {np.dtype("<f4"): FLOAT, np.dtype("<i4"): INT32, np.dtype("<i8"): INT64}

Shape = Sequence[int | str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One operator of a graph."""

    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    integers: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """One input or output of a graph; a text as a dimension leaves it free."""

    name: str
    element_type: int
    shape: tuple[int | str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """A whole model."""

    name: str
    nodes: tuple[Node, ...]
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    weights: tuple[tuple[str, "NDArray[np.generic]"], ...] = ()


def serialize(graph: Graph) -> bytes:
    """The model as the bytes of an .onnx file."""
    body = b"".join(_message(1, _node(index, node)) for index, node in enumerate(graph.nodes))
    body += _text(2, graph.name)
    body += b"".join(_message(5, _tensor(name, array)) for name, array in graph.weights)
    body += b"".join(_message(11, _value(value)) for value in graph.inputs)
    body += b"".join(_message(12, _value(value)) for value in graph.outputs)
    return _integer(1, IR_VERSION) + _text(2, "sealbid") + _message(7, body) + _message(8, _integer(2, OPSET))


def _node(index: int, node: Node) -> bytes:
    body = b"".join(_text(1, name) for name in node.inputs) + b"".join(_text(2, name) for name in node.outputs)
    body += _text(3, f"{node.operator}_{index}") + _text(4, node.operator)
    # AttributeProto: name, i, type INT.
    for name, number in node.integers:
        body += _message(5, _text(1, name) + _integer(3, number) + _integer(20, 2))
    return body


def _tensor(name: str, array: "NDArray[np.generic]") -> bytes:
    little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    dims = b"".join(_integer(1, size) for size in array.shape)
    return dims + _integer(2, _ELEMENT_TYPES[little.dtype]) + _text(8, name) + _message(9, little.tobytes())


def _value(value: Value) -> bytes:
    dims = b"".join(_message(1, _text(2, dim) if isinstance(dim, str) else _integer(1, dim)) for dim in value.shape)
    kind = _integer(1, value.element_type) + _message(2, dims)
    return _text(1, value.name) + _message(2, _message(1, kind))


def _integer(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def _message(field: int, body: bytes) -> bytes:
    return varint(field << 3 | 2) + varint(len(body)) + body


def _text(field: int, text: str) -> bytes:
    return _message(field, text.encode())
