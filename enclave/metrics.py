# SPDX-License-Identifier: Apache-2.0
"""A worker's counters and gauges, in the Prometheus text format.

Written here rather than taken from a library because every dependency of the worker is in the trusted computing base.
Labels are closed sets (configured model names, statuses, reason codes): nothing a caller sends becomes a label. Every
sample carries the profile, `SIMULATED` under development.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from attestation.binding import Profile

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(slots=True, kw_only=True)
class Series:
    """One metric with its samples by label values; used by one thread."""

    name: str
    kind: str
    help: str
    labels: tuple[str, ...] = ()
    samples: dict[tuple[str, ...], float] = field(default_factory=dict)

    def add(self, *labels: str, amount: float = 1) -> None:
        """Counts up."""
        self.samples[labels] = self.samples.get(labels, 0) + amount

    def set(self, value: float, *labels: str) -> None:
        """States what holds now."""
        self.samples[labels] = value


class Metrics:
    """Everything a worker counts."""

    def __init__(self, *, profile: Profile) -> None:
        self.profile: Final = "SIMULATED" if profile is Profile.DEVELOPMENT else profile.value
        self._all: list[Series] = []
        self._gauges: list[tuple[Series, Callable[[], float]]] = []
        self.calls = self._series("calls_total", "counter", "Calls answered, by model and status.", "model", "status")
        self.refused = self._series("refused_total", "counter", "Calls refused before opening, by reason.", "reason")
        self.units = self._series("work_units_total", "counter", "Work units executed, by model.", "model")
        self.seconds = self._series("call_seconds_total", "counter", "Seconds spent in calls, by model.", "model")
        self.links = self._series("links_total", "counter", "Links opened, by who dialled.", "dialled")
        self.batches = self._series("half_batches_total", "counter", "Signed batches of receipt halves.")
        self.leases = self._series("leases_total", "counter", "Registrations, by outcome.", "outcome")
        self.offers = self._series("offers_total", "counter", "Offers placed, by outcome.", "outcome")

    def gauge(self, name: str, text: str, read: Callable[[], float]) -> None:
        """A value read whenever the metrics are."""
        self._gauges.append((self._series(name, "gauge", text), read))

    def render(self) -> str:
        """The exposition text."""
        for series, read in self._gauges:
            series.set(read())
        return "".join(self._lines(series) for series in self._all)

    def _series(self, name: str, kind: str, text: str, *labels: str) -> Series:
        series = Series(name=f"sealbid_worker_{name}", kind=kind, help=text, labels=labels)
        self._all.append(series)
        return series

    def _lines(self, series: Series) -> str:
        lines = [f"# HELP {series.name} {series.help}", f"# TYPE {series.name} {series.kind}"]
        for values, sample in series.samples.items():
            pairs = [*zip(series.labels, values, strict=True), ("profile", self.profile)]
            text = ",".join(f'{name}="{_escape(value)}"' for name, value in pairs)
            lines.append(f"{series.name}{{{text}}} {sample:g}" if sample % 1 else _whole(series.name, text, sample))
        return "\n".join(lines) + "\n"


def _whole(name: str, labels: str, sample: float) -> str:
    return f"{name}{{{labels}}} {int(sample)}"


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
