# SPDX-License-Identifier: Apache-2.0
"""Signatures of manifests: only the one form, only over what is read, only by a chain of four to a pinned root."""

from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from attestation.errors import AttestationError, MalformedEvidence, NotGenuine, Reason
from attestation.tee.nvidia.rim import read_rim
from tests.support.fake_nvidia_rim import (
    MADE,
    RIMMaker,
    document,
    issue,
    resource,
    resource_lines,
    with_another_signature,
    with_another_version,
    wrapped,
)

MAKER = RIMMaker()
META = {"colloquialVersion": "999.1", "edition": "GPU", "product": "GH100", "revision": "r1", "PayloadType": "direct"}
_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
TEXT = document(META, resource_lines({1: [b"\x01" * 48]}), {})


def reason_of(rim: bytes) -> Reason:
    with pytest.raises(AttestationError) as refused:
        read_rim(rim, roots=MAKER.roots)
    return refused.value.reason


def test_altered_content_is_refused() -> None:
    """Content altered after signing is refused."""
    assert reason_of(with_another_version(MAKER.rim())) is Reason.RIM_INVALID


def test_an_altered_signature_is_refused() -> None:
    """A signature value that does not verify is refused, with content untouched."""
    assert reason_of(with_another_signature(MAKER.rim())) is Reason.RIM_INVALID


def test_another_authority_is_refused_for_its_root() -> None:
    """A chain that is right in itself is worth nothing below a root nobody pinned."""
    assert reason_of(RIMMaker().rim()) is Reason.ROOT_REFUSED
    with pytest.raises(NotGenuine):
        read_rim(MAKER.rim())


def test_a_signature_by_another_key_is_refused() -> None:
    """The leaf of the chain must have signed, nobody else."""
    stranger = ec.generate_private_key(ec.SECP384R1())
    assert reason_of(MAKER.sign(TEXT, by=stranger)) is Reason.RIM_INVALID


def test_an_issuer_may_not_sign_a_manifest() -> None:
    """A certificate of the chain that signs certificates does not sign manifests."""
    key, chain = MAKER.leaf_for(ca=True)
    assert reason_of(MAKER.sign(TEXT, chain=chain, by=key)) is Reason.CHAIN_INVALID


def test_a_responder_may_not_sign_a_manifest() -> None:
    """A leaf for another use, such as answering for revocation, does not sign manifests."""
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.OCSP_SIGNING])
    key, chain = MAKER.leaf_for(extra=lambda builder: builder.add_extension(usage, critical=False))
    assert reason_of(MAKER.sign(TEXT, chain=chain, by=key)) is Reason.CHAIN_INVALID
    key, chain = MAKER.leaf_for(signs=False)
    assert reason_of(MAKER.sign(TEXT, chain=chain, by=key)) is Reason.CHAIN_INVALID


def test_a_key_of_another_curve_is_refused() -> None:
    """Only P-384 keys sign manifests."""
    key = ec.generate_private_key(ec.SECP256R1())
    above = MAKER.chain[1]
    leaf = issue("Small signer", key, above.key, above.certificate.subject)
    chain = (leaf, *(level.certificate for level in MAKER.chain[1:]))
    assert reason_of(MAKER.sign(TEXT, chain=chain, by=key)) is Reason.CHAIN_INVALID


@pytest.mark.parametrize(
    ("taken", "reason"),
    [
        ([0, 1, 2], Reason.ROOT_REFUSED),
        ([0, 2, 3], Reason.CHAIN_INVALID),
        ([0, 1, 2, 3, 3], Reason.CHAIN_INVALID),
        ([1, 0, 2, 3], Reason.CHAIN_INVALID),
        ([0], Reason.CHAIN_INVALID),
        ([3, 3, 3, 3], Reason.CHAIN_INVALID),
    ],
)
def test_a_chain_of_another_length_or_order_is_refused(taken: list[int], reason: Reason) -> None:
    """Leaf, two issuers, root, in this order, and nothing else."""
    certificates = [MAKER.chain[place].certificate for place in taken]
    assert reason_of(MAKER.sign(TEXT, chain=certificates)) is reason


