# SPDX-License-Identifier: Apache-2.0
"""A deployment as its operator lives with it: probes, stops, restarts, revocations, lost registries, and what is left.

One deployment of real processes. Tests that take something away put it back, so each leaves a whole deployment behind.
"""

import asyncio
import base64
import json
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from sealbid_oip.messages import ModelStreamInferResponse
from sealbid_oip.service import METHODS, SERVICE

from attestation.sealing.halves import GatewayHalf, Outcome, WorkerHalf, WorkerStatus
from sealbid.demo.deployment import WorkerPlan
from sealbid.demo.readiness import offers, until_serving
from tests.support.e2e import (
    Account,
    Answered,
    Caller,
    E2EDeployment,
    a_deployment,
    a_request,
    audit,
    eventually,
    linked_workers,
    numbers,
    prompt,
    refusal,
    sealbid,
    started,
    wait_ready,
)

pytestmark = pytest.mark.net

ROW = numbers(bytes(range(64)))
LONG = 4096
WORKERS = (
    WorkerPlan(name="alder", ask_nanos=400, models=("identity", "tiny")),
    WorkerPlan(name="birch", ask_nanos=500, models=("identity", "tiny")),
    WorkerPlan(name="cedar", ask_nanos=600, models=("add-one",), dials=True),
)


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[E2EDeployment]:
    """Two workers for the same models, and one that dials in and is alone with its own."""
    with started(a_deployment(tmp_path_factory.mktemp("operations"), workers=WORKERS)) as running:
        yield running


@pytest.fixture
def caller(deployment: E2EDeployment) -> Iterator[Caller]:
    """A client with a connection of its own."""
    with Caller(deployment) as caller:
        yield caller


def ready(deployment: E2EDeployment) -> None:
    """Waits until every worker can be sent requests."""
    asyncio.run(until_serving(deployment, "gateway", deployment.gateway))
    wait_ready(deployment, workers=len(WORKERS))


def keysets(deployment: E2EDeployment) -> dict[str, set[bytes]]:
    """Keysets with offers in the book by worker; a worker is known by the price it asks."""
    names = {worker.ask_nanos: worker.name for worker in WORKERS}
    found: dict[str, set[bytes]] = {name: set() for name in names.values()}
    for offer in asyncio.run(offers(deployment)):
        found[names[offer.ask_nanos]].add(offer.keyset_id)
    return found


def keyset_of(caller: Caller, answered: Answered) -> bytes:
    """The keyset that answered, from the receipt."""
    worker = caller.receipt_file(answered.request_id).worker
    assert worker is not None
    return WorkerHalf.decode(worker.half).keyset_id


def tell(deployment: E2EDeployment, name: str, signal_number: int) -> None:
    """Stops a process where it is, lets it go on, or asks it to end."""
    os.kill(deployment.processes.pid(name), signal_number)


def gauge(deployment: E2EDeployment, process: str, name: str) -> int:
    """The value of one gauge, over its labels."""
    lines = deployment.scrape(process).decode().splitlines()
    return int(sum(float(line.split()[-1]) for line in lines if line.startswith(f"{name}{{")))


def running(deployment: E2EDeployment) -> int:
    """How many requests the gateway has under way."""
    return gauge(deployment, "gateway", "sealbid_gateway_running")


def settled(deployment: E2EDeployment, caller: Caller) -> Account:
    """The account once nothing is under way and every worker knows all its halves to be in the journal."""

    def left() -> int:
        halves = sum(gauge(deployment, worker.name, "sealbid_worker_unconfirmed_halves") for worker in WORKERS)
        return halves + running(deployment)

    assert eventually(left, lambda count: count == 0) == 0
    return caller.account()


# probes


def test_health_speaks_for_every_service(deployment: E2EDeployment) -> None:
    """The whole gateway and each of its services are SERVING, without a credential; another name is not known."""
    with grpc.insecure_channel(deployment.gateway) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        for name in ("", SERVICE, "sealbid.market.v1.MarketService", "sealbid.receipt.v1.ReceiptService"):
            answer = health.Check(health_pb2.HealthCheckRequest(service=name), timeout=10)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        with pytest.raises(grpc.RpcError) as unknown:
            health.Check(health_pb2.HealthCheckRequest(service="nobody"), timeout=10)
    assert unknown.value.code() is grpc.StatusCode.NOT_FOUND


