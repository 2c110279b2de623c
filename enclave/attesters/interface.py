# SPDX-License-Identifier: Apache-2.0
"""The seam between a worker and its TEE, and the order in which evidence is made (docs/spec.md, 3.4).

    keys -> keyset_id -> device_nonce -> device reports -> key binding -> quote

`answer_challenge` refuses a challenge that names another provider or audience than the worker was started for, so that
nobody can have this machine's evidence made for an account of their own (ruling 5).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, runtime_checkable

from attestation.binding import (
    MAX_BINDING_SECONDS,
    Challenge,
    KeyBinding,
    Keyset,
    Profile,
    device_digest,
    device_nonce,
)
from attestation.bundle import Collateral, Evidence, EvidenceBundle
from attestation.claims import DEVICE_KINDS
from attestation.errors import Malformed, MalformedEvidence, NotGenuine, Reason, Stale
from attestation.tee.tpm.credential import AttestationKey, Credential


@dataclass(frozen=True, slots=True, kw_only=True)
class Quoted:
    """Evidence just made, with the collateral its attester holds."""

    evidence: tuple[Evidence, ...]
    collateral: tuple[Collateral, ...]


class Attester(Protocol):
    """Makes evidence of the machine it runs on. May block on a device; called from one thread at a time."""

    @property
    def profile(self) -> Profile:
        """`development` exactly for the SIMULATED attester."""
        ...

    def devices(self, nonce: bytes) -> Quoted:
        """A report of every attached device over `nonce` (32 bytes); none on a machine without such devices."""
        ...

    def quote(self, binding: KeyBinding, *, now: datetime) -> Quoted:
        """The CPU's evidence with `binding` in its slot."""
        ...


@runtime_checkable
class ActivatedAttester(Attester, Protocol):
    """An attester whose attestation key the registry ties to its machine by a secret only that machine can open.

    Before evidence is asked for, the registry is shown `attestation_key`, and what it seals is handed to `activate`;
    the next `quote` answers it.
    """

    def attestation_key(self) -> AttestationKey:
        """The key that will sign, and the endorsement certificate of its machine."""
        ...

    def activate(self, credential: Credential) -> None:
        """Opens the registry's credential and keeps the secret for one quote."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Duty:
    """For whom and with what this worker serves, fixed when it starts."""

    provider_id: bytes
    audience: str
    engines: Sequence[bytes]
    config_sha256: bytes


def answer_challenge(
    challenge: bytes, *, keyset: Keyset, duty: Duty, attester: Attester, now: datetime
) -> EvidenceBundle:
    """The bundle that answers `challenge` (canonical bytes) for this worker's keys.

    Raises:
        MalformedEvidence: the bytes are no challenge.
        NotGenuine: it names another audience (AUDIENCE_MISMATCH) or provider (PROVIDER_MISMATCH).
        Stale: its time is over (NONCE_STALE).
    """
    asked = _read(challenge, duty, now)
    reports = attester.devices(device_nonce(asked.verifier_nonce, keyset.keyset_id))
    named = sorted((device_digest(report.data), DEVICE_KINDS[report.kind]) for report in reports.evidence)
    binding = KeyBinding(
        profile=attester.profile,
        purpose="worker",
        verifier_nonce=asked.verifier_nonce,
        keyset_id=keyset.keyset_id,
        provider_id=duty.provider_id,
        audience=duty.audience,
        devices=tuple((kind, digest) for digest, kind in named),
        engines=tuple(sorted(set(duty.engines))),
        config_sha256=duty.config_sha256,
        not_after=asked.issued + MAX_BINDING_SECONDS,
    )
    quote = attester.quote(binding, now=now)
    return EvidenceBundle(
        challenge=challenge,
        keyset=keyset.encode(),
        binding=binding.encode(),
        evidence=(*quote.evidence, *reports.evidence),
        collateral=(*quote.collateral, *reports.collateral),
    )


def _read(challenge: bytes, duty: Duty, now: datetime) -> Challenge:
    try:
        asked = Challenge.decode(challenge)
    except Malformed as error:
        raise MalformedEvidence(error.reason, error.message) from None
    if asked.audience != duty.audience:
        message = f"challenge.audience is {asked.audience!r}, want {duty.audience!r}"
        raise NotGenuine(Reason.AUDIENCE_MISMATCH, message)
    if asked.provider_id != duty.provider_id:
        message = f"challenge.provider_id is {asked.provider_id.hex()}, want {duty.provider_id.hex()}"
        raise NotGenuine(Reason.PROVIDER_MISMATCH, message)
    if now.timestamp() > asked.expires:
        raise Stale(Reason.NONCE_STALE, f"challenge ended at {asked.expires}, want one that is not over")
    return asked
