# SPDX-License-Identifier: Apache-2.0
"""Logs to ask about: bundles of any entries, or of what a small world did, opened as an auditor opens them."""

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from attestation.audit.bundle.export import export_bundle
from attestation.audit.bundle.verified import VerifiedBundle, open_bundle
from attestation.binding import Profile
from attestation.claims import ComponentID, ComponentKind
from attestation.tlog import entry as entries
from attestation.tlog.checkpoint import Checkpoint, sign_checkpoint
from attestation.tlog.entry import Entry
from attestation.tlog.merkle import leaf_hash, root_of
from attestation.tlog.note import LineSigner
from attestation.tlog.policy import NO_WITNESSES, WitnessPolicy
from attestation.trust import TrustRoot
from enclave.attesters.simulated import SimulatedAttester
from tests.support.log import NOW, ORIGIN, log_signer
from tests.support.worlds import Machine, World

LEASE_KEY = b"\x4c" * 32


@dataclass(slots=True)
class MemoryLog:
    """Entries as an exporter reads them."""

    data: Sequence[bytes]

    def entries(self, start: int, limit: int) -> Sequence[bytes]:
        return self.data[start : start + limit]


@dataclass(slots=True)
class MemoryArchive:
    """Archived files as an exporter reads them."""

    blobs: Mapping[bytes, bytes] = field(default_factory=dict)

    def archived(self, sha256: bytes) -> bytes | None:
        return self.blobs.get(sha256)


def trust(policy: WitnessPolicy = NO_WITNESSES) -> TrustRoot:
    """What the auditor of the test log holds."""
    return TrustRoot(
        origin=ORIGIN,
        log_key=log_signer().verifier,
        lease_key=LEASE_KEY,
        witness_policy=policy,
        profile=Profile.DEVELOPMENT,
    )


def genesis() -> Entry:
    """The first entry of the test log."""
    return entries.genesis(origin=ORIGIN, log_key=log_signer().verifier.vkey, lease_key=LEASE_KEY, at=NOW)


def note_of(data: Sequence[bytes], *cosigners: LineSigner) -> bytes:
    """The signed checkpoint over these entries."""
    root = root_of([leaf_hash(one) for one in data])
    return sign_checkpoint(Checkpoint(origin=ORIGIN, size=len(data), root=root), log_signer(), *cosigners)


def bundled(
    after_genesis: Iterable[Entry] = (),
    *,
    cosigners: Sequence[LineSigner] = (),
    blobs: Mapping[bytes, bytes] | None = None,
    checkpoints: Iterable[bytes] = (),
    receipts: Mapping[str, bytes] | None = None,
) -> bytes:
    """The bundle of a test log with these entries after its genesis."""
    data = [genesis().encoded, *(entry.encoded for entry in after_genesis)]
    out = io.BytesIO()
    export_bundle(
        out,
        trust=trust(),
        note=note_of(data, *cosigners),
        log=MemoryLog(data),
        archive=MemoryArchive(blobs or {}),
        checkpoints=checkpoints,
        receipts=receipts,
    )
    return out.getvalue()


def opened(data: bytes, policy: WitnessPolicy = NO_WITNESSES, *, quorum: bool = True) -> VerifiedBundle:
    """A bundle of the test log, as its auditor opens it."""
    return open_bundle(io.BytesIO(data), trust(policy), quorum=quorum)


def log_with(*after_genesis: Entry) -> VerifiedBundle:
    """An opened log with these entries after its genesis."""
    return opened(bundled(after_genesis))


def exported(world: World, receipts: Mapping[str, bytes] | None = None) -> bytes:
    """The bundle of what a world did."""
    out = io.BytesIO()
    note = world.log.publish(world.clock.now)
    data = [stored.data for stored in world.log_store.stored]
    archive = MemoryArchive(world.store.blobs)
    log = MemoryLog(data)
    export_bundle(out, trust=world.trust, note=note, log=log, archive=archive, receipts=receipts)
    return out.getvalue()


def opened_world(world: World, receipts: Mapping[str, bytes] | None = None) -> VerifiedBundle:
    """The bundle of what a world did, opened by its auditor."""
    return open_bundle(io.BytesIO(exported(world, receipts)), world.trust)


def unlisted_machine(seed: int = 2) -> Machine:
    """A machine whose image no policy lists."""
    component = ComponentID(kind=ComponentKind.CPU, value=b"platform %d" % seed)
    return Machine(seed=seed, attester=SimulatedAttester(measurement=b"\x99" * 48, components=(component,)))
