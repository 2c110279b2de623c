# SPDX-License-Identifier: Apache-2.0
"""A real TPM 2.0 made of software: its quotes, its endorsement chain, activation, and registers that change."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from attestation.appraisal.appraise import appraise
from attestation.appraisal.policy import read_policy
from attestation.binding import KeyBinding, Profile
from attestation.claims import EvidenceClaims, TEEKind
from attestation.errors import MalformedEvidence, Reason
from attestation.registry.values import Admitted, Refused, Verdict
from attestation.tee.tpm.credential import Credential, make_credential
from attestation.tee.tpm.endorsement import read_endorsement_key
from attestation.tee.tpm.evidence import read_evidence
from attestation.tee.tpm.public import read_public
from attestation.tee.tpm.verifier import TPMVerifier
from attestation.verify import verify_bundle
from enclave.attesters.device import DeviceFailed
from enclave.attesters.tpm import TPMAttester, TPMQuoter, read_issuers
from enclave.attesters.tpm_commands import TPMCommands, TPMRefused
from enclave.attesters.tpm_device import TPMDevice, open_tpm
from enclave.attesters.tpm_templates import ATTESTATION_KEY, ENDORSEMENT_KEYS
from enclave.onboarding.doctor import TRIAL, try_evidence
from tests.support.swtpm import SoftwareTPM, software_tpm, tpm_policy
from tests.support.worlds import ORIGIN, Entropy, Machine, World, world

SECRET = hashlib.sha256(b"secret").digest()
VERIFIERS = {TEEKind.TPM: TPMVerifier()}


@pytest.fixture(scope="module")
def tpm() -> Iterator[SoftwareTPM]:
    with software_tpm() as tpm:
        yield tpm


@pytest.fixture(scope="module")
def other() -> Iterator[SoftwareTPM]:
    with software_tpm() as tpm:
        yield tpm


def binding(number: int = 1) -> KeyBinding:
    """A binding of no meaning."""
    return KeyBinding(
        profile=Profile.DEVELOPMENT,
        purpose="worker",
        verifier_nonce=bytes((number,)) * 32,
        keyset_id=bytes(32),
        provider_id=bytes(32),
        audience=ORIGIN,
        devices=(),
        engines=(),
        config_sha256=bytes(32),
        not_after=1,
    )


def genuine(attester: TPMAttester) -> EvidenceClaims:
    """The claims of a quote made and verified now."""
    now = datetime.now(UTC)
    quoted = attester.quote(binding(), now=now)
    return TPMVerifier().verify(quoted.evidence[0], quoted.collateral, now=now)


def judged(at: World, attester: TPMAttester, *, activated_by: TPMAttester | None = None) -> Verdict:
    """What a registry says of a worker that had its credential opened (by another TPM, if given)."""
    machine = Machine(attester=attester)
    issued = at.registry.issue_activation(machine.provider, (activated_by or attester).attestation_key())
    (activated_by or attester).activate(issued.credential)
    return at.registry.register(machine.provider, machine.registration(machine.bundle(issued.challenge, at.clock.now)))


def here(tpm: SoftwareTPM) -> World:
    """A registry that accepts this TPM as it is now. Certificates of the test are as young as the test."""
    at = world(policy=read_policy(tpm_policy(tpm)), verifiers=VERIFIERS)
    at.clock.now = datetime.now(UTC).replace(microsecond=0)
    return at


def test_a_quote_carries_the_binding_and_states_the_tpm(tpm: SoftwareTPM) -> None:
    """Slot, registers, root and what swtpm calls itself."""
    claims = genuine(tpm.attester())
    assert claims.slot == binding().tpm_extra()
    assert {item.register: item.digest for item in claims.measurements} == {
        f"pcr{index}": value for index, value in tpm.pcrs().items()
    }
    facts = claims.facts
    assert (facts["ek_root"], facts["ek_model"], facts["ek_key"]) == (tpm.root_sha256, "swtpm", "rsa-2048")
    assert (facts["ak_hierarchy"], facts["ak_key"], facts["clock_safe"]) == (
        "endorsement",
        "ecc-p256 ecdsa sha256",
        True,
    )


def test_an_extension_changes_its_register_and_nothing_else(tpm: SoftwareTPM) -> None:
    """Extending PCR 15 is what a hash of old value and digest says, and the next quote states it."""
    before = {item.register: item.digest for item in genuine(tpm.attester()).measurements}
    tpm.extend(15, b"something more was started")
    after = {item.register: item.digest for item in genuine(tpm.attester()).measurements}
    measured = hashlib.sha256(b"something more was started").digest()
    assert after == before | {"pcr15": hashlib.sha256(before["pcr15"] + measured).digest()}


def test_two_tpms_are_two_identities_with_roots_of_their_own(tpm: SoftwareTPM, other: SoftwareTPM) -> None:
    """Nothing of one is the other's."""
    first, second = genuine(tpm.attester()), genuine(other.attester())
    assert first.platform_ids != second.platform_ids
    assert first.facts["ek_root"] != second.facts["ek_root"]


