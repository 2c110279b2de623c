# SPDX-License-Identifier: Apache-2.0
"""A registration is judged once, for the authenticated account, and logged before anybody can use it."""

import hashlib
import json
from dataclasses import replace
from datetime import timedelta

import pytest

from attestation.binding import Challenge, KeyBinding
from attestation.claims import ComponentID, ComponentKind
from attestation.codec.labels import sha256
from attestation.errors import NotGenuine, Reason, SealbidError, Stale
from attestation.lease import open_lease
from attestation.rates import Rates
from attestation.registry.values import Admitted, Refused, Verdict
from attestation.rpc.pinning import WORKER_NAME, make_identity
from attestation.simulated.formats import DEVELOPMENT_MEASUREMENT
from attestation.tlog.entry import Kind
from attestation.tlog.proof import verify_tlog_proof
from enclave.attesters.simulated import SimulatedAttester
from tests.support.certificates import unfit_certificates
from tests.support.log import WholeLogCheck
from tests.support.worlds import ORIGIN, Machine, World, challenge_of, development_policy, world

CPU = ComponentID(kind=ComponentKind.CPU, value=b"platform-one")


def check_logged(here: World, refused: Refused) -> None:
    """The refusal is a proven entry of the log."""
    trust = here.trust
    verify_tlog_proof(
        refused.verdict_proof,
        refused.verdict_entry,
        origin=trust.origin,
        log_key=trust.log_key,
        policy=trust.witness_policy,
    )


def test_challenges_name_provider_audience_and_newest_checkpoint() -> None:
    """Ruling 6: a challenge binds the account, this log and its newest checkpoint note, and lives 60 seconds."""
    here = world()
    challenge = Challenge.decode(here.challenge("provider-a"))
    assert challenge.audience == ORIGIN
    assert challenge.checkpoint_sha256 == sha256(here.log.checkpoint())
    assert challenge.expires == challenge.issued + 60
    assert challenge.issued == int(here.clock.now.timestamp())
    here.admit(Machine())
    assert Challenge.decode(here.challenge()).checkpoint_sha256 == sha256(here.log.checkpoint())
    assert Challenge.decode(here.challenge()).checkpoint_sha256 != challenge.checkpoint_sha256


def test_ruling_06_the_challenge_stays_with_the_verdict() -> None:
    """Anyone can see from the entry which checkpoint the evidence is younger than."""
    here = world()
    presented = here.admit(Machine())
    entry = here.entries()[-1]
    assert entry.body["challenge"] == presented.bundle.challenge.hex()
    before = here.log.checkpoint()
    assert challenge_of(presented).checkpoint_sha256 != sha256(before)


def test_a_pass_is_logged_under_a_checkpoint_before_the_lease_exists() -> None:
    """Ruling 14: the lease cites index and leaf hash of a verdict that a published checkpoint already covers."""
    here = world()
    presented = here.admit(Machine())
    lease = open_lease(presented.lease, here.trust.lease_key)
    entry = here.entries()[lease.verdict_index]
    assert entry.leaf_hash == lease.verdict_leaf
    assert entry.kind is Kind.ATTEST_VERDICT
    assert WholeLogCheck(origin=ORIGIN, log_key=here.trust.log_key).log(here.log).size > lease.verdict_index


def test_ruling_31_the_lease_ends_with_whatever_ends_first() -> None:
    """Binding, lease length and collateral: the earliest end is the lease's."""
    here = world(policy=development_policy(lease_seconds="900"))
    lease = open_lease(here.admit(Machine()).lease, here.trust.lease_key)
    assert lease.expires - lease.issued == 900
    long = world()
    challenge = long.challenge()
    bundle = Machine().bundle(challenge, long.clock.now)
    long.clock.advance(50)
    machine = Machine()
    verdict = long.registry.register("provider-a", machine.registration(machine.bundle(challenge, long.clock.now)))
    assert isinstance(verdict, Admitted)
    late = open_lease(verdict.presented.lease, long.trust.lease_key)
    assert late.expires == KeyBinding.decode(bundle.binding).not_after


def test_ruling_08_renewal_with_the_same_keyset_changes_the_binding_only() -> None:
    """A renewal keeps worker_id and keyset_id, has a new binding digest, and replaces the old admission."""
    here, machine = world(), Machine()
    first = open_lease(here.admit(machine).lease, here.trust.lease_key)
    here.clock.advance(600)
    second = open_lease(here.admit(machine).lease, here.trust.lease_key)
    assert (first.worker_id, first.keyset_id) == (second.worker_id, second.keyset_id)
    assert first.binding_digest != second.binding_digest
    assert second.expires == first.expires + 600
    assert len(here.registry.changes(0)[1]) == 1


def test_a_challenge_is_used_once_even_by_its_owner() -> None:
    """The second use of a challenge is refused as stale, and logged."""
    here, machine = world(), Machine()
    registration = machine.registration(machine.bundle(here.challenge(), here.clock.now))
    assert isinstance(here.registry.register("provider-a", registration), Admitted)
    again = here.registry.register("provider-a", registration)
    assert isinstance(again, Refused)
    assert again.reason is Reason.NONCE_STALE
    check_logged(here, again)


