# SPDX-License-Identifier: Apache-2.0
"""Generation with a small autoregressive graph, byte by byte, over any engine that can run the graph.

The graph takes `tokens` INT32 [n] and `state` FP32 [...], and gives `logits` FP32 [256] after the last token and
`next_state` of state's shape. One run reads the whole prompt; each later run feeds one token back. Tokens are bytes;
BEGIN opens every sequence and END is the model's own stop token. The stop token is generated, counted and billed like
any other, and its text is empty.

A request without a seed gets one from `entropy`; its stream cannot be repeated elsewhere.
"""

from collections.abc import Callable, Iterator

import numpy as np
from sealbid_oip.codec import Array, Arrays
from sealbid_oip.generation import INPUTS, OUTPUTS, PROMPT, TOKEN_IDS, Sampling, TokenStep
from sealbid_oip.spec import ModelSpec

from attestation.errors import Reason
from enclave.engines.interface import Cancellation, Engine, EngineError, TokenStream
from enclave.engines.sampling import choose

BEGIN = 2
END = 3
VOCABULARY = 256
MAX_PROMPT_TOKENS = 8192


class GenerativeEngine:
    """Streams tokens from a graph run by `graph`, which this engine owns."""

    def __init__(self, *, graph: Engine, name: str, entropy: Callable[[int], bytes]) -> None:
        self._graph = graph
        self._name = name
        self._entropy = entropy
        self._state_shape: tuple[int, ...] = ()

    @property
    def digest(self) -> bytes:
        """SHA-256 of the graph."""
        return self._graph.digest

    def load(self, model: bytes, expected_sha256: bytes) -> None:
        """Load the graph and check that it has the form this engine drives.

        Raises:
            EngineError: as the graph's engine does; UNSUPPORTED for another form.
        """
        self._graph.load(model, expected_sha256)
        spec = self._graph.describe()
        inputs = {tensor.name: (tensor.datatype, tensor.shape) for tensor in spec.inputs}
        outputs = {tensor.name: (tensor.datatype, tensor.shape) for tensor in spec.outputs}
        state = inputs.get("state", ("", (-1,)))
        if (
            inputs != {"tokens": ("INT32", (-1,)), "state": state}
            or outputs != {"logits": ("FP32", (VOCABULARY,)), "next_state": state}
            or state[0] != "FP32"
            or min(state[1], default=0) < 1
        ):
            self._graph.close()
            raise EngineError(Reason.UNSUPPORTED, "graph is another interface, want tokens, state, logits, next_state")
        self._state_shape = state[1]

    def describe(self) -> ModelSpec:
        """The streaming interface: prompt or token ids in, one step per answer out."""
        platform = self._graph.describe().platform
        return ModelSpec(name=self._name, platform=platform, inputs=INPUTS, outputs=OUTPUTS, decoupled=True)

    def run(self, batch: Arrays, *, cancellation: Cancellation | None = None) -> dict[str, Array]:
        """Refused: a generation has many answers."""
        del batch, cancellation
        raise EngineError(Reason.UNSUPPORTED, "method is ModelInfer, want ModelStreamInfer for this model")

    def stream(self, inputs: Arrays, sampling: Sampling, *, cancellation: Cancellation | None = None) -> TokenStream:
        """Start one generation."""
        prompt = prompt_tokens(inputs)
        seed = sampling.seed
        if seed is None:
            seed = int.from_bytes(self._entropy(8), "big") >> 1
        steps = self._steps(prompt, sampling, seed, cancellation or Cancellation())
        return TokenStream(prompt_tokens=len(prompt), steps=steps)

    def close(self) -> None:
        """Free the graph."""
        self._graph.close()

    def _steps(
        self, prompt: list[int], sampling: Sampling, seed: int, cancellation: Cancellation
    ) -> Iterator[TokenStep]:
        stop = END if sampling.stop_token is None else sampling.stop_token
        tokens, state = [BEGIN, *prompt], np.zeros(self._state_shape, np.float32)
        for offset in range(sampling.max_tokens):
            batch: dict[str, Array] = {"tokens": np.array(tokens, np.int32), "state": state}
            outputs = self._graph.run(batch, cancellation=cancellation)
            state = outputs["next_state"].astype(np.float32, copy=False)
            token, logprob = choose(
                outputs["logits"].astype(np.float32, copy=False), sampling, seed=seed, offset=offset
            )
            last = offset == sampling.max_tokens - 1
            yield TokenStep(
                offset=offset,
                token=token,
                text=b"" if token == stop else bytes([token]),
                logprob=logprob,
                finish_reason="stop" if token == stop else "length" if last else "",
            )
            if token == stop:
                return
            tokens = [token]


def prompt_tokens(inputs: Arrays) -> list[int]:
    """The prompt as tokens, from whichever of the two inputs is given.

    Raises:
        EngineError: TENSOR_MISSING without exactly one of them, TENSOR_SIZE above the limit, TENSOR_DATATYPE for a
            token outside the vocabulary.
    """
    if (PROMPT in inputs) == (TOKEN_IDS in inputs):
        got = "both" if PROMPT in inputs else "missing"
        raise EngineError(Reason.TENSOR_MISSING, f"input {PROMPT} or {TOKEN_IDS} is {got}, want one of them")
    if PROMPT in inputs:
        tokens = list(bytes(inputs[PROMPT].ravel().tolist()[0]))
    else:
        tokens = [int(token) for token in inputs[TOKEN_IDS].ravel().tolist()]
    if len(tokens) > MAX_PROMPT_TOKENS:
        raise EngineError(Reason.TENSOR_SIZE, f"prompt is {len(tokens)} tokens, want at most {MAX_PROMPT_TOKENS}")
    if any(not 0 <= token < VOCABULARY for token in tokens):
        raise EngineError(Reason.TENSOR_DATATYPE, f"a token is outside the vocabulary, want 0 to {VOCABULARY - 1}")
    return tokens
