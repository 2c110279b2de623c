# SPDX-License-Identifier: Apache-2.0
"""The TPM verifier on minted worlds: what is good is read whole, everything wrong is refused by its own reason."""

import hashlib
from collections.abc import Callable, Mapping
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from attestation.bundle import Collateral, Evidence
from attestation.claims import ComponentKind, TCBStatus, TEEKind
from attestation.codec import cbor
from attestation.errors import AttestationError, MalformedEvidence, NotGenuine, Reason
from attestation.facts.tpm import TPM
from attestation.tee.eventlog.replay import replay
from attestation.tee.eventlog.tcg2 import LOG_KIND, read_tcg2
from attestation.tee.tpm.attest import read_quote
from attestation.tee.tpm.endorsement import read_endorsement_key
from attestation.tee.tpm.evidence import EVIDENCE_FORMAT, read_evidence
from attestation.tee.tpm.public import read_public
from tests.support import fake_tpm as fake
from tests.support.fake_tpm import AK, NOW, an_ak, crl, good, private, quoted
from tests.support.fake_tpm_wrong import WRONG

SHA384_PCRS = {index: hashlib.sha384(b"%d" % index).digest() for index in (0, 7, 23)}


def test_a_good_quote_states_everything() -> None:
    """Registers, slot, identity and every fact of the vocabulary come from what was signed."""
    world = good()
    claims = world.verifier.verify(world.evidence, world.collateral, now=NOW)
    assert (claims.kind, claims.debug, claims.tcb_status) == (TEEKind.TPM, False, TCBStatus.UNSTATED)
    assert claims.slot == fake.EXTRA
    assert [item.text for item in claims.measurements] == [
        f"pcr{index}:sha256:{value.hex()}" for index, value in fake.PCRS.items()
    ]
    assert [identity.kind for identity in claims.platform_ids] == [ComponentKind.EK]
    assert claims.facts == {
        "ek_root": world.root.fingerprint(SHA256()).hex(),
        "ek_key": "rsa-2048",
        "ek_manufacturer": "id:53454C42",
        "ek_model": "fake",
        "ek_version": "id:00010002",
        "ek_crl": "absent",
        "ak_key": "ecc-p256 ecdsa sha256",
        "ak_hierarchy": "endorsement",
        "activation": "stated",
        "clock_safe": True,
        "reset_count": 7,
        "restart_count": 2,
        "firmware_version": 0x2020031200120003,
        "event_log": "absent",
    }
    assert set(claims.facts) == set(TPM.facts)
    assert {item.register for item in claims.measurements} == set(TPM.registers)


@pytest.mark.parametrize("name", list(WRONG))
def test_what_is_wrong_is_refused_by_its_reason(name: str) -> None:
    """Each wrong world, and no other reason than its own."""
    make, reason = WRONG[name]
    world = make()
    with pytest.raises(AttestationError) as caught:
        world.verifier.verify(world.evidence, world.collateral, now=NOW)
    assert caught.value.reason is reason, caught.value.message


@pytest.mark.parametrize(
    ("ak", "text"),
    [
        (lambda: AK(key=private("ak-rsa"), scheme="rsassa"), "rsa-2048 rsassa sha256"),
        (lambda: AK(key=private("ak-rsa"), scheme="rsapss"), "rsa-2048 rsapss sha256"),
        (lambda: AK(key=private("rsa3072-ak"), scheme="rsapss", algorithm="sha384"), "rsa-3072 rsapss sha384"),
        (lambda: AK(key=private("p384-ak"), algorithm="sha384"), "ecc-p384 ecdsa sha384"),
    ],
    ids=["rsassa", "rsapss", "rsapss sha384", "p384"],
)
def test_every_kind_of_key_is_verified(ak: Callable[[], AK], text: str) -> None:
    """RSASSA, RSAPSS and ECDSA, with either hash."""
    world = quoted(ak())
    assert world.verifier.verify(world.evidence, world.collateral, now=NOW).facts["ak_key"] == text