def reflected(channel: grpc.Channel, **ask: str) -> Any:
    """One answer of the reflection service."""
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    (answer,) = stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(**ask)]), timeout=10)
    return answer


def test_a_client_can_be_made_from_reflection_alone(deployment: E2EDeployment) -> None:
    """Services are listed, the inference service is described whole, and messages built from that are understood."""
    with grpc.insecure_channel(deployment.gateway) as channel:
        listed = {service.name for service in reflected(channel, list_services="").list_services_response.service}
        assert {SERVICE, "sealbid.market.v1.MarketService", "sealbid.receipt.v1.ReceiptService"} <= listed
        assert {"grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"} <= listed
        pool: Any = DescriptorPool()
        described_in = reflected(channel, file_containing_symbol=SERVICE).file_descriptor_response
        for file in reversed(described_in.file_descriptor_proto):  # the file asked for comes before what it imports
            pool.AddSerializedFile(file)
        service = pool.FindServiceByName(SERVICE)
        assert {method.name for method in service.methods} >= set(METHODS)
        described = service.methods_by_name["ServerMetadata"]
        answer_type = GetMessageClass(described.output_type)
        call: Any = channel.unary_unary(f"/{SERVICE}/ServerMetadata")
        answer: Any = answer_type.FromString(call(GetMessageClass(described.input_type)().SerializeToString()))
    assert answer.name == "sealbid (SIMULATED)"


# workers


def test_a_worker_that_dials_in_serves(deployment: E2EDeployment, caller: Caller) -> None:
    """The worker nobody can dial answers for its model, and its receipt names its provider."""
    answered = caller.infer(a_request("add-one", {"x": ROW}))
    assert answered.outputs["y"].tobytes() == np.add(ROW, np.float32(1)).tobytes()
    assert keyset_of(caller, answered) in keysets(deployment)["cedar"]
    verdict = json.loads(audit(caller.receipt(answered.request_id), deployment.trust_file).stdout)
    assert verdict["worker"]["provider"] == "cedar"


