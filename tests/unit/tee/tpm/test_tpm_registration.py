# SPDX-License-Identifier: Apache-2.0
"""The registry and a TPM: no lease without proof that the key quoted with lives in the TPM of the certificate."""

from dataclasses import replace

import pytest

from attestation.appraisal.policy import AppraisalPolicy, read_policy
from attestation.binding import Challenge, KeyBinding, Profile
from attestation.bundle import EvidenceBundle
from attestation.claims import TEEKind
from attestation.errors import MalformedEvidence, NotGenuine, Reason, SealbidError
from attestation.rates import Rates
from attestation.registry.activation import Activations
from attestation.registry.values import Activation, Admitted, Refused, Verdict
from attestation.tee.tpm.credential import AttestationKey, activation_proof
from attestation.tee.tpm.endorsement import read_endorsement_key
from attestation.tee.tpm.evidence import TPMEvidence, read_evidence
from attestation.tee.tpm.verifier import TPMVerifier
from attestation.verify import verify_worker
from enclave.attesters.interface import Quoted
from tests.support import fake_tpm as fake
from tests.support.fake_tpm import AK, an_ak, open_credential, private, quoted
from tests.support.swtpm import tpm_policy_text
from tests.support.worlds import Entropy, Machine, World, world

VERIFIERS = {TEEKind.TPM: TPMVerifier()}


class FakeTPMAttester:
    """An attester on a TPM of the fake maker. `proof` says how it answers a credential."""

    profile = Profile.DEVELOPMENT

    def __init__(self, *, ak: AK | None = None, ek: str = "ek", shown_ek: str = "") -> None:
        """`shown_ek` is the EK whose certificate it puts into the evidence, its own unless given."""
        self.ak, self.ek, self.shown_ek = ak or an_ak(), ek, shown_ek or ek
        self.secret = b""

    def key(self) -> AttestationKey:
        return AttestationKey(public=self.ak.public, ek_certificate=self._parts(bytes(32)).ek_certificate)

    def devices(self, nonce: bytes) -> Quoted:
        return Quoted(evidence=(), collateral=())

    def quote(self, binding: KeyBinding, *, now: object) -> Quoted:
        parts = self._parts(binding.tpm_extra())
        if self.secret:
            identity = read_endorsement_key(parts.ek_certificate).identity
            proof = activation_proof(
                self.secret, verifier_nonce=binding.verifier_nonce, ak_name=self.ak.name, ek_identity=identity
            )
            parts = replace(parts, activation=proof)
        made = replace(fake.good(), parts=parts)
        return Quoted(evidence=(made.evidence,), collateral=made.collateral)

    def _parts(self, extra: bytes) -> TPMEvidence:
        wish = fake.CertificateWish(key=self.shown_ek)
        return replace(quoted(self.ak, wish=wish, extra=extra).parts, activation=b"")


def policy(**facts: str) -> AppraisalPolicy:
    """The development policy for the fake maker's TPMs."""
    return read_policy(tpm_policy_text(fake.good().root, fake.PCRS[14], **facts))


def here(**facts: str) -> World:
    """A registry that accepts the fake maker's TPMs."""
    return world(policy=policy(**facts), verifiers=VERIFIERS)


def activation(at: World, attester: FakeTPMAttester, provider: str = "provider-a") -> Activation:
    """A challenge with a credential, opened by the attester's own TPM."""
    issued = at.registry.issue_activation(provider, attester.key())
    attester.secret = open_credential(private(attester.ek), attester.ak.name, issued.credential)
    return issued


def judged(at: World, machine: Machine, challenge: bytes) -> Verdict:
    """The registry's verdict on a machine's answer."""
    bundle = machine.bundle(challenge, at.clock.now)
    return at.registry.register(machine.provider, machine.registration(bundle))


def reasons(verdict: Verdict) -> list[Reason]:
    """Why it was refused; nothing for an admission."""
    return [finding.reason for finding in verdict.findings] if isinstance(verdict, Refused) else []


def test_a_worker_that_opens_the_credential_gets_a_lease() -> None:
    """And others verify it from what the registry hands out."""
    at, attester = here(), FakeTPMAttester()
    verdict = judged(at, Machine(attester=attester), activation(at, attester).challenge)
    assert isinstance(verdict, Admitted)
    attested = verify_worker(
        verdict.presented,
        heartbeat=at.heartbeat(),
        trust=at.trust,
        policy=at.policy,
        verifiers=VERIFIERS,
        now=at.clock.now,
    )
    assert attested.claims.cpu.facts["activation"] == "stated"
    assert attested.claims.simulated


def test_without_a_credential_there_is_no_lease() -> None:
    """Also under a policy that does not ask: the registry itself refuses what nobody after it could check."""
    at, attester = here(activation='unchecked = "the registry asks by itself"'), FakeTPMAttester()
    verdict = judged(at, Machine(attester=attester), at.challenge())
    assert reasons(verdict) == [Reason.ACTIVATION_MISSING]


