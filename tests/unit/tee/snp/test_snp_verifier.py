# SPDX-License-Identifier: Apache-2.0
"""What makes a SEV-SNP report genuine, and the reason for each way of not being it."""

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from attestation.bundle import Collateral, Evidence
from attestation.claims import EvidenceClaims, TCBStatus, TEEKind
from attestation.errors import AttestationError, CollateralUnavailable, MalformedEvidence, NotGenuine, Reason
from attestation.facts.amd import SNP
from attestation.tee.snp.endorsement import MAX_CERTIFICATES, MAX_CRLS, ROOTS
from attestation.tee.snp.product import Product
from attestation.tee.snp.verifier import SNPVerifier
from tests.support import fake_amd as amd
from tests.support.fake_amd import LeafOptions, SNPWorld

GENOA = Product.GENOA


def verified(world: SNPWorld, now: datetime = amd.NOW) -> EvidenceClaims:
    return world.verifier.verify(world.evidence, world.collateral, now=now)


def refusal(world: SNPWorld, now: datetime = amd.NOW) -> tuple[type[AttestationError], Reason]:
    with pytest.raises(AttestationError) as caught:
        verified(world, now)
    return type(caught.value), caught.value.reason


def with_leaf(options: LeafOptions, product: Product = GENOA, kind: str = "VCEK") -> SNPWorld:
    return amd.world(product, amd.report(product), amd.leaf(product, kind, options))


@pytest.mark.parametrize("version", [2, 3, 5])
@pytest.mark.parametrize("product", list(Product))
def test_every_line_and_version_is_genuine_under_its_own_chain(product: Product, version: int) -> None:
    """Milan, Genoa and Turin reports of versions 2, 3 and 5 verify, and state exactly the vocabulary."""
    claims = verified(amd.good(product, version))
    assert claims.facts["product"] == product.value
    assert claims.facts["report_version"] == version
    assert claims.facts["snp_spl"] == amd.LEVELS["snp"]
    assert claims.facts["fmc_spl"] == (amd.LEVELS["fmc"] if product is Product.TURIN else 0)
    assert claims.tcb_status is TCBStatus.UNSTATED
    assert claims.debug is False
    assert [identity.value for identity in claims.platform_ids] == [amd.chip_id(product)]
    assert set(claims.facts) == set(SNP.facts)
    assert {name: type(value) for name, value in claims.facts.items()} == {
        name: fact.type for name, fact in SNP.facts.items()
    }


def test_a_provider_s_key_names_the_provider_and_no_chip() -> None:
    """A VLEK chain through the ASVK is genuine; the masked chip id is zeros, which count as no identity."""
    claims = verified(amd.of_a_provider())
    assert (claims.facts["signing_key"], claims.facts["provider"]) == ("vlek", amd.PROVIDER)
    assert all(identity.masked for identity in claims.platform_ids)


def test_masking_does_not_hide_a_chip_whose_own_key_signs() -> None:
    """Under a VCEK the identity comes from the certificate, so that a denied chip cannot hide behind the mask."""
    claims = verified(amd.masked_chip())
    assert [identity.value for identity in claims.platform_ids] == [amd.chip_id(GENOA)]
    assert claims.facts["chip_id_masked"] is True


def test_debug_is_stated_and_not_judged() -> None:
    """A guest whose policy allows debugging is genuine and says debug."""
    assert verified(amd.debug()).debug is True


@pytest.mark.parametrize(
    ("world", "error", "reason"),
    [
        (amd.wrong_tcb, NotGenuine, Reason.TCB_MISMATCH),
        (amd.wrong_chip, NotGenuine, Reason.CHIP_MISMATCH),
        (amd.swapped_signature, NotGenuine, Reason.SIGNATURE_INVALID),
        (amd.of_another_house, NotGenuine, Reason.ROOT_REFUSED),
        (amd.unknown_product, MalformedEvidence, Reason.UNSUPPORTED),
        (lambda: amd.of_version(6), MalformedEvidence, Reason.UNSUPPORTED),
        (lambda: amd.of_version(4), MalformedEvidence, Reason.UNSUPPORTED),
        (lambda: amd.of_version(0), MalformedEvidence, Reason.UNSUPPORTED),
    ],
    ids=["tcb", "chip", "signature", "root", "product", "v6", "v4", "v0"],
)
def test_each_wrong_world_has_its_reason(
    world: Callable[[], SNPWorld], error: type[AttestationError], reason: Reason
) -> None:
    """Each world with one thing wrong is refused by that thing's own reason."""
    assert refusal(world()) == (error, reason)


