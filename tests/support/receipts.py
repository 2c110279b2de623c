# SPDX-License-Identifier: Apache-2.0
"""Whole receipts made of real parts: a log with its checkpoint, a keyset, dispatches, both halves in signed batches."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from attestation.binding import Keyset, Profile, SuiteID
from attestation.codec.labels import labelled_sha256, sha256
from attestation.identity import gateway_id_of, provider_id
from attestation.receipt_file import VERSION, BatchProof, LoggedEntry, ReceiptFile, WorkerPart
from attestation.sealing.batch import GATEWAY_HALF, WORKER_HALF, HalfProof, sign_batch
from attestation.sealing.dispatch import Dispatch
from attestation.sealing.halves import GatewayHalf, Outcome, WorkerHalf, WorkerStatus
from attestation.tlog.checkpoint import Checkpoint, sign_checkpoint
from attestation.tlog.entry import Blob, Entry, PolicyRef, VerifierRef, attest_verdict, key_add
from attestation.tlog.merkle import path_of, root_of
from attestation.tlog.note import NoteSigner
from attestation.tlog.policy import parse_witness_policy
from attestation.tlog.proof import InclusionProof
from attestation.trust import TrustRoot

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
ORIGIN = "registry.test/evidence"
ENGINE = sha256(b"engine")


def _key(seed: int) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32)


def _digest(name: str) -> bytes:
    return sha256(name.encode())


@dataclass(frozen=True, kw_only=True)
class World:
    """Everything a receipt is made from; `replace` one field to get a world in which one thing is wrong."""

    log_key: Ed25519PrivateKey = field(default_factory=lambda: _key(1))
    gateway_key: Ed25519PrivateKey = field(default_factory=lambda: _key(2))
    receipt_key: Ed25519PrivateKey = field(default_factory=lambda: _key(3))
    award: bytes = b"award"
    price: int = 500
    charge: int = 500
    units: int = 1000
    status: WorkerStatus = WorkerStatus.OK
    outcome: Outcome = Outcome.ANSWERED
    verdict_passed: bool = True
    key_use: str = "gateway-sign"
    engine: bytes = ENGINE
    half_started: datetime = NOW
    attempts: int = 2
    key_id: bytes = b""
    """The key requests were dispatched to; the keyset's own when empty."""
    edit_worker_half: Callable[[WorkerHalf], WorkerHalf] = lambda half: half
    edit_gateway_half: Callable[[GatewayHalf], GatewayHalf] = lambda half: half

    @property
    def trust(self) -> TrustRoot:
        """The auditor's own trust root."""
        return TrustRoot(
            origin=ORIGIN,
            log_key=NoteSigner(name=ORIGIN, key=self.log_key).verifier,
            lease_key=_key(9).public_key().public_bytes_raw(),
            witness_policy=parse_witness_policy("none"),
            profile=Profile.DEVELOPMENT,
        )

    @property
    def gateway_id(self) -> bytes:
        """The gateway's id."""
        return gateway_id_of(self.gateway_key.public_key().public_bytes_raw())

    @property
    def keyset(self) -> Keyset:
        """The worker's keyset."""
        return Keyset(
            suites=((SuiteID.X25519, bytes(range(32))),),
            receipt_key=self.receipt_key.public_key().public_bytes_raw(),
            tls_spki_sha256=_digest("spki"),
            generation=1,
        )

    def receipt(self) -> ReceiptFile:
        """The receipt of this world."""
        dispatches = [self._dispatch(number) for number in range(1, self.attempts + 1)]
        worker_half = self.edit_worker_half(self._worker_half(dispatches[-1])).encode()
        gateway_half = self.edit_gateway_half(self._gateway_half(worker_half, dispatches)).encode()
        key_entry, verdict_entry = self._key_entry(), self._verdict_entry()
        entries = [key_entry, verdict_entry, self._key_entry()]
        return ReceiptFile(
            version=VERSION,
            simulated=True,
            award=self.award,
            dispatches=tuple(dispatch.encode() for dispatch in dispatches),
            gateway_half=gateway_half,
            gateway_batch=self._batch(self.gateway_key, GATEWAY_HALF, gateway_half),
            gateway_key=self._logged(entries, 0),
            worker=WorkerPart(
                half=worker_half,
                batch=self._batch(self.receipt_key, WORKER_HALF, worker_half),
                keyset=self.keyset.encode(),
                verdict=self._logged(entries, 1),
            ),
        )

    def unanswered(self) -> ReceiptFile:
        """A receipt of a request no worker answered."""
        world = replace(self, outcome=Outcome.FAILED, charge=0)
        dispatches = [self._dispatch(1)]
        half = world.edit_gateway_half(replace(world._gateway_half(b"", dispatches), worker_half_sha256=b"")).encode()
        return replace(
            self.receipt(),
            dispatches=(dispatches[0].encode(),),
            gateway_half=half,
            gateway_batch=self._batch(self.gateway_key, GATEWAY_HALF, half),
            worker=None,
        )

    def unsigned(self) -> ReceiptFile:
        """A receipt whose worker never signed its half."""
        receipt = self.receipt()
        assert receipt.worker is not None
        return replace(receipt, worker=replace(receipt.worker, batch=None))

    def _dispatch(self, number: int) -> Dispatch:
        return Dispatch(
            header_sha256=_digest("header"),
            session_id=_digest(f"session {number}"),
            counter=number,
            attempt=number,
            award_sha256=labelled_sha256("award", self.award),
            offer_id=_digest(f"offer {number}"),
            price_nanos=self.price,
            gateway_id=self.gateway_id,
            key_id=self.key_id or self.keyset.key_id(SuiteID.X25519),
            deadline_ms=1000,
        )

    def _worker_half(self, dispatch: Dispatch) -> WorkerHalf:
        seconds = int(self.half_started.timestamp())
        return WorkerHalf(
            worker_id=self.keyset.worker_id,
            keyset_id=self.keyset.keyset_id,
            binding_digest=_digest("binding"),
            dispatch_sha256=dispatch.digest,
            header_sha256=dispatch.header_sha256,
            req_ct=_digest("req ct"),
            resp_ct=_digest("resp ct"),
            req_commit=_digest("req commit"),
            resp_commit=_digest("resp commit"),
            engine_sha256=self.engine,
            units=self.units,
            status=self.status,
            started=seconds,
            ended=seconds,
            seq=7,
        )

    def _gateway_half(self, worker_half: bytes, dispatches: list[Dispatch]) -> GatewayHalf:
        return GatewayHalf(
            worker_half_sha256=sha256(worker_half),
            award_sha256=labelled_sha256("award", self.award),
            price_nanos=self.price,
            dispatches=tuple(dispatch.digest for dispatch in dispatches),
            gateway_id=self.gateway_id,
            seq=3,
            request_id=bytes(range(16)),
            outcome=self.outcome,
            charge_nanos=self.charge,
            time=int(NOW.timestamp()),
        )

    def _key_entry(self) -> Entry:
        key = self.gateway_key.public_key().public_bytes_raw()
        return key_add(use=self.key_use, key=key, subject=self.gateway_id, at=NOW)

    def _verdict_entry(self) -> Entry:
        passed = self.verdict_passed
        return attest_verdict(
            provider="provider-a",
            provider_id=provider_id("provider-a"),
            audience=ORIGIN,
            evidence=[Blob(type="simulated", sha256=_digest("evidence"), size=1)],
            collateral=[],
            policy=PolicyRef(id="development", version=1, sha256=_digest("policy"), profile="development"),
            verifier=VerifierRef(version="0.1.0", sha256=_digest("verifier")),
            passed=passed,
            simulated=True,
            at=NOW - timedelta(minutes=5),
            reasons=() if passed else ("MEASUREMENT_REFUSED",),
            worker_id=self.keyset.worker_id,
            keyset_id=self.keyset.keyset_id,
            binding_digest=_digest("binding"),
            challenge=b"challenge",
            claims={"simulated.debug": "false"},
            engines=[ENGINE],
            keys=[("receipt", _digest("receipt key"))],
            tls_spki_sha256=self.keyset.tls_spki_sha256,
            valid_until=NOW + timedelta(minutes=55) if passed else None,
        )

    def _logged(self, entries: list[Entry], index: int) -> LoggedEntry:
        leaves = [entry.leaf_hash for entry in entries]
        checkpoint = Checkpoint(origin=ORIGIN, size=len(leaves), root=root_of(leaves))
        note = sign_checkpoint(checkpoint, NoteSigner(name=ORIGIN, key=self.log_key))
        proof = InclusionProof(index=index, path=tuple(path_of(leaves, index)), checkpoint=note)
        return LoggedEntry(entry=entries[index].encoded, proof=proof.encode())

    def _batch(self, key: Ed25519PrivateKey, purpose: str, half: bytes) -> BatchProof:
        """The half in the middle of a batch of five, so that index, size and path all matter."""
        neighbours = [half[:-1] + bytes([half[-1] ^ bit]) for bit in (1, 2, 4, 8)]
        proof: HalfProof = sign_batch(key, purpose, [*neighbours[:2], half, *neighbours[2:]]).proof(2)
        return BatchProof(cose=proof.cose, index=proof.index, size=proof.size, path=proof.path)
