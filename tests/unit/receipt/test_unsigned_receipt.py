# SPDX-License-Identifier: Apache-2.0
"""Ruling 26: a receipt whose worker never signed its half is a finding of its own, never accepted and never silent."""

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from attestation.audit.receipt import audit_receipt_file
from attestation.errors import MalformedEvidence, NotGenuine, Reason
from attestation.exits import Exit, exit_code
from attestation.receipt import SignatureMissing, verify_receipt
from attestation.receipt_file import ReceiptFile
from attestation.sealing.halves import WorkerStatus
from tests.support.receipts import NOW, World

WORKER_FIELDS = ("worker_half", "worker_batch", "keyset", "verdict")


def test_ruling_26_a_missing_signature_is_a_finding_with_a_name() -> None:
    """All but the signature holds: undecided by name, with what the gateway states, and not an accepted receipt."""
    world = World()
    with pytest.raises(SignatureMissing) as missing:
        verify_receipt(ReceiptFile.decode(world.unsigned().encode()), world.trust)
    assert missing.value.reason is Reason.SIGNATURE_MISSING
    assert exit_code(missing.value) is Exit.UNDECIDED
    stated = missing.value.stated
    assert stated == verify_receipt(world.receipt(), world.trust)
    assert stated.attempts == 2


def test_the_audit_shows_what_is_stated_and_that_it_is_the_gateways_word(tmp_path: Path) -> None:
    """For people and programs alike: undecided, why, and every fact of the receipt."""
    world = World()
    (tmp_path / "trust.toml").write_bytes(world.trust.to_toml())
    (tmp_path / "whole.json").write_bytes(world.receipt().encode())
    (tmp_path / "unsigned.json").write_bytes(world.unsigned().encode())
    whole = audit_receipt_file(tmp_path / "whole.json", tmp_path / "trust.toml", now=NOW)
    unsigned = audit_receipt_file(tmp_path / "unsigned.json", tmp_path / "trust.toml", now=NOW)
    assert (whole.exit, unsigned.exit) == (Exit.ACCEPTED, Exit.UNDECIDED)
    shown = unsigned.to_json()
    assert {name: shown[name] for name in ("verdict", "reason", "exit")} == {
        "verdict": "undecided",
        "reason": "SIGNATURE_MISSING",
        "exit": 20,
    }
    assert {name: shown[name] for name in whole.to_json() if name != "verdict"} == {
        name: value for name, value in whole.to_json().items() if name != "verdict"
    }
    lines = unsigned.lines()
    assert any(line.startswith("undecided (SIGNATURE_MISSING)") and "gateway's word only" in line for line in lines)
    assert "accepted" not in "\n".join(lines)


@pytest.mark.parametrize(
    ("world", "field"),
    [
        (World(verdict_passed=False), "verdict"),
        (World(engine=bytes(32)), "engine_sha256"),
        (World(half_started=NOW + timedelta(hours=2)), "worker_half.started"),
        (World(charge=501), "charge_nanos"),
        (World(status=WorkerStatus.ENGINE_FAILED), "worker_half.status"),
        (World(edit_gateway_half=lambda half: replace(half, worker_half_sha256=bytes(32))), "worker_half digest"),
        (World(edit_worker_half=lambda half: replace(half, dispatch_sha256=bytes(32))), "worker_half.dispatch_sha256"),
        (World(edit_worker_half=lambda half: replace(half, keyset_id=bytes(32))), "worker_half.keyset_id"),
    ],
)
def test_what_does_not_hold_is_rejected_signed_or_not(world: World, field: str) -> None:
    """Leaving the signature away turns no rejection into a doubt."""
    with pytest.raises(NotGenuine) as refused:
        verify_receipt(world.unsigned(), world.trust)
    assert field in refused.value.message


def test_no_byte_of_an_unsigned_half_is_free() -> None:
    """The gateway's signed half names the digest of the worker's: it cannot be exchanged for want of a signature."""
    world = World()
    receipt = world.unsigned()
    assert receipt.worker is not None
    for position in range(len(receipt.worker.half)):
        changed = bytearray(receipt.worker.half)
        changed[position] ^= 1
        with pytest.raises(NotGenuine):
            verify_receipt(replace(receipt, worker=replace(receipt.worker, half=bytes(changed))), world.trust)


@pytest.mark.parametrize(
    "absent",
    [
        {"worker_half"},
        {"keyset"},
        {"verdict"},
        {"worker_half", "worker_batch"},
        {"worker_half", "keyset", "verdict"},
        {"worker_batch", "verdict"},
    ],
)
def test_other_parts_of_a_worker_are_never_missing_alone(absent: set[str]) -> None:
    """The four fields are all there, all null, or null but for the signature; anything else is no receipt."""
    document = json.loads(World().receipt().encode())
    assert absent < set(WORKER_FIELDS)
    with pytest.raises(MalformedEvidence):
        ReceiptFile.decode(json.dumps({**document, **dict.fromkeys(absent)}).encode())