def test_a_challenge_is_over_after_a_minute() -> None:
    """Evidence that arrives after the challenge's time is refused as stale."""
    here, machine = world(), Machine()
    registration = machine.registration(machine.bundle(here.challenge(), here.clock.now))
    here.clock.advance(61)
    refused = here.registry.register("provider-a", registration)
    assert isinstance(refused, Refused)
    assert refused.reason is Reason.NONCE_STALE


def test_a_challenge_nobody_issued_is_refused() -> None:
    """A well-formed challenge of the worker's own making does not pass for the registry's."""
    here, machine = world(), Machine()
    forged = replace(Challenge.decode(here.challenge()), random=bytes(32)).encode()
    refused = here.registry.register("provider-a", machine.registration(machine.bundle(forged, here.clock.now)))
    assert isinstance(refused, Refused)
    assert refused.reason is Reason.NONCE_MISMATCH


def test_ruling_05_another_providers_evidence_is_refused_and_its_challenge_survives() -> None:
    """Provider b presenting what provider a's machine made gets nothing, and does not burn a's challenge."""
    here, machine = world(), Machine(provider="provider-a")
    registration = machine.registration(machine.bundle(here.challenge("provider-a"), here.clock.now))
    stolen = here.registry.register("provider-b", registration)
    assert isinstance(stolen, Refused)
    assert stolen.reason is Reason.PROVIDER_MISMATCH
    check_logged(here, stolen)
    assert isinstance(here.registry.register("provider-a", registration), Admitted)


def test_ruling_05_a_worker_answers_challenges_of_its_own_account_and_market_only() -> None:
    """A relayed challenge that names another provider or audience is refused by the worker itself."""
    here = world()
    with pytest.raises(NotGenuine) as refused:
        Machine(provider="provider-a").bundle(here.challenge("provider-b"), here.clock.now)
    assert refused.value.reason is Reason.PROVIDER_MISMATCH
    with pytest.raises(NotGenuine) as refused:
        Machine(audience="other.test/evidence").bundle(here.challenge(), here.clock.now)
    assert refused.value.reason is Reason.AUDIENCE_MISMATCH
    challenge = here.challenge()
    with pytest.raises(Stale):
        Machine().bundle(challenge, here.clock.now + timedelta(seconds=61))


def test_a_certificate_unfit_to_be_pinned_is_refused_and_named() -> None:
    """No lease for a worker whose certificate no peer would take as a root, though its key is the attested one."""
    here, tls = world(), make_identity("worker", WORKER_NAME)
    for unfit, why in unfit_certificates(tls).items():
        refused = here.refuse(Machine(tls=replace(tls, certificate_der=unfit)))
        assert refused.reason is why
        assert [finding.field for finding in refused.findings] == ["certificate"]
        check_logged(here, refused)


def test_ruling_05_the_receipt_key_signs_binding_certificate_and_endpoint() -> None:
    """A registration whose certificate or endpoint was changed on the way, or signed by another key, is refused."""
    here, machine = world(), Machine()

    def attempt(**changes: object) -> Reason:
        registration = machine.registration(machine.bundle(here.challenge(), here.clock.now))
        verdict = here.registry.register("provider-a", replace(registration, **changes))  # type: ignore[arg-type]
        assert isinstance(verdict, Refused)
        return verdict.reason

    assert attempt(endpoint="203.0.113.9:1") is Reason.BINDING_MISMATCH
    assert attempt(endpoint="nonsense") is Reason.MALFORMED
    other = make_identity("worker", WORKER_NAME)
    assert attempt(certificate_der=other.certificate_der) is Reason.KEYSET_MISMATCH
    stranger = Machine(seed=5)
    foreign = stranger.registration(machine.bundle(here.challenge(), here.clock.now)).registration
    assert attempt(registration=foreign) is Reason.SIGNATURE_INVALID
    assert attempt(registration=b"garbage") is Reason.MALFORMED


def test_refusals_hold_all_findings_and_are_logged_as_such() -> None:
    """A worker with debug on and an unknown image is told both at once; the entry says fail, why, and SIMULATED."""
    here = world()
    attester = SimulatedAttester(components=(CPU,), measurement=bytes(48), debug=True)
    refused = here.refuse(Machine(attester=attester))
    assert [finding.reason for finding in refused.findings] == [Reason.DEBUG_REFUSED, Reason.MEASUREMENT_REFUSED]
    check_logged(here, refused)
    entry = here.entries()[-1]
    assert entry.encoded == refused.verdict_entry
    assert entry.body["verdict"] == "fail"
    assert entry.body["reasons"] == ["DEBUG_REFUSED", "MEASUREMENT_REFUSED"]
    assert entry.simulated
    assert here.registry.changes(0)[1] == []


