# SPDX-License-Identifier: Apache-2.0
"""Text generation over ModelStreamInfer: how a request asks for it and how each step answers.

    inputs       prompt BYTES [1]  or  token_ids INT32 [n], exactly one of them
    parameters   max_tokens 1..4096 (64) · temperature 0..10 (0: greedy) · top_k 0..65536 (0: all) · seed 0..2^63-1
                 stop_token -1..2^31-1 (the model's own; -1: none)
    outputs      per step: token_id INT32 [1] · text BYTES [1] · logprob FP32 [1] · token_offset INT32 [1]
                 the last step also carries the parameters triton_final_response = true and finish_reason

A request is *repeatable* when the same engine gives the same tokens again: greedy, or sampled with a seed. Only such a
stream can move to another worker after its first byte.
"""

from dataclasses import dataclass

import numpy as np

from sealbid_oip.codec import encode_response
from sealbid_oip.messages import ModelInferRequest, ModelInferResponse
from sealbid_oip.parameters import Parameters, ParameterValue, read_integer, read_number
from sealbid_oip.spec import ModelSpec, TensorSpec

PROMPT, TOKEN_IDS = "prompt", "token_ids"
TOKEN_ID, TEXT, LOGPROB, TOKEN_OFFSET = "token_id", "text", "logprob", "token_offset"
FINAL_RESPONSE, FINISH_REASON = "triton_final_response", "finish_reason"

MAX_TOKENS = 4096
MAX_TEMPERATURE = 10.0
MAX_TOP_K = 65536
MAX_SEED = 2**63 - 1
NO_STOP = -1

INPUTS = (
    TensorSpec(name=PROMPT, datatype="BYTES", shape=(1,), optional=True),
    TensorSpec(name=TOKEN_IDS, datatype="INT32", shape=(-1,), optional=True),
)
OUTPUTS = (
    TensorSpec(name=TOKEN_ID, datatype="INT32", shape=(1,)),
    TensorSpec(name=TEXT, datatype="BYTES", shape=(1,)),
    TensorSpec(name=LOGPROB, datatype="FP32", shape=(1,)),
    TensorSpec(name=TOKEN_OFFSET, datatype="INT32", shape=(1,)),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How tokens are chosen; `seed` None means that the worker draws one, `stop_token` None the model's own."""

    max_tokens: int = 64
    temperature: float = 0.0
    top_k: int = 0
    seed: int | None = None
    stop_token: int | None = None

    @property
    def greedy(self) -> bool:
        """Whether each step takes the likeliest token."""
        return self.temperature == 0.0

    @property
    def repeatable(self) -> bool:
        """Whether the same engine, asked again, gives the same tokens."""
        return self.greedy or self.seed is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenStep:
    """One generated token; `finish_reason` is empty until the last step ("stop" or "length")."""

    offset: int
    token: int
    text: bytes
    logprob: float
    finish_reason: str = ""

    @property
    def final(self) -> bool:
        """Whether no step follows."""
        return bool(self.finish_reason)


def read_sampling(parameters: Parameters) -> Sampling:
    """The request's sampling parameters.

    Raises:
        OIPError: PARAMETER_INVALID.
    """
    seed = read_integer(parameters, "seed", default=-1, low=0, high=MAX_SEED)
    stop = read_integer(parameters, "stop_token", default=-2, low=NO_STOP, high=2**31 - 1)
    return Sampling(
        max_tokens=read_integer(parameters, "max_tokens", default=64, low=1, high=MAX_TOKENS),
        temperature=read_number(parameters, "temperature", default=0.0, low=0.0, high=MAX_TEMPERATURE),
        top_k=read_integer(parameters, "top_k", default=0, low=0, high=MAX_TOP_K),
        seed=None if seed < 0 else seed,
        stop_token=None if stop < NO_STOP else stop,
    )


def encode_step(request: ModelInferRequest, spec: ModelSpec, step: TokenStep) -> bytes:
    """One step as a serialized ModelInferResponse.

    Raises:
        OIPError: RESPONSE_TOO_LARGE.
    """
    arrays = {
        TOKEN_ID: np.array([step.token], np.int32),
        TEXT: np.array([step.text], np.object_),
        LOGPROB: np.array([step.logprob], np.float32),
        TOKEN_OFFSET: np.array([step.offset], np.int32),
    }
    parameters: dict[str, ParameterValue] = {FINAL_RESPONSE: step.final}
    if step.final:
        parameters[FINISH_REASON] = step.finish_reason
    return encode_response(request, spec, arrays, parameters=parameters)


def is_final(response: ModelInferResponse) -> bool:
    """Whether this response is the last of its stream."""
    return FINAL_RESPONSE in response.parameters and response.parameters[FINAL_RESPONSE].bool_param
