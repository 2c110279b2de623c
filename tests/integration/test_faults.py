# SPDX-License-Identifier: Apache-2.0
"""A worker or the gateway is killed at one exact stage of a request, and nobody pays twice or waits for ever.

For every stage the caller gets an answer or a clear error within the deadline. Of a request whose attempt had left the
gateway comes exactly one receipt, which names every attempt, and a charge exactly if the last of them was completed,
also after the gateway was started again on what it had on disk. A receipt whose worker died before it signed says so.
"""

import json
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from sealbid_oip.generation import Sampling

from attestation.errors import Reason
from attestation.receipt_file import ReceiptFile
from attestation.sealing.dispatch import Dispatch
from attestation.sealing.halves import Outcome
from enclave.models.catalog import find_model, open_engine
from sealbid.demo.deployment import WorkerPlan
from tests.support.e2e import Caller, a_deployment, a_request, audit, eventually, numbers, prompt, refusal, started
from tests.support.faulty import hold
from tests.support.theatre import BIG, DEADLINE, SIGNATURE_SECONDS, WINNER, Theatre

pytestmark = pytest.mark.net

MODELS = ("identity", "tiny")
SMALL = numbers(bytes(64))
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


@pytest.fixture(scope="module")
def theatre(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Theatre]:
    """Three workers of different prices, of which the first is the cheapest."""
    workers = [
        WorkerPlan(name=name, ask_nanos=ask, models=MODELS)
        for name, ask in ((WINNER, 400), ("birch", 500), ("cedar", 600))
    ]
    deployment = a_deployment(
        tmp_path_factory.mktemp("faults"),
        workers=workers,
        launcher="tests.support.faulty",
        gateway_extra=f"[limits]\nsignature_grace_seconds = {SIGNATURE_SECONDS}\n",
    )
    with started(deployment), Caller(deployment) as caller:
        theatre = Theatre(deployment=deployment, caller=caller)
        theatre.ready()
        yield theatre


def _receipt(theatre: Theatre, request_id: bytes) -> bytes:
    """The receipt, which is waited for as long as the gateway waits for its signature."""

    def ask() -> bytes | grpc.RpcError:
        try:
            return theatre.caller.receipt(request_id)
        except grpc.RpcError as error:
            return error

    receipt = eventually(ask, lambda answer: isinstance(answer, bytes))
    assert isinstance(receipt, bytes), receipt
    return receipt


def _check_attempts(receipt: bytes, attempts: int) -> None:
    """It names so many attempts, each of its own award and of another worker."""
    dispatches = [Dispatch.decode(data) for data in ReceiptFile.decode(receipt).dispatches]
    assert [dispatch.attempt for dispatch in dispatches] == list(range(1, attempts + 1))
    assert len({dispatch.award_sha256 for dispatch in dispatches}) == attempts
    assert len({dispatch.key_id for dispatch in dispatches}) == attempts, "each attempt was another worker's"


def _check_receipt(theatre: Theatre, request_id: bytes, *, attempts: int) -> dict[str, Any]:
    """The receipt verifies and names so many attempts; what the audit says."""
    receipt = _receipt(theatre, request_id)
    verdict = audit(receipt, theatre.deployment.trust_file)
    assert verdict.returncode == 0, verdict.stdout
    _check_attempts(receipt, attempts)
    shown: dict[str, Any] = json.loads(verdict.stdout)
    return shown


def _check_unsigned(theatre: Theatre, request_id: bytes, *, attempts: int) -> None:
    """The audit has a verdict of its own for a receipt whose worker died before it signed, and it is no pass."""
    receipt = _receipt(theatre, request_id)
    verdict = audit(receipt, theatre.deployment.trust_file)
    assert verdict.returncode == 20, verdict.stdout
    shown = json.loads(verdict.stdout)
    assert (shown["verdict"], shown["reason"]) == ("undecided", Reason.SIGNATURE_MISSING)
    assert "gateway's word only" in shown["message"]
    assert (shown["receipt"], shown["outcome"], shown["attempts"]) == (request_id.hex(), "answered", attempts)
    assert shown["worker"]["status"] == "OK"
    _check_attempts(receipt, attempts)


@pytest.mark.parametrize("stage", STAGES)
def test_a_killed_worker_costs_the_caller_nothing(theatre: Theatre, stage: str) -> None:
    """The caller is answered within the deadline, by another worker where the first had not answered, and pays once."""
    struck = theatre.strike(stage, WINNER)
    answered = struck.answered
    assert answered is not None, struck.code
    assert struck.seconds < DEADLINE
    assert answered.outputs["y"].tobytes() == BIG.tobytes()
    attempts = 2 if stage in BEFORE_THE_ANSWER else 1
    assert answered.attempts == attempts
    ledger = theatre.since(struck.before, receipts=1)
    assert (ledger.charges, ledger.charged_nanos) == (1, answered.charge_nanos)
    assert ledger.receipts == {answered.request_id: answered.charge_nanos}
    if stage in BEFORE_THE_ANSWER or theatre.signed(answered.request_id):
        _check_receipt(theatre, answered.request_id, attempts=attempts)
        assert ledger.suspense_nanos == 0
    else:
        _check_unsigned(theatre, answered.request_id, attempts=attempts)
        assert ledger.suspense_nanos == ledger.charged_nanos
    assert theatre.balanced()
    theatre.revive(WINNER)


