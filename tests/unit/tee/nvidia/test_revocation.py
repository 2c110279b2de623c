# SPDX-License-Identifier: Apache-2.0
"""Stored OCSP answers and revocation lists: what they say of a device and of manifests, and whose answers count."""

from datetime import datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.serialization import Encoding

from attestation.bundle import Collateral
from attestation.claims import EvidenceClaims, TEEKind
from attestation.errors import AttestationError, MalformedEvidence, Reason
from attestation.facts.vocabularies import VOCABULARIES
from attestation.tee.nvidia.ocsp import StoredResponse
from attestation.tee.nvidia.standing import MAX_REMEMBERED_LIST, Parsed
from tests.support.fake_nvidia import (
    NOW,
    FakeDevice,
    FakeNVIDIA,
    Level,
    answer,
    delegate,
    revocation_list,
    unsuccessful,
)

NVIDIA = FakeNVIDIA()
GPU = NVIDIA.gpu()
LEAF, BROM, ICA, IDENTITY, ROOT = GPU.levels
GOOD = NVIDIA.statements(GPU)


def claims(*collateral: Collateral, device: FakeDevice = GPU, now: datetime = NOW) -> EvidenceClaims:
    """What a new verifier says of the device's report with this collateral."""
    return NVIDIA.verifier().verify(device.evidence(), [device.chain, *collateral], now=now)


def refused(*collateral: Collateral, now: datetime = NOW) -> Reason:
    """Why the report is refused with this collateral."""
    with pytest.raises(AttestationError) as caught:
        claims(*collateral, now=now)
    return caught.value.reason


def test_good_answers_for_every_certificate_above_the_leaf_are_good() -> None:
    """The claims then hold until the first of them ends."""
    said = claims(*GOOD)
    assert said.facts["ocsp"] == "good"
    assert said.collateral_expires == NOW + timedelta(days=1)


def test_without_answers_their_absence_is_stated() -> None:
    """A fact whose refusal reads undecided."""
    assert claims().facts["ocsp"] == "absent"
    fact = VOCABULARIES[TEEKind.NVIDIA_GPU].facts["ocsp"]
    assert fact.reason_for("absent") is Reason.COLLATERAL_UNAVAILABLE
    assert fact.reason_for("expired") is Reason.COLLATERAL_EXPIRED
    assert fact.reason_for("hold") is Reason.CERTIFICATE_REVOKED


@pytest.mark.parametrize("left_out", range(3))
def test_one_missing_answer_is_an_absence(left_out: int) -> None:
    """Good is only good for all three."""
    assert claims(*(GOOD[place] for place in range(3) if place != left_out)).facts["ocsp"] == "absent"


def test_answers_end_after_their_day() -> None:
    """Past the end they are expired, and no longer bound the claims."""
    said = claims(*GOOD, now=NOW + timedelta(days=1, seconds=1))
    assert said.facts["ocsp"] == "expired"
    assert said.collateral_expires.year == 9999
    assert claims(*GOOD, now=NOW + timedelta(days=1)).facts["ocsp"] == "good"


def test_answers_of_the_future_do_not_count_yet() -> None:
    """As of a time before they were given there are none."""
    assert claims(*GOOD, now=NOW - timedelta(hours=1)).facts["ocsp"] == "absent"


def test_the_newest_answer_decides() -> None:
    """An expired answer beside a current one is history."""
    assert claims(*NVIDIA.statements(GPU, NOW - timedelta(days=3)), *GOOD).facts["ocsp"] == "good"
    hold = answer(BROM, ICA, at=NOW - timedelta(days=3), status="hold")
    assert claims(hold, *GOOD).facts["ocsp"] == "good"


def test_an_answer_about_another_device_says_nothing_of_this_one() -> None:
    """The certificate is named by issuer and serial number."""
    assert claims(*NVIDIA.statements(NVIDIA.gpu())[:1], *GOOD[1:]).facts["ocsp"] == "absent"


@pytest.mark.parametrize(
    ("subject", "issuer"), [(BROM, ICA), (ICA, IDENTITY), (IDENTITY, ROOT)], ids=["brom", "ica", "id"]
)
def test_a_revoked_certificate_is_refused(subject: Level, issuer: Level) -> None:
    """Whichever it is, by an answer or by a list, and however good the rest."""
    assert refused(*GOOD, answer(subject, issuer, status="revoked")) is Reason.CERTIFICATE_REVOKED
    assert refused(*GOOD, revocation_list(issuer, revoked=[subject])) is Reason.CERTIFICATE_REVOKED


def test_a_revocation_does_not_lapse() -> None:
    """An old answer that says revoked outlives newer good ones, but not the time before it."""
    old = answer(BROM, ICA, at=NOW - timedelta(days=9), status="revoked")
    assert refused(old, *GOOD) is Reason.CERTIFICATE_REVOKED
    assert claims(old, now=NOW - timedelta(days=20)).facts["ocsp"] == "absent"


def test_a_certificate_on_hold_or_unknown_is_its_own_value() -> None:
    """Neither good nor revoked: a policy may accept a hold only by its name."""
    assert claims(*GOOD[1:], answer(BROM, ICA, status="hold")).facts["ocsp"] == "hold"
    assert claims(*GOOD[1:], answer(BROM, ICA, status="unknown")).facts["ocsp"] == "unknown"
    assert claims(*GOOD[1:], revocation_list(ICA, hold=[BROM])).facts["ocsp"] == "hold"


