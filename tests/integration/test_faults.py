# SPDX-License-Identifier: Apache-2.0
"""A worker or the gateway is killed at one exact stage of a request, and nobody pays twice or waits for ever.

For every stage the caller gets an answer or a clear error within the deadline. At most one receipt and one charge come
of the request, also after the gateway was started again on what it had on disk, and the receipt names every attempt.
"""

import asyncio
import sqlite3
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from urllib.error import URLError

import grpc
import numpy as np
import pytest
from sealbid_oip.generation import Sampling

from attestation.errors import Reason
from attestation.sealing.dispatch import Dispatch
from attestation.sealing.halves import Outcome
from enclave.models.catalog import find_model, open_engine
from sealbid.demo.deployment import WorkerPlan
from sealbid.demo.readiness import offers
from tests.support.e2e import (
    Account,
    Answered,
    Caller,
    E2EDeployment,
    a_deployment,
    a_request,
    audit,
    eventually,
    numbers,
    prompt,
    refusal,
    started,
)
from tests.support.faulty import GATEWAY_STAGES, WORKER_STAGES, arm, armed, hold

pytestmark = pytest.mark.net

MODELS = ("identity", "tiny")
BIG = np.random.default_rng(5).random((1, 750_000), np.float32)
"""Three MiB each way: several frames, and more than one message of a link."""
DEADLINE = 20.0
WINNER = "alder"
PATIENCE = 20
STAGES = (
    "award",
    "session",
    "first-request-frame",
    "last-request-frame",
    "execution",
    "first-response-frame",
    "trailer",
    "journal",
)
BEFORE_THE_ANSWER = STAGES[: STAGES.index("trailer")]


@dataclass
class Theatre:
    """A deployment in which one request at a time meets one fault."""

    deployment: E2EDeployment
    caller: Caller
    known: set[bytes] = field(default_factory=set)

    def arm(self, stage: str, victim: str) -> None:
        """The next request that passes the stage kills the victim."""
        where = "gateway" if stage in GATEWAY_STAGES else WINNER
        arm(self.deployment.fault_dir(where), stage, self.deployment.processes.pid(victim))

    def armed(self) -> bool:
        """Whether a fault has not struck yet."""
        places = [("gateway", stage) for stage in GATEWAY_STAGES] + [(WINNER, stage) for stage in WORKER_STAGES]
        return any(armed(self.deployment.fault_dir(name), stage) for name, stage in places)

    def revive(self, name: str) -> None:
        """Starts a killed process again and waits until it serves."""
        assert eventually(lambda: self.deployment.processes.exited(name), lambda status: status is not None) == -9
        self.restart(name)

    def restart(self, name: str) -> None:
        """Kills a process, if it still lives, starts it and waits until every worker can be sent a request."""
        self.deployment.processes.kill(name)
        old = set() if name == "gateway" else set(self.standing()[name])
        if name == "gateway":
            self.deployment.start_gateway()
        else:
            self.deployment.start_worker(name)
        self.ready(without=old)

    def ready(self, *, without: Collection[bytes] = ()) -> None:
        """Waits until every worker has its link and an offer in the book that is not of a keyset gone by."""
        for worker in self.deployment.plan.workers:
            offered = partial(self.offered, worker.name, without)
            assert eventually(offered, bool), f"{worker.name} has an offer in the book"
            gauges = eventually(partial(self.gauges, worker.name), lambda now: now.get("links") == 1)
            assert gauges.get("links") == 1, f"{worker.name} is linked"
        wanted = len(self.deployment.plan.workers)
        linked = eventually(lambda: self.gauges("gateway").get("workers"), lambda count: count == wanted)
        assert linked == wanted, "the gateway counts every worker as linked"

    def offered(self, name: str, without: Collection[bytes]) -> set[bytes]:
        """Keysets of this worker with offers in the book, or none while the gateway does not answer."""
        try:
            return self.standing()[name] - set(without)
        except grpc.aio.AioRpcError:
            return set()

    def standing(self) -> dict[str, set[bytes]]:
        """Keysets in the book by worker, which is known by the price it asks."""
        names = {worker.ask_nanos: worker.name for worker in self.deployment.plan.workers}
        keysets: dict[str, set[bytes]] = {name: set() for name in names.values()}
        for offer in asyncio.run(offers(self.deployment)):
            keysets[names[offer.ask_nanos]].add(offer.keyset_id)
        return keysets

    def settled(self) -> None:
        """Waits until no living worker keeps a half and the journal has settled all that came back."""
        for name in (worker.name for worker in self.deployment.plan.workers):
            if self.deployment.processes.exited(name) is None:
                gauges = eventually(partial(self.gauges, name), lambda now: now.get("unconfirmed_halves") == 0)
                assert gauges.get("unconfirmed_halves") == 0, f"every half of {name} is confirmed"
        assert not eventually(lambda: self.rows("SELECT half_sha256 FROM returned_memo"), lambda rows: not rows)

    def gauges(self, name: str) -> dict[str, float]:
        """What a process measures, by name without its own; nothing while it does not listen."""
        try:
            shown = self.deployment.scrape(name).decode()
        except URLError:
            return {}
        lines = [line.split() for line in shown.splitlines() if line.startswith("sealbid_")]
        return {line[0].partition("{")[0].split("_", 2)[-1]: float(line[-1]) for line in lines}

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Rows of the gateway's journal, read beside it."""
        path = self.deployment.root / "gateway" / "journal.sqlite"
        database = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)
        try:
            return database.execute(query).fetchall()
        finally:
            database.close()

    def new_receipts(self) -> dict[bytes, int]:
        """Receipts journaled since the account was looked at: request id → charge."""
        now = self.rows("SELECT request_id, charge_nanos FROM receipt")
        return {request_id: charge for request_id, charge in now if request_id not in self.known}