def test_a_signer_below_the_signer_is_refused() -> None:
    """A chain of the right length whose issuer is itself only a signer is refused."""
    key = ec.generate_private_key(ec.SECP384R1())
    signer = MAKER.chain[0]
    leaf = issue("Sub-signer", key, signer.key, signer.certificate.subject)
    chain = (leaf, signer.certificate, MAKER.chain[1].certificate, MAKER.chain[3].certificate)
    assert reason_of(MAKER.sign(TEXT, chain=chain, by=key)) is Reason.CHAIN_INVALID


FORMS: dict[str, dict[str, Any]] = {
    "exclusive canonicalization": {"algorithms": {"canonicalization": "http://www.w3.org/2001/10/xml-exc-c14n#"}},
    "canonicalization 1.0": {"algorithms": {"transform": "http://www.w3.org/TR/2001/REC-xml-c14n-20010315"}},
    "stylesheet": {"algorithms": {"transform": "http://www.w3.org/TR/1999/REC-xslt-19991116"}},
    "path": {"algorithms": {"enveloped": "http://www.w3.org/TR/1999/REC-xpath-19991116"}},
    "sha1": {"algorithms": {"digest": "http://www.w3.org/2000/09/xmldsig#sha1"}},
    "hmac": {"algorithms": {"signature": "http://www.w3.org/2000/09/xmldsig#hmac-sha1"}},
    "ecdsa-sha256": {"algorithms": {"signature": "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256"}},
    "a part": {"uri": "#payload"},
    "a remote document": {"uri": "http://127.0.0.1/rim"},
}


@pytest.mark.parametrize("form", FORMS.values(), ids=list(FORMS))
def test_signatures_of_another_form_are_unsupported(form: dict[str, Any]) -> None:
    """The document chooses no algorithm, transform or reference, even under a right key."""
    assert reason_of(MAKER.sign(TEXT, **form)) is Reason.UNSUPPORTED


def test_parts_in_another_order_of_nesting_are_unsupported() -> None:
    """The same elements in the same order, nested otherwise and signed by the right key, are another form."""

    def digest_outside(info: str) -> str:
        start, end = info.index("<ds:DigestValue>"), info.index("</ds:Reference>")
        return info[:start] + "</ds:Reference>" + info[start:end] + "</ds:SignedInfo>"

    assert reason_of(MAKER.sign(TEXT, rearranged=digest_outside)) is Reason.UNSUPPORTED


def test_a_certificate_has_one_spelling() -> None:
    """Base64 whose last bits mean nothing must have them zero, so that nothing about a manifest can be spelt twice."""
    for rim in (RIMMaker().rim() for _ in range(20)):
        at = rim.find(b"=\n</ds:X509Certificate>")
        last = at - 2 if rim[at - 1 : at] == b"=" else at - 1
        if at > 0:
            break
    else:
        pytest.fail("no certificate ends in padding")
    other = _ALPHABET[_ALPHABET.index(rim[last]) | 1]
    spelt = rim[:last] + bytes([other]) + rim[last + 1 :]
    assert spelt != rim
    assert reason_of(spelt) is Reason.MALFORMED


INFO_CHANGES = {
    "a second reference": ("</ds:Reference>", '</ds:Reference><ds:Reference URI="#x"/>'),
    "a third transform": ("</ds:Transforms>", '<ds:Transform Algorithm="x"/></ds:Transforms>'),
    "an attribute": ("<ds:SignedInfo>", '<ds:SignedInfo Id="x">'),
    "a parameter": ('xml-c14n11"/></ds:Transforms>', 'xml-c14n11"><ds:XPath/></ds:Transform></ds:Transforms>'),
}


@pytest.mark.parametrize("change", INFO_CHANGES.values(), ids=list(INFO_CHANGES))
def test_more_or_other_parts_of_the_signature_are_refused(change: tuple[str, str]) -> None:
    """Nothing may be added to, or moved inside, what the signature covers."""
    rim = MAKER.rim().replace(change[0].encode(), change[1].encode(), 1)
    assert reason_of(rim) in {Reason.UNSUPPORTED, Reason.MALFORMED}


PART_CHANGES = {
    "no value": ("<ds:SignatureValue>", "<ds:Value>", "</ds:SignatureValue>", "</ds:Value>"),
    "no certificates": ("<ds:X509Data>", "<ds:Other>", "</ds:X509Data>", "</ds:Other>"),
    "a key by itself": ("<ds:KeyInfo>", "<ds:KeyInfo><ds:KeyValue/>", "", ""),
    "an object": ("</ds:KeyInfo>", "</ds:KeyInfo><ds:Object/>", "", ""),
    "a nested certificate": ("<ds:X509Certificate>", "<ds:X509Certificate><ds:X/>", "", ""),
    "text after it": ("</ds:Signature>", "</ds:Signature> ", "", ""),
}


