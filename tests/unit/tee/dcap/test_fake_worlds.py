# SPDX-License-Identifier: Apache-2.0
"""Whole worlds of a fake Intel, each wrong in one way: which are refused, why, and which are genuine all the same."""

from datetime import timedelta
from typing import Any

import pytest

from attestation.claims import ComponentID, ComponentKind, TCBStatus, TEEKind
from attestation.errors import AttestationError, CollateralUnavailable, MalformedEvidence, NotGenuine, Reason
from attestation.tee.dcap.verifier import UNKNOWN_AGE_DAYS, SGXVerifier, TDXVerifier
from tests.support.fake_intel import DAY, MIGRATABLE, NOW, SEPT_VE_DISABLE, mint
from tests.support.intel_verifying import verify_world

KINDS = (TEEKind.TDX, TEEKind.SGX)
HOUR = timedelta(hours=1)

REFUSED: tuple[tuple[dict[str, Any], type[AttestationError], Reason], ...] = (
    ({"pck_revoked": True}, NotGenuine, Reason.CERTIFICATE_REVOKED),
    ({"ca_revoked": True}, NotGenuine, Reason.CERTIFICATE_REVOKED),
    ({"signer_revoked": True}, NotGenuine, Reason.CERTIFICATE_REVOKED),
    ({"root_revoked": True}, NotGenuine, Reason.CERTIFICATE_REVOKED),
    ({"wrong_quote_key": True}, NotGenuine, Reason.SIGNATURE_INVALID),
    ({"wrong_qe_key": True}, NotGenuine, Reason.SIGNATURE_INVALID),
    ({"wrong_statement_key": True}, NotGenuine, Reason.SIGNATURE_INVALID),
    ({"wrong_identity_key": True}, NotGenuine, Reason.SIGNATURE_INVALID),
    ({"wrong_commitment": True}, NotGenuine, Reason.CHAIN_INVALID),
    ({"wrong_pck_issuer": True}, NotGenuine, Reason.CHAIN_INVALID),
    ({"qe_signer": bytes(32)}, NotGenuine, Reason.CHAIN_INVALID),
    ({"qe_attributes": bytes([0x17]) + bytes(15)}, NotGenuine, Reason.CHAIN_INVALID),
    ({"signing_name": "Intel SGX PCK Certificate"}, NotGenuine, Reason.CHAIN_INVALID),
    ({"pck_ca_name": "Intel SGX TCB Signing"}, NotGenuine, Reason.CHAIN_INVALID),
    ({"pck_valid": (NOW - 2 * DAY, NOW - DAY)}, NotGenuine, Reason.CERTIFICATE_EXPIRED),
    ({"pck_valid": (NOW + DAY, NOW + 2 * DAY)}, NotGenuine, Reason.CERTIFICATE_EXPIRED),
    ({"foreign_crl": True}, CollateralUnavailable, Reason.COLLATERAL_UNAVAILABLE),
    ({"statement_fmspc": bytes(6)}, CollateralUnavailable, Reason.COLLATERAL_UNAVAILABLE),
    ({"pce_id": b"\0\1"}, CollateralUnavailable, Reason.COLLATERAL_UNAVAILABLE),
    ({"signing_until": NOW - DAY}, CollateralUnavailable, Reason.COLLATERAL_EXPIRED),
    ({"crl_next_update": NOW - HOUR}, CollateralUnavailable, Reason.COLLATERAL_EXPIRED),
    ({"next_update": NOW - HOUR}, CollateralUnavailable, Reason.COLLATERAL_EXPIRED),
    ({"issued": NOW + DAY}, CollateralUnavailable, Reason.COLLATERAL_EXPIRED),
    ({"tcb_version": 2}, MalformedEvidence, Reason.UNSUPPORTED),
    ({"status": "Excellent"}, MalformedEvidence, Reason.UNSUPPORTED),
    ({"qe_status": "SWHardeningNeeded"}, MalformedEvidence, Reason.UNSUPPORTED),
    ({"sgx_type": 3}, MalformedEvidence, Reason.UNSUPPORTED),
    ({"version": 6}, MalformedEvidence, Reason.UNSUPPORTED),
    ({"ppid": b"short"}, MalformedEvidence, Reason.MALFORMED),
)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("wish", "error", "reason"), REFUSED, ids=lambda value: str(value)[:40])
def test_a_wrong_world_is_refused_for_its_reason(
    kind: TEEKind, wish: dict[str, Any], error: type[AttestationError], reason: Reason
) -> None:
    """Everything that breaks the chain of trust has one reason, the same for both kinds."""
    with pytest.raises(error) as refused:
        verify_world(mint(kind, **wish))
    assert refused.value.reason is reason


