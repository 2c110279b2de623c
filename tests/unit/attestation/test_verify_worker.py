# SPDX-License-Identifier: Apache-2.0
"""Each step from presented bytes to an attested worker refuses for its own reason."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from typing_extensions import override

from attestation.appraisal.policy import read_policy
from attestation.attested import AttestedWorker
from attestation.binding import Challenge, KeyBinding, Profile, SuiteID
from attestation.bundle import Collateral, Evidence, EvidenceBundle
from attestation.certificate import spki_sha256
from attestation.claims import ComponentID, ComponentKind, EvidenceClaims, TCBStatus, TEEKind
from attestation.errors import NotAcceptable, Reason, SealbidError
from attestation.facts.vocabularies import VOCABULARIES
from attestation.lease import open_heartbeat, open_lease, sign_lease
from attestation.rpc.pinning import WORKER_NAME, make_identity
from attestation.simulated.formats import COLLATERAL_KIND, SimulatedTCB, open_quote, sign_quote, sign_tcb
from attestation.tee.interface import Verifier
from attestation.verify import PresentedWorker, verify_worker
from enclave.attesters.interface import Quoted
from enclave.attesters.simulated import SimulatedAttester
from tests.support.certificates import unfit_certificates
from tests.support.worlds import SIMULATED, Clock, Machine, World, development_policy, policy_bytes, world


def accepted(here: World, presented: PresentedWorker, **changes: object) -> AttestedWorker:
    arguments = {
        "heartbeat": here.heartbeat(),
        "trust": here.trust,
        "policy": here.policy,
        "verifiers": SIMULATED,
        "now": here.clock.now,
    }
    return verify_worker(presented, **(arguments | changes))  # type: ignore[arg-type]


def reason(here: World, presented: PresentedWorker, **changes: object) -> Reason:
    with pytest.raises(SealbidError) as refused:
        accepted(here, presented, **changes)
    assert not refused.value.message.endswith(".")
    return refused.value.reason


def rebound(presented: PresentedWorker, **changes: object) -> PresentedWorker:
    """The same presentation with an altered key binding that its (simulated, so forgeable) evidence carries."""
    binding = replace(KeyBinding.decode(presented.bundle.binding), **changes)  # type: ignore[arg-type]
    quote = replace(open_quote(presented.bundle.evidence[0].data), report_data=binding.report_data())
    evidence = replace(presented.bundle.evidence[0], data=sign_quote(quote))
    return replace(presented, bundle=replace(presented.bundle, binding=binding.encode(), evidence=(evidence,)))


def with_bundle(presented: PresentedWorker, **changes: object) -> PresentedWorker:
    return replace(presented, bundle=replace(presented.bundle, **changes))  # type: ignore[arg-type]


def test_a_good_worker_becomes_attested_with_its_facts() -> None:
    """Evidence, own policy, logged verdict and lease together give keys that name all of them."""
    here, machine = world(), Machine(suites=(SuiteID.MLKEM768_X25519, SuiteID.X25519))
    presented = here.admit(machine)
    worker = accepted(here, presented)
    assert worker.worker_id == machine.keyset.worker_id
    assert worker.provider == "provider-a"
    assert worker.engines == machine.engines
    assert worker.profile is Profile.DEVELOPMENT
    assert worker.claims.simulated
    assert worker.policy_sha256 == here.policy.sha256
    assert here.entries()[worker.verdict_index].encoded == worker.verdict_entry
    # Suite 2 is not in the policy, so no key of it comes out although the keyset has one (ruling 21).
    assert [key.suite for key in worker.keys] == [SuiteID.MLKEM768_X25519]
    assert worker.expires == here.clock.now + timedelta(hours=1)


def test_step_a_evidence_must_be_genuine() -> None:
    """One altered byte of evidence, an unknown format, or a kind without verifier is refused."""
    here = world()
    presented = here.admit(Machine())
    evidence = presented.bundle.evidence[0]
    flipped = replace(evidence, data=evidence.data[:-1] + bytes([evidence.data[-1] ^ 1]))
    assert reason(here, with_bundle(presented, evidence=(flipped,))) is Reason.SIGNATURE_INVALID
    renamed = replace(evidence, format="sealbid-simulated-v2")
    assert reason(here, with_bundle(presented, evidence=(renamed,))) is Reason.UNSUPPORTED
    assert reason(here, presented, verifiers={}) is Reason.UNSUPPORTED


def test_step_a_collateral_must_be_there_and_valid_now() -> None:
    """Missing or expired collateral leaves the question open, so the answer is no."""
    here = world()
    presented = here.admit(Machine())
    assert reason(here, with_bundle(presented, collateral=())) is Reason.COLLATERAL_UNAVAILABLE
    now = here.clock.now
    old = SimulatedTCB(issued=now - timedelta(days=9), expires=now, current=2, supported=1)
    late = Collateral(kind=COLLATERAL_KIND, data=sign_tcb(old))
    assert reason(here, with_bundle(presented, collateral=(late,))) is Reason.COLLATERAL_EXPIRED


def test_step_b_the_slot_holds_exactly_this_binding() -> None:
    """A binding the evidence does not carry is refused, however plausible."""
    here = world()
    presented = here.admit(Machine())
    binding = replace(KeyBinding.decode(presented.bundle.binding), engines=())
    assert reason(here, with_bundle(presented, binding=binding.encode())) is Reason.BINDING_MISMATCH


def test_ruling_27_simulated_evidence_carries_development_bindings_only() -> None:
    """A production-labelled binding in simulated evidence is refused before any policy is asked."""
    here = world()
    presented = here.admit(Machine())
    assert reason(here, rebound(presented, profile=Profile.PRODUCTION)) is Reason.BINDING_MISMATCH


def test_step_c_the_keyset_is_the_bound_one() -> None:
    """Keys swapped after attestation are refused."""
    here = world()
    presented = here.admit(Machine())
    other = Machine(seed=9).keyset.encode()
    assert reason(here, with_bundle(presented, keyset=other)) is Reason.KEYSET_MISMATCH


def test_step_d_nonce_audience_and_provider() -> None:
    """Another nonce, another market's challenge, and another provider's binding each have their reason."""
    here = world()
    presented = here.admit(Machine())
    assert reason(here, rebound(presented, verifier_nonce=bytes(32))) is Reason.NONCE_MISMATCH
    assert reason(here, rebound(presented, audience="other.test/evidence")) is Reason.AUDIENCE_MISMATCH
    assert reason(here, rebound(presented, provider_id=bytes(32))) is Reason.PROVIDER_MISMATCH
    elsewhere = replace(
        here.trust, origin="other.test/evidence", log_key=replace(here.trust.log_key, name="other.test/evidence")
    )
    assert reason(here, presented, trust=elsewhere) is Reason.AUDIENCE_MISMATCH


@dataclass(frozen=True)
class FakeGPU:
    """A verifier that believes any report and finds its nonce in the first 32 bytes."""

    def verify(self, evidence: Evidence, collateral: Sequence[Collateral], *, now: datetime) -> EvidenceClaims:
        return EvidenceClaims(
            kind=TEEKind.NVIDIA_GPU,
            measurements=(),
            debug=False,
            tcb_status=TCBStatus.UP_TO_DATE,
            advisories=(),
            platform_ids=(ComponentID(kind=ComponentKind.GPU, value=evidence.data[32:]),),
            slot=evidence.data[:32],
            collateral_expires=now + timedelta(days=1),
        )


class GPUAttester(SimulatedAttester):
    """A SIMULATED machine that also presents GPU reports; `nonce` overrides the one it was asked to answer."""

    serials: tuple[bytes, ...] = (b"gpu-serial-1", b"gpu-serial-2")
    nonce: bytes | None = None

    @override
    def devices(self, nonce: bytes) -> Quoted:
        answered = self.nonce or nonce
        reports = tuple(
            Evidence(kind=TEEKind.NVIDIA_GPU, format="spdm-1.1", data=answered + serial) for serial in self.serials
        )
        return Quoted(evidence=reports, collateral=())


WITH_GPU: Mapping[TEEKind, Verifier] = {**SIMULATED, TEEKind.NVIDIA_GPU: FakeGPU()}


def gpu_policy() -> bytes:
    """The development policy for a machine with two GPUs of which nothing but their presence is asked."""
    allowed = policy_bytes(devices='{ any_of = ["nvidia-gpu"] }', gpus="{ exactly = 2 }").decode()
    vocabulary = VOCABULARIES[TEEKind.NVIDIA_GPU]
    facts = (*vocabulary.facts, *vocabulary.registers)
    return "\n".join(
        [allowed, "[facts.nvidia-gpu]", *(f'{name} = {{ unchecked = "a test" }}' for name in facts)]
    ).encode()


def gpu_world() -> tuple[World, GPUAttester]:
    here = world(policy=read_policy(gpu_policy()), verifiers=WITH_GPU)
    return here, GPUAttester(components=(ComponentID(kind=ComponentKind.CPU, value=b"platform-one"),))


def test_steps_e_and_f_ruling_29_devices_are_exactly_the_bound_ones_and_answer_its_nonce() -> None:
    """A report left out, one added, or one over another nonce is refused; the bound ones pass."""
    here, attester = gpu_world()
    presented = here.admit(Machine(attester=attester))
    cpu, *reports = presented.bundle.evidence
    assert len(accepted(here, presented, verifiers=WITH_GPU).claims.devices) == 2
    extra = replace(reports[0], data=bytes(32) + b"borrowed")
    for evidence in (
        (cpu, reports[0]),
        (cpu, *reports, extra),
        (cpu, reports[0], extra),
        (cpu, reports[0], reports[0]),
    ):
        assert reason(here, with_bundle(presented, evidence=evidence), verifiers=WITH_GPU) is Reason.DEVICES_MISMATCH
    attester.nonce = b"\x05" * 32
    assert here.refuse(Machine(attester=attester)).reason is Reason.NONCE_MISMATCH


def test_step_g_the_binding_ends_within_an_hour_of_its_challenge() -> None:
    """A binding that claims more than an hour, or whose hour is over, is refused."""
    here = world()
    presented = here.admit(Machine())
    end = KeyBinding.decode(presented.bundle.binding).not_after
    assert reason(here, rebound(presented, not_after=end + 1)) is Reason.BINDING_MISMATCH
    assert reason(here, presented, now=here.clock.now + timedelta(hours=1)) is Reason.EVIDENCE_STALE


def test_step_h_the_callers_own_policy_decides() -> None:
    """A policy stricter than the registry's refuses what the registry admitted, with findings."""
    here = world()
    presented = here.admit(Machine())
    own = development_policy(engines='{ any_of = ["00"] }', lease_seconds="60")
    with pytest.raises(NotAcceptable) as refused:
        accepted(here, presented, policy=own)
    assert refused.value.reason is Reason.ENGINE_REFUSED
    assert len(refused.value.findings) == 1