@pytest.mark.parametrize("missing", ["SEV-VCEK", "SEV-Genoa", "ARK-Genoa"])
def test_a_chain_with_a_link_missing_is_not_decided(missing: str) -> None:
    """Whichever certificate is missing, the report is not decided: whoever brings it may get another answer."""
    assert refusal(amd.good().without(missing)) == (CollateralUnavailable, Reason.ENDORSEMENT_MISSING)


def test_a_key_of_the_other_kind_endorses_nothing() -> None:
    """A report signed by a VLEK is not endorsed by a VCEK, nor the other way round."""
    swapped = amd.world(GENOA, amd.of_a_provider().evidence.data, amd.leaf(GENOA))
    assert refusal(swapped) == (CollateralUnavailable, Reason.ENDORSEMENT_MISSING)
    swapped = amd.world(GENOA, amd.report(), amd.leaf(GENOA, "VLEK"), "SEV-VLEK-")
    assert refusal(swapped) == (CollateralUnavailable, Reason.ENDORSEMENT_MISSING)


def test_certificates_of_other_machines_do_no_harm() -> None:
    """Among the certificates of several chips, firmware levels and lines the fitting one is found, in any order."""
    others = [
        amd.leaf(GENOA, options=LeafOptions(chip="another", key="another")),
        amd.leaf(GENOA, options=LeafOptions(levels={"snp": 7}, key="old")),
        amd.leaf(Product.TURIN, options=LeafOptions(key="turin")),
        amd.intermediate(GENOA, "SEV-VLEK-"),
        amd.intermediate(Product.TURIN),
        amd.ark(Product.TURIN),
    ]
    world = amd.good().adding(*map(amd.certificate, others), amd.crl(Product.TURIN, revoked=[0x10001]))
    for collateral in (world.collateral, world.collateral[::-1]):
        claims = world.verifier.verify(world.evidence, collateral, now=amd.NOW)
        assert claims.facts["crl"] == "absent"


def test_an_impostor_of_the_same_name_does_not_hide_the_real_intermediate() -> None:
    """Another house's intermediate and root of the same names are passed over when the real ones are there too."""
    impostors = (amd.intermediate(GENOA, house="nobody"), amd.ark(GENOA, "nobody"))
    world = amd.good()
    collateral = (*map(amd.certificate, impostors), *world.collateral)
    assert world.verifier.verify(world.evidence, collateral, now=amd.NOW).facts["product"] == "Genoa"


def test_of_several_fitting_certificates_any_good_one_is_enough() -> None:
    """An expired, a forged and another key's certificate for the same chip and levels do not hide the good one."""
    others = [
        amd.leaf(GENOA, options=LeafOptions(days=1)),
        amd.leaf(GENOA, options=LeafOptions(signer="SEV-Turin")),
        amd.leaf(GENOA, options=LeafOptions(key="another")),
    ]
    extra = tuple(map(amd.certificate, others))
    world = amd.good()
    for collateral in (extra + world.collateral, world.collateral + extra):
        assert world.verifier.verify(world.evidence, collateral, now=amd.NOW).facts["product"] == "Genoa"
    masked = amd.masked_chip().adding(amd.certificate(amd.leaf(GENOA, options=LeafOptions(chip="b", key="b"))))
    assert [identity.value for identity in verified(masked).platform_ids] == [amd.chip_id(GENOA)]


def test_the_roots_that_ship_are_amd_s_alone() -> None:
    """The verifier as it ships refuses a perfect world of another AMD."""
    world = amd.good()
    with pytest.raises(NotGenuine) as caught:
        SNPVerifier().verify(world.evidence, world.collateral, now=amd.NOW)
    assert caught.value.reason is Reason.ROOT_REFUSED
    assert sorted(ROOTS.values()) == sorted(Product)


def test_a_root_serves_its_own_line_only() -> None:
    """A key whose certificate names another line than its root is refused, and so is a CPUID of another line."""
    assert refusal(with_leaf(LeafOptions(product_name="Milan-B1"))) == (NotGenuine, Reason.CHAIN_INVALID)
    other = amd.good(cpuid=amd.CPUIDS[Product.MILAN])
    assert refusal(other) == (NotGenuine, Reason.CHIP_MISMATCH)


