# SPDX-License-Identifier: Apache-2.0
"""The registry's work, one method each; every change is in the log, under a signed checkpoint, before it can be used.

The order of a registration, and what a crash after each step leaves (docs/spec.md, 3.13, rulings 6, 14, 16 and 31):

    1 the challenge is spent                a lost attempt; the worker asks for another challenge
    2 complete, verify, appraise            nothing; the collateral fetched is in the cache
    3 claim the hardware                    claims that end when the lease would have; the same worker may renew them
    4 log the verdict, sign the checkpoint  a logged verdict without lease: true, and of no use to anyone
    5 sign the lease, store the admission   the worker has a lease once the answer arrives, or asks again

Methods block on disk and are safe to call from any thread.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from attestation.appraisal.policy import AppraisalPolicy
from attestation.bundle import EvidenceBundle
from attestation.claims import Claims, ComponentKind
from attestation.codec.labels import sha256
from attestation.collateral.complete import AsSent, Completer
from attestation.errors import (
    AttestationError,
    NotAcceptable,
    Reason,
    SealbidError,
    SealingError,
    Stale,
)
from attestation.identity import provider_id as provider_id_of
from attestation.lease import Heartbeat, Lease, sign_heartbeat, sign_lease
from attestation.rates import Rates
from attestation.registry.activation import Activations
from attestation.registry.challenges import Challenges
from attestation.registry.enrolment import Enrolment
from attestation.registry.entries import Judge, findings_json, move_entries, platform_mac, verdict_entry
from attestation.registry.gateways import LoggedGateway
from attestation.registry.journal import Journal
from attestation.registry.judging import REVOKED, Judgement, finding_of, judge_completed, read_challenge
from attestation.registry.store import Moved, RegistryStore, StoredAdmission, WantedComponent
from attestation.registry.values import Activation, Admitted, Refused, Registration, Verdict
from attestation.tee.interface import Verifiers
from attestation.tee.tpm.credential import AttestationKey
from attestation.tlog import entry as entries
from attestation.tlog.entry import VerifierRef
from attestation.tlog.evidence_log import EvidenceLog
from attestation.verify import PresentedWorker, VerifiedBundle

MAX_REASON_CHARACTERS: Final = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryKeys:
    """The registry's secrets: who signs leases, and the key that hides hardware identities in the log."""

    lease_key: Ed25519PrivateKey
    identity_key: bytes


