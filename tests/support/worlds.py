# SPDX-License-Identifier: Apache-2.0
"""Small worlds to test in: a registry over memory stores with a clock that stands still, and workers that attest to it.

Everything is SIMULATED. A `World` is what one operator runs; a `Machine` is one worker of one provider.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from attestation.appraisal.policy import AppraisalPolicy, read_policy
from attestation.binding import Challenge, KeyBinding, Keyset, Profile, SuiteID
from attestation.bundle import EvidenceBundle
from attestation.claims import ComponentID, ComponentKind, TEEKind
from attestation.identity import provider_id
from attestation.lease import sign_heartbeat
from attestation.rates import Rates
from attestation.registration import sign_registration
from attestation.registry.registry import Registry, RegistryKeys
from attestation.registry.values import Admitted, Refused, Registration, Verdict
from attestation.rpc.pinning import WORKER_NAME, TLSIdentity, make_identity
from attestation.simulated.verifier import SimulatedVerifier
from attestation.tee.interface import Verifier
from attestation.tlog import entry as entries
from attestation.tlog.entry import VerifierRef
from attestation.tlog.evidence_log import EvidenceLog
from attestation.tlog.policy import NO_WITNESSES, WitnessPolicy
from attestation.tlog.sequencer import Cosigner
from attestation.trust import TrustRoot
from attestation.verify import PresentedWorker
from enclave.attesters.interface import Attester, Duty, answer_challenge
from enclave.attesters.simulated import SimulatedAttester
from tests.support.log import MemoryHeadStore, MemoryLogStore, log_signer
from tests.support.registry import MemoryRegistryStore

ORIGIN = "registry.test/evidence"
START = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
POLICIES = Path(__file__).parents[2] / "manifests" / "policies"
SIMULATED: Mapping[TEEKind, Verifier] = {TEEKind.SIMULATED: SimulatedVerifier()}


@dataclass(slots=True)
class Clock:
    """A clock that moves only when told to."""

    now: datetime = START

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> datetime:
        self.now += timedelta(seconds=seconds)
        return self.now


@dataclass(slots=True)
class Entropy:
    """Bytes that never repeat and are the same in every run."""

    count: int = 0

    def __call__(self, size: int) -> bytes:
        self.count += 1
        return hashlib.shake_256(b"test entropy %d" % self.count).digest(size)


def policy_bytes(name: str = "development", **changes: str) -> bytes:
    """A shipped policy, with lines `key = value` replaced by key (`dedicated_host="false"`)."""
    lines = (POLICIES / f"{name}.toml").read_text().splitlines()
    for key, value in changes.items():
        places = [place for place, line in enumerate(lines) if line.partition(" = ")[0] == key]
        assert len(places) == 1, f"{name} has {len(places)} lines for {key}"
        lines[places[0]] = f"{key} = {value}"
    return "\n".join(lines).encode()


def development_policy(**changes: str) -> AppraisalPolicy:
    """The development policy, changed."""
    return read_policy(policy_bytes(**changes))


@dataclass(slots=True, kw_only=True)
class Machine:
    """One SIMULATED worker of one provider. Its public keys are of the right size; nobody opens anything here."""

    provider: str = "provider-a"
    seed: int = 1
    platform: bytes = b"platform-one"
    attester: Attester | None = None
    generation: int = 1
    suites: tuple[SuiteID, ...] = (SuiteID.MLKEM768_X25519,)
    engines: tuple[bytes, ...] = (bytes(31) + b"\x01",)
    audience: str = ORIGIN
    endpoint: str = "127.0.0.1:7700"
    tls: TLSIdentity = field(default_factory=lambda: make_identity("worker", WORKER_NAME))

    @property
    def receipt_key(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"receipt %d" % self.seed).digest())

    @property
    def keyset(self) -> Keyset:
        return Keyset(
            suites=tuple((suite, self._public(suite)) for suite in self.suites),
            receipt_key=self.receipt_key.public_key().public_bytes_raw(),
            tls_spki_sha256=self.tls.spki_sha256,
            generation=self.generation,
        )

    def bundle(self, challenge: bytes, now: datetime) -> EvidenceBundle:
        """The answer to a challenge, from this machine's own attester."""
        attester = self.attester or SimulatedAttester(
            components=(ComponentID(kind=ComponentKind.CPU, value=self.platform),)
        )
        duty = Duty(
            provider_id=provider_id(self.provider),
            audience=self.audience,
            engines=self.engines,
            config_sha256=bytes(32),
        )
        return answer_challenge(challenge, keyset=self.keyset, duty=duty, attester=attester, now=now)

    def registration(self, bundle: EvidenceBundle) -> Registration:
        """The registration of a bundle, signed."""
        digest = KeyBinding.decode(bundle.binding).digest
        return Registration(
            bundle=bundle,
            certificate_der=self.tls.certificate_der,
            endpoint=self.endpoint,
            registration=sign_registration(self.receipt_key, digest, self.tls.certificate_der, self.endpoint),
        )

    def _public(self, suite: SuiteID) -> bytes:
        name = b"public %d %d %d" % (suite, self.seed, self.generation)
        return hashlib.shake_256(name).digest(suite.public_key_bytes)


