# SPDX-License-Identifier: Apache-2.0
"""A receipt is accepted as it was made and refused after any change, each step for its own reason."""

import base64
import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attestation.errors import MalformedEvidence, NotGenuine, Reason
from attestation.exits import Exit, exit_code
from attestation.receipt import verify_receipt
from attestation.receipt_file import ReceiptFile
from attestation.sealing.halves import Outcome, WorkerStatus
from tests.support.receipts import NOW, World, _key


def test_a_receipt_names_node_verdict_engine_price_and_attempts() -> None:
    """Everything an auditor asks of one request stands in the verified value."""
    world = World()
    verified = verify_receipt(ReceiptFile.decode(world.receipt().encode()), world.trust)
    assert verified.worker is not None
    assert verified.worker.worker_id == world.keyset.worker_id
    assert verified.worker.provider == "provider-a"
    assert verified.worker.verdict_index == 1
    assert verified.worker.engine_sha256 == world.engine
    assert (verified.price_nanos, verified.charge_nanos, verified.attempts) == (500, 500, 2)
    assert verified.simulated
    assert verified.witnesses == "operator's word only"


def test_a_request_nobody_answered_leaves_a_receipt_too() -> None:
    """A failed request's receipt verifies, names no worker and charges nothing."""
    world = World()
    verified = verify_receipt(ReceiptFile.decode(world.unanswered().encode()), world.trust)
    assert verified.worker is None
    assert (verified.outcome, verified.charge_nanos, verified.attempts) == (Outcome.FAILED, 0, 1)


def _leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _leaves(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _leaves(item, (*path, index))
    else:
        yield path


def _mutations(value: Any) -> Iterator[Any]:
    """Other values of the same form: what a forger would write."""
    if isinstance(value, bool):
        yield not value
    elif isinstance(value, int):
        yield value + 1
        yield max(0, value - 1) if value else 2
        yield value + 64
    elif value == "sealbid/receipt/1":
        yield "sealbid/receipt/2"
    else:
        data = base64.b64decode(value)
        for position in range(len(data)):
            changed = bytearray(data)
            changed[position] ^= 1 << (position % 8)
            yield base64.b64encode(changed).decode()
        yield base64.b64encode(data + b"\x00").decode()
        yield base64.b64encode(data[:-1]).decode()


@pytest.mark.parametrize("path", list(_leaves(json.loads(World().receipt().encode()))), ids=str)
def test_every_field_changed_in_any_byte_is_rejected(path: tuple[Any, ...]) -> None:
    """No byte of a receipt is free: each altered field is a rejection, not a parse error and not an acceptance."""
    world = World()
    original = json.loads(world.receipt().encode())
    holder = original
    for step in path[:-1]:
        holder = holder[step]
    before = holder[path[-1]]
    for mutated in _mutations(before):
        holder[path[-1]] = mutated
        with pytest.raises(NotGenuine) as rejected:
            verify_receipt(ReceiptFile.decode(json.dumps(original).encode()), world.trust)
        assert exit_code(rejected.value) is Exit.REJECTED, mutated
    holder[path[-1]] = before
    verify_receipt(ReceiptFile.decode(json.dumps(original).encode()), world.trust)


@pytest.mark.parametrize(
    ("world", "field"),
    [
        (World(verdict_passed=False), "verdict"),
        (World(key_use="lease"), "gateway_key use"),
        (World(engine=bytes(32)), "engine_sha256"),
        (World(key_id=bytes(32)), "dispatch.key_id"),
        (World(half_started=NOW + timedelta(hours=2)), "worker_half.started"),
        (World(half_started=NOW - timedelta(hours=2)), "worker_half.started"),
        (World(charge=501), "charge_nanos"),
        (World(status=WorkerStatus.ENGINE_FAILED), "worker_half.status"),
        (World(status=WorkerStatus.CANCELLED), "worker_half.status"),
        (World(outcome=Outcome.REFUSED), "worker_half.status"),
        (World(status=WorkerStatus.ENGINE_FAILED, outcome=Outcome.FAILED), "charge_nanos"),
        (World(edit_gateway_half=lambda half: replace(half, price_nanos=501)), "price"),
        (World(edit_gateway_half=lambda half: replace(half, gateway_id=bytes(32))), "gateway_half.gateway_id"),
        (World(edit_gateway_half=lambda half: replace(half, dispatches=half.dispatches[:1])), "dispatches"),
        (World(edit_gateway_half=lambda half: replace(half, award_sha256=bytes(32))), "award"),
        (World(edit_gateway_half=lambda half: replace(half, worker_half_sha256=bytes(32))), "worker_half digest"),
        (World(edit_worker_half=lambda half: replace(half, worker_id=bytes(32))), "worker_half.worker_id"),
        (World(edit_worker_half=lambda half: replace(half, keyset_id=bytes(32))), "worker_half.keyset_id"),
        (World(edit_worker_half=lambda half: replace(half, binding_digest=bytes(32))), "worker_half.binding_digest"),
        (World(edit_worker_half=lambda half: replace(half, dispatch_sha256=bytes(32))), "worker_half.dispatch_sha256"),
        (World(edit_worker_half=lambda half: replace(half, header_sha256=bytes(32))), "worker_half.header_sha256"),
    ],
)
def test_honestly_signed_parts_that_do_not_belong_together_are_refused(world: World, field: str) -> None:
    """Ruling 12: halves, award, price, verdict and keys cannot be mixed, even by those who can sign them."""
    with pytest.raises(NotGenuine) as refused:
        verify_receipt(world.receipt(), world.trust)
    assert refused.value.reason is Reason.RECEIPT_INVALID
    assert field in refused.value.message


def test_another_logs_key_proves_nothing() -> None:
    """A receipt under a log the auditor does not trust is refused."""
    world = World()
    with pytest.raises(NotGenuine) as refused:
        verify_receipt(replace(world, log_key=_key(5)).receipt(), world.trust)
    assert refused.value.reason is Reason.CHECKPOINT_INVALID


def test_an_unanswered_request_cannot_charge() -> None:
    """Without a worker's half there is nothing to charge for."""
    world = World(edit_gateway_half=lambda half: replace(half, charge_nanos=1))
    with pytest.raises(NotGenuine, match="charge_nanos"):
        verify_receipt(world.unanswered(), world.trust)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"v": 1, "v": 2}',
        b"\xff",
        b"[" * 100_000,
        World().receipt().encode().replace(b'"index": 2', b'"index": 2.0'),
        World().receipt().encode().replace(b'"index": 2', b'"index": -2'),
        World().receipt().encode().replace(b'"v"', b'"w"'),
        World().receipt().encode().replace(b'"simulated": true', b'"simulated": "yes"'),
        World().receipt().encode().replace(b'"award": "', b'"award": "*'),
        World().receipt().encode() + b"{}",
    ],
)
def test_garbage_is_malformed(data: bytes) -> None:
    """What is no receipt at all is told apart from one that does not hold."""
    with pytest.raises(MalformedEvidence) as refused:
        ReceiptFile.decode(data)
    assert exit_code(refused.value) is Exit.MALFORMED


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300))
def test_the_parser_is_total(data: bytes) -> None:
    """Any bytes give a receipt or one named error."""
    with suppress(MalformedEvidence):
        ReceiptFile.decode(data)
