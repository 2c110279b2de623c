# SPDX-License-Identifier: Apache-2.0
"""The models made here: `tiny`, which generates text of no meaning one byte at a time, and two for measuring.

`tiny` is a byte-level recurrent language model: an embedding of 12 numbers, a gated recurrent unit of 20, and an
output layer over 256 bytes. Its weights come from a fixed integer generator, and a bias keeps it to printable
characters, so it says nothing but says it deterministically, with a state, log-probabilities and an end. It is there
so that streams, billing and failover can be built and tested without a language model.

The bytes depend on this code alone; `TINY_SHA256` pins them.
"""

import numpy as np
from numpy.typing import NDArray

from enclave.engines.generative import END, VOCABULARY
from enclave.models.onnxfile import FLOAT, INT32, Graph, Node, Value, serialize

TINY_SHA256 = bytes.fromhex("1bb23aa51ee5c4e382bac100ede710d76d05b8db7032fa63ab392692f11f7a5b")

EMBEDDING = 12
HIDDEN = 20
_MASK = 2**64 - 1


class SplitMix64:
    """A fixed generator of 64-bit integers (Steele, Lea and Flood, 2014); not for secrets."""

    def __init__(self, seed: int) -> None:
        self._state = seed

    def next(self) -> int:
        """The next integer."""
        self._state = (self._state + 0x9E3779B97F4A7C15) & _MASK
        z = self._state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
        return z ^ (z >> 31)

    def weights(self, *shape: int, scale: float) -> NDArray[np.float32]:
        """Weights in [-scale, scale), each a multiple of scale / 2^15, so float32 holds them exactly."""
        count = int(np.prod(shape))
        values = [((self.next() >> 48) - 2**15) / 2**15 * scale for _ in range(count)]
        return np.array(values, np.float32).reshape(shape)


def tiny_model() -> bytes:
    """The generative model, as the bytes of an .onnx file under 50 KB."""
    numbers = SplitMix64(0x5EA1B1D)
    bias = np.full((VOCABULARY,), -16.0, np.float32)
    bias[32:127] = 0.0
    bias[32] = 1.0
    bias[END] = -0.5
    weights = (
        ("embedding", numbers.weights(VOCABULARY, EMBEDDING, scale=2.0)),
        ("gru_w", numbers.weights(1, 3 * HIDDEN, EMBEDDING, scale=1.0)),
        ("gru_r", numbers.weights(1, 3 * HIDDEN, HIDDEN, scale=1.0)),
        ("head", numbers.weights(HIDDEN, VOCABULARY, scale=2.0)),
        ("bias", bias),
        ("axis_batch", np.array([1], np.int64)),
        ("axis_first", np.array([0], np.int64)),
    )
    nodes = (
        Node(operator="Gather", inputs=("embedding", "tokens"), outputs=("embedded",)),
        Node(operator="Unsqueeze", inputs=("embedded", "axis_batch"), outputs=("sequence",)),
        Node(operator="Unsqueeze", inputs=("state", "axis_first"), outputs=("initial",)),
        Node(
            operator="GRU",
            inputs=("sequence", "gru_w", "gru_r", "", "", "initial"),
            outputs=("", "last"),
            integers=(("hidden_size", HIDDEN),),
        ),
        Node(operator="Squeeze", inputs=("last", "axis_first"), outputs=("next_state",)),
        Node(operator="MatMul", inputs=("next_state", "head"), outputs=("product",)),
        Node(operator="Add", inputs=("product", "bias"), outputs=("row",)),
        Node(operator="Squeeze", inputs=("row", "axis_first"), outputs=("logits",)),
    )
    return serialize(
        Graph(
            name="tiny",
            nodes=nodes,
            inputs=(
                Value(name="tokens", element_type=INT32, shape=("n",)),
                Value(name="state", element_type=FLOAT, shape=(1, HIDDEN)),
            ),
            outputs=(
                Value(name="logits", element_type=FLOAT, shape=(VOCABULARY,)),
                Value(name="next_state", element_type=FLOAT, shape=(1, HIDDEN)),
            ),
            weights=weights,
        )
    )


def identity_model() -> bytes:
    """A model that gives back rows of numbers of any length: the cost of everything but computing."""
    return _rowwise("identity", Node(operator="Identity", inputs=("x",), outputs=("y",)))


def add_one_model() -> bytes:
    """A model that adds one to rows of numbers of any length, so that an answer differs from its request."""
    node = Node(operator="Add", inputs=("x", "one"), outputs=("y",))
    return _rowwise("add-one", node, ("one", np.array([1.0], np.float32)))


def _rowwise(name: str, node: Node, *weights: tuple[str, "NDArray[np.generic]"]) -> bytes:
    shape = ("rows", "n")
    return serialize(
        Graph(
            name=name,
            nodes=(node,),
            inputs=(Value(name="x", element_type=FLOAT, shape=shape),),
            outputs=(Value(name="y", element_type=FLOAT, shape=shape),),
            weights=weights,
        )
    )
