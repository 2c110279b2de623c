# SPDX-License-Identifier: Apache-2.0
"""What ModelStatistics answers: per configured model, how many requests ended well or badly and how long they took.

Counted from outcomes; bounded by the configured names. Times are the gateway's, from admission to the last byte.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from sealbid_oip.messages import ModelStatistics

from gateway.request import Ending, Outcome


@dataclass(slots=True)
class _Counts:
    succeeded: int = 0
    succeeded_ns: int = 0
    failed: int = 0
    failed_ns: int = 0
    last_ms: int = 0


class Statistics:
    """Counters per model since the process started."""

    def __init__(self, models: Iterable[str]) -> None:
        self._counts = {model: _Counts() for model in models}

    def count(self, outcome: Outcome) -> None:
        """Adds one outcome."""
        counts = self._counts[outcome.model]
        duration = outcome.ended - outcome.started
        nanoseconds = (duration.days * 86_400_000_000 + duration.seconds * 1_000_000 + duration.microseconds) * 1000
        if outcome.ending is Ending.ANSWERED:
            counts.succeeded += 1
            counts.succeeded_ns += nanoseconds
            counts.last_ms = int(outcome.ended.timestamp() * 1000)
        else:
            counts.failed += 1
            counts.failed_ns += nanoseconds

    def of(self, model: str) -> ModelStatistics:
        """The model's counters as the protocol has them."""
        counts = self._counts[model]
        statistics = ModelStatistics(
            name=model,
            version="1",
            inference_count=counts.succeeded,
            execution_count=counts.succeeded,
            last_inference=counts.last_ms,
        )
        success, fail = statistics.inference_stats.success, statistics.inference_stats.fail
        success.count, success.ns = counts.succeeded, counts.succeeded_ns
        fail.count, fail.ns = counts.failed, counts.failed_ns
        return statistics
