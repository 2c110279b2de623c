# SPDX-License-Identifier: Apache-2.0
"""Wrapped messages: the RFC's examples read, everything comes back the same, and nothing else is taken for one."""

import json

import pytest

from attestation.bundle import Collateral, Evidence, EvidenceBundle
from attestation.claims import TEEKind
from attestation.errors import MalformedEvidence, Reason
from attestation.results.cmw import (
    CMW,
    ENDORSEMENTS,
    EVIDENCE,
    MAX_MEMBERS,
    MAX_NESTING,
    Collection,
    Record,
    decode,
    encode_cbor,
    encode_json,
)
from attestation.results.wrapped_bundle import COLLECTION_TYPE, unwrap_bundle, wrap_bundle

RECORD = Record(type="application/vnd.example.rats-conceptual-msg", value=bytes.fromhex("2347da55"))


def test_the_rfcs_json_record() -> None:
    """`["application/vnd.example.rats-conceptual-msg","I0faVQ"]`."""
    text = b'["application/vnd.example.rats-conceptual-msg","I0faVQ"]'
    assert decode(text) == RECORD
    assert encode_json(RECORD) == text


def test_the_rfcs_cbor_record() -> None:
    """`[64999, h'2347da55']` in CBOR."""
    data = bytes.fromhex("8219fde7442347da55")
    assert decode(data) == Record(type=64999, value=bytes.fromhex("2347da55"))
    assert encode_cbor(decode(data)) == data


def test_the_rfcs_json_collection() -> None:
    """Two attesters, with indicators and without a type."""
    text = b'{"attester A":["application/eat-ucs+json","e30K",4],"attester B":["application/eat-ucs+cbor","oA",4]}'
    got = decode(text)
    assert isinstance(got, Collection)
    assert got.members["attester A"] == Record(type="application/eat-ucs+json", value=b"{}\n", indicator=4)
    assert encode_json(got) == text


def nested(levels: int) -> CMW:
    made: CMW = RECORD
    for _ in range(levels):
        made = Collection(members={"a": made}, type="tag:example.com,2024:x")
    return made


@pytest.mark.parametrize(
    "cmw",
    [
        RECORD,
        Record(type='application/eat+cwt; eat_profile="tag:example.com,2024:y"', value=b"", indicator=31),
        Collection(members={"a": RECORD, "b": Collection(members={"c": RECORD})}, type="1.3.6.1.4.1.2"),
        nested(MAX_NESTING),
    ],
)
def test_both_forms_come_back_the_same(cmw: CMW) -> None:
    """Records and collections, empty values and parameters included."""
    assert decode(encode_cbor(cmw)) == cmw
    assert decode(encode_json(cmw)) == cmw


def test_what_only_cbor_can_say_does_not_become_json() -> None:
    """Content formats and integer labels have no JSON form."""
    for cmw in (Record(type=65000, value=b"x"), Collection(members={1: RECORD})):
        assert decode(encode_cbor(cmw)) == cmw
        with pytest.raises(MalformedEvidence):
            encode_json(cmw)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        b'["application/x"]',
        b'["application/x","AA",4,5]',
        b'["no media type","AA"]',
        b'["application/x;a","AA"]',
        b'["application/x","AB"]',
        b'["application/x","AA=="]',
        b'["application/x","A+"]',
        b'["application/x","AA",0]',
        b'["application/x","AA",32]',
        b'["application/x","AA",true]',
        b'["application/x","AA",1.0]',
        b'[1,"AA"]',
        b'{"__cmwc_t":"tag:a,2024:b"}',
        b'{"__cmwc_t":"no uri","a":["application/x","AA"]}',
        b'{"__cmwc_t":5,"a":["application/x","AA"]}',
        b'{"a":["application/x","AA"],"a":["application/x","AA"]}',
        b'{"a":null}',
        b'["application/x","AA"] ["application/x","AA"]',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        bytes.fromhex("82") + b"\x60\x40",
        bytes.fromhex("8219fde7442347da5500"),
        bytes.fromhex("821a00010000412a"),
        bytes.fromhex("9f19fde7412aff"),
        bytes.fromhex("8219fde7622a2a"),
        bytes.fromhex("81") * 1000,
        bytes.fromhex("bb7fffffffffffffff"),
        bytes.fromhex("9b7fffffffffffffff"),
        bytes.fromhex("5b7fffffffffffffff"),
        bytes.fromhex("a2616282186441616161821864416161"[:-2]),
        b"\xff",
        b"x",
    ],
)
def test_what_is_no_wrapper_is_malformed(data: bytes) -> None:
    """Counts, types, alphabets, duplicates, bombs and trailing bytes: one named error in bounded time."""
    with pytest.raises(MalformedEvidence):
        decode(data)


