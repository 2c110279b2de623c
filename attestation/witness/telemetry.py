# SPDX-License-Identifier: Apache-2.0
"""What a witness's operator sees: what became of requests, and the last head of each log."""

import logging
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge

from attestation.witness.verdict import Outcome
from attestation.witness.witness import Answered

_LOG: Final = logging.getLogger("attestation.witness")
_QUIET: Final = frozenset({Outcome.COSIGNED, Outcome.CONFLICT, Outcome.UNKNOWN_LOG, Outcome.MALFORMED})


class Telemetry:
    """Instruments on an injected collector registry. Labels are configured origins and outcomes: a closed set."""

    def __init__(self, *, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            "sealbid_witness_requests_total", "Heads submitted.", ("log", "outcome"), registry=registry
        )
        self._size = Gauge("sealbid_witness_log_size", "Size last cosigned.", ("log",), registry=registry)
        self._turned_away = Counter(
            "sealbid_witness_turned_away_total", "Requests of peers that sent too many.", registry=registry
        )

    def answered(self, answered: Answered) -> None:
        """A submitted head was judged."""
        self._requests.labels(answered.origin or "unknown", answered.outcome.value).inc()
        if answered.outcome is Outcome.COSIGNED:
            self._size.labels(answered.origin).set(answered.size)
        facts = {"origin": answered.origin, "outcome": answered.outcome.value, "size": answered.size}
        level = logging.INFO if answered.outcome in _QUIET else logging.WARNING
        _LOG.log(level, "checkpoint judged", extra=facts)

    def turned_away(self) -> None:
        """A peer sent too many requests."""
        self._turned_away.inc()