def test_ruling_27_a_production_policy_refuses_a_development_registry() -> None:
    """Under a production policy neither a development trust root nor a development lease leads to a key."""
    here = world()
    presented = here.admit(Machine())
    strict = read_policy(policy_bytes("production-strict"))
    assert reason(here, presented, policy=strict) is Reason.SIMULATED_REFUSED
    trust = replace(here.trust, profile=Profile.PRODUCTION)
    assert reason(here, presented, policy=strict, trust=trust) is Reason.SIMULATED_REFUSED
    assert reason(here, presented, trust=trust) is Reason.POLICY_MISMATCH


def test_step_i_ruling_14_the_verdict_must_be_proven_in_the_log() -> None:
    """No proof, another entry's proof, a refused verdict, or a log key that is not trusted: no key."""
    here = world()
    presented = here.admit(Machine())
    renewed = here.admit(Machine(generation=2))
    assert reason(here, replace(presented, verdict_proof=b"")) is Reason.MALFORMED
    assert reason(here, replace(presented, verdict_entry=renewed.verdict_entry)) is Reason.PROOF_INVALID
    swapped = replace(presented, verdict_entry=renewed.verdict_entry, verdict_proof=renewed.verdict_proof)
    assert reason(here, swapped) is Reason.PROOF_INVALID
    policy_entry = replace(presented, verdict_entry=here.entries()[1].encoded, verdict_proof=here.log.proof(1))
    assert reason(here, policy_entry) is Reason.PROOF_INVALID
    key = replace(here.trust.log_key, public_key=Ed25519PrivateKey.generate().public_key().public_bytes_raw())
    assert reason(here, presented, trust=replace(here.trust, log_key=key)) is Reason.CHECKPOINT_INVALID


