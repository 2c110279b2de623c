# SPDX-License-Identifier: Apache-2.0
"""What operators see of a gateway: counters, histograms and one structured log line per ending.

Labels are closed sets (model names from the configuration, reason codes, methods), so cardinality is bounded and
nothing a caller sends becomes a label. Everything carries the profile: `SIMULATED` under a development policy.
"""

import logging

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from attestation.binding import Profile
from gateway.request import Outcome
from gateway.statistics import Statistics

_LOG = logging.getLogger("sealbid.gateway")
_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)


def profile_name(profile: Profile) -> str:
    """`SIMULATED` for development, else the profile's own name: what every screen shows."""
    return "SIMULATED" if profile is Profile.DEVELOPMENT else profile.value


class Telemetry:
    """The gateway's instruments on an injected registry."""

    def __init__(self, *, registry: CollectorRegistry, profile: Profile, statistics: Statistics) -> None:
        self._statistics = statistics
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
        self._running = Gauge("sealbid_gateway_running", "Requests under way.", ("profile",), registry=registry)
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
        self._dispatch.labels(event, self.profile).inc()

    def journal(self, event: str, count: int) -> None:
        """Something became of receipts or halves. Called from the journal's thread too."""
        self._journal.labels(event, self.profile).inc(count)

    def started(self) -> None:
        """A request was admitted."""
        self._running.labels(self.profile).inc()

    def ended(self) -> None:
        """An admitted request ended, however it did."""
        self._running.labels(self.profile).dec()

    def refused(self, model: str, reason: str) -> None:
        """A request ended without an award. `model` is a configured name, or "" for any other."""
        self._requests.labels(model, reason, self.profile).inc()

    def workers(self, count: int) -> None:
        """How many attested workers are linked now."""
        self._workers.labels(self.profile).set(count)

    def concluded(self, outcome: Outcome, reason: str) -> None:
        """An awarded request ended; `reason` is OK or a reason code."""
        self._statistics.count(outcome)
        seconds = (outcome.ended - outcome.started).total_seconds()
        self._requests.labels(outcome.model, reason, self.profile).inc()
        self._seconds.labels(outcome.model, self.profile).observe(seconds)
        for attempt in outcome.attempts:
            self._attempts.labels(attempt.reason or "OK", self.profile).inc()
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
