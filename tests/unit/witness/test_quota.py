# SPDX-License-Identifier: Apache-2.0
"""Bounded work: buckets fill with time, apart for each name, and in bounded memory."""

from datetime import timedelta

from attestation.witness.quota import MAX_BUCKETS, Buckets
from tests.support.log import NOW


def test_a_burst_then_the_rate() -> None:
    """A full bucket gives its burst at once, then one for each that the rate has filled in."""
    buckets = Buckets(per_second=0.5, burst=3)
    assert [buckets.take("a", NOW) for _ in range(4)] == [True, True, True, False]
    assert not buckets.take("a", NOW + timedelta(seconds=1))
    assert buckets.take("a", NOW + timedelta(seconds=2))
    assert not buckets.take("a", NOW + timedelta(seconds=2))


def test_names_do_not_share() -> None:
    """One that floods takes nothing from another."""
    buckets = Buckets(per_second=1, burst=1)
    assert [buckets.take(name, NOW) for name in ("a", "a", "b")] == [True, False, True]


def test_a_clock_that_jumps_back_fills_nothing() -> None:
    """Time that runs backward neither refills nor blocks for good."""
    buckets = Buckets(per_second=1, burst=1)
    assert buckets.take("a", NOW)
    assert not buckets.take("a", NOW - timedelta(days=1))
    assert buckets.take("a", NOW - timedelta(days=1) + timedelta(seconds=2))


def test_memory_is_bounded_and_the_busy_are_remembered() -> None:
    """However many names come, the one that keeps coming stays known as empty."""
    buckets = Buckets(per_second=0.0001, burst=1)
    assert buckets.take("busy", NOW)
    for number in range(MAX_BUCKETS + 10):
        buckets.take(f"name {number}", NOW)
        if number % 100 == 0:
            assert not buckets.take("busy", NOW)
    assert not buckets.take("busy", NOW)
