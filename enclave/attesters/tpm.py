# SPDX-License-Identifier: Apache-2.0
"""A TPM 2.0's evidence: a quote over all PCRs by a key whose home in the TPM the registry has had proven.

    attestation_key()   AK and EK certificate, shown when a challenge is asked for
    activate()          the registry's credential is opened by the TPM; the secret answers in the next evidence
    quote()             registers read and quoted, with the EK's issuers as collateral

A TPM measures what was started and hides no memory, so it must be chosen by name. EKs and certificates are those of the
TCG's default templates L-1 and L-2 (`tpm_templates`); hierarchies with passwords are not supported.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from typing import Final

from attestation.binding import KeyBinding, Profile
from attestation.bundle import Collateral, Evidence
from attestation.claims import TEEKind
from attestation.errors import MalformedEvidence
from attestation.tee.certificates import der_of, read_pem_chain
from attestation.tee.tpm.algorithms import digest
from attestation.tee.tpm.attest import PCR_COUNT, read_quote
from attestation.tee.tpm.credential import AttestationKey, Credential, activation_proof
from attestation.tee.tpm.endorsement import CERTIFICATE, EndorsementKey, read_endorsement_key
from attestation.tee.tpm.evidence import EVIDENCE_FORMAT, TPMEvidence
from attestation.tee.tpm.public import read_public
from enclave.attesters.device import DeviceFailed
from enclave.attesters.interface import Quoted
from enclave.attesters.machine import CollateralFinder, MachineAttester, Reporter
from enclave.attesters.tpm_commands import TPMCommands, answering
from enclave.attesters.tpm_device import TPMDevice
from enclave.attesters.tpm_templates import ATTESTATION_KEY, ENDORSEMENT_KEYS, EndorsementTemplate

PCRS: Final = tuple(range(PCR_COUNT))
_ATTEMPTS: Final = 5
"""Registers may be extended between reading and quoting; at rest once is enough."""


def read_issuers(pem: bytes) -> tuple[Collateral, ...]:
    """The EK's issuers in a PEM file, as collateral. Raises `MalformedEvidence`."""
    return tuple(
        Collateral(kind=CERTIFICATE, data=der_of(certificate)) for certificate in read_pem_chain(pem, "tpm issuers")
    )


class TPMQuoter:
    """Quotes of one TPM. Holds an activated secret for the one evidence that answers its challenge."""

    def __init__(
        self, *, open_device: Callable[[], AbstractContextManager[TPMDevice]], issuers: Sequence[Collateral] = ()
    ) -> None:
        """`open_device` opens the TPM for one use; `issuers` are the certificates above the EK's."""
        self._open_device = open_device
        self._issuers = tuple(issuers)
        self._secret = b""

    def attestation_key(self) -> AttestationKey:
        """What a registry must know to seal a credential. Raises `DeviceFailed`."""
        with self._commands() as tpm, tpm.primary(ATTESTATION_KEY) as (_, public):
            _, certificate = _certificate(tpm)
            return AttestationKey(public=public, ek_certificate=certificate)

    def activate(self, credential: Credential) -> None:
        """Has the TPM open `credential` and keeps the secret for the next quote. Raises `DeviceFailed`."""
        with self._commands() as tpm, tpm.primary(ATTESTATION_KEY) as (key, _):
            template, certificate = _certificate(tpm)
            with _endorsement_key(tpm, template, read_endorsement_key(certificate)) as ek:
                self._secret = tpm.activate_credential(key, ek, credential.blob, credential.encrypted_secret)

    def quote(self, binding: KeyBinding, *, now: datetime) -> Quoted:
        """The quote over the binding's 32 bytes. Raises `DeviceFailed`."""
        secret, self._secret = self._secret, b""
        with self._commands() as tpm, tpm.primary(ATTESTATION_KEY) as (key, public):
            _, certificate = _certificate(tpm)
            attest, signature, values = _quote(tpm, key, binding.tpm_extra())
        proof = _proof(secret, binding, public, certificate) if secret else b""
        evidence = TPMEvidence(
            attest=attest,
            signature=signature,
            ak=public,
            ek_certificate=certificate,
            pcrs=values,
            activation=proof,
        )
        data = evidence.encode()
        return Quoted(
            evidence=(Evidence(kind=TEEKind.TPM, format=EVIDENCE_FORMAT, data=data),), collateral=self._issuers
        )

    @contextmanager
    def _commands(self) -> Iterator[TPMCommands]:
        with answering(), self._open_device() as device:
            yield TPMCommands(device)


class TPMAttester(MachineAttester):
    """An `ActivatedAttester`: a machine whose CPU evidence is its TPM's."""

    def __init__(
        self,
        *,
        profile: Profile,
        tpm: TPMQuoter,
        gpus: Reporter | None = None,
        collateral: CollateralFinder | None = None,
    ) -> None:
        super().__init__(profile=profile, cpu=tpm, gpus=gpus, collateral=collateral)
        self._tpm = tpm

    def attestation_key(self) -> AttestationKey:
        """The TPM's. Raises `DeviceFailed`."""
        return self._tpm.attestation_key()

    def activate(self, credential: Credential) -> None:
        """By the TPM. Raises `DeviceFailed`."""
        self._tpm.activate(credential)


def _certificate(tpm: TPMCommands) -> tuple[EndorsementTemplate, bytes]:
    """The first EK certificate there is."""
    for template in ENDORSEMENT_KEYS:
        stored = tpm.read_nv(template.certificate_index)
        if stored is not None:
            return template, _unfilled(stored)
    places = ", ".join(f"{template.certificate_index:#x}" for template in ENDORSEMENT_KEYS)
    raise DeviceFailed(f"tpm ek certificate is missing, want one in nv at {places}")


def _unfilled(stored: bytes) -> bytes:
    """The certificate in an NV area, which may be longer: DER says its own length."""
    if stored[:2] != b"\x30\x82":
        raise DeviceFailed("tpm ek certificate is no der certificate, want one in its nv index")
    return stored[: 4 + int.from_bytes(stored[2:4], "big")]


@contextmanager
def _endorsement_key(tpm: TPMCommands, template: EndorsementTemplate, wanted: EndorsementKey) -> Iterator[int]:
    """The EK of the certificate: kept where the TCG says, else made anew, which takes a discrete TPM a while."""
    kept = tpm.read_public(template.persistent_handle)
    if kept is not None and _is(kept, wanted):
        yield template.persistent_handle
        return
    with tpm.primary(template.public) as (handle, public):
        if not _is(public, wanted):
            raise DeviceFailed("tpm ek is another than its certificate's, want the default template's")
        yield handle


def _is(public: bytes, wanted: EndorsementKey) -> bool:
    try:
        return read_public(public).key.public_numbers() == wanted.key.public_numbers()
    except MalformedEvidence:
        return False


def _quote(tpm: TPMCommands, key: int, extra: bytes) -> tuple[bytes, bytes, dict[int, bytes]]:
    for _ in range(_ATTEMPTS):
        values = tpm.read_pcrs(PCRS)
        attest, signature = tpm.quote(key, extra, PCRS)
        if read_quote(attest).pcr_digest == digest("sha256", b"".join(values[index] for index in PCRS)):
            return attest, signature, values
    raise DeviceFailed(f"tpm registers is changing in each of {_ATTEMPTS} quotes, want them at rest")


def _proof(secret: bytes, binding: KeyBinding, public: bytes, certificate: bytes) -> bytes:
    return activation_proof(
        secret,
        verifier_nonce=binding.verifier_nonce,
        ak_name=read_public(public).name,
        ek_identity=read_endorsement_key(certificate).identity,
    )