@pytest.mark.parametrize(
    ("hierarchy", "name"),
    [(fake.ENDORSEMENT, "endorsement"), (fake.OWNER, "owner"), (fake.PLATFORM, "platform"), (fake.NULL, "null")],
)
def test_the_hierarchy_of_the_key_is_stated(hierarchy: int, name: str) -> None:
    """A policy can ask for the hierarchy in which counters are told in clear."""
    world = quoted(an_ak(), hierarchy=hierarchy)
    assert world.verifier.verify(world.evidence, world.collateral, now=NOW).facts["ak_hierarchy"] == name


def test_the_sha384_bank_is_read_and_empty_banks_say_nothing() -> None:
    """Registers of the other bank; a bank of which nothing is selected does not count."""
    bits = sum(1 << index for index in SHA384_PCRS).to_bytes(3, "little")
    world = quoted(an_ak(), SHA384_PCRS, banks=[(0x0004, b"\0\0\0"), (0x000C, bits), (0x000B, b"")])
    claims = world.verifier.verify(world.evidence, world.collateral, now=NOW)
    assert [(item.register, item.algorithm) for item in claims.measurements] == [
        ("pcr0", "sha384"),
        ("pcr7", "sha384"),
        ("pcr23", "sha384"),
    ]


def test_an_unsafe_clock_and_an_open_activation_are_stated() -> None:
    """Genuine all the same: the policy decides."""
    world = quoted(an_ak(), safe=0).changed(activation=b"")
    facts = world.verifier.verify(world.evidence, world.collateral, now=NOW).facts
    assert (facts["clock_safe"], facts["activation"]) == (False, "absent")


@pytest.mark.parametrize("key", ["p256-ek", "p384-ek", "rsa3072-ek"])
def test_every_default_endorsement_key_is_read(key: str) -> None:
    """EKs on P-256 and P-384, and longer RSA ones; each is an identity of its own."""
    world = quoted(an_ak(), wish=fake.CertificateWish(key=key))
    claims = world.verifier.verify(world.evidence, world.collateral, now=NOW)
    other = good().verifier.verify(good().evidence, good().collateral, now=NOW)
    assert claims.platform_ids != other.platform_ids
    assert claims.facts["ek_key"] == {"p256": "ecc-p256", "p384": "ecc-p384", "rsa3072": "rsa-3072"}[key.split("-")[0]]


def test_lists_of_every_issuer_make_the_chain_checked() -> None:
    """One list of two is not enough to say checked; the earliest end of all is when collateral expires."""
    world, ends = good(), NOW + timedelta(days=2)
    one = world.adding(crl("issuer", revoked=[1, 2]))
    both = one.adding(crl("root", ends=ends))
    assert one.verifier.verify(one.evidence, one.collateral, now=NOW).facts["ek_crl"] == "absent"
    claims = both.verifier.verify(both.evidence, both.collateral, now=NOW)
    assert (claims.facts["ek_crl"], claims.collateral_expires) == ("checked", ends)


def test_collateral_comes_in_any_order_and_strangers_are_ignored() -> None:
    """The chain is found among unrelated certificates and kinds."""
    world = good()
    strangers = (
        fake.issuer_collateral(fake.authority("stranger", "stranger")),
        Collateral(kind="amd-certificate", data=b"\0"),
    )
    collateral = (*strangers, *reversed(world.collateral))
    wanted = world.verifier.verify(world.evidence, world.collateral, now=NOW)
    assert world.verifier.verify(world.evidence, collateral, now=NOW) == wanted


def test_a_remembered_chain_is_still_judged_by_the_time() -> None:
    """What was verified once expires all the same."""
    world, verifier = good(), good().verifier
    verifier.verify(world.evidence, world.collateral, now=NOW)
    with pytest.raises(NotGenuine) as caught:
        verifier.verify(world.evidence, world.collateral, now=NOW + timedelta(days=30 * 365))
    assert caught.value.reason is Reason.CERTIFICATE_EXPIRED


@pytest.mark.parametrize(
    ("kind", "form"), [(TEEKind.AZURE_HCL, EVIDENCE_FORMAT), (TEEKind.TPM, "tpm-quote-v2"), (TEEKind.TPM, "")]
)
def test_other_formats_are_unsupported(kind: TEEKind, form: str) -> None:
    """Unsupported, and not called bad."""
    world = good()
    with pytest.raises(MalformedEvidence) as caught:
        world.verifier.verify(Evidence(kind=kind, format=form, data=world.evidence.data), (), now=NOW)
    assert caught.value.reason is Reason.UNSUPPORTED


