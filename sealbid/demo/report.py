# SPDX-License-Identifier: Apache-2.0
"""What the demo prints."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from sealbid.demo.caller import Answered
from sealbid.demo.observer import VerdictEntry

SIMULATED = "SIMULATED: these workers run on a simulated TEE, which protects nothing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One request of the table."""

    answered: Answered
    winner: str
    runner_up: str
    price_nanos: int
    charge_nanos: int
    attempts: int
    audited: bool


def demo_console(*, stderr: bool) -> Console:
    """Where the demo prints; wide enough for its table also where there is no terminal to ask."""
    console = Console(stderr=stderr)
    return console if console.is_terminal else Console(stderr=stderr, width=100)


def show_refusal(console: Console, verdict: VerdictEntry) -> None:
    """The refused worker and why, as the log has it."""
    console.print(f"refused [bold]{verdict.provider}[/]: {', '.join(verdict.reasons)} (logged)")


def show_requests(console: Console, rows: Sequence[Row]) -> None:
    """One line per request; prices are nano-dollars per 1,000 work units."""
    table = Table(box=SIMPLE, padding=(0, 1), caption=SIMULATED, caption_justify="left")
    for heading in ("request", "type", "winner", "price", "runner-up", "ms", "tries", "receipt", "audit"):
        table.add_column(heading, no_wrap=True, justify="right" if heading in {"price", "ms", "tries"} else "left")
    for row in rows:
        table.add_row(
            row.answered.file,
            row.answered.label,
            row.winner,
            str(row.price_nanos),
            row.runner_up,
            f"{row.answered.milliseconds:.1f}",
            str(row.attempts),
            row.answered.receipt[:8],
            "ok" if row.audited else "refused",
        )
    console.print(table)
