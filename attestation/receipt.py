# SPDX-License-Identifier: Apache-2.0
"""Verifies a receipt from its own bytes and the verifier's trust root, offline, at any later time (docs/spec.md, 9.6).

 1 the gateway's key       its `key.add` entry is in the trusted log
 2 the gateway's half      is in a batch signed by that key, and names that gateway
 3 the award               hashes to the award the half names
 4 every attempt           each dispatch hashes to the one the half lists, in order, by this gateway
 5 the worker's verdict    its `attest.verdict` entry is in the trusted log, and is a pass
 6 the worker's keys       the keyset hashes to the id the verdict names
 7 the worker's half       is in a batch signed by the keyset's receipt key, and hashes to the one the gateway names
 8 they belong together    worker, keyset, binding, engine, times: half and verdict agree; dispatch, price and award too
 9 outcome and charge      the outcome is the one the worker's status allows; the charge follows from price and units

Signatures and hashes over raw bytes are checked before anything inside those bytes is believed. Steps 5 to 8 fall away
where no worker answered, and then nothing may have been charged. A receipt whose worker never signed its half is never
accepted: where all but that signature holds, `SignatureMissing` says that it is the gateway's word only. What this does
not check: the evidence behind the verdict (`sealbid audit` re-derives it elsewhere), whether the award was fair, or
what the plaintext was.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from attestation.binding import Keyset
from attestation.codec.labels import labelled_sha256, sha256
from attestation.errors import AttestationError, CollateralUnavailable, NotGenuine, Reason, SealingError
from attestation.identity import gateway_id_of
from attestation.receipt_file import VERSION, BatchProof, LoggedEntry, ReceiptFile, WorkerPart
from attestation.sealing.batch import GATEWAY_HALF, WORKER_HALF, HalfProof, verify_half
from attestation.sealing.dispatch import Dispatch, digest_of
from attestation.sealing.halves import GatewayHalf, Outcome, WorkerHalf, WorkerStatus
from attestation.tlog.entry import Entry, Kind, parse_entry
from attestation.tlog.proof import verify_tlog_proof
from attestation.tlog.schema import parse_time
from attestation.trust import TrustRoot

UNITS_PER_PRICE: Final = 1000
_CLOCK_SLACK_SECONDS: Final = 300
"""Times in a half are the worker's claims by a clock of its host; further out than this they contradict the verdict."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerFacts:
    """What is known of the worker that answered or refused."""

    worker_id: bytes
    keyset_id: bytes
    provider: str
    verdict_index: int
    verdict_at: datetime
    valid_until: datetime
    policy: str
    """Id and version, for people."""
    policy_sha256: bytes
    engine_sha256: bytes
    status: WorkerStatus
    units: int
    started: datetime
    ended: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedReceipt:
    """A receipt every step of which held; inside `SignatureMissing`, every step but the worker's signature."""

    request_id: bytes
    gateway_id: bytes
    outcome: Outcome
    attempts: int
    price_nanos: int
    """Per 1,000 work units."""
    charge_nanos: int
    time: datetime
    simulated: bool
    witnesses: str
    """What stands behind the log besides its operator."""
    worker: WorkerFacts | None


class SignatureMissing(CollateralUnavailable):
    """Every step held but one: the worker never signed its half. What the half says is the gateway's word only.

    The gateway found the half under the response key when it came and signed its digest, so it is bound to the half,
    and an auditor cannot tell whether the worker made it. Should the signature still come, the receipt becomes whole.
    """

    def __init__(self, stated: VerifiedReceipt) -> None:
        message = "worker_batch is null, want the worker's signature over its half: this is the gateway's word only"
        super().__init__(Reason.SIGNATURE_MISSING, message)
        self.stated = stated


def verify_receipt(receipt: ReceiptFile, trust: TrustRoot) -> VerifiedReceipt:
    """What the receipt proves under `trust`.

    Raises:
        NotGenuine: a step does not hold; the text names the field. Fields that do not parse inside a well-formed file
            count as altered.
        SignatureMissing: could not decide, for want of the worker's signature (SIGNATURE_MISSING); all else holds.
    """
    try:
        verified = _verify(receipt, trust)
    except NotGenuine:
        raise
    except (AttestationError, SealingError) as error:
        raise NotGenuine(Reason.RECEIPT_INVALID, f"receipt holds a part that is not valid: {error.message}") from error
    if receipt.worker is not None and receipt.worker.batch is None:
        raise SignatureMissing(verified)
    return verified


