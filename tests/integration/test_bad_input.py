# SPDX-License-Identifier: Apache-2.0
"""What a caller can send wrong: each mistake gets its gRPC status, its reason, and a text naming field, got and want.

Nothing of it is charged, and neither the refusal nor a log or metric repeats a byte of the payload or a key. What goes
wrong between gateways, workers and registries is tested where those meet; docs/testing.md lists all of it.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import grpc
import numpy as np
import pytest
from sealbid_oip.messages import ModelInferRequest
from sealbid_oip.service import SERVICE
from sealbid_wire.market.v1 import market_pb2, market_pb2_grpc
from sealbid_wire.receipt.v1 import receipt_pb2

from attestation.errors import Reason
from attestation.rpc.auth import bearer
from sealbid.demo.deployment import Plan, WorkerPlan
from tests.support.e2e import (
    POLICY,
    Caller,
    E2EDeployment,
    Refused,
    a_request,
    eventually,
    model_plans,
    numbers,
    prompt,
    refusal,
    started,
)
from tests.support.mistakes import MAX_REQUEST, MISTAKES, ROW, SECRET, Bytes, good

pytestmark = pytest.mark.net

INVALID = grpc.StatusCode.INVALID_ARGUMENT
LEAST_MILLISECONDS = 400
LIMITS = f"[limits]\nmax_request_bytes = {MAX_REQUEST}\nmin_deadline_milliseconds = {LEAST_MILLISECONDS}\n"
TEXT = re.compile(r"(?P<field>\S.*?) is (?P<got>.+), want (?P<want>.+)")


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[E2EDeployment]:
    """Two workers of different prices, and a configured model that nobody serves."""
    workers = [
        WorkerPlan(name=name, ask_nanos=ask, models=("identity", "tiny"))
        for name, ask in (("alder", 400), ("birch", 900))
    ]
    plan = Plan(models=model_plans("identity", "tiny", "add-one"), workers=workers, policy=POLICY, gateway_extra=LIMITS)
    with started(E2EDeployment(tmp_path_factory.mktemp("bad"), plan, launcher="sealbid")) as running:
        yield running


@pytest.fixture(scope="module")
def caller(deployment: E2EDeployment) -> Iterator[Caller]:
    """A client with a key."""
    with Caller(deployment) as caller:
        yield caller


@contextmanager
def nothing_charged(caller: Caller) -> Iterator[None]:
    """A good request after the block is the only charge since before it: journals keep their order."""
    before = caller.account()
    yield
    good = caller.infer(a_request("identity", {"x": ROW}))
    after = eventually(caller.account, lambda account: account.charges > before.charges)
    assert after.charges == before.charges + 1
    assert after.charged_nanos == before.charged_nanos + good.charge_nanos


def check(refused: Refused, code: grpc.StatusCode, reason: Reason, field: str) -> None:
    """Status, reason and text are as promised, the details say the same as the text, and no secret is in any of it."""
    assert (refused.code, refused.reason) == (code, reason)
    found = TEXT.fullmatch(refused.message)
    assert found is not None, refused.message
    assert found["field"] == field
    assert set(refused.metadata) == {"field", "got", "want"}
    assert all(value in refused.message for value in refused.metadata.values())
    check_silent(refused.text)


def check_silent(text: str) -> None:
    """Nothing of the payload is there, in any form."""
    assert SECRET.scan("text", text.encode()) == []


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_wrong_request_is_named_and_costs_nothing(caller: Caller, mistake: str) -> None:
    """Shape, datatype, tensors, sizes, model, parameters and bytes that are no message: status, reason, field."""
    request, code, reason, field = MISTAKES[mistake]
    with nothing_charged(caller):
        check(caller.refused(cast("ModelInferRequest", request)), code, reason, field)


def test_nothing_at_all_is_a_request_for_no_model(caller: Caller) -> None:
    """An empty message is a request that names no model."""
    with nothing_charged(caller):
        refused = caller.refused(ModelInferRequest())
    check(refused, grpc.StatusCode.NOT_FOUND, Reason.MODEL_UNKNOWN, "model_name")


def test_a_request_beyond_the_transports_limit_never_arrives(caller: Caller) -> None:
    """gRPC itself refuses a message over what the listener takes, before a byte of it is read into a request."""
    with nothing_charged(caller):
        refused = caller.refused(a_request("identity", {"x": numbers(SECRET.secret * (MAX_REQUEST // 32))}))
    assert (refused.code, refused.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "")
    check_silent(refused.text)


@pytest.mark.parametrize(
    ("parameters", "counts"),
    [
        ({"sealbid_max_price_nanos": 399}, {"PRICE": 2, "MODEL": 2}),
        ({"sealbid_max_price_nanos": 0}, {"PRICE": 2, "MODEL": 2}),
        ({"sealbid_max_total_nanos": 1}, {"BUDGET": 2, "MODEL": 2}),
        ({"sealbid_regions": "atlantis"}, {"REGION": 2, "MODEL": 2}),
        ({"sealbid_tier": "batch"}, {"TIER": 2, "MODEL": 2}),
        ({"sealbid_regions": "atlantis", "sealbid_max_price_nanos": 500}, {"REGION": 1, "PRICE": 1, "MODEL": 2}),
    ],
    ids=["price cap", "price of nothing", "total", "region", "tier", "each for a reason of its own"],
)
def test_no_eligible_offer_counts_why(caller: Caller, parameters: dict[str, Any], counts: dict[str, int]) -> None:
    """Every offer of the book is accounted for by the first gate that kept it out."""
    with nothing_charged(caller):
        refused = caller.refused(good(**parameters))
    assert (refused.code, refused.reason) == (grpc.StatusCode.FAILED_PRECONDITION, Reason.NO_ELIGIBLE_OFFER)
    assert {gate: int(count) for gate, count in refused.metadata.items()} == counts
    assert refused.message.startswith("no offer is eligible: ")
    assert all(f"{gate} {count}" in refused.message for gate, count in counts.items())
    check_silent(refused.text)


def test_a_model_nobody_serves_is_no_capacity(caller: Caller) -> None:
    """A configured model without an attested worker is another answer than an unknown one."""
    with nothing_charged(caller):
        refused = caller.refused(a_request("add-one", {"x": ROW}))
    assert (refused.code, refused.reason) == (grpc.StatusCode.FAILED_PRECONDITION, Reason.NO_ELIGIBLE_OFFER)
    assert refused.message == "model add-one has no attested worker now, want at least one"


def test_a_deadline_too_short_is_refused_before_anything_is_spent(caller: Caller) -> None:
    """A caller that waits less than the least deadline hears so at once, with both numbers."""
    with nothing_charged(caller):
        refused = caller.refused(good(), seconds=LEAST_MILLISECONDS / 1000 * 0.9)
    check(refused, grpc.StatusCode.DEADLINE_EXCEEDED, Reason.DEADLINE_TOO_SHORT, "deadline")
    assert f"at least {LEAST_MILLISECONDS} ms" in refused.message


def test_a_deadline_that_is_over_costs_nothing(caller: Caller) -> None:
    """A call whose time is up when it is made ends as such, and nobody runs it."""
    with nothing_charged(caller):
        refused = caller.refused(good(), seconds=0)
    assert refused.code is grpc.StatusCode.DEADLINE_EXCEEDED


KEY_OF_NOBODY = "sbk_" + "q7Zp" * 10 + "abc"


@pytest.mark.parametrize(
    "metadata",
    [
        (),
        bearer(KEY_OF_NOBODY),
        (("authorization", f"Basic {KEY_OF_NOBODY}"),),
        (*bearer(KEY_OF_NOBODY), *bearer(KEY_OF_NOBODY)),
        bearer(KEY_OF_NOBODY * 10),
    ],
    ids=["none", "unknown", "another scheme", "two", "long"],
)
def test_a_wrong_credential_is_unauthenticated(
    deployment: E2EDeployment, caller: Caller, metadata: tuple[tuple[str, str], ...]
) -> None:
    """Without one known key nothing is run, and the key is not repeated, neither to the caller nor in a log."""
    with nothing_charged(caller), Caller(deployment) as stranger:
        stranger.metadata = metadata
        refused = stranger.refused(good())
        check(refused, grpc.StatusCode.UNAUTHENTICATED, Reason.UNAUTHENTICATED, "credential")
        assert "q7Zp" not in refused.text
        with pytest.raises(grpc.RpcError) as ended:
            list(stranger.stream([a_request("tiny", {"prompt": prompt(b"x")})]))
        assert ended.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert b"q7Zp" not in deployment.processes.log("gateway").read_bytes()


@pytest.mark.parametrize("account", ["operator", "auditor", "alder", "gateway"])
def test_another_role_is_denied(deployment: E2EDeployment, caller: Caller, account: str) -> None:
    """A genuine key without the caller's role is told which role it has and which is wanted."""
    with nothing_charged(caller), Caller(deployment, account=account) as other:
        refused = other.refused(good())
        check(refused, grpc.StatusCode.PERMISSION_DENIED, Reason.PERMISSION_DENIED, "role of the credential")
        assert deployment.key(account) not in refused.text


