# SPDX-License-Identifier: Apache-2.0
"""Possession of an attested key is proof of verification."""

import dataclasses

import pytest

from attestation.attested import AttestedKey, AttestedWorker
from attestation.binding import SuiteID
from attestation.errors import NotAcceptable, Reason
from tests.support.attested import attested_for_tests
from tests.support.worlds import Machine

BOTH = (SuiteID.MLKEM768_X25519, SuiteID.X25519)


def test_only_verification_builds_them() -> None:
    """Neither value can be built, nor one changed into another, without the verifier's token."""
    worker = attested_for_tests(Machine().keyset)
    fields = {name: getattr(worker.keys[0], name) for name in AttestedKey.__slots__}
    with pytest.raises(TypeError):
        AttestedKey(**fields, token=object())
    with pytest.raises((TypeError, ValueError)):
        dataclasses.replace(worker.keys[0], worker_id=bytes(32))  # type: ignore[call-arg]  # no token, as meant
    fields = {name: getattr(worker, name) for name in AttestedWorker.__slots__}
    with pytest.raises(TypeError):
        AttestedWorker(**fields, token=None)


def test_ruling_21_the_sender_takes_its_own_best_suite() -> None:
    """The first suite the sender allows and the attested keyset has is taken; the classical one only if listed."""
    worker = attested_for_tests(Machine(suites=BOTH).keyset)
    assert worker.key((SuiteID.X25519, SuiteID.MLKEM768_X25519)).suite is SuiteID.X25519
    assert worker.key((SuiteID.MLKEM768_X25519,)).suite is SuiteID.MLKEM768_X25519
    classical = attested_for_tests(Machine(suites=(SuiteID.X25519,)).keyset)
    with pytest.raises(NotAcceptable) as refused:
        classical.key((SuiteID.MLKEM768_X25519,))
    assert refused.value.reason is Reason.POLICY_REFUSED


def test_text_forms_leave_out_key_material() -> None:
    """Rendering an attested worker prints identities, not public keys, proofs or certificates."""
    worker = attested_for_tests(Machine().keyset, certificate_der=b"certificate-bytes", verdict_proof=b"proof-bytes")
    text = repr(worker) + repr(worker.keys[0])
    assert "certificate-bytes" not in text
    assert "proof-bytes" not in text
    assert repr(worker.keys[0].public_key) not in text