@pytest.mark.parametrize("change", PART_CHANGES.values(), ids=list(PART_CHANGES))
def test_a_signature_of_other_parts_is_malformed(change: tuple[str, str, str, str]) -> None:
    """Value and certificates stand where they stand in NVIDIA's manifests, and nothing beside them."""
    rim = MAKER.rim().replace(change[0].encode(), change[1].encode()).replace(change[2].encode(), change[3].encode())
    assert reason_of(rim) is Reason.MALFORMED


@pytest.mark.parametrize("wrong", ["!", "=", "AA=A", "A", " ", "é"])
def test_a_value_that_is_not_plain_base64_is_malformed(wrong: str) -> None:
    """Characters outside the alphabet, padding inside, and bits without meaning are refused."""
    rim = MAKER.rim().replace(b"<ds:SignatureValue>", b"<ds:SignatureValue>" + wrong.encode())
    assert reason_of(rim) is Reason.MALFORMED


def test_no_signature_or_two_are_malformed() -> None:
    """Exactly one signature, the last child of the root."""
    good = MAKER.rim()
    start, end = good.index(b"<ds:Signature "), good.index(b"</SoftwareIdentity>")
    signature = good[start:end]
    assert reason_of(good[:start] + good[end:]) is Reason.MALFORMED
    assert reason_of(good[:end] + signature + good[end:]) is Reason.MALFORMED
    first = good.index(b"    <ns0:Entity")
    assert reason_of(good[:first] + signature + good[first:start] + good[end:]) is Reason.MALFORMED
    entity = good.index(b"<ns0:Entity")
    assert reason_of(good[:entity] + signature + good[entity:start] + good[end:]) is Reason.MALFORMED
    inside = good.index(b"    </ns0:Payload>")
    assert reason_of(good[:inside] + signature + good[inside:start] + good[end:]) is Reason.MALFORMED


def test_signature_wrapping_gives_nothing() -> None:
    """A signed root carried inside a forged one neither lends its signature nor hides the forged values."""
    evil = RIMMaker().rim(resources=[resource(1, [b"\x66" * 48])])
    assert reason_of(wrapped(MAKER.rim(), evil)) in {Reason.MALFORMED, Reason.RIM_INVALID}
    good = MAKER.rim()
    start, end = good.index(b"<ds:Signature "), good.index(b"</SoftwareIdentity>")
    forged = evil[: evil.index(b"<ds:Signature ")]
    assert reason_of(forged + good[start:end] + b"</SoftwareIdentity>") is Reason.RIM_INVALID
    carried = forged + b"<ns0:Link>" + good[:start] + b"</SoftwareIdentity></ns0:Link>" + good[start:end]
    assert reason_of(carried + b"</SoftwareIdentity>") is Reason.RIM_INVALID


def test_a_second_payload_is_refused_even_signed() -> None:
    """Two payloads, or two metas, leave open which one counts."""
    twice = TEXT.replace("</SoftwareIdentity>", "<ns0:Payload/></SoftwareIdentity>")
    assert reason_of(MAKER.sign(twice)) is Reason.MALFORMED
    meta = TEXT.replace("<ns0:Payload ", "<ns0:Meta/><ns0:Payload ", 1)
    assert reason_of(MAKER.sign(meta)) is Reason.MALFORMED


def test_an_expired_signer_is_read_and_stated() -> None:
    """Time is for policy: an expired signer's manifest verifies and says until when it was valid."""
    key, chain = MAKER.leaf_for(begins=MADE, lasts=timedelta(days=1))
    rim = read_rim(MAKER.sign(TEXT, chain=chain, by=key), roots=MAKER.roots)
    assert rim.valid_until == MADE + timedelta(days=1)
    assert not rim.valid_at(MADE + timedelta(days=2))


def test_errors_are_of_two_kinds() -> None:
    """Broken forms are malformed, broken proofs are not genuine."""
    with pytest.raises(MalformedEvidence):
        read_rim(b"<a/>", roots=MAKER.roots)
    with pytest.raises(NotGenuine):
        read_rim(with_another_version(MAKER.rim()), roots=MAKER.roots)
