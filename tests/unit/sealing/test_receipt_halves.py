# SPDX-License-Identifier: Apache-2.0
"""Receipt halves, dispatches, headers, grants and batches: form, and the signatures over them."""

import dataclasses
import hashlib
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from attestation.codec import cbor
from attestation.errors import Malformed, NotGenuine, Reason
from attestation.identity import gateway_id_of
from attestation.sealing.batch import GATEWAY_HALF, WORKER_HALF, HalfProof, sign_batch, verify_half
from attestation.sealing.dispatch import Dispatch
from attestation.sealing.errors_signed import SignedError
from attestation.sealing.grant import MAX_GRANTS, Grant, GrantedTransport, sign_grant
from attestation.sealing.halves import GatewayHalf, Outcome, WorkerHalf, WorkerStatus, worker_half_digest
from attestation.sealing.header import Header, Method
from attestation.sealing.session import Role, SessionInfo
from tests.support.sealing import NOW, limits

D = {name: hashlib.sha256(name.encode()).digest() for name in "abcdefghij"}


def worker_half(**changes: Any) -> WorkerHalf:
    """A worker's half with distinct digests."""
    given = WorkerHalf(
        worker_id=D["a"],
        keyset_id=D["b"],
        binding_digest=D["c"],
        dispatch_sha256=D["d"],
        header_sha256=D["e"],
        req_ct=D["f"],
        resp_ct=D["g"],
        req_commit=D["h"],
        resp_commit=D["i"],
        engine_sha256=D["j"],
        units=1000,
        status=WorkerStatus.OK,
        started=10,
        ended=11,
        seq=0,
    )
    return dataclasses.replace(given, **changes)


def gateway_half(**changes: Any) -> GatewayHalf:
    """A gateway's half of a request answered at the second attempt."""
    given = GatewayHalf(
        worker_half_sha256=worker_half_digest(worker_half().encode()),
        award_sha256=D["a"],
        price_nanos=400,
        dispatches=(D["b"], D["c"]),
        gateway_id=D["d"],
        seq=3,
        request_id=bytes(16),
        outcome=Outcome.ANSWERED,
        charge_nanos=400,
        time=12,
    )
    return dataclasses.replace(given, **changes)


def dispatch() -> Dispatch:
    """Any dispatch."""
    return Dispatch(
        header_sha256=D["a"],
        session_id=D["b"],
        counter=1,
        attempt=1,
        award_sha256=D["c"],
        offer_id=D["d"],
        price_nanos=1,
        gateway_id=D["e"],
        key_id=D["f"],
        deadline_ms=1,
    )


def header() -> Header:
    """Any header."""
    return Header(request_id=bytes(16), limits=limits(Method.STREAM), salt=bytes(16), cek_commit=D["a"])


def session_info() -> SessionInfo:
    """Any session info."""
    return SessionInfo.decode(
        cbor.encode({0: "sealbid/session/1", 1: 2, 2: D["a"], 3: 2, 4: bytes(16), 5: 256}),
    )


def proof() -> HalfProof:
    """Any proof."""
    return HalfProof(cose=b"c" * 110, index=1, size=3, path=(D["a"], D["b"]))


def grant() -> Grant:
    """Any grant."""
    return Grant(gateway_id=D["a"], session_id=D["b"], key_id=D["c"], expires=1)


def error() -> SignedError:
    """Any refusal."""
    return SignedError(reason=Reason.KEY_RETIRED, session_id=D["a"], header_sha256=D["b"], keyset_id=D["c"])


VALUES: list[Callable[[], Any]] = [
    worker_half,
    gateway_half,
    dispatch,
    header,
    session_info,
    proof,
    grant,
    error,
]


@pytest.mark.parametrize("make", VALUES)
def test_values_survive_their_encoding(make: Callable[[], Any]) -> None:
    """Decode gives back what encode was given, with the same bytes."""
    value = make()
    again = type(value).decode(value.encode())
    assert again == value
    assert again.encode() == value.encode()


@pytest.mark.parametrize("make", VALUES)
def test_a_key_missing_or_surplus_or_of_another_type_is_refused(make: Callable[[], Any]) -> None:
    """All listed keys are present, none other, each of its own type."""
    value = make()
    items = cbor.decode(value.encode())
    assert isinstance(items, dict)
    wrong = [{key: item for key, item in items.items() if key != missing} for missing in items]
    wrong += [{**items, len(items): 0}]
    wrong += [{**items, key: None} for key in items]
    wrong += [{**items, key: -1 if isinstance(item, int) else b"x"} for key, item in items.items()]
    for changed in wrong:
        if changed.get({header: 7, proof: 0}.get(make, -1)) == b"x":
            continue  # constraints, and a signature not yet verified, are any bytes here
        with pytest.raises(Malformed):
            type(value).decode(cbor.encode(changed))


