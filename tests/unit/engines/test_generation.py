# SPDX-License-Identifier: Apache-2.0
"""Generation: deterministic, seeded, with log-probabilities, limits and an end."""

import hashlib
from itertools import islice

import numpy as np
import pytest
from sealbid_oip.codec import decode_outputs, encode_request, parse_response
from sealbid_oip.generation import Sampling, TokenStep, encode_step, is_final

from attestation.errors import Reason
from enclave.engines.generative import END, MAX_PROMPT_TOKENS, GenerativeEngine
from enclave.engines.interface import Cancellation, EngineCancelled, EngineError
from enclave.engines.onnxruntime import ONNXRuntimeEngine
from enclave.engines.sampling import choose, draw
from enclave.models.tiny import add_one_model, tiny_model
from tests.support.models import engine


def prompt(text: bytes) -> dict[str, np.ndarray]:
    return {"prompt": np.array([text], np.object_)}


def steps(sampling: Sampling, text: bytes = b"Hello") -> list[TokenStep]:
    """A whole generation."""
    return list(engine("tiny").stream(prompt(text), sampling).steps)


@pytest.mark.parametrize(
    "sampling",
    [Sampling(max_tokens=40), Sampling(max_tokens=40, temperature=0.8, seed=7, top_k=20)],
    ids=["greedy", "seeded"],
)
def test_a_repeatable_request_gives_the_same_tokens_again(sampling: Sampling) -> None:
    """Greedy and seeded generations of two engines agree in tokens and log-probabilities."""
    assert steps(sampling) == steps(sampling)


def test_seeds_matter_and_a_missing_seed_is_drawn() -> None:
    """Other seeds give other texts; without a seed each request gets its own from the worker's entropy."""
    warm = Sampling(max_tokens=30, temperature=1.0, seed=1)
    assert [s.token for s in steps(warm)] != [s.token for s in steps(Sampling(max_tokens=30, temperature=1.0, seed=2))]
    one, unseeded = engine("tiny"), Sampling(max_tokens=30, temperature=1.0)
    first, second = ([s.token for s in one.stream(prompt(b"a"), unseeded).steps] for _ in range(2))
    assert first != second


def test_a_generation_ends_at_its_length_or_at_the_stop_token() -> None:
    """Offsets are gapless, exactly the last step is final, and it says why."""
    cut = steps(Sampling(max_tokens=5))
    assert [step.offset for step in cut] == [0, 1, 2, 3, 4]
    assert [step.finish_reason for step in cut] == ["", "", "", "", "length"]
    whole = steps(Sampling(max_tokens=500), b"")
    assert (whole[-1].token, whole[-1].text, whole[-1].finish_reason) == (END, b"", "stop")
    assert END not in [step.token for step in whole[:-1]]
    assert b"".join(step.text for step in whole) == bytes(step.token for step in whole[:-1])


def test_the_stop_token_is_the_callers_to_choose() -> None:
    """Another stop token ends the text there; none lets it run to its length."""
    free = steps(Sampling(max_tokens=60, stop_token=-1), b"")
    assert len(free) == 60
    wanted = free[10].token
    stopped = steps(Sampling(max_tokens=60, stop_token=wanted), b"")
    assert [s.token for s in stopped] == [s.token for s in free][: [s.token for s in free].index(wanted) + 1]


def test_prompt_and_token_ids_mean_the_same() -> None:
    """A prompt is its bytes as tokens, counted without the opening token."""
    one, sampling = engine("tiny"), Sampling(max_tokens=8)
    by_text = one.stream(prompt(b"Hi"), sampling)
    by_ids = one.stream({"token_ids": np.array([72, 105], np.int32)}, sampling)
    assert (by_text.prompt_tokens, by_ids.prompt_tokens) == (2, 2)
    assert list(by_text.steps) == list(by_ids.steps)


def test_reading_the_prompt_at_once_equals_reading_it_token_by_token() -> None:
    """The state carries all there is: a generation continues from its own output as if it had never stopped."""
    whole = steps(Sampling(max_tokens=12, stop_token=-1), b"abc")
    text = b"abc" + b"".join(step.text for step in whole[:6])
    rest = steps(Sampling(max_tokens=6, stop_token=-1), text)
    assert [s.token for s in rest] == [s.token for s in whole[6:]]
    assert np.allclose([s.logprob for s in rest], [s.logprob for s in whole[6:]], atol=1e-5)