def test_a_caller_places_no_offers(deployment: E2EDeployment, caller: Caller) -> None:
    """The market is for providers, and bytes that are no offer are malformed."""
    stub = market_pb2_grpc.MarketServiceStub(caller.channel)
    place = market_pb2.PlaceOfferRequest(offer=SECRET.secret)
    for account, code, reason in (
        ("acme", grpc.StatusCode.PERMISSION_DENIED, Reason.PERMISSION_DENIED),
        ("alder", INVALID, Reason.MALFORMED),
    ):
        with pytest.raises(grpc.RpcError) as ended:
            stub.PlaceOffer(place, metadata=bearer(deployment.key(account)), timeout=10)
        refused = refusal(ended.value)
        assert (refused.code, refused.reason) == (code, reason)
        check_silent(refused.text)


@pytest.mark.parametrize(
    ("receipt_id", "code", "reason", "field"),
    [
        (b"short", INVALID, Reason.PARAMETER_INVALID, "receipt_id"),
        (SECRET.secret[:16], grpc.StatusCode.NOT_FOUND, Reason.NOT_FOUND, "receipt"),
    ],
    ids=["wrong length", "unknown"],
)
def test_a_receipt_nobody_has(
    caller: Caller, receipt_id: bytes, code: grpc.StatusCode, reason: Reason, field: str
) -> None:
    """A receipt id of the wrong length and one of no receipt are refused by name."""
    with pytest.raises(grpc.RpcError) as ended:
        caller.receipts.GetReceipt(
            receipt_pb2.GetReceiptRequest(receipt_id=receipt_id), metadata=caller.metadata, timeout=2
        )
    check(refusal(ended.value), code, reason, field)