def test_current_revocation_lists_stand_in_for_answers() -> None:
    """A list of the issuer that does not name the certificate is as good, for as long as it is current."""
    lists = [revocation_list(issuer) for issuer in (ICA, IDENTITY, ROOT)]
    assert claims(*lists).facts["ocsp"] == "good"
    assert claims(*lists).collateral_expires == NOW + timedelta(days=30)
    assert claims(*lists, now=NOW + timedelta(days=31)).facts["ocsp"] == "expired"


def test_a_list_of_another_issuer_says_nothing() -> None:
    """Lists of other authorities may travel along."""
    assert claims(revocation_list(BROM, revoked=[ICA]), *GOOD).facts["ocsp"] == "good"


def test_a_list_signed_by_anyone_else_is_refused() -> None:
    """It claims to be the issuer's, so it is not skipped."""
    assert refused(*GOOD, revocation_list(ICA, signer=BROM)) is Reason.SIGNATURE_INVALID


def test_an_answer_by_a_responder_without_delegation_is_refused() -> None:
    """One of the root's, one that may not answer, one of another world: none is the issuer's."""
    for responder in (delegate(ROOT), delegate(ICA, may_answer=False), delegate(FakeNVIDIA().root)):
        assert refused(*GOOD[1:], answer(BROM, ICA, responder=responder)) is Reason.CHAIN_INVALID


def test_the_issuer_may_answer_itself() -> None:
    """RFC 6960 lets the authority sign without a responder."""
    assert claims(*GOOD[1:], answer(BROM, ICA, responder=ICA)).facts["ocsp"] == "good"


def test_an_answer_ends_with_its_responder() -> None:
    """A responder past its own validity vouches for nothing."""
    short = delegate(ICA, ends=NOW + timedelta(hours=2))
    answers = [*GOOD[1:], answer(BROM, ICA, responder=short)]
    assert claims(*answers, now=NOW + timedelta(hours=1)).facts["ocsp"] == "good"
    assert claims(*answers, now=NOW + timedelta(hours=3)).facts["ocsp"] == "expired"


def test_an_altered_answer_is_refused() -> None:
    """Its times are signed: an hour more makes it nobody's answer."""
    told = f"{NOW:%Y%m%d%H%M%S}Z".encode()
    later = f"{NOW + timedelta(hours=1):%Y%m%d%H%M%S}Z".encode()
    altered = Collateral(kind="nvidia-ocsp", data=GOOD[0].data.replace(told, later, 1))
    assert altered != GOOD[0]
    assert refused(altered, *GOOD[1:]) is Reason.SIGNATURE_INVALID


def test_an_unsuccessful_answer_is_malformed_collateral() -> None:
    """It is signed by nobody and says nothing."""
    assert refused(unsuccessful()) is Reason.MALFORMED


@pytest.mark.parametrize("data", [b"", b"\x30\x00", b"\0" * 17_000], ids=["empty", "nothing", "large"])
def test_bytes_that_are_no_statement_are_malformed(data: bytes) -> None:
    """Whether they claim to be an answer or a list."""
    assert refused(Collateral(kind="nvidia-ocsp", data=data)) is Reason.MALFORMED
    assert refused(Collateral(kind="x509-crl", data=data)) is Reason.MALFORMED


def test_statements_beyond_need_are_refused() -> None:
    """Their number is bounded before any is read."""
    assert refused(*(Collateral(kind="nvidia-ocsp", data=b"%d" % n) for n in range(257))) is Reason.MALFORMED


def test_large_lists_are_read_and_not_kept() -> None:
    """Anybody may send lists of megabytes that concern nobody: a thousand of them leave nothing behind."""
    key, name = IDENTITY.key, x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "somebody")])
    builder = x509.CertificateRevocationListBuilder().issuer_name(name).last_update(NOW)
    fill = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3"), bytes(MAX_REMEMBERED_LIST))
    made = builder.next_update(NOW + timedelta(days=1)).add_extension(fill, critical=False).sign(key, SHA384())
    large = Collateral(kind="x509-crl", data=made.public_bytes(Encoding.DER))
    small = revocation_list(IDENTITY)
    parsed = Parsed(4096)
    assert parsed.revocations(small)[0] is parsed.revocations(small)[0]
    assert parsed.revocations(large)[0] is not parsed.revocations(large)[0]
    assert parsed.revocations(large)[0] == parsed.revocations(large)[0]


def test_a_reason_nobody_knows_is_malformed() -> None:
    """Reasons in answers and lists are read by the library when they are asked for, and fail here by name."""
    held = answer(BROM, ICA, status="hold").data
    tagged = bytes.fromhex("a0030a0106")  # [0] ENUMERATED certificateHold
    assert held.count(tagged) == 1
    with pytest.raises(MalformedEvidence) as refusal:
        StoredResponse.read(held.replace(tagged, tagged[:-1] + b"\x55"))
    assert refusal.value.reason is Reason.MALFORMED


def test_signers_of_manifests_have_a_standing_of_their_own() -> None:
    """Good only with an answer for each certificate below the root; a revoked one is refused."""
    rims = NVIDIA.rims()
    answers = NVIDIA.rim_statements()
    assert claims(*rims, *answers).facts["rim_ocsp"] == "good"
    assert claims(*rims, *answers).facts["ocsp"] == "absent"
    assert claims(*rims, *answers[1:]).facts["rim_ocsp"] == "absent"
    assert claims(*rims).facts["rim_ocsp"] == "absent"
    leaf, above = (Level(key=level.key, certificate=level.certificate) for level in NVIDIA.rim_maker.chain[:2])
    assert claims(*rims, answer(leaf, above, status="hold"), *answers[1:]).facts["rim_ocsp"] == "hold"
    assert refused(*rims, answer(leaf, above, status="revoked")) is Reason.CERTIFICATE_REVOKED