def test_a_chip_s_key_under_the_providers_intermediate_is_refused() -> None:
    """An ASVK endorses providers' keys only: a VCEK under it, well signed, has no chain."""
    options = LeafOptions(issuer="SEV-VLEK-Genoa")
    world = amd.world(GENOA, amd.report(), amd.leaf(GENOA, options=options), "SEV-VLEK-")
    assert refusal(world) == (NotGenuine, Reason.CHAIN_INVALID)


def test_a_chain_that_does_not_hold_is_refused() -> None:
    """A key signed by another key than its issuer's, or with another algorithm, has no chain."""
    assert refusal(with_leaf(LeafOptions(signer="SEV-Turin"))) == (NotGenuine, Reason.CHAIN_INVALID)
    assert refusal(with_leaf(LeafOptions(sha256=True))) == (NotGenuine, Reason.CHAIN_INVALID)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (LeafOptions(product_name="Venice"), Reason.UNSUPPORTED),
        (LeafOptions(product_name="genoa"), Reason.MALFORMED),
        (LeafOptions(curve=ec.SECP256R1), Reason.MALFORMED),
        (LeafOptions(extensions={"2": None}), Reason.MALFORMED),
        (LeafOptions(extensions={"2": b"\x16\x06Genoa"}), Reason.MALFORMED),
        (LeafOptions(extensions={"2": b"\x16\x05Geno\xff"}), Reason.MALFORMED),
        (LeafOptions(extensions={"3.3": None}), Reason.MALFORMED),
        (LeafOptions(extensions={"3.3": b"\x02\x01\x80"}), Reason.MALFORMED),
        (LeafOptions(extensions={"3.3": b"\x02\x02\x01\x17"}), Reason.MALFORMED),
        (LeafOptions(extensions={"3.3": b"\x04\x01\x17"}), Reason.MALFORMED),
        (LeafOptions(extensions={"4": None}), Reason.MALFORMED),
        (LeafOptions(extensions={"4": bytes(8)}), Reason.MALFORMED),
        (LeafOptions(extensions={"5": b"\x16\x01x"}), Reason.MALFORMED),
    ],
)
def test_a_key_certificate_that_does_not_say_what_it_must_is_refused(options: LeafOptions, reason: Reason) -> None:
    """Product, levels, chip and key are all there, of their type and size, or the certificate is no report key's."""
    assert refusal(with_leaf(options)) == (MalformedEvidence, reason)


@pytest.mark.parametrize("extensions", [{"4": bytes(64)}, {"5": None}, {"5": b"\x16\x00"}])
def test_a_provider_s_certificate_names_a_provider_and_no_chip(extensions: dict[str, bytes | None]) -> None:
    """A VLEK with a hardware id, or without a provider, is refused."""
    options = LeafOptions(key="provider", extensions=extensions)
    world = amd.world(GENOA, amd.of_a_provider().evidence.data, amd.leaf(GENOA, "VLEK", options), "SEV-VLEK-")
    assert refusal(world) == (MalformedEvidence, Reason.MALFORMED)


def test_an_unused_level_counts_too() -> None:
    """A TCB byte without a use today is compared all the same, so that it cannot carry a level unseen."""
    world = with_leaf(LeafOptions(levels={"spl4": 1}))
    assert refusal(world) == (NotGenuine, Reason.TCB_MISMATCH)


def test_a_report_that_nobody_signed_is_refused() -> None:
    """Signing key none, and a signature of zeros under a masked chip key, are no signatures."""
    assert refusal(amd.good(key_info=7 << 2)) == (NotGenuine, Reason.SIGNATURE_INVALID)
    masked = amd.report(fields={"key_info": 1 << 1})
    zeros = masked[: amd.SIGNATURE] + bytes(len(masked) - amd.SIGNATURE)
    assert refusal(amd.world(GENOA, zeros, amd.leaf(GENOA))) == (NotGenuine, Reason.SIGNATURE_INVALID)


