# SPDX-License-Identifier: Apache-2.0
"""The demo's seventh scene: real evidence of real machines, recorded by others, judged by the command an auditor uses.

The recordings are no part of the repository. They are looked for under `SEALBID_VECTORS` (default: `shared/vectors`
beside the checkout); where they are absent the scene is one line.
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich.console import Console

from attestation.errors import Reason, SealbidError
from attestation.exits import Exit

POLICY: Final = "recorded-evidence.toml"
_TDX: Final = "tdx/v4_00b2526ab1"
_GPU: Final = "nvidia-gpu/550.90.07_96009F0001_c438e7e714"
_RIMS: Final = (
    "nvidia-rim/go-nvattest--NV_GPU_DRIVER_GH100_550.90.07.xml",
    "nvidia-rim/go-nvattest--NV_GPU_VBIOS_1010_0200_882_96009F0001.xml",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """One question to the audit command, and the exit status and reasons its answer must have."""

    what: str
    path: str
    collateral: Sequence[str]
    at: str | None
    exit: Exit
    reasons: frozenset[Reason] = frozenset()

    @property
    def when(self) -> str:
        """The moment it is judged at, for people."""
        return f"as of {self.at[:10]}" if self.at else "as of today"


RECORDINGS: Final = (
    Recording(
        what="an Intel TDX quote, with the collateral of its date",
        path=f"{_TDX}/quote.bin",
        collateral=(f"{_TDX}/collateral_20250619.json",),
        at="2025-06-19T10:01:35Z",
        exit=Exit.ACCEPTED,
    ),
    Recording(
        what="the same quote and collateral",
        path=f"{_TDX}/quote.bin",
        collateral=(f"{_TDX}/collateral_20250619.json",),
        at=None,
        exit=Exit.UNDECIDED,
        reasons=frozenset({Reason.COLLATERAL_EXPIRED}),
    ),
    Recording(
        what="an NVIDIA H100's report, with both of its reference manifests",
        path=f"{_GPU}/report.bin",
        collateral=(f"{_GPU}/chain.pem", *_RIMS),
        at="2025-08-21T12:00:00Z",
        exit=Exit.ACCEPTED,
    ),
    Recording(
        what="a TDX guest with a GPU, as one machine",
        path="composite/nanogpt_tee_gemma-3-27b-it_20260610_014905__model",
        collateral=(),
        at="2026-06-10T01:49:05Z",
        exit=Exit.UNDECIDED,
        reasons=frozenset({Reason.RIM_UNAVAILABLE}),
    ),
)


def recordings_folder(repository: Path) -> Path:
    """Where recordings are looked for."""
    return Path(os.environ.get("SEALBID_VECTORS") or repository / ".." / "shared" / "vectors").resolve()


def show_recorded(repository: Path, console: Console) -> None:
    """Judges each recording, or says in one line that there are none.

    Raises:
        SealbidError: INTERNAL, a recording did not come to what it must.
    """
    folder = recordings_folder(repository)
    if not (folder / _TDX).is_dir():
        console.print("recorded evidence: none here (SEALBID_VECTORS names no folder of it); this scene is left out")
        return
    console.print("[bold]recorded evidence of real machines[/], judged offline with `sealbid audit evidence`")
    for recording in RECORDINGS:
        judged = _judged(recording, folder, repository)
        console.print(f"  {recording.what}, {recording.when}: {judged}", soft_wrap=True)


def _judged(recording: Recording, folder: Path, repository: Path) -> str:
    command = [sys.executable, "-m", "sealbid", "audit", "evidence", str(folder / recording.path), "--json"]
    command += ["--policy", str(repository / "manifests" / "policies" / POLICY)]
    command += [part for name in recording.collateral for part in ("--collateral", str(folder / name))]
    command += ["--at", recording.at] if recording.at else []
    finished = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own command
    if finished.returncode != recording.exit:
        message = f"demo promise broken: {recording.what} is judged {finished.returncode}, want {recording.exit.value}"
        raise SealbidError(Reason.INTERNAL, f"{message}: {finished.stdout}{finished.stderr}")
    (subject,) = json.loads(finished.stdout)["subjects"]
    if not recording.reasons <= set(subject["reasons"]):
        want = ", ".join(sorted(recording.reasons))
        raise SealbidError(Reason.INTERNAL, f"demo promise broken: {recording.what} lacks {want}: {finished.stdout}")
    return _words(recording, subject)


def _words(recording: Recording, subject: dict[str, object]) -> str:
    if recording.exit is Exit.ACCEPTED:
        return "[green]genuine, accepted[/]"
    genuine = "genuine, " if subject["genuine"] == "yes" else ""
    return f"[yellow]{genuine}not decided, so not accepted[/]\n    {_first_finding(subject)}"


def _first_finding(subject: dict[str, object]) -> str:
    parts = subject["parts"]
    assert isinstance(parts, list)
    return next(f"{finding['reason']}: {finding['text']}" for part in parts for finding in part["findings"])
