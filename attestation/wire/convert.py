# SPDX-License-Identifier: Apache-2.0
"""Protobuf messages of the registry to values and back. Reading checks presence, sizes and names; proves nothing."""

from typing import Final

from sealbid_wire.evidence.v1 import evidence_pb2
from sealbid_wire.registry.v1 import registry_pb2

from attestation.appraisal.finding import Finding
from attestation.bundle import Collateral, Evidence, EvidenceBundle, tee_kind
from attestation.errors import MalformedEvidence, Reason
from attestation.registry.gateways import LoggedGateway
from attestation.registry.values import Activation, Admitted, Refused, Registration, Verdict
from attestation.tee.certificates import MAX_CERTIFICATE_BYTES
from attestation.tee.tpm.credential import (
    MAX_BLOB_BYTES,
    MAX_ENCRYPTED_SECRET_BYTES,
    AttestationKey,
    Credential,
)
from attestation.tee.tpm.public import MAX_PUBLIC_BYTES
from attestation.verify import PresentedWorker

MAX_SIGNED_BYTES: Final = 4096
MAX_TEXT: Final = 2048
MAX_FINDINGS: Final = 256


def bundle_message(bundle: EvidenceBundle) -> evidence_pb2.Bundle:
    """The message of a bundle."""
    return evidence_pb2.Bundle(
        challenge=bundle.challenge,
        keyset=bundle.keyset,
        binding=bundle.binding,
        evidence=[
            evidence_pb2.Evidence(kind=part.kind.value, format=part.format, data=part.data) for part in bundle.evidence
        ],
        collateral=[evidence_pb2.Collateral(kind=part.kind, data=part.data) for part in bundle.collateral],
    )


def read_bundle(message: evidence_pb2.Bundle) -> EvidenceBundle:
    """The bundle of a message. Raises `MalformedEvidence` for missing parts, sizes out of bounds or an unknown kind."""
    return EvidenceBundle(
        challenge=message.challenge,
        keyset=message.keyset,
        binding=message.binding,
        evidence=tuple(
            Evidence(kind=tee_kind(part.kind), format=_text("evidence.format", part.format), data=part.data)
            for part in message.evidence
        ),
        collateral=tuple(
            Collateral(kind=_text("collateral.kind", part.kind), data=part.data) for part in message.collateral
        ),
    )


def attestation_key_message(key: AttestationKey) -> registry_pb2.IssueChallengeRequest:
    """The request for a challenge with a credential."""
    return registry_pb2.IssueChallengeRequest(ak_public=key.public, ek_certificate=key.ek_certificate)


def read_attestation_key(message: registry_pb2.IssueChallengeRequest) -> AttestationKey | None:
    """The keys a worker with a TPM shows, None if it shows none. Raises `MalformedEvidence`."""
    if not message.ak_public and not message.ek_certificate:
        return None
    return AttestationKey(
        public=_signed("ak_public", message.ak_public, MAX_PUBLIC_BYTES),
        ek_certificate=_signed("ek_certificate", message.ek_certificate, MAX_CERTIFICATE_BYTES),
    )


def activation_message(activation: Activation) -> registry_pb2.IssueChallengeResponse:
    """The answer that carries a challenge and a credential."""
    return registry_pb2.IssueChallengeResponse(
        challenge=activation.challenge,
        credential_blob=activation.credential.blob,
        encrypted_secret=activation.credential.encrypted_secret,
    )


def read_activation(message: registry_pb2.IssueChallengeResponse) -> Activation:
    """The challenge and credential of an answer. Raises `MalformedEvidence`."""
    credential = Credential(
        blob=_signed("credential_blob", message.credential_blob, MAX_BLOB_BYTES),
        encrypted_secret=_signed("encrypted_secret", message.encrypted_secret, MAX_ENCRYPTED_SECRET_BYTES),
    )
    return Activation(challenge=message.challenge, credential=credential)


def registration_message(registration: Registration) -> registry_pb2.RegisterRequest:
    """The request that carries a registration."""
    return registry_pb2.RegisterRequest(
        bundle=bundle_message(registration.bundle),
        certificate_der=registration.certificate_der,
        endpoint=registration.endpoint,
        registration=registration.registration,
    )


def read_registration(message: registry_pb2.RegisterRequest) -> Registration:
    """The registration of a request. Raises `MalformedEvidence`."""
    return Registration(
        bundle=read_bundle(message.bundle),
        certificate_der=_signed("certificate_der", message.certificate_der, 8192),
        endpoint=_text("endpoint", message.endpoint, required=False),
        registration=_signed("registration", message.registration),
    )