def test_ruling_14_the_log_head_must_be_young() -> None:
    """News of the log older than max_checkpoint_age, or of a log shorter than the proof's, is refused."""
    here = world()
    presented, heartbeat = here.admit(Machine()), here.heartbeat()
    later = here.clock.now + timedelta(seconds=here.policy.max_checkpoint_age_seconds)
    accepted(here, presented, heartbeat=heartbeat, now=later)
    assert reason(here, presented, heartbeat=heartbeat, now=later + timedelta(seconds=1)) is Reason.CHECKPOINT_STALE
    renewed = here.admit(Machine(generation=2))
    assert reason(here, renewed, heartbeat=heartbeat) is Reason.CHECKPOINT_STALE


def test_a_registry_that_shows_two_roots_for_one_size_is_caught() -> None:
    """Heartbeat and proof of the same size with different roots are a fork, not a disagreement."""
    here = world()
    presented = here.admit(Machine())
    beat = open_heartbeat(here.heartbeat(), here.trust.lease_key)
    forked = here.resign_heartbeat(replace(beat, root=bytes(32)))
    assert reason(here, presented, heartbeat=forked) is Reason.LOG_FORK


def test_ruling_15_a_revoked_keyset_is_refused_at_verification_too() -> None:
    """Once a heartbeat names the keyset, presenting it again does not help."""
    here = world()
    machine = Machine()
    presented = here.admit(machine)
    here.registry.revoke(machine.keyset.keyset_id, reason="gone", by="ops-1")
    assert reason(here, presented) is Reason.REVOKED