def test_the_secret_of_another_challenge_is_refused() -> None:
    """A secret serves the challenge it came with and no other."""
    at, attester = here(), FakeTPMAttester()
    activation(at, attester)
    secret = attester.secret
    second = activation(at, attester)
    attester.secret = secret
    assert reasons(judged(at, Machine(attester=attester), second.challenge)) == [Reason.ACTIVATION_INVALID]


def test_a_certificate_of_another_tpm_is_refused() -> None:
    """Keys in software beside a stolen certificate: the TPM of the certificate never opened anything."""
    at = here()
    thief = FakeTPMAttester(ek="ek", shown_ek="ek-of-another")
    issued = at.registry.issue_activation("provider-a", FakeTPMAttester().key())
    thief.secret = open_credential(private("ek"), thief.ak.name, issued.credential)
    assert reasons(judged(at, Machine(attester=thief), issued.challenge)) == [Reason.ACTIVATION_INVALID]


def test_a_key_of_another_tpm_is_refused() -> None:
    """The key that quotes is the one the credential was for."""
    at, attester = here(), FakeTPMAttester()
    issued = activation(at, attester)
    attester.ak = an_ak(key=private("p256-other"))
    assert reasons(judged(at, Machine(attester=attester), issued.challenge)) == [Reason.ACTIVATION_INVALID]


def test_no_flipped_byte_of_the_proof_is_accepted() -> None:
    """The bytes an offline verifier has to leave are not left by the registry."""
    for place in range(32):
        at, attester = here(), FakeTPMAttester()
        machine = Machine(attester=attester)
        bundle = machine.bundle(activation(at, attester).challenge, at.clock.now)
        verdict = at.registry.register(machine.provider, machine.registration(with_flipped_proof(bundle, place)))
        assert reasons(verdict) == [Reason.ACTIVATION_INVALID]


def with_flipped_proof(bundle: EvidenceBundle, place: int) -> EvidenceBundle:
    """The bundle with one byte of its proof changed."""
    (evidence,) = bundle.evidence
    parts = read_evidence(evidence.data)
    proof = parts.activation[:place] + bytes((parts.activation[place] ^ 1,)) + parts.activation[place + 1 :]
    changed = replace(evidence, data=replace(parts, activation=proof).encode())
    return replace(bundle, evidence=(changed,))


def test_registries_with_the_same_keys_judge_each_others_challenges() -> None:
    """Nothing is kept for an activation but the challenge: another process of the registry derives the secret anew."""
    at, attester = here(), FakeTPMAttester()
    issued = activation(at, attester)
    nonce = Challenge.decode(issued.challenge).verifier_nonce
    another_process = Activations(lease_key=at.keys.lease_key, entropy=Entropy())
    again = another_process.seal(attester.key(), nonce)
    assert open_credential(private("ek"), attester.ak.name, again) == attester.secret


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"public": b"\0"}, MalformedEvidence),
        ({"ek_certificate": b"\0"}, MalformedEvidence),
        ({"public": an_ak(attributes=fake.ATTRIBUTES & ~0x10000).public}, NotGenuine),
    ],
    ids=["no key", "no certificate", "a key that signs anything"],
)
def test_keys_no_credential_can_be_made_for_spend_nothing(changes: dict[str, bytes], error: type[SealbidError]) -> None:
    """They are refused before there is a challenge."""
    at = here()
    with pytest.raises(error):
        at.registry.issue_activation("provider-a", replace(FakeTPMAttester().key(), **changes))
    assert at.store.challenges == {}


def test_activations_count_against_the_rate() -> None:
    """A provider that asks too often is told so."""
    at = world(policy=policy(), verifiers=VERIFIERS, rates=Rates(per_minute=1, burst=1))
    activation(at, FakeTPMAttester())
    with pytest.raises(SealbidError) as caught:
        activation(at, FakeTPMAttester())
    assert caught.value.reason is Reason.RATE_LIMITED


def test_one_tpm_is_one_worker_of_one_provider() -> None:
    """Ruling 16: endorsement keys are exclusive whatever the policy says of shared hosts."""
    at = world(policy=policy(), verifiers=VERIFIERS)
    first, second = FakeTPMAttester(), FakeTPMAttester()
    verdict = judged(at, Machine(attester=first), activation(at, first).challenge)
    assert isinstance(verdict, Admitted)
    other = Machine(attester=second, provider="provider-b", seed=2)
    verdict = judged(at, other, activation(at, second, "provider-b").challenge)
    assert reasons(verdict) == [Reason.HARDWARE_CLAIMED]


def test_another_root_is_refused_by_name() -> None:
    """The verifier finds any root genuine; the policy decides."""
    at, attester = here(ek_root=f'any_of = ["{"00" * 32}"]'), FakeTPMAttester()
    verdict = judged(at, Machine(attester=attester), activation(at, attester).challenge)
    assert reasons(verdict) == [Reason.ROOT_REFUSED]


def test_another_measurement_is_refused() -> None:
    """The register that measures the worker must hold a listed value."""
    at = world(policy=read_policy(tpm_policy_text(fake.good().root, bytes(32))), verifiers=VERIFIERS)
    attester = FakeTPMAttester()
    verdict = judged(at, Machine(attester=attester), activation(at, attester).challenge)
    assert reasons(verdict) == [Reason.MEASUREMENT_REFUSED]
