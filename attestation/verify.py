# SPDX-License-Identifier: Apache-2.0
"""Verify a worker: from presented bytes to an `AttestedWorker`, or an error that says why not (docs/spec.md, 3.4).

    a  the CPU evidence is genuine at `now`                     f  each device report answers the device nonce, genuine
    b  its slot is recomputed over the received key binding     g  the binding's end is within an hour of its challenge
    c  the keyset hashes to the binding's keyset_id             h  the claims are acceptable to the caller's own policy
    d  nonce, audience and provider are the expected ones       i  a passing verdict on exactly this is in the log,
    e  the devices are exactly those the binding names             under a checkpoint as young as the policy asks
    j  the lease is the registry's, on exactly this, and live   k  the certificate, fit to pin, holds the keyset's key

The registry uses a to h (`verify_bundle`, `appraise`) to reach a verdict; everybody else does all of it again with a
policy of their own. What is not checked: revocation after this moment, which is asked at every seal.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from attestation.appraisal import finding
from attestation.appraisal.appraise import appraise
from attestation.appraisal.policy import AppraisalPolicy
from attestation.attested import _VERIFIED, AttestedKey, AttestedWorker
from attestation.binding import MAX_BINDING_SECONDS, Challenge, KeyBinding, Keyset, Profile, device_nonce
from attestation.bundle import Evidence, EvidenceBundle
from attestation.certificate import pinnable_spki_sha256
from attestation.claims import DEVICE_KINDS, Claims, EvidenceClaims, TEEKind
from attestation.codec.labels import equal
from attestation.errors import Malformed, MalformedEvidence, NotAcceptable, NotGenuine, Reason, Stale
from attestation.identity import provider_id as provider_id_of
from attestation.lease import Lease, open_lease
from attestation.revocation import CLOCK_SKEW, read_heartbeat
from attestation.tee.interface import Verifiers
from attestation.tlog.checkpoint import SignedCheckpoint
from attestation.tlog.entry import Entry, Kind, parse_entry
from attestation.tlog.proof import open_proof
from attestation.trust import TrustRoot

_TPM_SLOT: Final = frozenset({TEEKind.TPM, TEEKind.AZURE_HCL})
_MAX_TIME: Final = 253_402_300_799 - 2 * MAX_BINDING_SECONDS


@dataclass(frozen=True, slots=True, kw_only=True)
class PresentedWorker:
    """What a registry or gateway hands over about a worker; nothing of it is believed yet."""

    bundle: EvidenceBundle
    lease: bytes
    verdict_entry: bytes
    verdict_proof: bytes
    certificate_der: bytes
    endpoint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedBundle:
    """A bundle that passed a to g: genuine, bound and fresh. Whether it is acceptable is still open."""

    challenge: Challenge
    keyset: Keyset
    binding: KeyBinding
    claims: Claims


def verify_bundle(bundle: EvidenceBundle, *, audience: str, verifiers: Verifiers, now: datetime) -> VerifiedBundle:
    """Steps a to g. The caller checks that challenge and provider are those it issued to and authenticated.

    Raises:
        MalformedEvidence: bytes that do not parse, or a kind this process has no verifier for.
        NotGenuine: a step that does not hold, by its reason.
        Stale: the binding's time is over (EVIDENCE_STALE).
        CollateralUnavailable: could not decide.
    """
    try:
        challenge = Challenge.decode(bundle.challenge)
        keyset = Keyset.decode(bundle.keyset)
        binding = KeyBinding.decode(bundle.binding)
    except Malformed as error:
        raise MalformedEvidence(error.reason, error.message) from None
    cpu_evidence, device_evidence = _parts(bundle)
    cpu = _genuine(cpu_evidence, bundle, verifiers, now)  # a
    _check_slot(cpu, binding)  # b
    if keyset.keyset_id != binding.keyset_id:  # c
        raise _mismatch(Reason.KEYSET_MISMATCH, "binding.keyset_id", binding.keyset_id.hex(), keyset.keyset_id.hex())
    _check_challenge(challenge, binding, audience)  # d
    devices = _check_devices(device_evidence, bundle, binding, verifiers, now)  # e, f
    _check_end(challenge, binding, now)  # g
    claims = Claims(
        cpu=cpu,
        devices=devices,
        profile=binding.profile,
        purpose=binding.purpose,
        suites=tuple(suite for suite, _ in keyset.suites),
        engines=binding.engines,
        config_sha256=binding.config_sha256,
        challenged=datetime.fromtimestamp(challenge.issued, UTC),
    )
    return VerifiedBundle(challenge=challenge, keyset=keyset, binding=binding, claims=claims)


def verify_worker(
    presented: PresentedWorker,
    *,
    heartbeat: bytes,
    trust: TrustRoot,
    policy: AppraisalPolicy,
    verifiers: Verifiers,
    now: datetime,
) -> AttestedWorker:
    """All steps, under the caller's own `trust` and `policy`. `heartbeat` is the newest one heard; it dates the log.

    Raises:
        MalformedEvidence, NotGenuine, Stale, CollateralUnavailable: as `verify_bundle`, and for the log and the lease.
        NotAcceptable: with all findings of the policy.
    """
    if trust.profile is not policy.profile:  # ruling 27: a development registry is nothing to a production policy
        reason = Reason.SIMULATED_REFUSED if policy.profile is Profile.PRODUCTION else Reason.POLICY_MISMATCH
        message = f"trust profile is {trust.profile.value}, want {policy.profile.value} as the policy"
        raise NotAcceptable(reason, message)
    verified = verify_bundle(presented.bundle, audience=trust.origin, verifiers=verifiers, now=now)
    findings = appraise(verified.claims, policy, now)  # h
    if findings:
        raise finding.refusal(findings)
    if verified.binding.purpose != "worker":
        raise _mismatch(Reason.BINDING_MISMATCH, "binding.purpose", verified.binding.purpose, "worker")
    logged = _check_verdict(presented, verified, trust)  # i
    _check_log_age(logged, verified, heartbeat, trust, policy, now)  # i
    lease = _check_lease(presented, verified, logged, trust, now)  # j
    tls_key = pinnable_spki_sha256(presented.certificate_der)  # k
    if tls_key != verified.keyset.tls_spki_sha256:
        want = verified.keyset.tls_spki_sha256.hex()
        raise _mismatch(Reason.KEYSET_MISMATCH, "certificate key", tls_key.hex(), want)
    return _attested(presented, verified, logged, lease, policy)


def _parts(bundle: EvidenceBundle) -> tuple[Evidence, tuple[Evidence, ...]]:
    cpus = [evidence for evidence in bundle.evidence if evidence.kind not in DEVICE_KINDS]
    if len(cpus) != 1:
        raise MalformedEvidence(Reason.MALFORMED, f"bundle has {len(cpus)} cpu evidences, want 1")
    return cpus[0], tuple(evidence for evidence in bundle.evidence if evidence.kind in DEVICE_KINDS)


def _genuine(evidence: Evidence, bundle: EvidenceBundle, verifiers: Verifiers, now: datetime) -> EvidenceClaims:
    verifier = verifiers.get(evidence.kind)
    if verifier is None:
        known = ", ".join(sorted(kind.value for kind in verifiers)) or "none"
        raise MalformedEvidence(Reason.UNSUPPORTED, f"evidence kind is {evidence.kind.value}, want one of {known}")
    claims = verifier.verify(evidence, bundle.collateral, now=now)
    if claims.kind is not evidence.kind:
        raise _mismatch(Reason.BINDING_MISMATCH, "evidence kind", claims.kind.value, evidence.kind.value)
    return claims


def _check_slot(cpu: EvidenceClaims, binding: KeyBinding) -> None:
    want = binding.tpm_extra() if cpu.kind in _TPM_SLOT else binding.report_data()
    if not equal(cpu.slot, want):
        raise _mismatch(Reason.BINDING_MISMATCH, f"{cpu.kind.value} slot", cpu.slot.hex(), want.hex())
    # Real evidence may serve development, and is then marked SIMULATED; simulated evidence never serves production.
    if cpu.kind is TEEKind.SIMULATED and binding.profile is not Profile.DEVELOPMENT:
        raise _mismatch(Reason.BINDING_MISMATCH, "binding profile", binding.profile.value, "that of the evidence kind")


def _check_challenge(challenge: Challenge, binding: KeyBinding, audience: str) -> None:
    if binding.verifier_nonce != challenge.verifier_nonce:
        nonce, want = binding.verifier_nonce.hex(), challenge.verifier_nonce.hex()
        raise _mismatch(Reason.NONCE_MISMATCH, "binding.verifier_nonce", nonce, want)
    for name, got in (("challenge.audience", challenge.audience), ("binding.audience", binding.audience)):
        if got != audience:
            raise _mismatch(Reason.AUDIENCE_MISMATCH, name, repr(got), repr(audience))
    if binding.provider_id != challenge.provider_id:
        got, want = binding.provider_id.hex(), challenge.provider_id.hex()
        raise _mismatch(Reason.PROVIDER_MISMATCH, "binding.provider_id", got, want)


def _check_devices(
    evidence: tuple[Evidence, ...], bundle: EvidenceBundle, binding: KeyBinding, verifiers: Verifiers, now: datetime
) -> tuple[EvidenceClaims, ...]:
    # A device's evidence is its raw report; certificates and reference manifests travel as collateral.
    presented = sorted((device.sha256, DEVICE_KINDS[device.kind]) for device in evidence)
    named = [(digest, kind) for kind, digest in binding.devices]
    if presented != named:
        got = f"{len(presented)} device reports"
        raise _mismatch(Reason.DEVICES_MISMATCH, "bundle", got, f"exactly the {len(named)} the binding names")
    nonce = device_nonce(binding.verifier_nonce, binding.keyset_id)
    claims = tuple(_genuine(device, bundle, verifiers, now) for device in evidence)
    for device in claims:
        if not equal(device.slot, nonce):
            raise _mismatch(Reason.NONCE_MISMATCH, f"{device.kind.value} nonce", device.slot.hex(), nonce.hex())
    _check_distinct(claims)
    return claims


def _check_distinct(devices: tuple[EvidenceClaims, ...]) -> None:
    # A device answers as often as it is asked, and every signature can be written in two ways: reports that differ do
    # not make devices that do.
    identities = [identity for device in devices for identity in device.platform_ids]
    if len(set(identities)) != len(identities):
        raise _mismatch(Reason.DEVICES_MISMATCH, "bundle", "two reports of one device", "one report of each device")


def _check_end(challenge: Challenge, binding: KeyBinding, now: datetime) -> None:
    if challenge.issued > _MAX_TIME or challenge.issued > now.timestamp() + CLOCK_SKEW.total_seconds():
        raise _mismatch(Reason.NONCE_MISMATCH, "challenge.issued", str(challenge.issued), "a time not in the future")
    end = challenge.issued + MAX_BINDING_SECONDS
    if binding.not_after > end:
        raise _mismatch(Reason.BINDING_MISMATCH, "binding.not_after", str(binding.not_after), f"at most {end}")
    if binding.not_after <= now.timestamp():
        message = f"binding.not_after is {binding.not_after}, want after {int(now.timestamp())}"
        raise Stale(Reason.EVIDENCE_STALE, message)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Logged:
    """A verdict entry with the checkpoint it is proven under, and who signed that."""

    entry: Entry
    index: int
    checkpoint: SignedCheckpoint


def _check_verdict(presented: PresentedWorker, verified: VerifiedBundle, trust: TrustRoot) -> _Logged:
    proven = open_proof(
        presented.verdict_proof,
        presented.verdict_entry,
        origin=trust.origin,
        log_key=trust.log_key,
        policy=trust.witness_policy,
    )
    entry = parse_entry(presented.verdict_entry)
    if entry.kind is not Kind.ATTEST_VERDICT:
        raise _mismatch(Reason.PROOF_INVALID, "logged entry", entry.kind.value, Kind.ATTEST_VERDICT.value)
    binding, keyset = verified.binding, verified.keyset
    wanted = {
        "verdict": "pass",
        "worker_id": keyset.worker_id.hex(),
        "keyset_id": keyset.keyset_id.hex(),
        "binding_digest": binding.digest.hex(),
        "provider_id": binding.provider_id.hex(),
        "audience": binding.audience,
        "challenge": presented.bundle.challenge.hex(),
        "tls_spki_sha256": keyset.tls_spki_sha256.hex(),
        "simulated": verified.claims.simulated,
        "engines": [engine.hex() for engine in binding.engines],
    }
    for field, want in wanted.items():
        if entry.body.get(field) != want:
            raise NotGenuine(Reason.PROOF_INVALID, f"verdict {field} is not {want}, which the bundle has")
    if provider_id_of(str(entry.body["provider"])) != binding.provider_id:
        raise _mismatch(Reason.PROVIDER_MISMATCH, "verdict provider", "of another id", binding.provider_id.hex())
    return _Logged(entry=entry, index=proven.index, checkpoint=proven.checkpoint)


def _check_log_age(
    logged: _Logged,
    verified: VerifiedBundle,
    signed: bytes,
    trust: TrustRoot,
    policy: AppraisalPolicy,
    now: datetime,
) -> None:
    # A checkpoint carries no time. Witnesses date it by their cosignatures, and their quorum's time is its age. Under
    # witness policy none its age is the registry's word: the heartbeat that states a head of at least this size.
    # The heartbeat is bounded alike in either case, for revocations stand in it.
    trust.witness_policy.check_age(logged.checkpoint.note, now=now, max_age_seconds=policy.max_checkpoint_age_seconds)
    heartbeat = read_heartbeat(signed, trust, now)
    checkpoint = logged.checkpoint.head
    age = int((now - heartbeat.made_at).total_seconds())
    if age > policy.max_checkpoint_age_seconds:
        raise Stale(
            Reason.CHECKPOINT_STALE,
            f"newest log head is {age} seconds old, want at most {policy.max_checkpoint_age_seconds}",
        )
    if heartbeat.size < checkpoint.size:
        message = (
            f"newest log head has size {heartbeat.size}, want at least {checkpoint.size} as the proof's checkpoint"
        )
        raise Stale(Reason.CHECKPOINT_STALE, message)
    if heartbeat.size == checkpoint.size and heartbeat.root != checkpoint.root:
        raise NotGenuine(Reason.LOG_FORK, f"log roots at size {checkpoint.size} differ, want one root for one size")
    if verified.keyset.keyset_id in heartbeat.revoked:
        raise Stale(Reason.REVOKED, f"keyset {verified.keyset.keyset_id.hex()} is revoked, want one that is not")


def _check_lease(
    presented: PresentedWorker, verified: VerifiedBundle, logged: _Logged, trust: TrustRoot, now: datetime
) -> Lease:
    lease = open_lease(presented.lease, trust.lease_key)
    wanted = {
        "worker_id": (lease.worker_id, verified.keyset.worker_id),
        "keyset_id": (lease.keyset_id, verified.keyset.keyset_id),
        "binding_digest": (lease.binding_digest, verified.binding.digest),
        "provider_id": (lease.provider_id, verified.binding.provider_id),
        "verdict_leaf": (lease.verdict_leaf, logged.entry.leaf_hash),
    }
    for field, (got, want) in wanted.items():
        if got != want:
            raise _mismatch(Reason.LEASE_INVALID, f"lease.{field}", got.hex(), want.hex())
    if lease.verdict_index != logged.index:
        raise _mismatch(Reason.LEASE_INVALID, "lease.verdict_index", str(lease.verdict_index), str(logged.index))
    policy = logged.entry.body["policy"]
    assert isinstance(policy, dict)
    if policy["sha256"] != lease.policy_sha256.hex():
        raise _mismatch(Reason.LEASE_INVALID, "lease.policy_sha256", lease.policy_sha256.hex(), str(policy["sha256"]))
    for field, profile in (("lease.profile", lease.profile), ("binding.profile", verified.binding.profile)):
        if profile is not trust.profile:
            raise _mismatch(Reason.LEASE_INVALID, field, profile.value, trust.profile.value)
    if lease.expires > verified.binding.not_after:
        limit = str(verified.binding.not_after)
        raise _mismatch(Reason.LEASE_INVALID, "lease.expires", str(lease.expires), f"at most {limit}")
    if lease.issued > now.timestamp() + CLOCK_SKEW.total_seconds():
        raise _mismatch(Reason.LEASE_INVALID, "lease.issued", str(lease.issued), "a time not in the future")
    if lease.expires <= now.timestamp():
        message = f"lease.expires is {lease.expires}, want after {int(now.timestamp())}"
        raise Stale(Reason.LEASE_EXPIRED, message)
    return lease


def _attested(
    presented: PresentedWorker,
    verified: VerifiedBundle,
    logged: _Logged,
    lease: Lease,
    policy: AppraisalPolicy,
) -> AttestedWorker:
    keyset, binding, claims = verified.keyset, verified.binding, verified.claims
    evidence_end = claims.challenged + timedelta(seconds=policy.max_evidence_age_seconds)
    expires = min(lease.expires_at, claims.collateral_expires, evidence_end)
    keys = tuple(
        AttestedKey(
            suite=suite,
            public_key=public_key,
            key_id=keyset.key_id(suite),
            keyset_id=keyset.keyset_id,
            worker_id=keyset.worker_id,
            receipt_key=keyset.receipt_key,
            binding_digest=binding.digest,
            profile=binding.profile,
            policy_sha256=policy.sha256,
            expires=expires,
            token=_VERIFIED,
        )
        for suite, public_key in keyset.suites
        if suite in policy.suites  # a suite the policy does not list never becomes a key
    )
    return AttestedWorker(
        keys=keys,
        keyset=keyset,
        binding=binding,
        worker_id=keyset.worker_id,
        keyset_id=keyset.keyset_id,
        binding_digest=binding.digest,
        provider_id=binding.provider_id,
        provider=str(logged.entry.body["provider"]),
        engines=binding.engines,
        endpoint=presented.endpoint,
        certificate_der=presented.certificate_der,
        profile=binding.profile,
        policy_sha256=policy.sha256,
        claims_sha256=claims.sha256,
        verdict_index=logged.index,
        verdict_proof=presented.verdict_proof,
        verdict_entry=presented.verdict_entry,
        expires=expires,
        claims=claims,
        token=_VERIFIED,
    )


def _mismatch(reason: Reason, field: str, got: str, want: str) -> NotGenuine:
    return NotGenuine(reason, f"{field} is {got}, want {want}")