@pytest.mark.parametrize("make", VALUES)
def test_any_flipped_bit_gives_another_value_or_is_refused(make: Callable[[], Any]) -> None:
    """No two byte strings are one value, and no byte string is an unnamed error."""
    raw = make().encode()
    for at in range(len(raw) * 8):
        altered = bytearray(raw)
        altered[at // 8] ^= 1 << at % 8
        try:
            value = type(make()).decode(bytes(altered))
        except Malformed:
            continue
        assert value != make()
        assert value.encode() == altered


@pytest.mark.parametrize("make", [worker_half, gateway_half, dispatch, header])
def test_an_encoding_too_long_is_not_even_parsed(make: Callable[[], Any]) -> None:
    """Each structure has a length beyond which it is refused."""
    with pytest.raises(Malformed, match="at most"):
        type(make()).decode(make().encode() + bytes(1 << 14))


@pytest.mark.parametrize(
    "changes",
    [
        {"worker_half_sha256": b""},
        {"dispatches": ()},
        {"worker_half_sha256": b"x"},
        {"dispatches": (b"x",)},
        {"dispatches": (D["a"],) * 65},
        {"request_id": bytes(15)},
        {"charge_nanos": -1},
    ],
)
def test_a_gateway_half_out_of_form_cannot_be_made(changes: dict[str, Any]) -> None:
    """An answered request has a worker half and an attempt."""
    with pytest.raises(Malformed):
        gateway_half(**changes)


@pytest.mark.parametrize("outcome", [Outcome.REFUSED, Outcome.FAILED])
def test_a_request_nobody_answered_has_a_gateway_half_too(outcome: Outcome) -> None:
    """A refusal or a failure leaves a receipt, with no worker half and no charge."""
    half = gateway_half(worker_half_sha256=b"", outcome=outcome, charge_nanos=0)
    assert GatewayHalf.decode(half.encode()) == half


@pytest.mark.parametrize(
    "changes",
    [{"req_quantum": 0}, {"req_quantum": 513}, {"resp_quantum": 1 << 20}, {"flush_ms": 1 << 16}, {"model": "m" * 257}],
)
def test_limits_out_of_form_cannot_be_made(changes: dict[str, Any]) -> None:
    """A quantum is a multiple of 512 within a frame."""
    with pytest.raises(Malformed):
        limits(**changes)


@pytest.mark.parametrize("role", list(Role))
def test_a_session_may_not_ask_for_more_than_its_role(role: Role) -> None:
    """65,536 requests for a gateway, 256 for a client, at least one."""
    info = session_info()
    assert dataclasses.replace(info, role=role, max_requests=role.max_requests).role is role
    for wrong in (0, role.max_requests + 1):
        with pytest.raises(Malformed):
            dataclasses.replace(info, role=role, max_requests=wrong)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 33, 64])
def test_ruling_26_one_signature_serves_a_batch_of_halves(size: int) -> None:
    """Every half of a batch verifies with its own path under the one signature."""
    key = Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes_raw()
    halves = [worker_half(seq=seq).encode() for seq in range(size)]
    batch = sign_batch(key, WORKER_HALF, halves)
    assert batch.size == size
    for index, half in enumerate(halves):
        proof = HalfProof.decode(batch.proof(index).encode())
        verify_half(half, proof, public_key=public, purpose=WORKER_HALF)
        with pytest.raises(NotGenuine):
            verify_half(worker_half(seq=size).encode(), proof, public_key=public, purpose=WORKER_HALF)


def test_ruling_26_no_empty_or_oversized_batch_is_signed() -> None:
    """A batch holds 1 to 64 halves, for one of the two purposes."""
    key, half = Ed25519PrivateKey.generate(), worker_half().encode()
    for purpose, halves in ((WORKER_HALF, []), (WORKER_HALF, [half] * 65), ("offer", [half])):
        with pytest.raises(Malformed):
            sign_batch(key, purpose, halves)


def test_ruling_12_a_signature_for_one_kind_of_half_does_not_serve_the_other() -> None:
    """The purpose is in the signature, and so is the key."""
    key = Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes_raw()
    half = worker_half().encode()
    proof = sign_batch(key, WORKER_HALF, [half]).proof(0)
    for purpose, signer in ((GATEWAY_HALF, public), (WORKER_HALF, bytes(32))):
        with pytest.raises(NotGenuine) as raised:
            verify_half(half, proof, public_key=signer, purpose=purpose)
        assert raised.value.reason is Reason.RECEIPT_INVALID


def test_another_place_in_the_batch_is_refused() -> None:
    """Index, size and path belong together."""
    key = Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes_raw()
    halves = [worker_half(seq=seq).encode() for seq in range(5)]
    proof = sign_batch(key, WORKER_HALF, halves).proof(2)
    for changes in ({"index": 3}, {"size": 2, "index": 1}, {"path": proof.path[:-1]}, {"path": (*proof.path, D["a"])}):
        with pytest.raises(NotGenuine):
            verify_half(halves[2], dataclasses.replace(proof, **changes), public_key=public, purpose=WORKER_HALF)


def test_a_path_that_fits_several_sizes_serves_only_the_signed_one() -> None:
    """A half has one place: without the size under the signature, several trees would fit one path."""
    key = Ed25519PrivateKey.generate()
    halves = [worker_half(seq=seq).encode() for seq in range(3)]
    proof = sign_batch(key, WORKER_HALF, halves).proof(0)
    assert len(proof.path) == 2
    resized = dataclasses.replace(proof, size=4)
    with pytest.raises(NotGenuine, match="size"):
        verify_half(halves[0], resized, public_key=key.public_key().public_bytes_raw(), purpose=WORKER_HALF)


def test_a_transport_holds_a_bounded_number_of_grants() -> None:
    """A gateway that grants without end only pushes out its own oldest grants."""
    key = Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes_raw()
    transport = GrantedTransport(gateway_id=gateway_id_of(public), gateway_key=public)
    for number in range(MAX_GRANTS + 4):
        given = Grant(gateway_id=gateway_id_of(public), session_id=bytes([number] * 32), key_id=D["a"], expires=1 << 40)
        transport.admit(sign_grant(key, given), now=NOW)
    assert [grant.session_id[0] for grant in transport.granted(NOW)] == list(range(MAX_GRANTS + 3, 3, -1))