def test_the_tpm_opens_a_credential_for_its_own_key(tpm: SoftwareTPM) -> None:
    """The secret comes back, and proves itself in the next evidence once."""
    attester = tpm.attester()
    shown = attester.attestation_key()
    ek = read_endorsement_key(shown.ek_certificate).key
    attester.activate(make_credential(ek, read_public(shown.public).name, SECRET, Entropy()))
    now = datetime.now(UTC)
    proofs = [read_evidence(attester.quote(binding(), now=now).evidence[0].data).activation for _ in range(2)]
    assert (len(proofs[0]), proofs[1]) == (32, b"")


def test_the_tpm_opens_nothing_for_another_key_or_tpm(tpm: SoftwareTPM, other: SoftwareTPM) -> None:
    """Another name, another EK, and bytes that are no credential are each refused by the TPM."""
    attester = tpm.attester()
    shown = attester.attestation_key()
    ek, name = read_endorsement_key(shown.ek_certificate).key, read_public(shown.public).name
    others = read_endorsement_key(other.attester().attestation_key().ek_certificate).key
    good = make_credential(ek, name, SECRET, Entropy())
    for credential in (
        make_credential(ek, name[:-1] + b"\0", SECRET, Entropy()),
        make_credential(others, name, SECRET, Entropy()),
        replace(good, blob=good.blob[:-1]),
        Credential(blob=b"\0", encrypted_secret=b"\0"),
    ):
        with pytest.raises(DeviceFailed):
            attester.activate(credential)
    attester.activate(good)


def test_a_credential_for_an_endorsement_key_on_p256_is_opened(tpm: SoftwareTPM) -> None:
    """One-pass ECDH as the TPM does it, with the default template of the other kind."""
    with open_tpm(tpm.socket) as device:
        commands = TPMCommands(device)
        with commands.primary(ATTESTATION_KEY) as (ak, public), commands.primary(ENDORSEMENT_KEYS[1].public) as made:
            name, ek = read_public(public).name, read_public(made[1]).key
            credential = make_credential(ek, name, SECRET, Entropy())
            assert commands.activate_credential(ak, made[0], credential.blob, credential.encrypted_secret) == SECRET


def test_nothing_is_left_in_the_tpm(tpm: SoftwareTPM) -> None:
    """It has three places for keys: whatever is asked for often, also in vain, leaves them free."""
    attester = tpm.attester()
    for _ in range(5):
        genuine(attester)
        with pytest.raises(DeviceFailed):
            attester.activate(Credential(blob=b"\0", encrypted_secret=b"\0"))


def test_what_the_tpm_does_not_have_is_none(tpm: SoftwareTPM) -> None:
    """An absent NV index and handle are absent, not errors; an error has the TPM's code."""
    with open_tpm(tpm.socket) as device:
        commands = TPMCommands(device)
        assert commands.read_nv(0x01C0000A) is None
        assert commands.read_public(0x81010002) is None
        with pytest.raises(TPMRefused) as caught:
            commands.quote(0x81010002, bytes(32), range(24))
        assert caught.value.code