def test_tagged_records_are_unsupported() -> None:
    """The third form of the RFC is not bad, but not read here."""
    with pytest.raises(MalformedEvidence) as refused:
        decode(bytes.fromhex("da63740101") + b"\x41a")
    assert refused.value.reason is Reason.UNSUPPORTED


def test_nesting_and_members_are_bounded() -> None:
    """Deeper or longer than anybody needs is refused."""
    with pytest.raises(MalformedEvidence):
        decode(encode_json(nested(MAX_NESTING + 1)))
    with pytest.raises(MalformedEvidence):
        Collection(members={f"a{number}": RECORD for number in range(MAX_MEMBERS + 1)})
    with pytest.raises(MalformedEvidence):
        Collection(members={"__cmwc_t": RECORD})


def bundle(*collateral: Collateral) -> EvidenceBundle:
    return EvidenceBundle(
        challenge=b"challenge",
        keyset=b"keyset",
        binding=b"binding",
        evidence=(
            Evidence(kind=TEEKind.TDX, format="tdx-quote", data=b"\x04\0quote"),
            Evidence(kind=TEEKind.NVIDIA_GPU, format="nvidia-spdm-1.1", data=b"\x11\xe0report"),
        ),
        collateral=collateral,
    )


WHOLE = bundle(
    Collateral(kind="intel-dcap-json", data=b"{}"),
    Collateral(kind="amd-certificate", data=b"0\x82"),
    Collateral(kind="tpm-certificate", data=b"0\x82"),
    Collateral(kind="nvidia-rim", data=b"<SoftwareIdentity/>"),
    *(Collateral(kind="nvidia-ocsp", data=b"%d" % number) for number in range(12)),
)


@pytest.mark.parametrize("encode", [encode_cbor, encode_json])
@pytest.mark.parametrize("one", [WHOLE, bundle()])
def test_a_bundle_comes_back_byte_for_byte(encode: object, one: EvidenceBundle) -> None:
    """Order, kinds and formats survive; its content address is the same."""
    assert unwrap_bundle(decode(encode(wrap_bundle(one)))).sha256 == one.sha256  # type: ignore[operator]


def test_others_find_media_types_they_know() -> None:
    """A certificate is a certificate to whoever never heard of us, and indicators tell evidence from endorsements."""
    members = wrap_bundle(WHOLE).members
    certificate, evidence = members["collateral-1"], members["evidence-0"]
    assert isinstance(certificate, Record)
    assert isinstance(evidence, Record)
    assert (certificate.type, certificate.indicator) == ("application/pkix-cert;kind=amd-certificate", ENDORSEMENTS)
    assert evidence.indicator == EVIDENCE
    assert json.loads(encode_json(wrap_bundle(WHOLE)))["__cmwc_t"] == COLLECTION_TYPE


def test_names_a_sender_chose_do_not_leave() -> None:
    """A kind or format that is no plain name could be read as something else elsewhere."""
    for kind in ("a;kind=b", "A", "x" * 100, "new\nline", ""):
        with pytest.raises(MalformedEvidence) as refused:
            wrap_bundle(bundle(Collateral(kind=kind, data=b"x")))
        assert refused.value.reason is Reason.UNSUPPORTED


def test_only_a_whole_bundle_is_a_bundle() -> None:
    """Missing, surplus, renamed or differently typed members are refused."""
    good = dict(wrap_bundle(WHOLE).members)

    def refused(members: dict[int | str, CMW], kind: str = COLLECTION_TYPE) -> None:
        with pytest.raises(MalformedEvidence):
            unwrap_bundle(Collection(members=members, type=kind))

    for gone in ("challenge", "binding", "evidence-0", "collateral-3"):
        refused({label: member for label, member in good.items() if label != gone})
    refused(good | {"extra": RECORD})
    refused(good | {"collateral-99": good["collateral-0"]})
    refused(good | {"evidence-0": RECORD})
    refused(good | {"challenge": Collection(members={"a": RECORD})})
    refused(good, kind="tag:example.com,2024:other")
    changed = good["collateral-1"]
    assert isinstance(changed, Record)
    refused(good | {"collateral-1": Record(type=changed.type, value=changed.value, indicator=EVIDENCE)})
    refused(good | {"collateral-1": Record(type="application/pkix-crl;kind=amd-certificate", value=b"x", indicator=2)})
    with pytest.raises(MalformedEvidence):
        unwrap_bundle(RECORD)
