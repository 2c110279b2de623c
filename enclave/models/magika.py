# SPDX-License-Identifier: Apache-2.0
"""What a caller of the magika model needs: a file's bytes to its input row, and the meaning of its output.

The model looks at the first and the last 4096 bytes of a file. Whitespace is taken off the outer side of each (the
front of the first, the back of the last); then 1024 bytes from the front of the one and 1024 from the back of the
other make one row of 2048 integers, with 256 where there are too few bytes. numpy is all this needs; magika itself is
not imported.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

NAME = "magika"
INPUT = "bytes"
OUTPUT = "target_label"

BLOCK = 4096
SIDE = 1024
PADDING = 256

MODEL_SHA256 = bytes.fromhex("fe2d2eb49c5f88a9e0a6c048e15d6ffdf86235519c2afc535044de433169ec8c")
CONFIG_SHA256 = bytes.fromhex("ae24c742205358f6ff6dfd5facb6743fb69743dbba8373e73da58ff0cbd695db")


def features(content: bytes) -> NDArray[np.int32]:
    """One file as one input row of 2048 integers."""
    front = content[:BLOCK].lstrip()[:SIDE]
    back = content[-BLOCK:].rstrip()[-SIDE:]
    row = np.full(2 * SIDE, PADDING, np.int32)
    row[: len(front)] = np.frombuffer(front, np.uint8)
    row[2 * SIDE - len(back) :] = np.frombuffer(back, np.uint8)
    return row


def best_label(probabilities: NDArray[np.float32], labels: Sequence[str]) -> tuple[str, float]:
    """The likeliest file type of one output row, and its probability."""
    index = int(np.argmax(probabilities))
    return labels[index], float(probabilities[index])
