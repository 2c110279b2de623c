# SPDX-License-Identifier: Apache-2.0
"""What the gateway reads of a request before it seals it: the model, the caller's limits, and how much it can cost.

A model is served under a configured name by engines of configured digests; its interface is what attested workers
describe for those digests. Requests are parsed and checked once and then travel as the bytes that came.

    work units of a tensor model       1,000 per batch row
    work units of a generative model   1 per prompt token, 4 per generated token; the ceiling counts a prompt's bytes
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sealbid_oip.errors import OIPError
from sealbid_oip.generation import PROMPT, TOKEN_IDS, read_sampling
from sealbid_oip.messages import ModelInferRequest
from sealbid_oip.parameters import Parameters, read_integer, read_text
from sealbid_oip.spec import ModelSpec
from sealbid_oip.validate import parse_request, validate_request

from attestation.errors import Reason
from attestation.offer import Tier
from attestation.sealing.halves import WorkerStatus
from attestation.sealing.header import Method
from gateway.config import Model
from gateway.errors import InvalidRequest, NoCapacity
from gateway.market.intent import MAX_TOTAL_NANOS
from gateway.request import Limits

UNITS_PER_ROW = 1000
UNITS_PER_PROMPT_TOKEN = 1
UNITS_PER_GENERATED_TOKEN = 4
_RESERVE_FACTOR = 2
_LENGTH_PREFIX = 4
_CONFIGURED = "a configured model"

WORKER_REASONS: Final = {
    WorkerStatus.ENGINE_FAILED: Reason.ENGINE_FAILED,
    WorkerStatus.OVERLOADED: Reason.WORKER_OVERLOADED,
    WorkerStatus.DEADLINE: Reason.DEADLINE_EXCEEDED,
    WorkerStatus.CANCELLED: Reason.WORKER_FAILED,
    WorkerStatus.INVALID: Reason.WORKER_FAILED,
}
"""What a worker's own word for its failure counts as; INVALID is here for one that does not say what is invalid."""

SpecOf = Callable[[bytes], ModelSpec | None]
"""The interface attested workers describe for an engine digest; None when no linked worker serves it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """What a well-formed request asks for."""

    model: str
    limits: Limits
    context: int
    """Rows of the batch, or tokens of prompt and answer together."""
    wu_cap: int


class Catalog:
    """The models this gateway serves, by name."""

    def __init__(self, *, models: Mapping[str, Model], spec_of: SpecOf, max_request_bytes: int) -> None:
        self._models = models
        self._engines = {name: tuple(bytes.fromhex(e) for e in model.engines) for name, model in models.items()}
        self._spec_of = spec_of
        self._max_request_bytes = max_request_bytes

    @property
    def names(self) -> Sequence[str]:
        """Every configured model, whether served now or not."""
        return tuple(self._models)

    def known(self, model: str) -> bool:
        """Whether the name is configured; only such names become metric labels."""
        return model in self._models

    def serves(self, model: str, engine_sha256: bytes) -> bool:
        """Whether an engine counts as this model."""
        return engine_sha256 in self._engines.get(model, ())

    def spec(self, model: str) -> ModelSpec:
        """The model's interface.

        Raises:
            InvalidRequest: MODEL_UNKNOWN, not configured.
            NoCapacity: NO_ELIGIBLE_OFFER, configured, but no attested worker serves it now.
        """
        if model not in self._models:
            raise InvalidRequest(Reason.MODEL_UNKNOWN, "model_name", "unknown", _CONFIGURED)
        for engine in self._engines[model]:
            spec = self._spec_of(engine)
            if spec is not None:
                return spec
        raise NoCapacity(Reason.NO_ELIGIBLE_OFFER, f"model {model} has no attested worker now, want at least one")

    def admit(self, payload: bytes, method: Method) -> Admission:
        """Checks a serialized ModelInferRequest against its model.

        Raises:
            InvalidRequest: the request is at fault; names the field.
            NoCapacity: as `spec`.
        """
        try:
            request = parse_request(payload, max_bytes=self._max_request_bytes)
            spec = self.spec(request.model_name)
            rows = validate_request(request, spec, max_bytes=self._max_request_bytes)
            _check_method(spec, method)
            context, wu_cap = _generation(request) if spec.decoupled else (rows, UNITS_PER_ROW * rows)
            limits = _limits(request.parameters, self._models[spec.name], wu_cap)
        except OIPError as error:
            raise invalid(error) from None
        return Admission(model=spec.name, limits=limits, context=context, wu_cap=wu_cap)


def invalid(error: OIPError) -> InvalidRequest:
    """The protocol's own error as the gateway's."""
    return InvalidRequest(Reason(error.reason.value), error.field, error.got, error.want)


def worker_refusal(reason: str, message: str) -> InvalidRequest | None:
    """The error of a worker that opened the request and would not run it; its words come from an attested worker.

    None where it does not say what is wrong with the request: then it is the worker that failed.
    """
    field, _, rest = message.partition(" is ")
    got, _, want = rest.partition(", want ")
    if reason in Reason.__members__ and got and want:
        return InvalidRequest(Reason(reason), field, got, want)
    return None


def _check_method(spec: ModelSpec, method: Method) -> None:
    if spec.decoupled and method is Method.INFER:
        raise InvalidRequest(Reason.PARAMETER_INVALID, "method", "ModelInfer", "ModelStreamInfer, the model streams")


def _generation(request: ModelInferRequest) -> tuple[int, int]:
    """How many tokens a generation can hold, and the work units it can cost."""
    prompt = 0
    for index, tensor in enumerate(request.inputs):
        raw = request.raw_input_contents
        if tensor.name == TOKEN_IDS:
            prompt += tensor.shape[0]
        elif tensor.name == PROMPT:
            prompt += len(raw[index]) - _LENGTH_PREFIX if raw else sum(map(len, tensor.contents.bytes_contents))
    generated = read_sampling(request.parameters).max_tokens
    return prompt + generated, UNITS_PER_PROMPT_TOKEN * prompt + UNITS_PER_GENERATED_TOKEN * generated


def _limits(parameters: Parameters, model: Model, wu_cap: int) -> Limits:
    reserve = _RESERVE_FACTOR * model.reference_price_nanos
    default = reserve if model.max_price_nanos is None else model.max_price_nanos
    price = read_integer(parameters, "sealbid-max-price-nanos", default=default, low=0, high=MAX_TOTAL_NANOS)
    most = min(MAX_TOTAL_NANOS, -(-price * wu_cap // UNITS_PER_ROW))
    total = read_integer(parameters, "sealbid-max-total-nanos", default=most, low=0, high=MAX_TOTAL_NANOS)
    return Limits(
        tier=_tier(read_text(parameters, "sealbid-tier", default=Tier.STANDARD.value, longest=32)),
        max_price_nanos=price,
        max_total_nanos=min(total, most),
        regions=_regions(read_text(parameters, "sealbid-regions", default="", longest=1024)),
    )


def _tier(name: str) -> Tier:
    try:
        return Tier(name)
    except ValueError:
        want = " or ".join(Tier)
        raise InvalidRequest(Reason.PARAMETER_INVALID, "parameters.sealbid-tier", "unknown", want) from None


def _regions(text: str) -> tuple[str, ...]:
    return tuple(sorted({region.strip() for region in text.split(",") if region.strip()}))
