# SPDX-License-Identifier: Apache-2.0
"""How one token is chosen from logits, so that any implementation chooses the same one (docs/spec.md, 13.6).

    logprob(i)   log-softmax of the raw logits in float64, whatever the temperature
    greedy       the greatest logit; of equals the least token
    sampled      order tokens by logit falling, then by token rising; keep the first top_k (all, if 0)
             w(i) = exp((logit(i) - greatest) / temperature) in float64, summed in that order
             u    = (first 8 bytes, big-endian, of SHA-256("sealbid/sample/1" || u64 seed || u64 offset)) >> 11, by 2^53
             take the first token whose running sum is above u times the whole sum

The draw depends on nothing but seed and offset, so a stream begun again gives the same tokens. Logits that are not
finite are the engine's failure: no token is chosen from them.
"""

import hashlib

import numpy as np
from numpy.typing import NDArray
from sealbid_oip.generation import Sampling

from attestation.errors import Reason
from enclave.engines.interface import EngineError

LABEL = b"sealbid/sample/1"


def draw(seed: int, offset: int) -> float:
    """A number in [0, 1) that depends on seed and offset alone."""
    digest = hashlib.sha256(LABEL + seed.to_bytes(8, "big") + offset.to_bytes(8, "big")).digest()
    return (int.from_bytes(digest[:8], "big") >> 11) / 2.0**53


def choose(logits: NDArray[np.float32], sampling: Sampling, *, seed: int, offset: int) -> tuple[int, float]:
    """The chosen token and its log-probability.

    Raises:
        EngineError: ENGINE_FAILED, when a logit is NaN or infinite.
    """
    scores = logits.astype(np.float64)
    if not np.isfinite(scores).all():
        raise EngineError(Reason.ENGINE_FAILED, "logits are not finite, want finite numbers")
    token = int(np.argmax(scores)) if sampling.greedy else _sample(scores, sampling, draw(seed, offset))
    greatest = scores.max()
    return token, float(scores[token] - greatest - np.log(np.exp(scores - greatest).sum()))


def _sample(scores: NDArray[np.float64], sampling: Sampling, u: float) -> int:
    order = np.argsort(-scores, kind="stable")
    if sampling.top_k:
        order = order[: sampling.top_k]
    sums = np.cumsum(np.exp((scores[order] - scores[order[0]]) / sampling.temperature))
    return int(order[min(int(np.searchsorted(sums, u * sums[-1], side="right")), len(order) - 1)])