@pytest.mark.parametrize("kind", KINDS)
def test_a_right_world_is_genuine_and_up_to_date(kind: TEEKind) -> None:
    """The counterpart of every refusal: with nothing wished, nothing is wrong."""
    claims = verify_world(mint(kind))
    assert (claims.debug, claims.tcb_status, claims.advisories) == (False, TCBStatus.UP_TO_DATE, ())
    assert claims.slot == bytes(range(64))
    assert claims.facts["tcb_level"] == "known"
    assert claims.facts["tcb_age_days"] == 100
    assert claims.facts["tcb_evaluation_number"] == 20


@pytest.mark.parametrize("kind", KINDS)
def test_a_fake_world_is_nothing_under_intels_root(kind: TEEKind) -> None:
    """With the pinned root, as in production, no minted evidence is genuine."""
    world = mint(kind)
    verifier = TDXVerifier() if kind is TEEKind.TDX else SGXVerifier()
    with pytest.raises(NotGenuine) as refused:
        verifier.verify(world.evidence, (world.collateral,), now=world.now)
    assert refused.value.reason is Reason.ROOT_REFUSED


@pytest.mark.parametrize("kind", KINDS)
def test_collateral_of_another_fake_root_is_refused(kind: TEEKind) -> None:
    """Statements must lead to a pinned root of their own."""
    world, other = mint(kind), mint(kind)
    with pytest.raises(NotGenuine) as refused:
        verify_world(world.with_statements(**other.statements))
    assert refused.value.reason is Reason.ROOT_REFUSED


@pytest.mark.parametrize("kind", KINDS)
def test_a_debug_guest_is_genuine_and_says_so(kind: TEEKind) -> None:
    """Debug is a claim for the policy to refuse, not a reason to call the evidence forged."""
    assert verify_world(mint(kind, debug=True)).debug


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("spoiled", ["wrong_quote_key", "pck_revoked", "wrong_statement_key"])
def test_a_debug_guest_whose_evidence_is_forged_is_refused_for_that(kind: TEEKind, spoiled: str) -> None:
    """Debug quotes go through every check that others do."""
    with pytest.raises(NotGenuine):
        verify_world(mint(kind, debug=True, **{spoiled: True}))


@pytest.mark.parametrize(
    ("wish", "fact", "value"),
    [
        ({"td_attributes": 0}, "sept_ve_disable", False),
        ({}, "sept_ve_disable", True),
        ({"td_attributes": SEPT_VE_DISABLE | MIGRATABLE}, "migratable", True),
        ({}, "migratable", False),
        ({"td_attributes": SEPT_VE_DISABLE | 1 << 40}, "other_attributes", "0000000000010000"),
        ({"td_attributes": SEPT_VE_DISABLE | 1 << 63}, "other_attributes", "0000000000000080"),
        ({}, "other_attributes", "0000000000000000"),
        ({"xfam": 0x3}, "xfam", "0300000000000000"),
        ({"evaluation_number": 3}, "tcb_evaluation_number", 3),
        ({"sgx_type": 2}, "sgx_type", "scalable-with-integrity"),
        ({"configuration": (False, True, False)}, "dynamic_platform", False),
        ({"configuration": (False, True, False)}, "cached_keys", True),
        ({"configuration": (False, True, False)}, "smt_enabled", False),
        ({"configuration": None}, "dynamic_platform", True),
        ({"configuration": None}, "cached_keys", True),
        ({"configuration": None}, "smt_enabled", True),
        ({"configuration": None, "sgx_type": 0}, "dynamic_platform", False),
        ({"configuration": None, "sgx_type": 0}, "smt_enabled", True),
        ({}, "event_log", "absent"),
        ({}, "app_compose", "absent"),
    ],
    ids=str,
)
def test_a_fact_says_what_the_quote_or_certificate_says(wish: dict[str, Any], fact: str, value: object) -> None:
    """What a platform does not state counts as what a policy would refuse."""
    assert verify_world(mint(TEEKind.TDX, **wish)).facts[fact] == value


