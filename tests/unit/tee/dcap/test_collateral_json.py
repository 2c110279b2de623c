# SPDX-License-Identifier: Apache-2.0
"""Collateral as hostile JSON: read within bounds, refused by name, never half."""

import json

import pytest

from attestation.bundle import Collateral
from attestation.claims import TEEKind
from attestation.errors import CollateralUnavailable, MalformedEvidence, NotGenuine, Reason
from attestation.tee.dcap.genuine import MAX_OFFERED
from attestation.tee.dcap.verifier import TDXVerifier
from tests.support.fake_intel import World, mint, pack
from tests.support.intel_verifying import verify_world


@pytest.fixture
def world() -> World:
    """A right world."""
    return mint(TEEKind.TDX)


def refusal(world: World, data: bytes) -> Reason:
    """Why the collateral is not read."""
    with pytest.raises(MalformedEvidence) as refused:
        TDXVerifier(roots=world.roots).verify(
            world.evidence, (Collateral(kind="intel-dcap-json", data=data),), now=world.now
        )
    return refused.value.reason


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"\xff\xfe",
        b'{"tcb_info": 1}',
        b"[" * 100_000,
        b'{"a":' * 5_000 + b"1" + b"}" * 5_000,
        b'{"a": NaN}',
        b'{"a": 1.5}',
        b'{"a": ' + b"9" * 5_000 + b"}",
        b'{"a": "\\ud800"}',
        b" " * ((4 << 20) + 1),
    ],
    ids=lambda data: data[:12].decode("latin-1"),
)
def test_what_is_not_the_collaterals_json_is_malformed(world: World, data: bytes) -> None:
    """Bombs of depth and size, numbers that are none, text that is not Unicode."""
    assert refusal(world, data) is Reason.MALFORMED


def test_a_duplicate_key_is_malformed_at_any_depth(world: World) -> None:
    """Two readers could take different ones; so neither the outer object nor a signed statement may repeat a key."""
    packed = json.dumps(world.statements)
    assert refusal(world, packed.replace("{", '{"pck_crl": "00", ', 1).encode()) is Reason.MALFORMED
    info = world.statements["tcb_info"]
    for old, new in (('"svn": 4', '"svn": 4, "svn": 0'), ('"version": 3', '"version": 3, "version": 3')):
        assert refusal(world, world.with_statements(tcb_info=info.replace(old, new, 1)).collateral.data) is (
            Reason.MALFORMED
        )


@pytest.mark.parametrize(
    "name", ["tcb_info", "qe_identity_signature", "pck_crl", "root_ca_crl", "pck_crl_issuer_chain"]
)
@pytest.mark.parametrize("value", [None, 1, "", "zz", "00", []], ids=str)
def test_a_member_missing_or_of_another_form_is_malformed(world: World, name: str, value: object) -> None:
    """Every one of the nine members is needed and has one form."""
    missing = {key: member for key, member in world.statements.items() if key != name}
    assert refusal(world, json.dumps(missing).encode()) is Reason.MALFORMED
    assert refusal(world, world.with_statements(**{name: value}).collateral.data) is Reason.MALFORMED


def test_more_may_stand_in_the_collateral_but_no_chain_for_the_quote(world: World) -> None:
    """Unknown members change nothing; a PCK chain would be preferred to the quote's own by some readers."""
    assert verify_world(world.with_statements(api_version=4)) == verify_world(world)
    chain = world.statements["tcb_info_issuer_chain"]
    assert refusal(world, world.with_statements(pck_certificate_chain=chain).collateral.data) is Reason.UNSUPPORTED


def test_statements_of_the_other_tee_do_not_serve(world: World) -> None:
    """SGX statements, though signed by the same Intel, do not judge a TDX quote."""
    assert refusal(world, mint(TEEKind.SGX).collateral.data) is Reason.UNSUPPORTED


def test_of_several_the_newest_evaluation_is_used_whatever_the_order() -> None:
    """Intel issues two numbers side by side: the higher judges, also when it judges another platform's worse."""
    old, new = mint(TEEKind.TDX, evaluation_number=19), mint(TEEKind.TDX, evaluation_number=20)
    verifier = TDXVerifier(roots=old.roots | new.roots)
    for offered in ((old.collateral, new.collateral), (new.collateral, old.collateral)):
        assert verifier.verify(new.evidence, offered, now=new.now).facts["tcb_evaluation_number"] == 20
        with pytest.raises(NotGenuine) as refused:  # the newer is of another root, which shows that it was chosen
            verifier.verify(old.evidence, offered, now=old.now)
        assert refused.value.reason is Reason.CHAIN_INVALID


def test_expired_collateral_beside_current_changes_nothing(world: World) -> None:
    """Archives hold several; the current one is used."""
    stale = world.statements["tcb_info"].replace('"nextUpdate": "2026-06-30', '"nextUpdate": "2026-05-31')
    assert stale != world.statements["tcb_info"]
    expired = pack({**world.statements, "tcb_info": stale})
    verifier = TDXVerifier(roots=world.roots)
    offered = (expired, world.collateral)
    assert verifier.verify(world.evidence, offered, now=world.now) == verify_world(world)


def test_too_many_collaterals_decide_nothing(world: World) -> None:
    """The work a presentation can ask for is bounded."""
    with pytest.raises(CollateralUnavailable):
        TDXVerifier(roots=world.roots).verify(world.evidence, (world.collateral,) * (MAX_OFFERED + 1), now=world.now)