def test_what_only_the_worker_can_see_is_refused_by_it_and_not_charged(
    deployment: E2EDeployment, caller: Caller
) -> None:
    """Tokens outside the vocabulary are found inside the enclave: an error in the stream, a receipt, no charge."""
    wrong = a_request("tiny", {"token_ids": np.frombuffer(SECRET.secret, np.int32)}, max_tokens=4)
    with nothing_charged(caller):
        (message,) = caller.stream([wrong])
    parameters = message.infer_response.parameters
    assert parameters["sealbid-reason"].string_param == Reason.TENSOR_DATATYPE
    assert message.error_message == "TENSOR_DATATYPE: a token is outside the vocabulary, want 0 to 255"
    assert not message.infer_response.outputs


def test_bad_requests_of_a_stream_are_answered_in_place(caller: Caller) -> None:
    """Each bad request of a stream gets its own reason under its own id, and its neighbours their tokens."""
    fine = a_request("tiny", {"prompt": prompt(b"fine")}, max_tokens=2, stop_token=-1, request_id="fine")
    bad = [
        (a_request("tiny", {"prompt": prompt(b"x")}, max_tokens=0, request_id="a"), Reason.PARAMETER_INVALID),
        (a_request("tiny", {}, request_id="b"), Reason.TENSOR_MISSING),
        (a_request("nobody", {}, request_id="c"), Reason.MODEL_UNKNOWN),
        (a_request("tiny", {"prompt": prompt(b"x")}, sealbid_max_price_nanos=1), Reason.NO_ELIGIBLE_OFFER),
        (cast("ModelInferRequest", Bytes(data=b"\xff" + SECRET.secret)), Reason.MALFORMED),
    ]
    sent = [fine, *(request for one, _ in bad for request in (one, fine))]
    messages = list(caller.stream(sent))
    refused = [message for message in messages if message.error_message]
    reasons = [message.infer_response.parameters["sealbid-reason"].string_param for message in refused]
    assert reasons == [reason for _, reason in bad]
    assert [message.infer_response.id for message in refused] == ["a", "b", "c", "", ""]
    assert [bool(message.error_message) for message in messages] == ([False] * 2 + [True]) * len(bad) + [False] * 2
    for message in refused:
        check_silent(str(message))


def test_an_unknown_method_is_unimplemented(caller: Caller) -> None:
    """A method nobody serves ends as gRPC says it does."""
    method: Any = caller.channel.unary_unary(f"/{SERVICE}/CudaSharedMemoryStatus")
    with pytest.raises(grpc.RpcError) as ended:
        method(b"", timeout=10)
    assert ended.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_no_log_or_metric_repeats_a_secret(deployment: E2EDeployment, caller: Caller) -> None:
    """After all these mistakes no log line and no metric of any process holds payload or key."""
    for request, *_ in MISTAKES.values():
        caller.refused(request)
    keys = [deployment.key(account).encode() for account in ("acme", "operator", "auditor", "gateway", "alder")]
    names = ("gateway", "registry", "alder", "birch")
    places = {path.name: path.read_bytes() for path in Path(deployment.root / "logs").iterdir()}
    places |= {f"metrics of {name}": deployment.scrape(name) for name in names}
    assert set(places) >= {f"{name}.log" for name in names}
    for name, content in places.items():
        assert SECRET.scan(name, content) == []
        assert not [key for key in keys if key in content], f"{name} holds a key"
    planted = SECRET.scan("planted", places["gateway.log"] + SECRET.secret.hex().encode())
    assert planted, "the search finds what is there"
