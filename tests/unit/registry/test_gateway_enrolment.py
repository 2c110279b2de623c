# SPDX-License-Identifier: Apache-2.0
"""Gateways are known to workers by their keys' entries in the log, and by nothing else."""

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from attestation.errors import Malformed, MalformedEvidence, NotGenuine, Reason, SealbidError
from attestation.registration import sign_enrolment
from attestation.registry.gateways import LoggedGateway, verify_gateway
from attestation.rpc.pinning import GATEWAY_NAME, make_identity
from tests.support.certificates import unfit_certificates
from tests.support.worlds import World, world

KEY = Ed25519PrivateKey.from_private_bytes(b"\x31" * 32)
SIGNING = KEY.public_key().public_bytes_raw()
TLS = make_identity("gateway", GATEWAY_NAME)


def enrol(here: World, certificate: bytes = TLS.certificate_der) -> LoggedGateway:
    return here.registry.enrol_gateway(
        signing_key=SIGNING, certificate_der=certificate, enrolment=sign_enrolment(KEY, certificate), by="gateway-1"
    )


def test_an_enrolled_gateway_verifies_and_twice_is_once() -> None:
    """Both keys are proven by the log; enrolling again adds nothing and gives proofs under the newest checkpoint."""
    here = world()
    gateway = enrol(here)
    verify_gateway(gateway, trust=here.trust)
    size = len(here.entries())
    verify_gateway(enrol(here), trust=here.trust)
    assert len(here.entries()) == size
    assert [known.gateway_id for known in here.registry.gateways()] == [gateway.gateway_id]


def test_a_new_certificate_is_a_new_entry() -> None:
    """A gateway that restarts with another TLS key is logged anew and listed once, with the new key."""
    here = world()
    enrol(here)
    other = make_identity("gateway", GATEWAY_NAME).certificate_der
    verify_gateway(enrol(here, other), trust=here.trust)
    (listed,) = here.registry.gateways()
    assert listed.certificate_der == other


def test_only_the_holder_of_the_key_can_enrol_it() -> None:
    """An enrolment by another key, for another certificate, or of another form is refused and not logged."""
    here = world()
    size = len(here.entries())
    other = make_identity("gateway", GATEWAY_NAME).certificate_der
    stranger = Ed25519PrivateKey.generate()
    attempts = (
        (TLS.certificate_der, sign_enrolment(stranger, TLS.certificate_der), NotGenuine),
        (TLS.certificate_der, sign_enrolment(KEY, other), NotGenuine),
        (TLS.certificate_der, b"garbage", Malformed),
        (b"not a certificate", sign_enrolment(KEY, b"not a certificate"), MalformedEvidence),
    )
    for certificate, enrolment, error in attempts:
        with pytest.raises(error):
            here.registry.enrol_gateway(
                signing_key=SIGNING, certificate_der=certificate, enrolment=enrolment, by="gateway-1"
            )
    assert len(here.entries()) == size


def test_a_gateway_cannot_enrol_the_certificate_of_another() -> None:
    """Certificates are public; under its own name it would pass for the other at workers."""
    here = world()
    enrol(here)
    size = len(here.entries())
    key = Ed25519PrivateKey.generate()
    with pytest.raises(NotGenuine) as refused:
        here.registry.enrol_gateway(
            signing_key=key.public_key().public_bytes_raw(),
            certificate_der=TLS.certificate_der,
            enrolment=sign_enrolment(key, TLS.certificate_der),
            by="gateway-2",
        )
    assert refused.value.reason is Reason.KEYSET_MISMATCH
    assert len(here.entries()) == size


def test_a_certificate_unfit_to_be_pinned_is_neither_enrolled_nor_trusted() -> None:
    """One over the logged key that could issue others, is of no version or of a foreign hand is refused by name."""
    here = world()
    gateway = enrol(here)
    size = len(here.entries())
    for unfit, why in unfit_certificates(TLS).items():
        with pytest.raises(SealbidError) as refused:
            enrol(here, unfit)
        assert refused.value.reason is why
        with pytest.raises(SealbidError) as refused:
            verify_gateway(replace(gateway, certificate_der=unfit), trust=here.trust)
        assert refused.value.reason is why
    assert len(here.entries()) == size


def test_a_gateway_with_any_part_exchanged_does_not_verify() -> None:
    """Another key, certificate, entry or proof than the logged ones is refused."""
    here = world()
    gateway = enrol(here)
    other = make_identity("gateway", GATEWAY_NAME).certificate_der
    stranger = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    changes = (
        {"gateway_id": bytes(32)},
        {"signing_key": stranger},
        {"certificate_der": other},
        {"key_entry": gateway.tls_entry, "key_proof": gateway.tls_proof},
        {"tls_entry": gateway.key_entry, "tls_proof": gateway.key_proof},
        {"key_proof": gateway.tls_proof},
        {"key_entry": here.entries()[1].encoded, "key_proof": here.log.proof(1)},
    )
    for change in changes:
        with pytest.raises(SealbidError) as refused:
            verify_gateway(replace(gateway, **change), trust=here.trust)
        assert refused.value.reason in {Reason.KEYSET_MISMATCH, Reason.PROOF_INVALID}