def test_a_chain_is_good_in_its_time_only() -> None:
    """Before its first and after its last moment the chain is refused, also when it was verified and kept before."""
    world = amd.good()
    verifier = world.verifier
    claims = verifier.verify(world.evidence, world.collateral, now=amd.NOW)
    last = claims.collateral_expires
    assert verifier.verify(world.evidence, world.collateral, now=last) == claims
    for now in (last + timedelta(seconds=1), amd.NOW - timedelta(days=101)):
        with pytest.raises(NotGenuine) as caught:
            verifier.verify(world.evidence, world.collateral, now=now)
        assert caught.value.reason is Reason.CERTIFICATE_EXPIRED


def test_a_revocation_list_is_optional_and_counts_when_it_is_there() -> None:
    """Without one the fact says absent; a current one is checked and bounds the verdict's life."""
    world = amd.good()
    assert verified(world).facts["crl"] == "absent"
    claims = verified(world.adding(amd.crl(GENOA)))
    assert claims.facts["crl"] == "checked"
    assert claims.collateral_expires == amd.NOW + timedelta(days=29)


def test_a_revoked_intermediate_is_refused() -> None:
    """A list of the root that names the intermediate ends its chains, whatever older lists say."""
    world = amd.good().adding(amd.crl(GENOA, revoked=[0x10001]))
    assert refusal(world) == (NotGenuine, Reason.CERTIFICATE_REVOKED)
    older = amd.crl(GENOA, issued=-timedelta(days=5))
    assert refusal(world.adding(older)) == (NotGenuine, Reason.CERTIFICATE_REVOKED)


def test_a_revocation_list_outside_its_time_decides_nothing() -> None:
    """An expired list, and one from the future, are collateral that is not current."""
    for issued in (-timedelta(days=40), timedelta(days=1)):
        world = amd.good().adding(amd.crl(GENOA, issued=issued))
        assert refusal(world) == (CollateralUnavailable, Reason.COLLATERAL_EXPIRED)


def test_a_revocation_list_that_the_root_did_not_sign_is_refused() -> None:
    """A list in the root's name under another key is a forgery, and says so."""
    assert refusal(amd.good().adding(amd.crl(GENOA, signer="SEV-Genoa"))) == (NotGenuine, Reason.CHAIN_INVALID)


def test_collateral_is_bounded_and_must_parse() -> None:
    """Too many certificates or lists, and bytes that are neither, are malformed."""
    many = [amd.certificate(bytes([n])) for n in range(MAX_CERTIFICATES + 1)]
    assert refusal(amd.good().adding(*many)) == (MalformedEvidence, Reason.MALFORMED)
    lists = [amd.crl(GENOA)] * (MAX_CRLS + 1)
    assert refusal(amd.good().adding(*lists)) == (MalformedEvidence, Reason.MALFORMED)
    for kind in ("amd-certificate", "amd-crl"):
        world = amd.good().adding(Collateral(kind=kind, data=b"no der"))
        assert refusal(world) == (MalformedEvidence, Reason.MALFORMED)


def test_evidence_of_another_kind_or_format_is_unsupported() -> None:
    """The verifier reads its own format only."""
    world = amd.good()
    for kind, form in ((TEEKind.TDX, "snp-report"), (TEEKind.SNP, "snp-report-v9")):
        evidence = Evidence(kind=kind, format=form, data=world.evidence.data)
        with pytest.raises(MalformedEvidence) as caught:
            world.verifier.verify(evidence, world.collateral, now=amd.NOW)
        assert caught.value.reason is Reason.UNSUPPORTED


def test_no_error_text_names_the_machine() -> None:
    """A mismatch of chips is told without either chip's id."""
    with pytest.raises(NotGenuine) as caught:
        verified(amd.wrong_chip())
    assert amd.chip_id(GENOA).hex()[:8] not in caught.value.message
    assert amd.chip_id(GENOA, "another").hex()[:8] not in caught.value.message


def test_what_was_verified_before_is_verified_the_same_again() -> None:
    """A verifier that remembers a chain gives equal claims, and still refuses a broken signature."""
    world = amd.good()
    verifier = world.verifier
    first = verifier.verify(world.evidence, world.collateral, now=amd.NOW)
    assert verifier.verify(world.evidence, world.collateral, now=amd.NOW) == first
    with pytest.raises(NotGenuine):
        verifier.verify(amd.swapped_signature().evidence, world.collateral, now=amd.NOW)
