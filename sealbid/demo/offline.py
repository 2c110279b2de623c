# SPDX-License-Identifier: Apache-2.0
"""The demo's last scene: the auditor takes the whole log away and checks it in a process of its own, without a network.

The network is off where the kernel lets an ordinary user have a network namespace of its own; the scene says which.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from rich.console import Console

from attestation.errors import Reason, SealbidError

BUNDLE: Final = "audit.zip"
_NO_NETWORK: Final = ("unshare", "--user", "--map-root-user", "--net")
_QUESTIONS: Final = (
    ("verify", "every byte of the log is what was signed, and all evidence is there"),
    ("gaps", "no receipt is without a verdict that covered it"),
    ("refusals", "each refusal has the findings behind its reasons"),
)


def show_offline(registry_dir: Path, output_dir: Path, console: Console) -> None:
    """Exports log, evidence and receipts, then asks the bundle. Raises `SealbidError` if an answer is not yes."""
    bundle, trust = output_dir / BUNDLE, output_dir / "trust.toml"
    receipts = [part for path in sorted((output_dir / "receipts").glob("*.json")) for part in ("--receipt", str(path))]
    exported = _audit((), "export", "--registry-dir", str(registry_dir), "--output", str(bundle), *receipts)
    lead = _NO_NETWORK if _can_leave_the_network() else ()
    console.print(
        f"the whole log as one file: {exported['size']} entries, {exported['evidence']} files of evidence, "
        f"{len(receipts) // 2} receipts; asked in processes of their own, network {'off' if lead else 'on'}",
        soft_wrap=True,
    )
    for question, promise in _QUESTIONS:
        file = [str(bundle)] if question == "verify" else ["--bundle", str(bundle)]
        answer = _audit(lead, question, *file, "--trust", str(trust))
        if answer["answer"] != "yes":
            raise SealbidError(Reason.INTERNAL, f"demo promise broken: {promise}: {answer['because']}")
        console.print(f"  [green]yes[/]  {question}: {answer['because']}", soft_wrap=True)
    console.print(f"check it yourself: sealbid audit verify {bundle} --trust {trust}", soft_wrap=True)


def _can_leave_the_network() -> bool:
    try:
        return subprocess.run([*_NO_NETWORK, "true"], capture_output=True, check=False).returncode == 0  # noqa: S603
    except OSError:
        return False


def _audit(lead: Sequence[str], *arguments: str) -> dict[str, object]:
    command = [*lead, sys.executable, "-m", "sealbid", "audit", *arguments, "--json"]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own command
    try:
        found: dict[str, object] = json.loads(finished.stdout)
    except ValueError:
        message = f"audit {arguments[0]} printed no json: {finished.stderr[:500]}"
        raise SealbidError(Reason.INTERNAL, message) from None
    if finished.returncode:
        message = f"demo promise broken: audit {arguments[0]} says {found.get('because') or found.get('message')}"
        raise SealbidError(Reason.INTERNAL, message)
    return found
