# SPDX-License-Identifier: Apache-2.0
"""The demo's eight scenes, in order; each ends in a promise that held or in an error that says which did not."""

import asyncio
import contextlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from attestation.errors import Reason, SealbidError, SettingsError
from enclave.models.catalog import find_model
from gateway.market.transcript import Transcript
from sealbid.demo.caller import Answered, Caller
from sealbid.demo.deployment import Deployment, ModelPlan, Plan, WorkerPlan
from sealbid.demo.observer import account, offer_owners, receipt, verdicts
from sealbid.demo.offline import show_offline
from sealbid.demo.readiness import until_ready, until_serving
from sealbid.demo.recorded import show_recorded
from sealbid.demo.report import SIMULATED, Row, demo_console, show_refusal, show_requests

MODEL: Final = "magika"
REQUESTS: Final = 12
FREEZE_AFTER: Final = 6
_FREEZE_SECONDS: Final = 0.4
_SOURCES: Final = (
    "README.md",
    "Makefile",
    "LICENSE",
    "pyproject.toml",
    "gateway/flow.py",
    "proto/generate.py",
)

WORKERS: Final = (
    WorkerPlan(name="alder", ask_nanos=420, latency_ms=40, models=(MODEL,)),
    WorkerPlan(name="birch", ask_nanos=610, latency_ms=30, models=(MODEL,)),
    WorkerPlan(name="cedar", ask_nanos=880, latency_ms=20, models=(MODEL,), dials=True),
    WorkerPlan(name="dogwood", ask_nanos=90, latency_ms=10, models=(MODEL,), image="someone-elses-image"),
)
REFUSED: Final = "dogwood"
_MARK: Final = "sealbid-demo"


def run(*, output_dir: Path, json_output: bool) -> int:
    """Plays the demo into `output_dir`; 0 when everything held. With `json_output` only the rows go to stdout."""
    console = demo_console(stderr=json_output)
    repository = _repository()
    _clear(output_dir)
    model = find_model(MODEL)
    plan = Plan(
        models={MODEL: ModelPlan(source=MODEL, engine_sha256=model.sha256.hex())},
        workers=WORKERS,
        policy=repository / "manifests" / "policies" / "development.toml",
    )
    deployment = Deployment(output_dir, plan)
    with contextlib.ExitStack() as stack:
        stack.callback(deployment.processes.stop_all)
        rows = asyncio.run(_play(deployment, repository, console))
    show_recorded(repository, console)  # scene 7
    if json_output:
        sys.stdout.write(json.dumps([_row_json(row) for row in rows], indent=1) + "\n")
    shutil.copyfile(deployment.trust_file, output_dir / "trust.toml")
    example = f"{output_dir}/receipts/{rows[-1].answered.receipt}.json"
    console.print(
        f"check one yourself: sealbid audit receipt {example} --trust {output_dir}/trust.toml", soft_wrap=True
    )
    show_offline(deployment.trust_file.parent, output_dir, console)  # scene 8
    return 0


def _clear(output_dir: Path) -> None:
    """Makes room for this run: only what an earlier demo left is removed.

    Raises:
        SettingsError: something else lies there, or the folder cannot be used.
    """
    try:
        if output_dir.exists() and any(output_dir.iterdir()):
            if not (output_dir / _MARK).is_file():
                raise SettingsError(f"--output {output_dir} holds files of others, want a new or empty folder")
            shutil.rmtree(output_dir)
        output_dir.mkdir(parents=True, exist_ok=True)
        (output_dir / _MARK).write_text("made by sealbid demo; the next one removes this folder\n", encoding="utf-8")
    except OSError as error:
        text = os.strerror(error.errno or 0).lower()
        raise SettingsError(f"--output {output_dir} cannot be used: {text}") from None


async def _play(deployment: Deployment, repository: Path, console: Console) -> list[Row]:
    console.print(f"[bold yellow]{SIMULATED}[/]")
    await _start(deployment, console)
    await _show_refused(deployment, console)
    owners = await offer_owners(deployment)
    answers = await _requests(deployment, repository, console)
    owners |= await offer_owners(deployment)
    rows = [await _row(deployment, answered, owners) for answered in answers]
    show_requests(console, rows)
    await _check(deployment, rows, console)
    return rows


async def _start(deployment: Deployment, console: Console) -> None:
    """Scene 1."""
    deployment.prepare()
    deployment.initialise_registry()
    deployment.start_registry()
    await until_serving(deployment, "registry", deployment.registry)
    deployment.start_gateway()
    for worker in deployment.plan.workers:
        deployment.start_worker(worker.name)
    with console.status("starting a registry, a gateway and four workers"):
        await until_ready(deployment, workers=len(WORKERS) - 1)
    console.print(f"registry {deployment.registry}   gateway {deployment.gateway}   workers {len(WORKERS)}")


