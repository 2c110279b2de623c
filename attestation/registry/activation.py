# SPDX-License-Identifier: Apache-2.0
"""Credential activation at the registry: that an attestation key lives in the TPM it says (docs/spec.md, 3.4).

    activation key   HMAC-SHA256(lease key, L("activation-key"))
    secret           HMAC-SHA256(activation key, L("activation-secret") || verifier_nonce || lp(AK name) || EK identity)

The secret is derived anew for judging, so that nothing is kept but the challenge, whose single use makes the secret's.
It reaches the worker sealed to the endorsement key (`attestation.tee.tpm.credential`), and comes back as a proof inside
the evidence. Whoever has evidence and not the secret cannot check that proof: gateways and auditors take this one step
from the verdict in the log, which exists only if it held.
"""

from collections.abc import Callable
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from attestation.appraisal.finding import Finding
from attestation.bundle import EvidenceBundle
from attestation.claims import TEEKind
from attestation.codec.labels import equal, hmac_sha256, label, lp
from attestation.errors import Reason
from attestation.tee.tpm.credential import AttestationKey, Credential, activation_proof, make_credential
from attestation.tee.tpm.endorsement import read_endorsement_key
from attestation.tee.tpm.evidence import TPMEvidence, read_evidence
from attestation.tee.tpm.public import check_attestation_key, read_public

_REMEDY: Final = "ask for the challenge with this TPM's keys and have the TPM open the credential that comes with it"


class Activations:
    """Seals secrets to endorsement keys and checks the proofs that come back. Keeps nothing; safe in any thread."""

    def __init__(self, *, lease_key: Ed25519PrivateKey, entropy: Callable[[int], bytes]) -> None:
        self._key = hmac_sha256(lease_key.private_bytes_raw(), label("activation-key"))
        self._entropy = entropy

    def check(self, key: AttestationKey) -> None:
        """Raises `MalformedEvidence` or `NotGenuine` for keys no credential can be made for."""
        check_attestation_key(read_public(key.public))
        read_endorsement_key(key.ek_certificate)

    def seal(self, key: AttestationKey, verifier_nonce: bytes) -> Credential:
        """The credential for these keys under this challenge. Raises as `check`."""
        ak, ek = read_public(key.public), read_endorsement_key(key.ek_certificate)
        secret = self._secret(verifier_nonce, ak.name, ek.identity)
        return make_credential(ek.key, ak.name, secret, self._entropy)

    def findings(self, bundle: EvidenceBundle, verifier_nonce: bytes) -> tuple[Finding, ...]:
        """What stands against the TPM evidence of a verified bundle; nothing for a bundle without."""
        found = [read_evidence(part.data) for part in bundle.evidence if part.kind is TEEKind.TPM]
        return tuple(finding for evidence in found for finding in self._finding(evidence, verifier_nonce))

    def _finding(self, evidence: TPMEvidence, verifier_nonce: bytes) -> tuple[Finding, ...]:
        if not evidence.activation:
            return (_finding("absent", Reason.ACTIVATION_MISSING),)
        ak_name = read_public(evidence.ak).name
        ek_identity = read_endorsement_key(evidence.ek_certificate).identity
        secret = self._secret(verifier_nonce, ak_name, ek_identity)
        wanted = activation_proof(secret, verifier_nonce=verifier_nonce, ak_name=ak_name, ek_identity=ek_identity)
        if equal(evidence.activation, wanted):
            return ()
        return (_finding("of another secret", Reason.ACTIVATION_INVALID),)

    def _secret(self, verifier_nonce: bytes, ak_name: bytes, ek_identity: bytes) -> bytes:
        return hmac_sha256(self._key, label("activation-secret") + verifier_nonce + lp(ak_name) + ek_identity)


def _finding(got: str, reason: Reason) -> Finding:
    want = "proof that the tpm of the ek certificate holds the attestation key"
    return Finding(field="tpm.activation", got=got, want=want, remedy=_REMEDY, reason=reason)