LEASE_CHANGES: Sequence[tuple[str, object]] = [
    ("worker_id", bytes(32)),
    ("keyset_id", bytes(32)),
    ("binding_digest", bytes(32)),
    ("provider_id", bytes(32)),
    ("policy_sha256", bytes(32)),
    ("verdict_leaf", bytes(32)),
    ("verdict_index", 0),
    ("profile", Profile.PRODUCTION),
]


@pytest.mark.parametrize(("field", "value"), LEASE_CHANGES, ids=[field for field, _ in LEASE_CHANGES])
def test_step_j_ruling_31_every_fact_of_the_lease_must_match(field: str, value: object) -> None:
    """A lease signed over any other fact than the presented worker's is refused."""
    here = world()
    presented = here.admit(Machine())
    lease = open_lease(presented.lease, here.trust.lease_key)
    changed = sign_lease(here.keys.lease_key, replace(lease, **{field: value}))  # type: ignore[arg-type]
    assert reason(here, replace(presented, lease=changed)) is Reason.LEASE_INVALID


def test_step_j_expired_foreign_and_overlong_leases() -> None:
    """An expired lease, one by another key, one from the future and one that outlives its binding are refused."""
    here = world(policy=development_policy(lease_seconds="600"))
    presented = here.admit(Machine())
    beat = replace(open_heartbeat(here.heartbeat(), here.trust.lease_key), made=int(here.clock.now.timestamp()) + 600)
    after = here.clock.now + timedelta(seconds=600)
    assert reason(here, presented, now=after, heartbeat=here.resign_heartbeat(beat)) is Reason.LEASE_EXPIRED
    lease = open_lease(presented.lease, here.trust.lease_key)
    forged = sign_lease(Ed25519PrivateKey.generate(), lease)
    assert reason(here, replace(presented, lease=forged)) is Reason.LEASE_INVALID
    for issued in (lease.issued + 3000, lease.issued + 31):
        moved = replace(lease, issued=issued, expires=issued + 900)
        signed = sign_lease(here.keys.lease_key, moved)
        assert reason(here, replace(presented, lease=signed)) is Reason.LEASE_INVALID