@dataclass(slots=True, kw_only=True)
class World:
    """One registry, its log, and what others must hold to believe it."""

    policy: AppraisalPolicy
    clock: Clock
    store: MemoryRegistryStore
    log_store: MemoryLogStore
    log: EvidenceLog
    keys: RegistryKeys
    registry: Registry
    trust: TrustRoot

    def challenge(self, provider: str = "provider-a") -> bytes:
        return self.registry.issue_challenge(provider)

    def register(self, machine: Machine, provider: str | None = None) -> Verdict:
        """One whole registration of a machine, authenticated as its provider (or another)."""
        account = provider or machine.provider
        bundle = machine.bundle(self.challenge(account), self.clock.now)
        return self.registry.register(account, machine.registration(bundle))

    def admit(self, machine: Machine) -> PresentedWorker:
        """A registration that must pass."""
        verdict = self.register(machine)
        assert isinstance(verdict, Admitted), verdict
        return verdict.presented

    def refuse(self, machine: Machine, provider: str | None = None) -> Refused:
        """A registration that must be refused."""
        verdict = self.register(machine, provider)
        assert isinstance(verdict, Refused), verdict
        return verdict

    def heartbeat(self) -> bytes:
        return self.registry.heartbeat()

    def entries(self) -> list[entries.Entry]:
        """Everything in the log."""
        return [entries.parse_entry(stored.data) for stored in self.log.entries(0)]

    def resign_heartbeat(self, heartbeat: object) -> bytes:
        return sign_heartbeat(self.keys.lease_key, heartbeat)  # type: ignore[arg-type]


def world(
    *,
    policy: AppraisalPolicy | None = None,
    verifiers: Mapping[TEEKind, Verifier] = SIMULATED,
    rates: Rates | None = None,
    wrap: Callable[[MemoryRegistryStore], MemoryRegistryStore] = lambda store: store,
    cosigner: Cosigner | None = None,
    witness_policy: WitnessPolicy = NO_WITNESSES,
) -> World:
    """A fresh world whose registry is open."""
    chosen, clock, signer = policy or development_policy(), Clock(), log_signer(ORIGIN)
    keys = RegistryKeys(lease_key=Ed25519PrivateKey.from_private_bytes(b"\x21" * 32), identity_key=b"\x22" * 32)
    lease_public = keys.lease_key.public_key().public_bytes_raw()
    log_store, store = MemoryLogStore(), wrap(MemoryRegistryStore())
    log = EvidenceLog(
        origin=ORIGIN, signer=signer, store=log_store, heads=MemoryHeadStore(), inception=True, cosigner=cosigner
    )
    log.append([entries.genesis(origin=ORIGIN, log_key=signer.verifier.vkey, lease_key=lease_public, at=clock.now)])
    registry = Registry(
        store=store,
        log=log,
        keys=keys,
        policy=chosen,
        verifiers=verifiers,
        verifier=VerifierRef(version="0.1.0", sha256=bytes(32)),
        rates=rates or Rates(per_minute=6000, burst=1000),
        clock=clock,
        entropy=Entropy(),
    )
    registry.open(by="registry", accounts_sha256=bytes(32))
    trust = TrustRoot(
        origin=ORIGIN,
        log_key=signer.verifier,
        lease_key=lease_public,
        witness_policy=witness_policy,
        profile=Profile.DEVELOPMENT if chosen.simulated else Profile.PRODUCTION,
    )
    return World(
        policy=chosen,
        clock=clock,
        store=store,
        log_store=log_store,
        log=log,
        keys=keys,
        registry=registry,
        trust=trust,
    )


def challenge_of(presented: PresentedWorker) -> Challenge:
    """The challenge a presented worker answered."""
    return Challenge.decode(presented.bundle.challenge)