@pytest.fixture(scope="module")
def theatre(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Theatre]:
    """Three workers of different prices, of which the first is the cheapest."""
    workers = [
        WorkerPlan(name=name, ask_nanos=ask, models=MODELS)
        for name, ask in ((WINNER, 400), ("birch", 500), ("cedar", 600))
    ]
    deployment = a_deployment(tmp_path_factory.mktemp("faults"), workers=workers, launcher="tests.support.faulty")
    with started(deployment), Caller(deployment) as caller:
        theatre = Theatre(deployment=deployment, caller=caller)
        theatre.ready()
        yield theatre


@dataclass(frozen=True, kw_only=True)
class Ledger:
    """What one request came to: the account before and after, and the receipts it left."""

    charges: int
    charged_nanos: int
    receipts: dict[bytes, int]


def _account(theatre: Theatre) -> Account:
    theatre.settled()
    theatre.known |= theatre.new_receipts().keys()
    return theatre.caller.account()


def _since(theatre: Theatre, before: Account, *, receipts: int) -> Ledger:
    """The difference once everything is settled; waits for so many receipts and then looks for one too many."""
    eventually(theatre.new_receipts, lambda fresh: len(fresh) >= receipts)
    theatre.settled()
    after = theatre.caller.account()
    return Ledger(
        charges=after.charges - before.charges,
        charged_nanos=after.charged_nanos - before.charged_nanos,
        receipts=theatre.new_receipts(),
    )


def _check_receipt(theatre: Theatre, request_id: bytes, *, attempts: int) -> None:
    """The receipt verifies and names so many attempts, each of its own award, and the last one is the one paid."""
    receipt = theatre.caller.receipt(request_id)
    verdict = audit(receipt, theatre.deployment.trust_file)
    assert verdict.returncode == 0, verdict.stdout
    dispatches = [Dispatch.decode(data) for data in theatre.caller.receipt_file(request_id).dispatches]
    assert [dispatch.attempt for dispatch in dispatches] == list(range(1, attempts + 1))
    assert len({dispatch.award_sha256 for dispatch in dispatches}) == attempts
    assert len({dispatch.key_id for dispatch in dispatches}) == attempts, "each attempt was another worker's"


def _strike(theatre: Theatre, stage: str, victim: str) -> "Struck":
    """Sends requests until one meets the fault: the first worker gets most of them, and need not get the first."""
    if stage == "session":
        theatre.restart(WINNER)  # so that the next request to it is the first on its session
    theatre.arm(stage, victim)
    for _ in range(PATIENCE):
        before, began = _account(theatre), time.monotonic()
        try:
            answered, code = _infer(theatre), grpc.StatusCode.OK
        except grpc.RpcError as error:
            answered, code = None, error.code()
        seconds = time.monotonic() - began
        # A receipt is journaled a moment after its answer.
        if not eventually(theatre.armed, lambda waiting: not waiting, seconds=0.5):
            return Struck(before=before, answered=answered, code=code, seconds=seconds)
        assert code is grpc.StatusCode.OK
    raise AssertionError(f"no request passed {stage}")


@dataclass(frozen=True, kw_only=True)
class Struck:
    """The request that met the fault."""

    before: Account
    answered: Answered | None
    code: grpc.StatusCode
    seconds: float


def _infer(theatre: Theatre) -> Answered:
    return theatre.caller.infer(a_request("identity", {"x": BIG}), seconds=DEADLINE)


@pytest.mark.parametrize("stage", STAGES)
def test_a_killed_worker_costs_the_caller_nothing(theatre: Theatre, stage: str) -> None:
    """The caller is answered within the deadline, by another worker where the first had not answered, and pays once."""
    struck = _strike(theatre, stage, WINNER)
    answered = struck.answered
    assert answered is not None, struck.code
    assert answered.outputs["y"].tobytes() == BIG.tobytes()
    assert answered.attempts == (2 if stage in BEFORE_THE_ANSWER else 1)
    ledger = _since(theatre, struck.before, receipts=1)
    assert (ledger.charges, ledger.charged_nanos) == (1, answered.charge_nanos)
    assert ledger.receipts == {answered.request_id: answered.charge_nanos}
    if stage in BEFORE_THE_ANSWER:
        _check_receipt(theatre, answered.request_id, attempts=2)
    else:
        _check_signature_missing(theatre, answered.request_id)
    theatre.revive(WINNER)