def test_step_k_the_certificate_is_the_keysets() -> None:
    """Another TLS certificate than the one whose key was attested is refused."""
    here = world()
    presented = here.admit(Machine())
    other = make_identity("worker", WORKER_NAME).certificate_der
    assert reason(here, replace(presented, certificate_der=other)) is Reason.KEYSET_MISMATCH
    assert reason(here, replace(presented, certificate_der=b"not a certificate")) is Reason.MALFORMED


def test_step_k_the_certificate_is_fit_to_be_pinned() -> None:
    """One over the attested key that could issue others, is of no version or of a foreign hand admits nobody: it would
    be left out of every handshake."""
    here, machine = world(), Machine()
    presented = here.admit(machine)
    for unfit, why in unfit_certificates(machine.tls).items():
        assert spki_sha256(unfit) == machine.keyset.tls_spki_sha256
        assert reason(here, replace(presented, certificate_der=unfit)) is why


def test_a_challenge_from_the_future_is_refused() -> None:
    """Evidence cannot answer a challenge that is yet to be issued."""
    here = world()
    presented = here.admit(Machine())
    assert reason(here, presented, now=here.clock.now - timedelta(seconds=31)) is Reason.NONCE_MISMATCH


@pytest.mark.parametrize("part", ["challenge", "keyset", "binding"])
def test_parts_that_do_not_parse_are_malformed(part: str) -> None:
    """Garbage in any part is named as malformed, not as a forgery."""
    here = world()
    presented = here.admit(Machine())
    assert reason(here, with_bundle(presented, **{part: b"\xa0"})) is Reason.MALFORMED


def test_the_challenge_is_the_logged_one() -> None:
    """A presenter who swaps in another valid challenge, binding and evidence does not match the verdict."""
    here, clock = world(), Clock()
    presented = here.admit(Machine())
    fresh = Machine().bundle(here.challenge(), clock.now)
    assert (
        Challenge.decode(fresh.challenge).verifier_nonce != Challenge.decode(presented.bundle.challenge).verifier_nonce
    )
    assert reason(here, replace(presented, bundle=fresh)) is Reason.PROOF_INVALID


def test_bundle_bounds() -> None:
    """A bundle without evidence, or with two CPUs, or oversized parts, does not get as far as verification."""
    here = world()
    presented = here.admit(Machine())
    evidence = presented.bundle.evidence[0]
    assert reason(here, with_bundle(presented, evidence=(evidence, evidence))) is Reason.MALFORMED
    bounds: Sequence[Callable[[], EvidenceBundle]] = (
        lambda: replace(presented.bundle, evidence=()),
        lambda: replace(presented.bundle, evidence=(evidence,) * 33),
        lambda: replace(presented.bundle, challenge=bytes(20_000)),
        lambda: replace(presented.bundle, evidence=(replace(evidence, data=bytes((1 << 20) + 1)),)),
        lambda: replace(presented.bundle, collateral=(Collateral(kind="x", data=bytes(4 << 20)),) * 4),
    )
    for build in bounds:
        with pytest.raises(SealbidError) as refused:
            build()
        assert refused.value.reason is Reason.MALFORMED
    assert EvidenceBundle.decode(presented.bundle.encode()) == presented.bundle
