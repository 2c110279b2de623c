# SPDX-License-Identifier: Apache-2.0
"""The answer to a question about a log: yes, no or undecided, why in one sentence, and the facts as a table.

Exit statuses are those of every verifying command: 0 yes, 10 no, 20 undecided. The JSON is stable; keys are added and
never renamed. A table has at most `MAX_FACTS` rows in memory; how many more there are is said.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, TypeAlias

from attestation.audit.bundle.verified import VerifiedBundle
from attestation.audit.judgement import Answer
from attestation.binding import Profile
from attestation.exits import Exit
from attestation.tlog.checkpoint import Checkpoint
from attestation.tlog.schema import format_time
from attestation.trust import TrustRoot

VERSION: Final = "sealbid/audit-answer/1"
SIMULATED: Final = "SIMULATED: this log is of a development registry, which protects nothing"
MAX_FACTS: Final = 10_000
_EXITS: Final = {Answer.YES: Exit.ACCEPTED, Answer.NO: Exit.REJECTED}
_SIGNS: Final = {Answer.YES: "✓", Answer.NO: "✗", Answer.UNDECIDED: "?"}

Cell: TypeAlias = str | int | bool


@dataclass(slots=True)
class Table:
    """Facts under named columns; those beyond `MAX_FACTS` are counted only."""

    columns: tuple[str, ...]
    rows: list[tuple[Cell, ...]] = field(default_factory=list)
    count: int = 0

    def add(self, *cells: Cell) -> None:
        """One more row, with a cell for each column."""
        if len(cells) != len(self.columns):
            raise ValueError(f"row has {len(cells)} cells, want {len(self.columns)}")
        self.count += 1
        if len(self.rows) < MAX_FACTS:
            self.rows.append(cells)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An answered question."""

    question: str
    answer: Answer
    because: str
    table: Table
    unproven: tuple[str, ...] = ()

    @property
    def exit(self) -> Exit:
        """The exit status of its command."""
        return _EXITS.get(self.answer, Exit.UNDECIDED)

    def to_json(self, about: "About") -> dict[str, object]:
        """The whole answer; keys are stable."""
        return {
            "format": VERSION,
            "question": self.question,
            "answer": self.answer.value,
            "exit": int(self.exit),
            "verdict": self.exit.name.lower(),
            "because": self.because,
            **about.to_json(),
            "columns": list(self.table.columns),
            "facts": [dict(zip(self.table.columns, row, strict=True)) for row in self.table.rows],
            "facts_left_out": self.table.count - len(self.table.rows),
            "unproven": list(self.unproven),
        }

    def lines(self, about: "About") -> list[str]:
        """The answer for people."""
        return [
            *([SIMULATED] if about.simulated else []),
            f"{_SIGNS[self.answer]} {self.question}: {self.answer.value}, {self.because}",
            *(f"  {name:<9} {value}" for name, value in about.rows()),
            *_drawn(self.table),
            *(["  not proven:"] if self.unproven else []),
            *(f"    - {one}" for one in self.unproven),
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """Which log an answer is about, whose keys were trusted, and when it was asked. The log of a bundle that does not
    verify has no head."""

    trust: TrustRoot
    head: Checkpoint | None
    asked_at: datetime

    @classmethod
    def of(cls, bundle: VerifiedBundle, asked_at: datetime) -> "About":
        """What answers about a bundle say of it."""
        return cls(trust=bundle.trust, head=bundle.head, asked_at=asked_at)

    @property
    def simulated(self) -> bool:
        """Whether the auditor's own file says that this log is a development registry's."""
        return self.trust.profile is Profile.DEVELOPMENT

    def to_json(self) -> dict[str, object]:
        """The same for programs."""
        return {
            "simulated": self.simulated,
            "asked_at": format_time(self.asked_at),
            "origin": self.trust.origin,
            "size": None if self.head is None else self.head.size,
            "root": None if self.head is None else self.head.root.hex(),
            "witnesses": self.trust.witness_policy.display,
            "trusted": {"log_key": self.trust.log_key.vkey, "lease_key": self.trust.lease_key.hex()},
        }

    def rows(self) -> Iterator[tuple[str, str]]:
        """The same for people."""
        yield "log", self.trust.origin
        if self.head is not None:
            yield "head", f"{self.head.size} entries, root {self.head.root.hex()}"
        yield "witnesses", self.trust.witness_policy.display
        yield "trusted", f"log key {self.trust.log_key.vkey}"


def of_bad(bad: int, *, none: str, some: str) -> tuple[Answer, str]:
    """Yes when nothing bad was counted, and the sentence that says so; no with the count otherwise."""
    return (Answer.NO, f"{bad} {some}") if bad else (Answer.YES, none)


def short(text: str, length: int = 16) -> str:
    """The beginning of a long digest, for a table."""
    return text[:length]


def _drawn(table: Table) -> Iterator[str]:
    if not table.rows:
        return
    widths = [
        max(len(name), *(len(_cell(row[place])) for row in table.rows)) for place, name in enumerate(table.columns)
    ]
    yield ""
    yield _line(table.columns, widths)
    for row in table.rows:
        yield _line([_cell(cell) for cell in row], widths)
    if table.count > len(table.rows):
        yield f"  and {table.count - len(table.rows)} more"


def _line(cells: Sequence[str], widths: Iterable[int]) -> str:
    return "  " + "  ".join(f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=True)).rstrip()


def _cell(value: Cell) -> str:
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)