def test_a_service_td_is_a_register_for_the_policy() -> None:
    """A guest bound to a migration TD is genuine; its register is not zero."""
    claims = verify_world(mint(TEEKind.TDX, version=5, mrservicetd=b"\7" * 48))
    assert {one.register: one.digest for one in claims.measurements}["mrservicetd"] == b"\7" * 48


@pytest.mark.parametrize(("wish", "stated"), [({"version": 4}, False), ({"version": 5}, True)], ids=["1.0", "1.5"])
def test_a_report_without_the_field_does_not_say_that_there_is_no_service_td(
    wish: dict[str, Any], stated: bool
) -> None:
    """Format 1.0 knows no service TDs: a policy that wants none of them is not met by silence."""
    claims = verify_world(mint(TEEKind.TDX, **wish))
    assert {one.register: one.digest for one in claims.measurements}.get("mrservicetd") == (
        bytes(48) if stated else None
    )


def test_an_enclave_states_version_product_and_configuration() -> None:
    """Numbers of the signer and the configuration id the host chose are there for the policy."""
    claims = verify_world(mint(TEEKind.SGX, isv_svn=9, config_id=b"\1" * 64))
    registers = {one.register: one.digest for one in claims.measurements}
    assert (claims.facts["isv_svn"], claims.facts["isv_prod_id"], registers["config_id"]) == (9, 3, b"\1" * 64)


def test_a_machine_is_known_by_ppid_and_instance() -> None:
    """Both identities are stated; a machine without an instance id, or with zeros for it, has its PPID alone."""
    ppid, instance = (ComponentID(kind=ComponentKind.CPU, value=value) for value in (b"\x41" * 16, b"\x42" * 16))
    assert verify_world(mint(TEEKind.TDX)).platform_ids == (ppid, instance)
    for missing in (None, bytes(16)):
        assert verify_world(mint(TEEKind.TDX, instance_id=missing)).platform_ids == (ppid,)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("wish", [{"level_svn": 5}, {"qe_svn": 7}, {"pce_svn": 10}], ids=str)
def test_a_platform_that_reaches_no_level_is_genuine_and_unknown(kind: TEEKind, wish: dict[str, Any]) -> None:
    """No status is made up: the level is unknown, and the age is beyond what any policy allows."""
    claims = verify_world(mint(kind, **wish))
    assert (claims.facts["tcb_level"], claims.tcb_status) == ("unknown", TCBStatus.UNSTATED)
    assert claims.facts["tcb_age_days"] == UNKNOWN_AGE_DAYS


def test_a_remembered_chain_or_collateral_is_still_asked_for_its_time() -> None:
    """A verifier that accepted a quote refuses the same one when the collateral has run out, and accepts it again."""
    world = mint(TEEKind.TDX)
    verifier = TDXVerifier(roots=world.roots)
    first = verifier.verify(world.evidence, (world.collateral,), now=world.now)
    with pytest.raises(CollateralUnavailable):
        verifier.verify(world.evidence, (world.collateral,), now=world.now + 60 * DAY)
    assert verifier.verify(world.evidence, (world.collateral,), now=world.now) == first


def test_a_verifier_takes_evidence_of_its_own_kind_and_format_only() -> None:
    """An SGX quote labelled TDX, or a format of another name, is unsupported."""
    world = mint(TEEKind.SGX)
    with pytest.raises(MalformedEvidence) as refused:
        TDXVerifier(roots=world.roots).verify(world.evidence, (world.collateral,), now=world.now)
    assert refused.value.reason is Reason.UNSUPPORTED
