# SPDX-License-Identifier: Apache-2.0
"""What operators see of a gateway: counters, histograms, and a log line for each request that went other than well.

Labels are closed sets (model names from the configuration, reason codes, methods), so cardinality is bounded and
nothing a caller sends becomes a label. Everything carries the profile: `SIMULATED` under a development policy.
"""

import logging

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from attestation.binding import Profile
from gateway.request import Outcome
from gateway.statistics import Statistics

_LOG = logging.getLogger("sealbid.gateway")
OK = "OK"
"""The reason of a request that was answered."""

_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)


def profile_name(profile: Profile) -> str:
    """`SIMULATED` for development, else the profile's own name: what every screen shows."""
    return "SIMULATED" if profile is Profile.DEVELOPMENT else profile.value


class Telemetry:
    """The gateway's instruments on an injected registry."""

    def __init__(self, *, registry: CollectorRegistry, profile: Profile, statistics: Statistics) -> None:
        self._statistics = statistics
        self._children: dict[tuple[Counter, tuple[str, ...]], Counter] = {}
        self._histograms: dict[str, Histogram] = {}
        self.profile = profile_name(profile)
        self._requests = Counter(
            "sealbid_gateway_requests_total",
            "Requests by model and ending; reason is OK or a reason code.",
            ("model", "reason", "profile"),
            registry=registry,
        )
        self._seconds = Histogram(
            "sealbid_gateway_request_seconds",
            "Time from admission to the last byte of the answer.",
            ("model", "profile"),
            buckets=_SECONDS,
            registry=registry,
        )
        self._attempts = Counter(
            "sealbid_gateway_attempts_total",
            "Attempts by reason; OK answered.",
            ("reason", "profile"),
            registry=registry,
        )
        running = Gauge("sealbid_gateway_running", "Requests under way.", ("profile",), registry=registry)
        self._running = running.labels(self.profile)
        self._workers = Gauge(
            "sealbid_gateway_workers", "Attested workers with a live link.", ("profile",), registry=registry
        )
        self._dispatch = Counter(
            "sealbid_gateway_dispatch_total",
            "Links, sessions and calls by what happened to them.",
            ("event", "profile"),
            registry=registry,
        )
        self._journal = Counter(
            "sealbid_gateway_journal_total",
            "Receipts and halves by what became of them.",
            ("event", "profile"),
            registry=registry,
        )

    def dispatch(self, event: str) -> None:
        """Something happened to a link, a session or a call."""
        self._count(self._dispatch, event)

    def journal(self, event: str, count: int) -> None:
        """Something became of receipts or halves."""
        self._journal.labels(event, self.profile).inc(count)

    def started(self) -> None:
        """A request was admitted."""
        self._running.inc()

    def ended(self) -> None:
        """An admitted request ended, however it did."""
        self._running.dec()

    def refused(self, model: str, reason: str) -> None:
        """A request ended without an award. `model` is a configured name, or "" for any other."""
        self._count(self._requests, model, reason)

    def workers(self, count: int) -> None:
        """How many attested workers are linked now."""
        self._workers.labels(self.profile).set(count)

    def concluded(self, outcome: Outcome, reason: str) -> None:
        """An awarded request ended; `reason` is OK or a reason code.

        A request that simply went well leaves a receipt and is counted; only the others are worth a line in the log.
        """
        self._statistics.count(outcome)
        seconds = (outcome.ended - outcome.started).total_seconds()
        self._count(self._requests, outcome.model, reason)
        self._histogram(outcome.model).observe(seconds)
        for attempt in outcome.attempts:
            self._count(self._attempts, attempt.reason or OK)
        if reason != OK or len(outcome.attempts) > 1:
            _LOG.info(
                "request",
                extra={
                    "request_id": outcome.request_id.hex(),
                    "model": outcome.model,
                    "reason": reason,
                    "attempts": len(outcome.attempts),
                    "seconds": round(seconds, 6),
                },
            )

    def _count(self, counter: Counter, *labels: str) -> None:
        """Counts one; looking a label set up costs several times what counting does, so it is done once."""
        child = self._children.get((counter, labels))
        if child is None:
            child = self._children[counter, labels] = counter.labels(*labels, self.profile)
        child.inc()

    def _histogram(self, model: str) -> Histogram:
        found = self._histograms.get(model)
        if found is None:
            found = self._histograms[model] = self._seconds.labels(model, self.profile)
        return found