def test_a_worker_killed_before_it_signs_leaves_a_receipt_that_says_so(theatre: Theatre) -> None:
    """Pending at first; after the grace the receipt is handed out without the signature, whose provider is not paid."""
    before = theatre.begin()
    theatre.arm("signature", WINNER)
    answered = theatre.caller.infer(a_request("identity", {"x": SMALL}), seconds=DEADLINE)
    assert answered.attempts == 1
    with pytest.raises(grpc.RpcError) as pending:
        theatre.caller.receipt(answered.request_id, seconds=1)
    assert refusal(pending.value).reason == Reason.STORE_UNAVAILABLE
    ledger = theatre.since(before, receipts=1)
    assert ledger.receipts == {answered.request_id: answered.charge_nanos}
    assert (ledger.charges, ledger.charged_nanos) == (1, answered.charge_nanos)
    assert ledger.suspense_nanos == answered.charge_nanos > 0
    _check_unsigned(theatre, answered.request_id, attempts=1)
    theatre.revive(WINNER)
    _check_unsigned(theatre, answered.request_id, attempts=1)


def test_a_signature_that_comes_after_all_makes_the_receipt_whole(theatre: Theatre) -> None:
    """A worker that was only held up signs late: the same receipt is accepted now, charged once, and paid out."""
    before = theatre.begin()
    hold(theatre.deployment.fault_dir(WINNER), "signature", SIGNATURE_SECONDS + 5)
    answered = theatre.caller.infer(a_request("identity", {"x": SMALL}), seconds=DEADLINE)
    _check_unsigned(theatre, answered.request_id, attempts=1)
    unsigned = ReceiptFile.decode(_receipt(theatre, answered.request_id))
    assert eventually(lambda: theatre.signed(answered.request_id), bool)
    _check_receipt(theatre, answered.request_id, attempts=1)
    whole = ReceiptFile.decode(_receipt(theatre, answered.request_id))
    assert (whole.gateway_half, whole.gateway_batch) == (unsigned.gateway_half, unsigned.gateway_batch)
    ledger = theatre.since(before, receipts=1)
    assert (ledger.charges, ledger.charged_nanos) == (1, answered.charge_nanos)
    assert ledger.receipts == {answered.request_id: answered.charge_nanos}
    assert ledger.suspense_nanos == 0
    assert theatre.balanced()


@pytest.mark.parametrize("stage", STAGES)
def test_a_killed_gateway_charges_what_was_completed(theatre: Theatre, stage: str) -> None:
    """The caller hears at once. Started again, the gateway closes the request: one receipt, and one charge exactly if
    the worker says that it completed the request. Only a request that had not left yet leaves neither.
    """
    struck = theatre.strike(stage, "gateway")
    assert struck.seconds < DEADLINE / 2
    assert struck.code is grpc.StatusCode.UNAVAILABLE or stage == "journal", "an answer can only leave before that"
    theatre.revive("gateway")
    left = stage != "award"
    ledger = theatre.since(struck.before, receipts=int(left))
    assert len(ledger.receipts) == int(left)
    assert ledger.charges == ledger.completed == sum(charge > 0 for charge in ledger.receipts.values())
    assert ledger.charged_nanos == sum(ledger.receipts.values())
    if stage in ("first-response-frame", "trailer", "journal"):
        assert ledger.completed == 1
    if not left:
        assert ledger.completed == 0
    for request_id, charge in ledger.receipts.items():
        shown = _check_receipt(theatre, request_id, attempts=1)
        assert shown["charge_nanos"] == charge
        assert shown["outcome"] == ("answered" if charge else "failed")
    if struck.answered is not None:
        assert ledger.receipts == {struck.answered.request_id: struck.answered.charge_nanos}
    assert ledger.suspense_nanos == 0
    assert theatre.balanced()


def test_a_worker_and_then_the_gateway_are_killed(theatre: Theatre) -> None:
    """The receipt that the restarted gateway recovers names both attempts, and only the second is paid."""
    before = theatre.begin()
    theatre.arm("execution", WINNER)
    theatre.arm("trailer", "gateway")
    with pytest.raises(grpc.RpcError):
        theatre.infer()
    theatre.deployment.processes.kill(WINNER)
    theatre.deployment.start_worker(WINNER)
    theatre.revive("gateway")
    ledger = theatre.since(before, receipts=1)
    assert ledger.charges == 1
    (request_id,) = ledger.receipts
    _check_receipt(theatre, request_id, attempts=2)


def test_a_frozen_worker_is_given_up_by_its_promise_or_the_deadline(theatre: Theatre) -> None:
    """A worker that holds a request beyond the deadline costs an error that says so, and no money."""
    before = theatre.begin()
    hold(theatre.deployment.fault_dir(WINNER), "execution", 3.0)
    refused = theatre.caller.refused(a_request("identity", {"x": SMALL}), seconds=1.5)
    assert refused.code is grpc.StatusCode.DEADLINE_EXCEEDED
    ledger = theatre.since(before, receipts=1)
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
    before = theatre.begin()
    theatre.arm("execution", WINNER)
    assert _stream(theatre, 16) == (_tiny(16), "")
    ledger = theatre.since(before, receipts=1)
    assert ledger.charges == 1
    (request_id,) = ledger.receipts
    _check_receipt(theatre, request_id, attempts=2)
    theatre.revive(WINNER)


def test_a_stream_cut_after_its_first_byte_says_so(theatre: Theatre) -> None:
    """A worker killed after the first token ends the stream with a reason; what came is genuine, nothing is charged."""
    before = theatre.begin()
    theatre.arm("first-response-frame", WINNER)
    made, error = _stream(theatre, 2048)
    assert error == Reason.WORKER_FAILED
    assert 0 < len(made) < 2048
    assert made == _tiny(2048)[: len(made)]
    ledger = theatre.since(before, receipts=1)
    assert ledger.charges == 0
    (request_id,) = ledger.receipts
    receipt = theatre.caller.receipt(request_id)
    verdict = audit(receipt, theatre.deployment.trust_file)
    assert verdict.returncode == 0
    assert Outcome.FAILED.name.lower().encode() in verdict.stdout
    theatre.revive(WINNER)
