# SPDX-License-Identifier: Apache-2.0
"""What goes into a registration and what comes out of it."""

from dataclasses import dataclass
from typing import TypeAlias

from attestation.appraisal.finding import Finding
from attestation.bundle import EvidenceBundle
from attestation.errors import Reason
from attestation.tee.tpm.credential import Credential
from attestation.verify import PresentedWorker


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """A worker's request for a lease; first registration and renewal are the same."""

    bundle: EvidenceBundle
    certificate_der: bytes
    endpoint: str
    registration: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Activation:
    """A challenge for a worker with a TPM, and the credential its evidence must answer."""

    challenge: bytes
    credential: Credential


@dataclass(frozen=True, slots=True, kw_only=True)
class Admitted:
    """An accepted worker: everything another party needs to decide for itself."""

    presented: PresentedWorker


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A refused worker: the leading reason, all findings, and the logged verdict with its proof."""

    reason: Reason
    findings: tuple[Finding, ...]
    verdict_entry: bytes
    verdict_proof: bytes


Verdict: TypeAlias = Admitted | Refused
