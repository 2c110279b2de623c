# SPDX-License-Identifier: Apache-2.0
"""What operators see of witnesses: who cosigned, when last, and whether the policy is met or rests on one word."""

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge

from attestation.tlog.quorum import WitnessPolicy


class WitnessTelemetry:
    """Instruments on an injected collector registry; labels are the names of the policy, and a closed set."""

    def __init__(self, *, registry: CollectorRegistry, profile: str) -> None:
        self._profile: Final = profile
        self._answers = Counter(
            "sealbid_registry_witness_answers_total",
            "Answers of witnesses asked to cosign, by what they were.",
            ("witness", "answer", "profile"),
            registry=registry,
        )
        self._last = Gauge(
            "sealbid_registry_witness_cosigned_time",
            "Unix time of the last cosignature by each witness.",
            ("witness", "profile"),
            registry=registry,
        )
        self._quorum = Gauge(
            "sealbid_registry_log_quorum",
            "1 while the newest checkpoint meets the witness policy; 0 under none, which is the operator's word only.",
            ("witnesses", "profile"),
            registry=registry,
        )
        self._display = ""
        self._asks_any = False

    def starts(self, policy: WitnessPolicy) -> None:
        """The policy in force; until a round ends it is not met."""
        self._display = policy.display
        self._asks_any = not policy.met(())
        self._quorum.labels(self._display, self._profile).set(0)

    def answered(self, name: str, answer: str, at: int | None) -> None:
        """A witness answered, or did not."""
        self._answers.labels(name, answer, self._profile).inc()
        if at is not None:
            self._last.labels(name, self._profile).set(at)

    def round(self, *, met: bool) -> None:
        """All were asked about one head."""
        self._quorum.labels(self._display, self._profile).set(int(met and self._asks_any))
