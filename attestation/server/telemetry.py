# SPDX-License-Identifier: Apache-2.0
"""What operators see of a registry: counters, gauges and one log line per decision.

Labels are closed sets (methods, reason codes), so nothing a caller sends becomes a label. Everything carries the
profile, and a development registry says SIMULATED.
"""

import logging
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge

from attestation.binding import Profile
from attestation.errors import Reason
from attestation.registry.values import Admitted, Verdict
from attestation.tlog.entry import parse_entry

_LOG: Final = logging.getLogger("attestation.server")


class Telemetry:
    """The registry's instruments on an injected collector registry."""

    def __init__(self, *, registry: CollectorRegistry, profile: Profile) -> None:
        self.profile: Final = "SIMULATED" if profile is Profile.DEVELOPMENT else profile.value
        self._verdicts = Counter(
            "sealbid_registry_verdicts_total",
            "Registrations judged; reason is OK or a reason code.",
            ("reason", "profile"),
            registry=registry,
        )
        self._errors = Counter(
            "sealbid_registry_errors_total",
            "Calls ended by an error, by method and reason code.",
            ("method", "reason", "profile"),
            registry=registry,
        )
        self._size = Gauge(
            "sealbid_registry_log_size", "Entries under the newest checkpoint.", ("profile",), registry=registry
        )
        self._watchers = Gauge("sealbid_registry_watchers", "Open watch streams.", ("profile",), registry=registry)

    def judged(self, provider: str, verdict: Verdict) -> None:
        """A verdict was reached and logged."""
        entry = parse_entry(verdict.presented.verdict_entry if isinstance(verdict, Admitted) else verdict.verdict_entry)
        facts = {"provider": provider, "worker_id": entry.subject, "simulated": entry.simulated}
        if isinstance(verdict, Admitted):
            self._verdicts.labels("OK", self.profile).inc()
            _LOG.info("worker admitted", extra=facts | {"keyset_id": str(entry.body["keyset_id"])})
            return
        self._verdicts.labels(verdict.reason.value, self.profile).inc()
        texts = [finding.text for finding in verdict.findings]
        _LOG.warning("worker refused", extra=facts | {"reason": verdict.reason.value, "findings": texts})

    def revoked(self, keyset_id: bytes, *, by: str, index: int) -> None:
        """A keyset was revoked."""
        _LOG.warning("keyset revoked", extra={"keyset_id": keyset_id.hex(), "by": by, "entry_index": index})

    def failed(self, method: str, reason: Reason) -> None:
        """A call ended by an error."""
        self._errors.labels(method, reason.value, self.profile).inc()

    def log_size(self, size: int) -> None:
        """A checkpoint of this size is published."""
        self._size.labels(self.profile).set(size)

    def watching(self, change: int) -> None:
        """A watch stream opened (1) or ended (-1)."""
        self._watchers.labels(self.profile).inc(change)