def test_a_registry_leases_to_a_worker_with_a_tpm(tpm: SoftwareTPM) -> None:
    """And refuses it once something else was started, by what was measured."""
    at = here(tpm)
    assert isinstance(judged(at, tpm.attester()), Admitted)
    tpm.extend(14, b"another worker")
    verdict = judged(at, tpm.attester())
    assert isinstance(verdict, Refused)
    assert [finding.reason for finding in verdict.findings] == [Reason.MEASUREMENT_REFUSED]


def test_a_credential_opened_by_another_tpm_is_refused(tpm: SoftwareTPM, other: SoftwareTPM) -> None:
    """A genuine TPM lends its hand to another: neither certificate nor secret of one serves the other's quotes."""
    verdict = judged(here(tpm), tpm.attester(), activated_by=other.attester())
    assert isinstance(verdict, Refused)
    assert verdict.reason is Reason.ACTIVATION_MISSING


def test_the_policy_of_one_root_refuses_the_other(tpm: SoftwareTPM, other: SoftwareTPM) -> None:
    """The same evidence, genuine under both, acceptable under one."""
    at = here(tpm)
    machine = Machine(attester=other.attester())
    verified = verify_bundle(
        machine.bundle(at.challenge(), at.clock.now), audience=ORIGIN, verifiers=VERIFIERS, now=at.clock.now
    )
    found = [finding.reason for finding in appraise(verified.claims, at.policy, at.clock.now)]
    assert Reason.ROOT_REFUSED in found


def test_issuers_are_read_from_pem(tpm: SoftwareTPM) -> None:
    """One file, issuer first; text that is no certificate is refused."""
    assert [item.data for item in read_issuers(tpm.issuers_pem)] == tpm.issuers_der
    with pytest.raises(MalformedEvidence):
        read_issuers(b"no certificate")


def test_a_trial_rehearses_the_activation(tpm: SoftwareTPM) -> None:
    """What a doctor makes shows whether the TPM opens credentials, without any registry."""
    trial = try_evidence(tpm.attester(), nonce=bytes(32), duty=TRIAL, now=datetime.now(UTC))
    (evidence,) = trial.bundle.evidence
    assert read_evidence(evidence.data).activation
    assert not trial.simulated


def test_an_endorsement_key_that_is_not_kept_is_made_anew(other: SoftwareTPM) -> None:
    """The template gives the key of the certificate again."""
    before = other.attester().attestation_key()
    other.forget_endorsement_key()
    attester = other.attester()
    assert attester.attestation_key() == before
    ek, name = read_endorsement_key(before.ek_certificate).key, read_public(before.public).name
    attester.activate(make_credential(ek, name, SECRET, Entropy()))


class Meddled:
    """A TPM one of whose registers is extended by somebody else just before so many quotes."""

    def __init__(self, device: TPMDevice, left: list[int]) -> None:
        self._device = device
        self._left = left

    def command(self, request: bytes) -> bytes:
        if request[6:10] == bytes.fromhex("00000158") and self._left:
            self._left.pop()
            body = bytes.fromhex("0000000f 00000009 40000009 0000 00 0000 00000001 000b") + bytes(32)
            size = (10 + len(body)).to_bytes(4, "big")
            assert self._device.command(bytes.fromhex("8002") + size + bytes.fromhex("00000182") + body)[6:10] == bytes(
                4
            )
        return self._device.command(request)


@pytest.mark.parametrize(("times", "quoted"), [(1, True), (4, True), (5, False)])
def test_registers_that_change_meanwhile_are_read_again(tpm: SoftwareTPM, times: int, quoted: bool) -> None:
    """What is sent is what was quoted; registers that never rest are named."""
    left = list(range(times))

    @contextmanager
    def opened() -> Iterator[TPMDevice]:
        with open_tpm(tpm.socket) as device:
            yield Meddled(device, left)

    quoter = TPMQuoter(open_device=opened, issuers=read_issuers(tpm.issuers_pem))
    attester = TPMAttester(profile=Profile.DEVELOPMENT, tpm=quoter)
    if quoted:
        assert genuine(attester).slot == binding().tpm_extra()
    else:
        with pytest.raises(DeviceFailed):
            genuine(attester)
    assert left == []