def test_a_refusals_findings_are_kept_where_its_entry_says() -> None:
    """Field, got, want and remedy of every finding, also of what did not verify, by the digest in the log."""
    here = world()
    attester = SimulatedAttester(components=(CPU,), measurement=bytes(48), debug=True)
    refusals: list[Verdict] = [here.refuse(Machine(attester=attester))]
    bundle = Machine().bundle(here.challenge(), here.clock.now)
    forged = replace(bundle, evidence=(replace(bundle.evidence[0], data=b"forged"),))
    refusals.append(here.registry.register("provider-a", Machine().registration(forged)))
    for refused, entry in zip(refusals, here.entries()[-2:], strict=True):
        assert isinstance(refused, Refused)
        evidence = entry.body["evidence"]
        assert isinstance(evidence, list)
        last = evidence[-1]
        assert isinstance(last, dict)
        assert last["type"] == "findings"
        kept = json.loads(here.store.blobs[bytes.fromhex(str(last["sha256"]))])["findings"]
        assert [(one["reason"], one["field"], one["got"], one["want"], one["remedy"]) for one in kept] == [
            (finding.reason.value, finding.field, finding.got, finding.want, finding.remedy)
            for finding in refused.findings
        ]


def test_wrong_policy_refuses_and_names_it() -> None:
    """Under another policy file the same worker is refused, and the entry names that policy by digest."""
    other = development_policy(engines='{ any_of = ["00"] }')
    here = world(policy=other)
    refused = here.refuse(Machine())
    assert refused.reason is Reason.ENGINE_REFUSED
    policy = here.entries()[-1].body["policy"]
    assert isinstance(policy, dict)
    assert policy["sha256"] == other.sha256.hex()


def test_everything_simulated_says_so() -> None:
    """Passes, refusals and revocations of a development registry carry simulated: true, leases the profile."""
    here, machine = world(), Machine()
    presented = here.admit(machine)
    here.refuse(Machine(seed=3, provider="provider-b"))
    here.registry.revoke(machine.keyset.keyset_id, reason="test", by="ops-1")
    marked = [entry for entry in here.entries() if entry.kind in (Kind.ATTEST_VERDICT, Kind.ATTEST_REVOKE)]
    assert len(marked) == 3
    assert all(entry.simulated for entry in marked)
    assert open_lease(presented.lease, here.trust.lease_key).profile.value == "development"


def test_accepted_bundles_are_archived_by_content() -> None:
    """The bundle behind a verdict can be fetched by the digest its entry names; of forgeries the findings are kept."""
    here, machine = world(), Machine()
    presented = here.admit(machine)
    evidence = here.entries()[-1].body["evidence"]
    assert isinstance(evidence, list)
    first = evidence[0]
    assert isinstance(first, dict)
    assert here.store.archived(bytes.fromhex(str(first["sha256"]))) == presented.bundle.encode()
    for piece in presented.bundle.evidence:
        assert here.store.archived(hashlib.sha256(piece.data).digest()) == piece.data
    kept = set(here.store.blobs)
    bundle = machine.bundle(here.challenge(), here.clock.now)
    forged = replace(bundle, evidence=(replace(bundle.evidence[0], data=b"forged"),))
    assert isinstance(here.registry.register("provider-a", machine.registration(forged)), Refused)
    added = set(here.store.blobs) - kept
    assert [json.loads(here.store.blobs[digest]).keys() for digest in added] == [{"findings"}]


def test_calls_per_provider_are_limited() -> None:
    """One provider's burst is refused with RATE_LIMITED; another is not touched, and time refills."""
    here = world(rates=Rates(per_minute=60, burst=3))
    for _ in range(3):
        here.challenge("provider-a")
    with pytest.raises(SealbidError) as refused:
        here.challenge("provider-a")
    assert refused.value.reason is Reason.RATE_LIMITED
    here.challenge("provider-b")
    here.clock.advance(1)
    here.challenge("provider-a")
    here.clock.advance(-3600)
    with pytest.raises(SealbidError):
        here.challenge("provider-a")


def test_a_huge_bundle_still_fits_a_log_entry() -> None:
    """Many parts with chosen names neither break the log's bound nor write text into it."""
    here, machine = world(), Machine()
    bundle = machine.bundle(here.challenge(), here.clock.now)
    noise = replace(bundle.collateral[0], kind="Buy at EVIL.example!" * 12)
    crowd = replace(bundle, collateral=(*bundle.collateral, *[noise] * 63))
    verdict = here.registry.register("provider-a", machine.registration(crowd))
    assert isinstance(verdict, Admitted)
    entry = here.entries()[-1].encoded
    assert len(entry) < 16 << 10
    assert b"EVIL" not in entry


def test_too_many_engines_are_a_finding() -> None:
    """More engines than an entry can name is refused with a remedy instead of failing later."""
    here = world()
    engines = tuple(number.to_bytes(32, "big") for number in range(65))
    assert here.refuse(Machine(engines=engines)).reason is Reason.ENGINE_REFUSED
    assert isinstance(here.register(Machine(engines=engines[:64])), Admitted)


def test_the_development_image_is_the_one_the_policy_lists() -> None:
    """The shipped development policy and the SIMULATED attester agree on the image."""
    assert DEVELOPMENT_MEASUREMENT.hex().encode() in development_policy().data
