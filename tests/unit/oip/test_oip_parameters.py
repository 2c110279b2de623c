# SPDX-License-Identifier: Apache-2.0
"""Parameters are read by type and range, or refused."""

import pytest
from sealbid_oip.errors import OIPError, OIPReason
from sealbid_oip.generation import Sampling, read_sampling
from sealbid_oip.messages import InferParameter
from sealbid_oip.parameters import read_integer, read_number, read_text, read_truth, to_parameter


def given(**values: object) -> dict[str, InferParameter]:
    return {key: to_parameter(value) for key, value in values.items()}  # type: ignore[arg-type]


def test_absent_parameters_take_their_defaults() -> None:
    """A default is used when the key is absent, and only then."""
    assert read_integer({}, "k", default=3, low=0, high=9) == 3
    assert read_number({}, "k", default=0.5, low=0, high=1) == 0.5
    assert read_truth({}, "k", default=True)
    assert read_text({}, "k", default="d") == "d"


def test_parameters_are_read_in_any_field_that_holds_their_type() -> None:
    """An integer may come signed or unsigned, a number also as an integer."""
    assert read_integer({"k": InferParameter(uint64_param=5)}, "k", default=0, low=0, high=9) == 5
    assert read_integer(given(k=-5), "k", default=0, low=-9, high=9) == -5
    assert read_number(given(k=1), "k", default=0, low=0, high=1) == 1.0
    assert not read_truth(given(k=False), "k", default=True)
    assert read_text(given(k="v"), "k", default="") == "v"


@pytest.mark.parametrize(
    "read",
    [
        lambda: read_integer(given(k=10), "k", default=0, low=0, high=9),
        lambda: read_integer(given(k="1"), "k", default=0, low=0, high=9),
        lambda: read_integer(given(k=True), "k", default=0, low=0, high=9),
        lambda: read_number(given(k=float("nan")), "k", default=0, low=0, high=9),
        lambda: read_number(given(k=float("inf")), "k", default=0, low=0, high=9),
        lambda: read_number(given(k="0.5"), "k", default=0, low=0, high=9),
        lambda: read_truth(given(k=1), "k", default=True),
        lambda: read_text(given(k=1), "k", default=""),
        lambda: read_text(given(k="abcd"), "k", default="", longest=3),
        lambda: read_text({"k": InferParameter()}, "k", default=""),
    ],
)
def test_a_parameter_of_another_type_or_range_is_refused(read) -> None:  # type: ignore[no-untyped-def]
    """Nothing is converted and nothing is clamped."""
    with pytest.raises(OIPError, match=r"parameters\.k is ") as caught:
        read()
    assert caught.value.reason is OIPReason.PARAMETER_INVALID


def test_sampling_is_read_with_its_limits() -> None:
    """Generation parameters have stated defaults and ranges; greedy or seeded requests are repeatable."""
    assert read_sampling({}) == Sampling()
    assert Sampling().greedy
    assert Sampling().repeatable
    sampled = read_sampling(given(max_tokens=5, temperature=0.5, top_k=3, stop_token=-1))
    assert sampled == Sampling(max_tokens=5, temperature=0.5, top_k=3, stop_token=-1)
    assert not sampled.repeatable
    assert read_sampling(given(temperature=0.5, seed=0)).repeatable
    for wrong in ({"max_tokens": 0}, {"max_tokens": 4097}, {"temperature": -0.1}, {"seed": -1}, {"stop_token": -2}):
        with pytest.raises(OIPError):
            read_sampling(given(**wrong))
