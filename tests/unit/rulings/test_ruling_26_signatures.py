# SPDX-License-Identifier: Apache-2.0
"""Ruling 26: no asymmetric cryptography between admission and answer; halves are signed in batches afterwards."""

from typing import NoReturn

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from attestation.codec import cose
from attestation.sealing import session, suite
from attestation.sealing.batch import MAX_LEAVES, WORKER_HALF, sign_leaves
from enclave.halves import HalfBook
from tests.support.sealing import GatewaySide, WorkerSide, receive

GATEWAY = b"g" * 32


def refuse(*_: object, **__: object) -> NoReturn:
    """Stands in for every asymmetric operation."""
    raise AssertionError("asymmetric operation on the request path")


def test_ruling_26_a_request_costs_no_asymmetric_operation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once a session stands, sealing, dispatch, opening, answer and half need no signature and no encapsulation."""
    gateway = GatewaySide(WorkerSide())
    gateway.open(gateway.send())
    gateway.session.mark_established()
    for module, name in ((cose, "sign"), (cose, "verify"), (suite, "seal"), (session, "seal")):
        monkeypatch.setattr(module, name, refuse)
    monkeypatch.setattr(suite.HPKEKeyPair, "open", refuse)
    sent = gateway.send()
    assert receive(sent, gateway.worker.answer(gateway.open(sent), b"answer")) == b"answer"


def test_ruling_26_a_workers_halves_share_signatures() -> None:
    """A hundred halves in a row are signed twice: when 64 are there, and for the rest when the timer says so."""
    key, signed, timers = Ed25519PrivateKey.generate(), [], []

    def sign(leaves: object) -> bytes:
        assert isinstance(leaves, tuple)
        signed.append(len(leaves))
        return sign_leaves(key, WORKER_HALF, leaves)

    book = HalfBook(sign=sign, deliver=lambda *_: None, later=lambda _, flush: timers.append(flush), capacity=1000)
    for number in range(100):
        book.reserve(GATEWAY)
        half = book.add(GATEWAY, lambda seq: seq.to_bytes(8, "big"), memo=b"", origin=None)
        assert half == (number + 1).to_bytes(8, "big")  # the trailer has its half at once
    timers[-1]()
    assert signed == [MAX_LEAVES, 100 - MAX_LEAVES]