@pytest.mark.parametrize(("kind", "count"), [("tpm-certificate", 17), ("x509-crl", 9), (LOG_KIND, 2)])
def test_a_flood_of_collateral_is_refused(kind: str, count: int) -> None:
    """No more than the limits, whatever it holds."""
    world = good()
    flood = [Collateral(kind=kind, data=b"\x30\0")] * count
    with pytest.raises(MalformedEvidence):
        world.verifier.verify(world.evidence, (*world.collateral, *flood), now=NOW)


def an_event(register: int, data: bytes) -> bytes:
    """One measurement in the crypto-agile form, with a digest of the SHA-256 bank."""
    u32 = [value.to_bytes(4, "little") for value in (register, 13, 1, len(data))]
    return u32[0] + u32[1] + u32[2] + b"\x0b\0" + hashlib.sha256(data).digest() + u32[3] + data


def a_log(*events: bytes) -> bytes:
    """A log of the SHA-256 bank."""
    spec = b"Spec ID Event03\0" + bytes(4) + bytes((0, 2, 0, 2)) + bytes((1, 0, 0, 0)) + b"\x0b\0\x20\0" + b"\0"
    first = bytes(4) + (3).to_bytes(4, "little") + bytes(20) + len(spec).to_bytes(4, "little") + spec
    return first + b"".join(events)


def test_the_firmwares_event_log_is_replayed() -> None:
    """A log that gives PCRs 0 to 7 is stated; what the system measured later does not contradict it."""
    log = a_log(an_event(0, b"firmware"), an_event(4, b"loader"), an_event(9, b"kernel"))
    values = replay(read_tcg2(log), "sha256", range(24)) | {10: hashlib.sha256(b"measured later").digest()}
    world = quoted(an_ak(), values).adding(Collateral(kind=LOG_KIND, data=log))
    assert world.verifier.verify(world.evidence, world.collateral, now=NOW).facts["event_log"] == "replayed"
    other = quoted(an_ak(), values).adding(Collateral(kind=LOG_KIND, data=a_log(an_event(0, b"firmware"))))
    with pytest.raises(NotGenuine) as caught:
        other.verifier.verify(other.evidence, other.collateral, now=NOW)
    assert caught.value.reason is Reason.EVENT_LOG_MISMATCH


@pytest.mark.parametrize(
    ("changes", "size"),
    [
        ({5: [[0]]}, 7),
        ({5: [[24, bytes(32)]]}, 7),
        ({5: [[1, bytes(32)], [0, bytes(32)]]}, 7),
        ({5: [[0, bytes(32)], [0, bytes(32)]]}, 7),
        ({5: [[0, bytes(20)]]}, 7),
        ({5: [[index % 24, bytes(32)] for index in range(25)]}, 7),
        ({6: bytes(31)}, 7),
        ({1: bytes(1025)}, 7),
        ({2: bytes(1025)}, 7),
        ({3: bytes(1025)}, 7),
        ({4: bytes(16385)}, 7),
        ({0: "sealbid/tpm-quote/2"}, 7),
        ({7: 0}, 8),
    ],
)
def test_evidence_of_another_form_is_malformed(changes: dict[int, cbor.Item], size: int) -> None:
    """Registers out of order, twice, too many or of another size; parts too long; another label; one key more."""
    fields = cbor.decode(good().evidence.data)
    assert isinstance(fields, Mapping)
    changed = {**fields, **changes}
    assert len(changed) == size
    with pytest.raises(MalformedEvidence):
        read_evidence(cbor.encode(changed))


def test_structures_longer_than_any_tpm_makes_are_refused() -> None:
    """Before anything of them is read."""
    for read in (read_quote, read_public):
        with pytest.raises(MalformedEvidence):
            read(bytes(1025))


@pytest.mark.parametrize("key", ["rsa1024-ek", "p521-ek", "ed25519-ek"])
def test_endorsement_keys_of_no_default_template_are_unsupported(key: str) -> None:
    """Too small, on another curve, or of another kind."""
    with pytest.raises(MalformedEvidence) as caught:
        read_endorsement_key(fake.ek_certificate(fake.CertificateWish(key=key)).public_bytes(Encoding.DER))
    assert caught.value.reason is Reason.UNSUPPORTED