def admission_message(admitted: Admitted) -> registry_pb2.Admission:
    """The message of an admitted worker."""
    worker = admitted.presented
    return registry_pb2.Admission(
        bundle=bundle_message(worker.bundle),
        lease=worker.lease,
        verdict_entry=worker.verdict_entry,
        verdict_proof=worker.verdict_proof,
        certificate_der=worker.certificate_der,
        endpoint=worker.endpoint,
    )


def read_admission(message: registry_pb2.Admission) -> Admitted:
    """The admitted worker of a message, unverified. Raises `MalformedEvidence`."""
    return Admitted(
        presented=PresentedWorker(
            bundle=read_bundle(message.bundle),
            lease=_signed("lease", message.lease),
            verdict_entry=message.verdict_entry,
            verdict_proof=message.verdict_proof,
            certificate_der=_signed("certificate_der", message.certificate_der, 8192),
            endpoint=_text("endpoint", message.endpoint, required=False),
        )
    )


def verdict_message(verdict: Verdict) -> registry_pb2.RegisterResponse:
    """The answer to a registration."""
    if isinstance(verdict, Admitted):
        return registry_pb2.RegisterResponse(admission=admission_message(verdict))
    refusal = registry_pb2.Refusal(
        reason=verdict.reason.value,
        findings=[
            registry_pb2.Finding(
                reason=finding.reason.value,
                field=finding.field,
                got=finding.got,
                want=finding.want,
                remedy=finding.remedy,
            )
            for finding in verdict.findings[:MAX_FINDINGS]
        ],
        verdict_entry=verdict.verdict_entry,
        verdict_proof=verdict.verdict_proof,
    )
    return registry_pb2.RegisterResponse(refusal=refusal)


def read_verdict(message: registry_pb2.RegisterResponse) -> Verdict:
    """The verdict of an answer, unverified. Raises `MalformedEvidence`."""
    which = message.WhichOneof("verdict")
    if which == "admission":
        return read_admission(message.admission)
    if which != "refusal":
        raise _malformed("register response is empty, want an admission or a refusal")
    refusal = message.refusal
    return Refused(
        reason=_reason(refusal.reason),
        findings=tuple(
            Finding(
                field=finding.field[:MAX_TEXT],
                got=finding.got[:MAX_TEXT],
                want=finding.want[:MAX_TEXT],
                remedy=finding.remedy[:MAX_TEXT],
                reason=_reason(finding.reason),
            )
            for finding in refusal.findings[:MAX_FINDINGS]
        ),
        verdict_entry=refusal.verdict_entry,
        verdict_proof=refusal.verdict_proof,
    )


def gateway_message(gateway: LoggedGateway) -> registry_pb2.Gateway:
    """The message of an enrolled gateway."""
    return registry_pb2.Gateway(
        gateway_id=gateway.gateway_id,
        signing_key=gateway.signing_key,
        certificate_der=gateway.certificate_der,
        key_entry=gateway.key_entry,
        key_proof=gateway.key_proof,
        tls_entry=gateway.tls_entry,
        tls_proof=gateway.tls_proof,
    )


def read_gateway(message: registry_pb2.Gateway) -> LoggedGateway:
    """The gateway of a message, unverified. Raises `MalformedEvidence`."""
    return LoggedGateway(
        gateway_id=_exactly("gateway_id", message.gateway_id, 32),
        signing_key=_exactly("signing_key", message.signing_key, 32),
        certificate_der=_signed("certificate_der", message.certificate_der, 8192),
        key_entry=message.key_entry,
        key_proof=message.key_proof,
        tls_entry=message.tls_entry,
        tls_proof=message.tls_proof,
    )


def _exactly(name: str, value: bytes, size: int) -> bytes:
    if len(value) != size:
        raise _malformed(f"{name} has {len(value)} bytes, want {size}")
    return value


def _signed(name: str, value: bytes, maximum: int = MAX_SIGNED_BYTES) -> bytes:
    if not 0 < len(value) <= maximum:
        raise _malformed(f"{name} has {len(value)} bytes, want 1..{maximum}")
    return value


def _text(name: str, value: str, *, required: bool = True) -> str:
    if len(value) > 256 or (required and not value):
        raise _malformed(f"{name} has {len(value)} characters, want {1 if required else 0}..256")
    return value


def _reason(name: str) -> Reason:
    return Reason(name) if name in set(Reason) else Reason.INTERNAL


def _malformed(message: str) -> MalformedEvidence:
    return MalformedEvidence(Reason.MALFORMED, message)
