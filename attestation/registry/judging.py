# SPDX-License-Identifier: Apache-2.0
"""From a registration to findings: verification and appraisal as the registry does them, without any state.

Every refusal becomes findings, also the failures of verification, so that one answer and one log entry tell a provider
all there is to mend. Hardware ownership, revocation and the single use of challenges are the registry's, as they need
memory.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from attestation.appraisal.appraise import appraise
from attestation.appraisal.finding import Finding
from attestation.appraisal.policy import AppraisalPolicy
from attestation.binding import Challenge
from attestation.certificate import pinnable_spki_sha256
from attestation.collateral.complete import Completer
from attestation.errors import (
    UNDECIDED,
    Malformed,
    MalformedEvidence,
    NotAcceptable,
    NotGenuine,
    Reason,
    SealbidError,
    Stale,
)
from attestation.registration import MAX_ENDPOINT_CHARACTERS, check_registration
from attestation.registry.entries import MAX_ENGINES
from attestation.registry.values import Registration
from attestation.tee.interface import Verifiers
from attestation.verify import VerifiedBundle, verify_bundle

_REMEDY: Final = {
    Stale: "ask for a new challenge and attest again",
    NotAcceptable: "wait until the other lease ends, or have it revoked",
    NotGenuine: "attest with this worker's own keys, account and machine",
    MalformedEvidence: "use a worker of a version this registry knows",
}


REVOKED: Final = Finding(
    field="worker",
    got="revoked",
    want="keys that were never revoked",
    remedy="restart the worker, so that it makes new keys",
    reason=Reason.REVOKED,
)
"""The finding against a worker whose keys were revoked, which only the registry's memory knows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What verification established, if it did, and every finding."""

    verified: VerifiedBundle | None
    findings: tuple[Finding, ...]


def read_challenge(registration: Registration, provider_id: bytes) -> Challenge:
    """The challenge a registration answers, if it was made for this account.

    Raises:
        MalformedEvidence: the bytes are no challenge.
        NotGenuine: it is another provider's (PROVIDER_MISMATCH).
    """
    try:
        challenge = Challenge.decode(registration.bundle.challenge)
    except Malformed as error:
        raise MalformedEvidence(error.reason, error.message) from None
    if challenge.provider_id != provider_id:
        got, want = challenge.provider_id.hex(), provider_id.hex()
        raise NotGenuine(Reason.PROVIDER_MISMATCH, f"challenge.provider_id is {got}, want {want}")
    return challenge


def judge_completed(
    registration: Registration,
    *,
    completer: Completer,
    account: str,
    audience: str,
    policy: AppraisalPolicy,
    verifiers: Verifiers,
    now: datetime,
) -> tuple[Registration, Judgement]:
    """The registration of `account` with the collateral it was judged with, and what came of it.

    Collateral that was not to be had becomes findings where the judgement could not decide. A vendor's word that had
    no room in the bundle is a finding always: nobody is admitted because it is not there.
    """
    completion = completer.complete(registration.bundle, now, account=account)
    completed = replace(registration, bundle=completion.bundle)
    judgement = judge(completed, audience=audience, policy=policy, verifiers=verifiers, now=now)
    left_out = tuple(finding_of(error) for error in completion.left_out)
    judgement = replace(judgement, findings=(*judgement.findings, *left_out))
    if any(finding.reason in UNDECIDED for finding in judgement.findings):
        missing = tuple(finding_of(error) for error in completion.missing)
        judgement = replace(judgement, findings=(*judgement.findings, *missing))
    return completed, judgement


def judge(
    registration: Registration,
    *,
    audience: str,
    policy: AppraisalPolicy,
    verifiers: Verifiers,
    now: datetime,
) -> Judgement:
    """Verifies and appraises a registration whose challenge was spent for it."""
    try:
        verified = verify_bundle(registration.bundle, audience=audience, verifiers=verifiers, now=now)
        _check_ownership(registration, verified)
    except SealbidError as error:
        return Judgement(verified=None, findings=(finding_of(error),))
    findings = (*appraise(verified.claims, policy, now), *_limits(verified))
    return Judgement(verified=verified, findings=findings)


def finding_of(error: SealbidError) -> Finding:
    """An error as a finding: its text is split at `field is got, want wanted`."""
    field, is_, rest = error.message.partition(" is ")
    got, _, want = rest.partition(", want ")
    if not is_:
        field, got, want = "evidence", error.message, "evidence that verifies"
    remedy = next((text for kind, text in _REMEDY.items() if isinstance(error, kind)), "try again later")
    return Finding(field=field, got=got, want=want, remedy=remedy, reason=error.reason)


def _check_ownership(registration: Registration, verified: VerifiedBundle) -> None:
    """The registration is signed by the receipt key, and its certificate and endpoint are the worker's own."""
    keyset = verified.keyset
    if verified.binding.purpose != "worker":
        message = f"binding.purpose is {verified.binding.purpose}, want worker"
        raise NotGenuine(Reason.BINDING_MISMATCH, message)
    tls_key = pinnable_spki_sha256(registration.certificate_der)
    if tls_key != keyset.tls_spki_sha256:
        message = f"certificate key is {tls_key.hex()}, want {keyset.tls_spki_sha256.hex()}"
        raise NotGenuine(Reason.KEYSET_MISMATCH, message)
    _check_endpoint(registration.endpoint)
    check_registration(
        registration.registration,
        keyset.receipt_key,
        verified.binding.digest,
        registration.certificate_der,
        registration.endpoint,
    )


def _check_endpoint(endpoint: str) -> None:
    host, colon, port = endpoint.rpartition(":")
    valid = bool(host) and colon == ":" and port.isascii() and port.isdigit() and 0 < int(port[:6]) < 1 << 16
    if endpoint and not (valid and len(endpoint) <= MAX_ENDPOINT_CHARACTERS and endpoint.isprintable()):
        raise MalformedEvidence(Reason.MALFORMED, "endpoint is not host:port, want such or empty")


def _limits(verified: VerifiedBundle) -> Sequence[Finding]:
    count = len(verified.binding.engines)
    if count <= MAX_ENGINES:
        return ()
    return (
        Finding(
            field="engines",
            got=str(count),
            want=f"at most {MAX_ENGINES}",
            remedy="serve fewer models from one worker",
            reason=Reason.ENGINE_REFUSED,
        ),
    )