class Registry:
    """Judges, leases, revokes. See the module's text for the order of things."""

    def __init__(
        self,
        *,
        store: RegistryStore,
        log: EvidenceLog,
        keys: RegistryKeys,
        policy: AppraisalPolicy,
        verifiers: Verifiers,
        verifier: VerifierRef,
        rates: Rates,
        clock: Callable[[], datetime],
        entropy: Callable[[int], bytes],
        completer: Completer | None = None,
    ) -> None:
        """`completer` is `AsSent` unless given: a bundle is judged with the collateral it brings."""
        self._store = store
        self._journal = Journal(log=log, store=store)
        self._keys = keys
        self._policy = policy
        self._verifiers = verifiers
        self._judge = Judge(policy=policy, verifier=verifier, audience=log.origin)
        self._rates = rates
        self._clock = clock
        self._challenges = Challenges(store=store, journal=self._journal, rates=rates, entropy=entropy)
        self._completer = completer or AsSent()
        self._activations = Activations(lease_key=keys.lease_key, entropy=entropy)
        self._enrolment = Enrolment(store=store, journal=self._journal, rates=rates)

    @property
    def policy(self) -> AppraisalPolicy:
        """The policy in force."""
        return self._policy

    def open(self, *, by: str, accounts_sha256: bytes) -> None:
        """Logs what changed since the last run: the policy, the accounts, and revocations a crash kept from the log."""
        now = self._clock()
        self._journal.write_changes(self._policy, accounts_sha256=accounts_sha256, by=by, now=now)
        self._journal.write_revocations(simulated=self._policy.simulated, now=now)

    def issue_challenge(self, provider: str) -> bytes:
        """A single-use challenge for the provider, over the newest checkpoint. Raises RATE_LIMITED."""
        return self._challenges.issue(provider, self._clock()).encode()

    def issue_activation(self, provider: str, key: AttestationKey) -> Activation:
        """A challenge with a credential sealed to a TPM, without which its evidence is refused (ACTIVATION_MISSING).

        Raises:
            MalformedEvidence, NotGenuine: keys no credential can be made for.
            SealbidError: RATE_LIMITED.
        """
        self._activations.check(key)
        challenge = self._challenges.issue(provider, self._clock())
        credential = self._activations.seal(key, challenge.verifier_nonce)
        return Activation(challenge=challenge.encode(), credential=credential)

    def register(self, provider: str, registration: Registration) -> Verdict:
        """Judges a registration or renewal of the authenticated provider; both outcomes are logged first.

        Raises:
            SealbidError: RATE_LIMITED, STORE_UNAVAILABLE, LOG_ROLLBACK or LOG_FORK: no verdict was reached.
        """
        now = self._clock()
        self._rates.take(provider, now)
        provider_id = provider_id_of(provider)
        registration, judgement = self._judged(provider, registration, now)
        verified = judgement.verified
        if judgement.findings or verified is None:
            return self._refuse(provider, registration, judgement, now)
        try:
            expires = self._lease_end(verified, now)
            moved = self._claim(verified, provider_id, expires, now)
        except (AttestationError, SealingError) as error:
            return self._refuse(provider, registration, replace(judgement, findings=(finding_of(error),)), now)
        return self._admit(provider, registration, verified, moved, expires, now)

    def revoke(self, keyset_id: bytes, *, reason: str, by: str) -> int:
        """Revokes a keyset, in force at once, and returns its entry's index. Raises NOT_FOUND."""
        now = self._clock()
        at, why = int(now.timestamp()), reason[:MAX_REASON_CHARACTERS]
        if self._store.revoke(keyset_id, reason=why, by=by, now=at) is None:
            raise SealbidError(Reason.NOT_FOUND, f"keyset is {keyset_id.hex()}, want one with a lease")
        self._journal.write_revocations(simulated=self._policy.simulated, now=now)
        revocation = self._store.revoke(keyset_id, reason=why, by=by, now=at)
        assert revocation is not None
        assert revocation.logged is not None
        return revocation.logged

    def heartbeat(self) -> bytes:
        """The signed heartbeat of this moment: the published log head and what is revoked."""
        now = self._clock()
        head = self._journal.head()
        heartbeat = Heartbeat(
            origin=head.origin,
            size=head.size,
            root=head.root,
            revoked=self._store.revoked(now=int(now.timestamp())),
            profile=self._policy.profile,
            made=int(now.timestamp()),
        )
        return sign_heartbeat(self._keys.lease_key, heartbeat)

    def changes(self, after: int) -> tuple[int, Sequence[Admitted]]:
        """The newest version, and the live workers admitted after version `after`, with proofs under one checkpoint."""
        found = self._store.admissions(after=after, now=int(self._clock().timestamp()))
        newest = max((admission.version for admission in found), default=after)
        return newest, [Admitted(presented=self._presented(admission)) for admission in found]

    def enrol_gateway(self, *, signing_key: bytes, certificate_der: bytes, enrolment: bytes, by: str) -> LoggedGateway:
        """Logs a gateway's keys, so that workers may know it. Enrolling the same keys again changes nothing.

        Raises:
            Malformed, MalformedEvidence: the enrolment does not parse, or the certificate is not fit to be pinned.
            NotGenuine: the certificate is not signed by its own key, or the enrolment by the gateway's, or it is for
                another certificate; the TLS key is another gateway's (KEYSET_MISMATCH).
        """
        return self._enrolment.enrol(
            signing_key=signing_key, certificate_der=certificate_der, enrolment=enrolment, by=by, now=self._clock()
        )

    def gateways(self) -> Sequence[LoggedGateway]:
        """Every enrolled gateway, with proofs under the newest checkpoint."""
        return self._enrolment.gateways()

    def record_access(self, *, by: str, action: str, target: str) -> None:
        """Logs that somebody reads what is not public; it is under a checkpoint before they get it."""
        now = self._clock()
        self._rates.take(by, now)
        self._journal.write([entries.audit_access(by=by, action=action, target=target, at=now)], now)

    def purge(self) -> None:
        """Forgets what is over."""
        self._store.purge(now=int(self._clock().timestamp()))

    # ---- a registration, step by step --------------------------------------------------------------------------------

    def _judged(self, provider: str, registration: Registration, now: datetime) -> tuple[Registration, Judgement]:
        """The registration as it was judged, completed with collateral, and what came of it."""
        try:
            challenge = read_challenge(registration, provider_id_of(provider))
            self._challenges.spend(challenge, now)
        except AttestationError as error:
            return registration, Judgement(verified=None, findings=(finding_of(error),))
        # Only now: whoever has no challenge of this registry has nothing asked of any vendor.
        registration, judgement = judge_completed(
            registration,
            completer=self._completer,
            account=provider,
            audience=self._journal.origin,
            policy=self._policy,
            verifiers=self._verifiers,
            now=now,
        )
        verified = judgement.verified
        if verified is not None:
            unproven = self._activations.findings(registration.bundle, challenge.verifier_nonce)
            judgement = replace(judgement, findings=(*judgement.findings, *unproven))
        if verified is not None and self._store.is_revoked(
            worker_id=verified.keyset.worker_id, keyset_id=verified.keyset.keyset_id
        ):
            judgement = replace(judgement, findings=(REVOKED, *judgement.findings))
        return registration, judgement

    def _lease_end(self, verified: VerifiedBundle, now: datetime) -> datetime:
        issued = now.replace(microsecond=0)
        end = min(
            datetime.fromtimestamp(verified.binding.not_after, UTC),
            issued + timedelta(seconds=self._policy.lease_seconds),
            verified.claims.collateral_expires.replace(microsecond=0),
        )
        if end <= issued:
            message = f"lease end is {end.isoformat()}, want after {issued.isoformat()}"
            raise Stale(Reason.EVIDENCE_STALE, message)
        return end

    def _claim(
        self, verified: VerifiedBundle, provider_id: bytes, expires: datetime, now: datetime
    ) -> tuple[Moved, ...]:
        result = self._store.claim(
            self._components(verified.claims),
            worker_id=verified.keyset.worker_id,
            keyset_id=verified.keyset.keyset_id,
            provider_id=provider_id,
            expires=int(expires.timestamp()),
            now=int(now.timestamp()),
        )
        if result.conflicts:
            held = ", ".join(mac.hex()[:16] for mac in result.conflicts)
            raise NotAcceptable(
                Reason.HARDWARE_CLAIMED, f"hardware {held} is held by other workers, want hardware with a free place"
            )
        if result.superseded:
            self._journal.write_revocations(simulated=self._policy.simulated, now=now)
        return result.moved

    def _components(self, claims: Claims) -> list[WantedComponent]:
        cap = 1 if self._policy.dedicated_host else self._policy.max_workers_per_cpu
        return [
            WantedComponent(
                component=platform_mac(self._keys.identity_key, identity),
                capacity=cap if identity.kind is ComponentKind.CPU else 1,
            )
            for identity in claims.platform_ids
            if not identity.masked  # a masked id is no identity: it would make one owner of all who are masked
        ]

    def _refuse(self, provider: str, registration: Registration, judgement: Judgement, now: datetime) -> Refused:
        verified = judgement.verified
        if verified is not None:
            # Only genuine evidence is archived: what does not verify is anybody's bytes, and its digest is enough.
            self._archive_bundle(registration.bundle)
        findings = findings_json(judgement.findings)
        self._archive(findings)
        entry = verdict_entry(
            self._judge,
            provider=provider,
            provider_id=provider_id_of(provider),
            bundle=registration.bundle,
            verified=verified,
            reasons=[finding.reason for finding in judgement.findings],
            findings=findings,
            platforms=self._platforms(verified.claims) if verified else (),
            valid_until=None,
            at=now,
        )
        index = self._journal.write([entry], now)
        return Refused(
            reason=judgement.findings[0].reason,
            findings=judgement.findings,
            verdict_entry=entry.encoded,
            verdict_proof=self._journal.proof(index),
        )

    def _admit(
        self,
        provider: str,
        registration: Registration,
        verified: VerifiedBundle,
        moved: Sequence[Moved],
        expires: datetime,
        now: datetime,
    ) -> Verdict:
        self._archive_bundle(registration.bundle)
        entry = verdict_entry(
            self._judge,
            provider=provider,
            provider_id=verified.binding.provider_id,
            bundle=registration.bundle,
            verified=verified,
            reasons=(),
            findings=b"",
            platforms=self._platforms(verified.claims),
            valid_until=expires,
            at=now,
        )
        moves = move_entries(self._judge, moved, verified, now)
        index = self._journal.write([*moves, entry], now) + len(moves)
        lease = Lease(
            worker_id=verified.keyset.worker_id,
            keyset_id=verified.keyset.keyset_id,
            binding_digest=verified.binding.digest,
            provider_id=verified.binding.provider_id,
            policy_sha256=self._policy.sha256,
            verdict_index=index,
            verdict_leaf=entry.leaf_hash,
            profile=self._policy.profile,
            issued=int(now.timestamp()),
            expires=int(expires.timestamp()),
        )
        admission = StoredAdmission(
            keyset_id=lease.keyset_id,
            worker_id=lease.worker_id,
            provider_id=lease.provider_id,
            bundle=registration.bundle.encode(),
            lease=sign_lease(self._keys.lease_key, lease),
            verdict_index=index,
            verdict_entry=entry.encoded,
            certificate_der=registration.certificate_der,
            endpoint=registration.endpoint,
            expires=lease.expires,
        )
        if not self._store.admit(admission, now=lease.issued):
            # Revoked between judgement and here: the pass stays in the log as what was true then, no lease leaves.
            late = finding_of(Stale(Reason.REVOKED, "worker is revoked, want keys that were never revoked"))
            return self._refuse(provider, registration, Judgement(verified=verified, findings=(late,)), now)
        return Admitted(presented=self._presented(admission))

    # ---- log and archive ---------------------------------------------------------------------------------------------

    def _archive_bundle(self, bundle: EvidenceBundle) -> None:
        # The verdict's entry names the bundle and each of its pieces by digest; all of them are found again.
        pieces = [evidence.data for evidence in bundle.evidence] + [each.data for each in bundle.collateral]
        encoded = bundle.encode()
        self._store.archive(sha256=sha256(encoded), data=encoded, parts=pieces)

    def _archive(self, data: bytes) -> None:
        self._store.archive(sha256=sha256(data), data=data)

    def _platforms(self, claims: Claims) -> list[bytes]:
        return sorted(platform_mac(self._keys.identity_key, identity) for identity in claims.platform_ids)

    def _presented(self, admission: StoredAdmission) -> PresentedWorker:
        return PresentedWorker(
            bundle=EvidenceBundle.decode(admission.bundle),
            lease=admission.lease,
            verdict_entry=admission.verdict_entry,
            verdict_proof=self._journal.proof(admission.verdict_index),
            certificate_der=admission.certificate_der,
            endpoint=admission.endpoint,
        )