def _verify(receipt: ReceiptFile, trust: TrustRoot) -> VerifiedReceipt:
    _require(receipt.version == VERSION, "receipt.v", "another version", VERSION)
    gateway_id, signing_key = _gateway_key(receipt.gateway_key, trust)
    _verify_batch(receipt.gateway_half, receipt.gateway_batch, signing_key, GATEWAY_HALF)
    half = GatewayHalf.decode(receipt.gateway_half)
    _require(half.gateway_id == gateway_id, "gateway_half.gateway_id", half.gateway_id.hex(), gateway_id.hex())
    award_sha256 = labelled_sha256("award", receipt.award)
    _require(award_sha256 == half.award_sha256, "award digest", award_sha256.hex(), half.award_sha256.hex())
    dispatches = _dispatches(receipt, half)
    worker = None if receipt.worker is None else _worker(receipt.worker, half, dispatches, trust)
    answered = bool(half.worker_half_sha256)
    _require((worker is not None) == answered, "worker_half", "absent or surplus", "what gateway_half says")
    simulated = trust.profile.value == "development" if worker is None else worker[1]
    _require(receipt.simulated == simulated, "receipt.simulated", str(receipt.simulated), str(simulated))
    facts = None if worker is None else worker[0]
    _check_outcome(half, facts)
    _check_charge(half, facts)
    return VerifiedReceipt(
        request_id=half.request_id,
        gateway_id=gateway_id,
        outcome=half.outcome,
        attempts=len(dispatches),
        price_nanos=half.price_nanos,
        charge_nanos=half.charge_nanos,
        time=_time(half.time),
        simulated=simulated,
        witnesses=trust.witness_policy.display,
        worker=facts,
    )


def _gateway_key(logged: LoggedEntry, trust: TrustRoot) -> tuple[bytes, bytes]:
    entry, _ = _logged(logged, trust)
    _require(entry.kind is Kind.KEY_ADD, "gateway_key kind", entry.kind.value, Kind.KEY_ADD.value)
    use, key = str(entry.body["use"]), bytes.fromhex(str(entry.body["key"]))
    _require(use == "gateway-sign", "gateway_key use", use, "gateway-sign")
    gateway_id = gateway_id_of(key)
    subject = str(entry.body["subject"])
    _require(subject == gateway_id.hex(), "gateway_key subject", subject, gateway_id.hex())
    return gateway_id, key


def _dispatches(receipt: ReceiptFile, half: GatewayHalf) -> list[Dispatch]:
    digests = tuple(digest_of(dispatch) for dispatch in receipt.dispatches)
    _require(digests == half.dispatches, "dispatches", f"{len(digests)} others", "those gateway_half lists")
    dispatches = [Dispatch.decode(dispatch) for dispatch in receipt.dispatches]
    for number, dispatch in enumerate(dispatches, start=1):
        _require(dispatch.gateway_id == half.gateway_id, "dispatch.gateway_id", "another gateway", "this gateway")
        _require(dispatch.attempt == number, "dispatch.attempt", str(dispatch.attempt), str(number))
    return dispatches


def _worker(
    part: WorkerPart, gateway: GatewayHalf, dispatches: list[Dispatch], trust: TrustRoot
) -> tuple[WorkerFacts, bool]:
    entry, index = _logged(part.verdict, trust)
    _require(entry.kind is Kind.ATTEST_VERDICT, "verdict kind", entry.kind.value, Kind.ATTEST_VERDICT.value)
    verdict = str(entry.body["verdict"])
    _require(verdict == "pass", "verdict", verdict, "pass")
    keyset = Keyset.decode(part.keyset)
    named = str(entry.body["keyset_id"])
    _require(keyset.keyset_id.hex() == named, "keyset_id", keyset.keyset_id.hex(), named)
    if part.batch is not None:
        _verify_batch(part.half, part.batch, keyset.receipt_key, WORKER_HALF)
    digest = sha256(part.half)
    _require(digest == gateway.worker_half_sha256, "worker_half digest", digest.hex(), gateway.worker_half_sha256.hex())
    half = WorkerHalf.decode(part.half)
    _check_identity(half, entry)
    _check_dispatch(half, gateway, dispatches, keyset)
    facts = _facts(half, entry, index)
    _check_times(facts)
    return facts, entry.simulated


def _check_identity(half: WorkerHalf, entry: Entry) -> None:
    body = entry.body
    for name, value in (
        ("worker_id", half.worker_id),
        ("keyset_id", half.keyset_id),
        ("binding_digest", half.binding_digest),
    ):
        _require(value.hex() == body[name], f"worker_half.{name}", value.hex(), str(body[name]))
    engines = body["engines"]
    known = isinstance(engines, list) and half.engine_sha256.hex() in engines
    _require(known, "worker_half.engine_sha256", half.engine_sha256.hex(), "an engine the verdict names")