async def _show_refused(deployment: Deployment, console: Console) -> None:
    """Scene 2: the cheapest of all never enters the book."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + 30
    while loop.time() < deadline:
        refused = [verdict for verdict in await verdicts(deployment) if verdict.provider == REFUSED]
        if refused:
            _promise(not any(verdict.passed for verdict in refused), f"{REFUSED} is refused by the policy")
            show_refusal(console, refused[0])
            return
        await asyncio.sleep(0.1)
    raise SealbidError(Reason.INTERNAL, f"{REFUSED} has no verdict in the log, want a refusal")


async def _requests(deployment: Deployment, repository: Path, console: Console) -> list[Answered]:
    """Scenes 3 and 4."""
    files = [repository / source for source in _SOURCES]
    files = (files * (REQUESTS // len(files) + 1))[:REQUESTS]
    caller = Caller(repository=repository, gateway=deployment.gateway, key_file=deployment.key_file("acme"))
    answers: list[Answered] = []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("requests through tritonclient", total=REQUESTS)
        async with caller.started(files, pause_after=FREEZE_AFTER) as events:
            async for event in events:
                if event is None:
                    await _kill_winner(deployment, caller, answers[-1], console)
                else:
                    answers.append(event)
                    progress.advance(task)
    _promise(len(answers) == REQUESTS, f"{REQUESTS} requests are answered, not {len(answers)}")
    return answers


async def _kill_winner(deployment: Deployment, caller: Caller, last: Answered, console: Console) -> None:
    """The frozen worker keeps its link, so the next request is awarded to it; then it dies with that request."""
    stored = await receipt(deployment, last.receipt)
    transcript = Transcript.decode(stored.transcript)
    owners = await offer_owners(deployment)
    winner = owners.get((transcript.winner or b"").hex(), WORKERS[0].name)
    deployment.processes.freeze(winner)
    caller.resume()
    await asyncio.sleep(_FREEZE_SECONDS)
    deployment.processes.kill(winner)
    console.print(f"killed {winner} with a request in its hands")


async def _row(deployment: Deployment, answered: Answered, owners: dict[str, str]) -> Row:
    """Scene 5: fetches one receipt and has the audit command judge it."""
    stored = await receipt(deployment, answered.receipt)
    path = deployment.root / "receipts" / f"{answered.receipt}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(stored.receipt)
    transcript = Transcript.decode(stored.transcript)
    verdict = _audit(path, deployment.trust_file)
    worker = verdict["worker"]
    assert isinstance(worker, dict)
    runner_up = "none" if transcript.runner_up is None else owners.get(transcript.runner_up.hex(), "unknown")
    return Row(
        answered=answered,
        winner=str(worker["provider"]),
        runner_up=runner_up,
        price_nanos=int(str(verdict["price_nanos_per_1000_work_units"])),
        charge_nanos=int(str(verdict["charge_nanos"])),
        attempts=int(str(verdict["attempts"])),
        audited=True,
    )


def _audit(path: Path, trust: Path) -> dict[str, object]:
    command = [sys.executable, "-m", "sealbid", "audit", "receipt", str(path), "--trust", str(trust), "--json"]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own command
    _promise(finished.returncode == 0, f"the audit command accepts {path.name}: {finished.stdout}{finished.stderr}")
    verdict: dict[str, object] = json.loads(finished.stdout)
    return verdict


async def _check(deployment: Deployment, rows: list[Row], console: Console) -> None:
    """Scene 6, and that the story was the one told."""
    charged = await account(deployment)
    total = sum(row.charge_nanos for row in rows)
    _promise(charged.charged_nanos == total, f"the account is charged {charged.charged_nanos}, receipts say {total}")
    _promise(charged.charges == len(rows), f"{len(rows)} requests are charged once each, not {charged.charges} times")
    _promise(any(row.attempts == 2 for row in rows), "one request was answered by a second worker")
    _promise(all(row.winner != REFUSED for row in rows), f"{REFUSED} never wins")
    _promise(len({row.winner for row in rows}) > 1, "another worker wins after the first was killed")
    console.print(f"[green]every receipt verified[/]; charged once each, {total} nUSD in all")


def _promise(holds: bool, promise: str) -> None:
    if not holds:
        raise SealbidError(Reason.INTERNAL, f"demo promise broken: {promise}")


def _repository() -> Path:
    """The checkout this package runs from; the demo sends its files and uses its policy."""
    root = Path(__file__).resolve().parent.parent.parent
    if not (root / "manifests" / "policies" / "development.toml").exists():
        raise SettingsError("demo runs from a checkout of the repository, want manifests/policies beside the package")
    return root


def _row_json(row: Row) -> dict[str, object]:
    return {
        "file": row.answered.file,
        "label": row.answered.label,
        "winner": row.winner,
        "runner_up": row.runner_up,
        "price_nanos": row.price_nanos,
        "charge_nanos": row.charge_nanos,
        "milliseconds": row.answered.milliseconds,
        "attempts": row.attempts,
        "receipt": row.answered.receipt,
        "profile": row.answered.profile,
    }