def _check_signature_missing(theatre: Theatre, request_id: bytes) -> None:
    """A worker that died before it signed leaves a receipt on record that says what it waits for."""
    try:
        _check_receipt(theatre, request_id, attempts=1)
    except grpc.RpcError as error:
        refused = refusal(error)
        assert refused.reason == Reason.STORE_UNAVAILABLE
        assert "the worker's signature" in refused.message


@pytest.mark.parametrize("stage", STAGES)
def test_a_killed_gateway_charges_at_most_once(theatre: Theatre, stage: str) -> None:
    """The caller hears at once; started again, the gateway finishes from its disk and the workers what is due."""
    struck = _strike(theatre, stage, "gateway")
    assert struck.seconds < DEADLINE / 2
    assert struck.code is grpc.StatusCode.UNAVAILABLE or stage == "journal", "an answer can only leave before that"
    theatre.revive("gateway")
    done = 1 if stage in ("trailer", "journal") else 0
    ledger = _since(theatre, struck.before, receipts=done)
    assert ledger.charges == sum(charge > 0 for charge in ledger.receipts.values())
    assert ledger.charged_nanos == sum(ledger.receipts.values())
    assert len(ledger.receipts) <= 1
    # What had reached the worker may have been executed before it noticed; what had not left cannot have been.
    assert done <= ledger.charges <= (0 if stage == "award" else 1)
    for request_id in ledger.receipts:
        _check_receipt(theatre, request_id, attempts=1)
    if struck.answered is not None:
        assert ledger.receipts == {struck.answered.request_id: struck.answered.charge_nanos}


def test_a_worker_and_then_the_gateway_are_killed(theatre: Theatre) -> None:
    """The receipt that the restarted gateway recovers names both attempts, and only the second is paid."""
    before = _account(theatre)
    theatre.arm("execution", WINNER)
    theatre.arm("trailer", "gateway")
    with pytest.raises(grpc.RpcError):
        _infer(theatre)
    theatre.deployment.processes.kill(WINNER)
    theatre.deployment.start_worker(WINNER)
    theatre.revive("gateway")
    ledger = _since(theatre, before, receipts=1)
    assert ledger.charges == 1
    (request_id,) = ledger.receipts
    _check_receipt(theatre, request_id, attempts=2)


def test_a_frozen_worker_is_given_up_by_its_promise_or_the_deadline(theatre: Theatre) -> None:
    """A worker that holds a request beyond the deadline costs an error that says so, and no money."""
    before = _account(theatre)
    hold(theatre.deployment.fault_dir(WINNER), "execution", 3.0)
    refused = theatre.caller.refused(a_request("identity", {"x": numbers(bytes(64))}), seconds=1.5)
    assert refused.code is grpc.StatusCode.DEADLINE_EXCEEDED
    ledger = _since(theatre, before, receipts=1)
    assert ledger.charges == 0
    assert list(ledger.receipts.values()) == [0]


def _tiny(tokens: int) -> list[int]:
    """What the model says to the prompt of these tests, from the engine run here."""
    engine = open_engine(find_model("tiny"), threads=1, entropy=bytes)
    stream = engine.stream({"prompt": prompt(b"killed")}, Sampling(max_tokens=tokens, stop_token=-1))
    made = [step.token for step in stream.steps]
    engine.close()
    return made


def _stream(theatre: Theatre, tokens: int) -> tuple[list[int], str]:
    request = a_request("tiny", {"prompt": prompt(b"killed")}, max_tokens=tokens, stop_token=-1)
    made, error = [], ""
    for message in theatre.caller.stream([request], seconds=DEADLINE):
        if message.error_message:
            error = message.infer_response.parameters["sealbid-reason"].string_param
        else:
            made.append(int.from_bytes(message.infer_response.raw_output_contents[0], "little"))
    return made, error


def test_a_stream_moves_on_before_its_first_byte(theatre: Theatre) -> None:
    """A worker killed before the first token costs an attempt; the caller sees the whole stream of another."""
    before = _account(theatre)
    theatre.arm("execution", WINNER)
    assert _stream(theatre, 16) == (_tiny(16), "")
    ledger = _since(theatre, before, receipts=1)
    assert ledger.charges == 1
    (request_id,) = ledger.receipts
    _check_receipt(theatre, request_id, attempts=2)
    theatre.revive(WINNER)


def test_a_stream_cut_after_its_first_byte_says_so(theatre: Theatre) -> None:
    """A worker killed after the first token ends the stream with a reason; what came is genuine, nothing is charged."""
    before = _account(theatre)
    theatre.arm("first-response-frame", WINNER)
    made, error = _stream(theatre, 2048)
    assert error == Reason.WORKER_FAILED
    assert 0 < len(made) < 2048
    assert made == _tiny(2048)[: len(made)]
    ledger = _since(theatre, before, receipts=1)
    assert ledger.charges == 0
    (request_id,) = ledger.receipts
    receipt = theatre.caller.receipt(request_id)
    verdict = audit(receipt, theatre.deployment.trust_file)
    assert verdict.returncode == 0
    assert Outcome.FAILED.name.lower().encode() in verdict.stdout
    theatre.revive(WINNER)