def _check_dispatch(half: WorkerHalf, gateway: GatewayHalf, dispatches: list[Dispatch], keyset: Keyset) -> None:
    listed = dict(zip(gateway.dispatches, dispatches, strict=True))
    dispatch = listed.get(half.dispatch_sha256)
    if dispatch is None:
        raise _not_genuine("worker_half.dispatch_sha256", half.dispatch_sha256.hex(), "a dispatch of this request")
    _require(half.header_sha256 == dispatch.header_sha256, "worker_half.header_sha256", "another", "the dispatched one")
    keys = {keyset.key_id(suite) for suite, _ in keyset.suites}
    _require(dispatch.key_id in keys, "dispatch.key_id", dispatch.key_id.hex(), "a key of the worker's keyset")
    _require(dispatch.price_nanos == gateway.price_nanos, "price", str(gateway.price_nanos), str(dispatch.price_nanos))
    _require(dispatch.award_sha256 == gateway.award_sha256, "award", "another", "the dispatched one")


def _check_times(facts: WorkerFacts) -> None:
    early = (facts.verdict_at - facts.started).total_seconds()
    late = (facts.started - facts.valid_until).total_seconds()
    want = f"{facts.verdict_at.isoformat()} to {facts.valid_until.isoformat()}"
    within = early <= _CLOCK_SLACK_SECONDS and late <= _CLOCK_SLACK_SECONDS
    _require(within, "worker_half.started", facts.started.isoformat(), want)


def _check_outcome(half: GatewayHalf, worker: WorkerFacts | None) -> None:
    """Answered means that the worker says OK, refused that it says INVALID; a failed request may hold any half."""
    status = None if worker is None else worker.status
    want = {Outcome.ANSWERED: WorkerStatus.OK, Outcome.REFUSED: WorkerStatus.INVALID}.get(half.outcome, status)
    got = "none" if status is None else status.name
    _require(status is want, "worker_half.status", got, f"what {half.outcome.name} means")


def _check_charge(half: GatewayHalf, worker: WorkerFacts | None) -> None:
    """A charge may be below what units and price give (the caller's own limit), never above, and only for work done."""
    billable = worker is not None and worker.status in (WorkerStatus.OK, WorkerStatus.CANCELLED)
    most = -(-half.price_nanos * worker.units // UNITS_PER_PRICE) if worker is not None and billable else 0
    _require(half.charge_nanos <= most, "gateway_half.charge_nanos", str(half.charge_nanos), f"at most {most}")


def _facts(half: WorkerHalf, entry: Entry, index: int) -> WorkerFacts:
    policy = entry.body["policy"]
    assert isinstance(policy, dict)  # parse_entry checked it against the kind's table
    return WorkerFacts(
        worker_id=half.worker_id,
        keyset_id=half.keyset_id,
        provider=str(entry.body["provider"]),
        verdict_index=index,
        verdict_at=entry.at,
        valid_until=parse_time(entry.body["valid_until"], "valid_until"),
        policy=f"{policy['id']} v{policy['version']}",
        policy_sha256=bytes.fromhex(str(policy["sha256"])),
        engine_sha256=half.engine_sha256,
        status=half.status,
        units=half.units,
        started=_time(half.started),
        ended=_time(half.ended),
    )


def _logged(logged: LoggedEntry, trust: TrustRoot) -> tuple[Entry, int]:
    _, index = verify_tlog_proof(
        logged.proof, logged.entry, origin=trust.origin, log_key=trust.log_key, policy=trust.witness_policy
    )
    return parse_entry(logged.entry), index


def _verify_batch(half: bytes, batch: BatchProof, key: bytes, purpose: str) -> None:
    proof = HalfProof(cose=batch.cose, index=batch.index, size=batch.size, path=batch.path)
    verify_half(half, proof, public_key=key, purpose=purpose)


def _time(seconds: int) -> datetime:
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        raise _not_genuine("time", str(seconds), "unix seconds within the calendar") from None


def _require(holds: bool, field: str, got: str, want: str) -> None:
    if not holds:
        raise _not_genuine(field, got, want)


def _not_genuine(field: str, got: str, want: str) -> NotGenuine:
    return NotGenuine(Reason.RECEIPT_INVALID, f"{field} is {got}, want {want}")
