# SPDX-License-Identifier: Apache-2.0
"""A verdict on anything that may be presented fits an entry, and nobody keeps a refusal out of the log."""

import hashlib
from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta

import pytest

from attestation.appraisal.finding import Finding
from attestation.binding import Challenge, Keyset, Profile, SuiteID
from attestation.bundle import MAX_COLLATERAL, MAX_EVIDENCE, Collateral, Evidence, EvidenceBundle
from attestation.claims import Measurement, TEEKind
from attestation.errors import Reason
from attestation.facts.vocabularies import VOCABULARIES
from attestation.registry.entries import (
    MAX_CHALLENGE_BYTES,
    MAX_COLLATERAL_BLOBS,
    MAX_ENGINES,
    MAX_EVIDENCE_BLOBS,
    MAX_PLATFORMS,
    Judge,
    findings_json,
    verdict_entry,
)
from attestation.registry.values import Refused
from attestation.tlog.entry import JSON, MAX_ENTRY_BYTES, Entry, VerifierRef
from attestation.verify import VerifiedBundle
from tests.support.attested import NOW, binding_for, some_claims
from tests.support.worlds import Machine, development_policy, world

AZURE_ON_TDX = (*VOCABULARIES[TEEKind.TPM].registers, *VOCABULARIES[TEEKind.TDX].registers)
LARGEST = 1 << 20


def digests(count: int) -> list[bytes]:
    return sorted(hashlib.sha256(b"%d" % number).digest() for number in range(count))


def judge() -> Judge:
    """One whose own names are as long as they may be."""
    policy = replace(development_policy(), id="p" * 128, version=(1 << 53) - 1, profile=Profile.PRODUCTION)
    return Judge(policy=policy, verifier=VerifierRef(version="v" * 64, sha256=bytes(32)), audience="a" * 256)


def presented(collateral_kind: str = "event-log-dstack", form: str = "f" * 48) -> EvidenceBundle:
    """A bundle of as many pieces as may be, under the longest names."""
    return EvidenceBundle(
        challenge=b"c" * MAX_CHALLENGE_BYTES,
        keyset=b"k",
        binding=b"b",
        evidence=tuple(
            Evidence(kind=TEEKind.NVIDIA_SWITCH, format=form, data=b"%02d" % number * 10)
            for number in range(MAX_EVIDENCE)
        ),
        collateral=tuple(
            Collateral(kind=collateral_kind, data=b"%03d" % number * 5000) for number in range(MAX_COLLATERAL)
        ),
    )


def verified(engines: int = MAX_ENGINES) -> VerifiedBundle:
    """As much as can be established: every register of a vTPM and of the TD below it, and both suites."""
    keyset = Keyset(
        suites=((SuiteID.MLKEM768_X25519, bytes(1216)), (SuiteID.X25519, b"x" * 32)),
        receipt_key=bytes(32),
        tls_spki_sha256=bytes(32),
        generation=1,
    )
    challenge = Challenge(
        random=bytes(32), audience="a", provider_id=bytes(32), checkpoint_sha256=bytes(32), issued=1, expires=2
    )
    plain = some_claims(profile=Profile.PRODUCTION)
    registers = tuple(Measurement(register=name, algorithm="sha384", digest=b"\xaa" * 48) for name in AZURE_ON_TDX)
    cpu = replace(plain.cpu, kind=TEEKind.AZURE_HCL, measurements=registers)
    return VerifiedBundle(
        challenge=challenge,
        keyset=keyset,
        binding=binding_for(keyset, engines=tuple(digests(engines))),
        claims=replace(plain, cpu=cpu, engines=tuple(digests(engines))),
    )


def entry(bundle: EvidenceBundle, of: VerifiedBundle | None, reasons: Iterable[Reason] = ()) -> Entry:
    """A pass without reasons, a refusal with some."""
    given = list(reasons)
    return verdict_entry(
        judge(),
        provider="p" * 64,
        provider_id=bytes(32),
        bundle=bundle,
        verified=of,
        reasons=given,
        findings=b"f" * LARGEST if given else b"",
        platforms=digests(MAX_PLATFORMS),
        valid_until=None if given else NOW + timedelta(hours=1),
        at=NOW,
    )


def types(listed: JSON) -> list[str]:
    assert isinstance(listed, list)
    return [str(blob["type"]) for blob in listed if isinstance(blob, dict)]


@pytest.mark.parametrize("reasons", [(), tuple(Reason)], ids=["pass", "refusal"])
@pytest.mark.parametrize("kind", ["event-log-dstack", "k" * 48, "\u2028" * 256])
def test_the_largest_verdict_fits(reasons: tuple[Reason, ...], kind: str) -> None:
    """Every list at its limit and every name at its longest: what binds is all there, pieces as far as they fit."""
    made = entry(presented(kind), verified(), reasons)
    assert len(made.encoded) <= MAX_ENTRY_BYTES
    body = made.body
    assert isinstance(body["claims"], dict)
    assert sum(name.startswith("measured.") for name in body["claims"]) == len(AZURE_ON_TDX)
    for name, count in (("engines", MAX_ENGINES), ("platforms", MAX_PLATFORMS), ("keys", 3)):
        listed = body[name]
        assert isinstance(listed, list)
        assert len(listed) == count
    assert types(body["evidence"])[0] == "bundle"
    assert ("findings" in types(body["evidence"])) is bool(reasons)


def test_of_a_usual_verdict_all_pieces_are_named() -> None:
    """The limits cut what is unusual: eight GPUs, four switches and sixteen pieces of collateral stand there."""
    made = entry(presented(form="nvidia-switch-spdm-1.1"), None, [Reason.MALFORMED])
    assert len(types(made.body["evidence"])) == 1 + MAX_EVIDENCE_BLOBS + 1
    assert len(types(made.body["collateral"])) == MAX_COLLATERAL_BLOBS


def test_only_names_of_ours_stand_for_collateral() -> None:
    """Nobody writes a message into the log by calling collateral something."""
    bundle = replace(
        presented(), collateral=(Collateral(kind="buy-here.example", data=b"x"), Collateral(kind="amd-crl", data=b"x"))
    )
    assert types(entry(bundle, None, [Reason.MALFORMED]).body["collateral"]) == ["unnamed", "amd-crl"]


def test_a_finding_that_quotes_what_has_no_encoding_is_archived() -> None:
    """A lone surrogate out of somebody's JSON stands there spelled out."""
    finding = Finding(field="f", got="\ud800", want="w", remedy="r", reason=Reason.MALFORMED)
    assert b"\\\\ud800" in findings_json([finding])


@pytest.mark.parametrize("kind", ["k" * 48, "k" * 256, "\u202e" * 256])
def test_a_refusal_is_logged_whatever_its_sender_calls_things(kind: str) -> None:
    """A bundle of many pieces under long names, with more engines than may be, is refused in the log."""
    here, machine = world(), Machine(engines=tuple(digests(256)))
    sent = machine.bundle(here.challenge(), here.clock.now)
    pads = tuple(Collateral(kind=kind, data=b"%d" % number) for number in range(MAX_COLLATERAL - len(sent.collateral)))
    sent = replace(sent, collateral=(*pads, *sent.collateral))
    before = len(here.entries())
    verdict = here.registry.register(machine.provider, machine.registration(sent))
    assert isinstance(verdict, Refused)
    assert here.entries()[before].body["reasons"] == ["ENGINE_REFUSED"]