def test_a_revoked_keyset_leaves_within_seconds_and_others_serve(deployment: E2EDeployment, caller: Caller) -> None:
    """`sealbid registry revoke` takes a worker's keys out of the market; requests go elsewhere, and the log says so."""
    (revoked,) = keysets(deployment)["alder"]
    assert eventually(lambda: keyset_of(caller, caller.infer(a_request("identity", {"x": ROW}))) == revoked, bool)
    done = sealbid(
        *("registry", "revoke", "--address", deployment.registry, "--reason", "key leaked", "--json"),
        *("--api-key-file", str(deployment.key_file("operator")), revoked.hex()),
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["keyset"] == revoked.hex()
    left = eventually(lambda: keysets(deployment)["alder"], lambda standing: revoked not in standing, seconds=10)
    assert revoked not in left
    for _ in range(8):
        assert keyset_of(caller, caller.infer(a_request("identity", {"x": ROW}))) != revoked
    again = sealbid(
        *("registry", "revoke", "--address", deployment.registry, "--reason", "key leaked", "--json"),
        *("--api-key-file", str(deployment.key_file("acme")), revoked.hex()),
    )
    assert again.returncode == 10, "a caller revokes nothing"
    assert json.loads(again.stdout)["reason"] == "PERMISSION_DENIED"
    deployment.processes.stop("alder")
    deployment.start_worker("alder")
    back = eventually(lambda: keysets(deployment)["alder"], lambda standing: bool(standing - {revoked}))
    assert back - {revoked}, "a restarted worker has new keys and is admitted again"
    ready(deployment)


# callers who go away


def test_a_cancelled_stream_is_charged_for_what_was_made(deployment: E2EDeployment, caller: Caller) -> None:
    """The caller hangs up after some tokens: the worker stops, and the receipt says how far it came."""
    before = settled(deployment, caller)
    request = a_request("tiny", {"prompt": prompt(b"long")}, max_tokens=LONG, stop_token=-1)
    call = caller._stream(iter([request.SerializeToString()]), metadata=caller.metadata, timeout=60)
    first = ModelStreamInferResponse.FromString(next(call))
    assert not first.error_message
    call.cancel()
    assert eventually(lambda: caller.account().charges, lambda charges: charges > before.charges) > before.charges
    after = settled(deployment, caller)
    assert after.charges == before.charges + 1
    receipt_id = bytes.fromhex(first.infer_response.parameters["sealbid-receipt"].string_param)
    receipt = caller.receipt_file(receipt_id)
    assert receipt.worker is not None
    half = WorkerHalf.decode(receipt.worker.half)
    assert half.status is WorkerStatus.CANCELLED
    assert 0 < half.units < LONG * 4
    assert GatewayHalf.decode(receipt.gateway_half).charge_nanos == after.charged_nanos - before.charged_nanos > 0
    assert audit(caller.receipt(receipt_id), deployment.trust_file).returncode == 0


def test_a_cancelled_unary_call_frees_its_slot(deployment: E2EDeployment, caller: Caller) -> None:
    """A caller that gives up a call whose worker hangs leaves nothing under way behind."""
    tell(deployment, "cedar", signal.SIGSTOP)
    try:
        call = caller.begin(a_request("add-one", {"x": ROW}), seconds=60)
        assert eventually(lambda: running(deployment), lambda count: count == 1) == 1
        call.cancel()
        assert eventually(lambda: running(deployment), lambda count: count == 0) == 0
    finally:
        tell(deployment, "cedar", signal.SIGCONT)
    assert caller.infer(a_request("add-one", {"x": ROW})).attempts == 1
    taken = eventually(
        lambda: [offer.taken for offer in asyncio.run(offers(deployment))], lambda counts: not any(counts)
    )
    assert not any(taken)


# gateways that stop and come back


def test_a_stopping_gateway_answers_what_it_began_and_remembers_it(deployment: E2EDeployment) -> None:
    """SIGTERM with a request in flight: no new ones, the answer, exit 0; started again it has every receipt."""
    with Caller(deployment) as caller:
        old = caller.infer(a_request("identity", {"x": ROW}))
        old_receipt = caller.receipt_file(old.request_id)
        before = settled(deployment, caller)
        tell(deployment, "cedar", signal.SIGSTOP)
        call = caller.begin(a_request("add-one", {"x": ROW}), seconds=60)
        assert eventually(lambda: running(deployment), lambda count: count == 1) == 1
        tell(deployment, "gateway", signal.SIGTERM)
        assert eventually(lambda: _turned_away(deployment), bool), "a stopping gateway takes no new calls"
        with Caller(deployment) as late:
            assert late.refused(a_request("identity", {"x": ROW}), seconds=5).code is grpc.StatusCode.UNAVAILABLE
        assert not call.done(), "the request in flight is still there"
        assert deployment.processes.exited("gateway") is None
        tell(deployment, "cedar", signal.SIGCONT)
        call.result()
        trailing = dict(call.trailing_metadata())
        assert deployment.processes.stop("gateway") == 0
    deployment.start_gateway()
    ready(deployment)
    with Caller(deployment) as caller:
        found = caller.receipt_file(old.request_id)
        # The proof that the gateway's key is logged is as young as the process that shows it.
        renewed = replace(found.gateway_key, proof=old_receipt.gateway_key.proof)
        assert replace(found, gateway_key=renewed) == old_receipt
        assert audit(found.encode(), deployment.trust_file).returncode == 0
        after = eventually(caller.account, lambda account: account.charges > before.charges)
        assert after.charges == settled(deployment, caller).charges == before.charges + 1
        last = caller.receipt_file(trailing["sealbid-receipt-bin"])
        assert audit(last.encode(), deployment.trust_file).returncode == 0
        assert GatewayHalf.decode(last.gateway_half).outcome is Outcome.ANSWERED
        assert caller.infer(a_request("identity", {"x": ROW})).attempts == 1


def _turned_away(deployment: E2EDeployment) -> bool:
    """Whether a new client's question, which costs nothing, gets nowhere."""
    with grpc.insecure_channel(deployment.gateway, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        live: Any = channel.unary_unary(f"/{SERVICE}/ServerLive")
        try:
            live(b"", timeout=5)
        except grpc.RpcError as error:
            return refusal(error).code is grpc.StatusCode.UNAVAILABLE
    return False


# registries that are away


def test_leases_outlive_their_registry(deployment: E2EDeployment, caller: Caller) -> None:
    """With the registry killed, workers admitted before still serve; started again it is followed again."""
    deployment.processes.kill("registry")
    for model in ("identity", "add-one"):
        assert caller.infer(a_request(model, {"x": ROW})).attempts == 1
    deployment.start_registry()
    asyncio.run(until_serving(deployment, "registry", deployment.registry))
    assert linked_workers(deployment) == len(WORKERS)
    deployment.processes.stop("birch")
    deployment.start_worker("birch")
    ready(deployment)
    assert caller.infer(a_request("identity", {"x": ROW})).attempts == 1


# receipts


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where the values of a document are."""
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(item, (*path, key))
    else:
        yield path


def mutated(document: Any, path: tuple[Any, ...]) -> bytes:
    """The document with one value changed to another of its form."""
    copy = json.loads(json.dumps(document))
    holder = copy
    for step in path[:-1]:
        holder = holder[step]
    value = holder[path[-1]]
    if isinstance(value, bool):
        holder[path[-1]] = not value
    elif isinstance(value, int):
        holder[path[-1]] = value + 1
    elif path == ("v",):
        holder[path[-1]] = "sealbid/receipt/2"
    else:
        data = bytearray(base64.b64decode(value))
        data[len(data) // 2] ^= 1
        holder[path[-1]] = base64.b64encode(data).decode()
    return json.dumps(copy).encode()


def test_the_audit_command_judges_real_receipts(deployment: E2EDeployment, caller: Caller) -> None:
    """A real receipt is accepted, changed in one field of any kind rejected; bytes that are none are malformed."""
    answered = caller.infer(a_request("identity", {"x": ROW}))
    receipt = caller.receipt(answered.request_id)
    accepted = audit(receipt, deployment.trust_file)
    assert accepted.returncode == 0
    verdict = json.loads(accepted.stdout)
    assert verdict["receipt"] == answered.request_id.hex()
    assert (verdict["charge_nanos"], verdict["attempts"]) == (answered.charge_nanos, 1)
    assert verdict["simulated"] is True
    document = json.loads(receipt)
    kinds = {tuple(step for step in path if isinstance(step, str)): path for path in leaves(document)}
    assert {path[0] for path in kinds.values()} == set(document), "every key of the file is tried"
    statuses = {kind: audit(mutated(document, path), deployment.trust_file) for kind, path in kinds.items()}
    assert {kind: status.returncode for kind, status in statuses.items()} == dict.fromkeys(kinds, 10)
    for garbage in (b"", b"garbage", receipt[:-20], receipt + b"{}", b"\x00" * 100, b"[]"):
        assert audit(garbage, deployment.trust_file).returncode == 30


# what everything says of itself


def test_every_log_line_and_every_sample_says_simulated(deployment: E2EDeployment, caller: Caller) -> None:
    """No line of any log and no sample of any process can be taken for one of a real TEE."""
    caller.infer(a_request("identity", {"x": ROW}))
    caller.refused(a_request("identity", {}))
    for name in ("gateway", "registry", *(worker.name for worker in WORKERS)):
        lines = deployment.processes.log(name).read_text().splitlines()
        assert lines, f"{name} says something"
        assert [line for line in lines if json.loads(line).get("profile") != "SIMULATED"] == []
        samples = [line for line in deployment.scrape(name).decode().splitlines() if line and not line.startswith("#")]
        assert samples, f"{name} measures something"
        assert [sample for sample in samples if 'profile="SIMULATED"' not in sample] == []