@pytest.mark.parametrize(
    ("inputs", "reason"),
    [
        ({}, Reason.TENSOR_MISSING),
        ({**prompt(b"a"), "token_ids": np.array([1], np.int32)}, Reason.TENSOR_MISSING),
        ({"token_ids": np.array([256], np.int32)}, Reason.TENSOR_DATATYPE),
        ({"token_ids": np.array([-1], np.int32)}, Reason.TENSOR_DATATYPE),
        (prompt(b"a" * (MAX_PROMPT_TOKENS + 1)), Reason.TENSOR_SIZE),
    ],
)
def test_a_prompt_that_cannot_be_read_is_refused_at_once(inputs: dict[str, np.ndarray], reason: Reason) -> None:
    """Neither or both inputs, foreign tokens and endless prompts are refused before any step."""
    with pytest.raises(EngineError) as caught:
        engine("tiny").stream(inputs, Sampling())
    assert caught.value.reason is reason


def test_a_cancelled_generation_stops_at_its_next_step() -> None:
    """Steps made before the switch was turned are kept; none follows."""
    switch = Cancellation()
    stream = engine("tiny").stream(prompt(b"a"), Sampling(stop_token=-1), cancellation=switch)
    assert len(list(islice(stream.steps, 3))) == 3
    switch.cancel()
    with pytest.raises(EngineCancelled):
        next(stream.steps)


def test_a_graph_of_another_form_is_refused() -> None:
    """The engine drives one interface and says so, instead of failing at the first request."""
    made = GenerativeEngine(graph=ONNXRuntimeEngine(name="m"), name="m", entropy=bytes)
    model = add_one_model()
    with pytest.raises(EngineError) as caught:
        made.load(model, hashlib.sha256(model).digest())
    assert caught.value.reason is Reason.UNSUPPORTED
    with pytest.raises(EngineError, match="model digest is"):
        made.load(tiny_model(), bytes(32))


def test_a_step_is_one_response_of_the_protocol() -> None:
    """Each step carries token, text, log-probability and offset; the last one the final flag and the reason."""
    spec, request = engine("tiny").describe(), encode_request("tiny", prompt(b"a"), request_id="r")
    made = steps(Sampling(max_tokens=2, stop_token=-1))
    first, last = (parse_response(encode_step(request, spec, step)) for step in made)
    arrays = decode_outputs(last)
    assert (arrays["token_id"].tolist(), arrays["token_offset"].tolist()) == ([made[1].token], [1])
    assert (arrays["text"].tolist(), arrays["logprob"].tolist()) == ([made[1].text], [np.float32(made[1].logprob)])
    assert (is_final(first), is_final(last)) == (False, True)
    assert last.parameters["finish_reason"].string_param == "length"
    assert last.id == "r"


def test_draws_depend_on_seed_and_offset_alone() -> None:
    """The documented draw, restated: the first 53 bits of a SHA-256."""
    digest = hashlib.sha256(b"sealbid/sample/1" + (5).to_bytes(8, "big") + (9).to_bytes(8, "big")).digest()
    assert draw(5, 9) == int.from_bytes(digest[:8], "big") // 2**11 / 2**53
    assert 0 <= min(draw(s, o) for s in range(20) for o in range(20)) < max(draw(3, o) for o in range(50)) < 1


def test_greedy_takes_the_least_of_equals_and_reports_its_probability() -> None:
    """Ties fall to the lower token; the log-probability is that of the untempered distribution."""
    logits = np.array([0.0, 2.0, 2.0], np.float32)
    token, logprob = choose(logits, Sampling(), seed=0, offset=0)
    assert token == 1
    assert logprob == pytest.approx(2 - np.log(1 + 2 * np.exp(2)))
    warm = Sampling(temperature=5.0, seed=0)
    sampled, logprob = choose(logits, warm, seed=0, offset=0)
    assert logprob == pytest.approx(logits[sampled] - np.log(1 + 2 * np.exp(2)))


def test_sampling_follows_the_distribution_and_respects_top_k() -> None:
    """Frequencies over many offsets match the tempered softmax; tokens outside top_k never come."""
    logits = np.log(np.array([0.5, 0.25, 0.15, 0.1], np.float32))
    counts = np.bincount([choose(logits, Sampling(temperature=1.0), seed=3, offset=o)[0] for o in range(4000)])
    assert np.abs(counts / 4000 - [0.5, 0.25, 0.15, 0.1]).max() < 0.03
    tempered = np.bincount([choose(logits, Sampling(temperature=0.5), seed=3, offset=o)[0] for o in range(4000)])
    expected = np.array([0.5, 0.25, 0.15, 0.1]) ** 2
    assert np.abs(tempered / 4000 - expected / expected.sum()).max() < 0.03
    top = {choose(logits, Sampling(temperature=1.0, top_k=2), seed=3, offset=o)[0] for o in range(500)}
    assert top == {0, 1}


def test_logits_that_are_no_numbers_choose_nothing() -> None:
    """NaN and infinity are the engine's failure, never a token."""
    for wrong in (np.nan, np.inf, -np.inf):
        with pytest.raises(EngineError, match="logits are not finite"):
            choose(np.array([0.0, wrong], np.float32), Sampling(), seed=0, offset=0)
