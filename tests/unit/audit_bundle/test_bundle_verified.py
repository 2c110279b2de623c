# SPDX-License-Identifier: Apache-2.0
"""A log out of a bundle: every hash, entry, signature and file again, and each wrong named where it is."""

import io
from collections.abc import Mapping

import pytest

from attestation.audit.bundle.export import export_bundle
from attestation.audit.bundle.faults import BundleFault, MalformedBundle
from attestation.audit.bundle.layout import CHECKPOINT, MANIFEST, Manifest
from attestation.audit.bundle.reader import BundleReader
from attestation.audit.bundle.verified import open_bundle
from attestation.audit.bundle.writer import BundleWriter
from attestation.errors import AttestationError, NotGenuine, Reason
from attestation.tlog.checkpoint import Checkpoint
from attestation.tlog.policy import parse_witness_policy
from tests.support.audit_bundles import (
    MemoryLog,
    bundled,
    exported,
    genesis,
    log_with,
    note_of,
    opened,
    opened_world,
    trust,
    unlisted_machine,
)
from tests.support.cosigning import AT, Dated, policy_text, witness
from tests.support.log import change, log_signer
from tests.support.worlds import Machine, world


def rewritten(data: bytes, changes: Mapping[str, bytes | None]) -> bytes:
    """The bundle with files replaced, added or left out, all its sums in order again: a forger's work."""
    read = BundleReader(io.BytesIO(data))
    files: dict[str, bytes | None] = {name: read.read(name) for name in read.names()}
    files.update(changes)
    out = io.BytesIO()
    writer = BundleWriter(out)
    for name in sorted(files):
        if (content := files[name]) is not None:
            writer.add(name, content)
    writer.finish()
    return out.getvalue()


def refusal(data: bytes) -> AttestationError:
    with pytest.raises(AttestationError) as caught:
        opened(data)
    return caught.value


def fault(data: bytes) -> BundleFault:
    error = refusal(data)
    assert isinstance(error, MalformedBundle)
    return error.fault


@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 600])
def test_logs_of_every_shape(size: int) -> None:
    """A log comes back whole at sizes around the edges of its tiles."""
    found = log_with(*(change(number) for number in range(size - 1)))
    assert (found.head.size, found.view.size) == (size, size)
    assert [found.view.entry(index).entry.encoded for index in range(1, size)] == [
        change(number).encoded for number in range(size - 1)
    ]


def test_what_a_world_did_with_its_evidence() -> None:
    """A registry's log comes with the evidence behind every verdict, and the same log gives the same bytes."""
    one = world()
    one.admit(Machine())
    one.refuse(unlisted_machine())
    found = opened_world(one)
    assert list(found.missing()) == []
    assert sum(1 for _ in found.files.names("evidence/")) == 3  # two bundles, and the findings of the refusal
    assert exported(one) == exported(one)


def test_evidence_that_is_not_there_is_named() -> None:
    """What an entry names and the archive lost is counted with its entry."""
    one = world()
    one.admit(Machine())
    one.store.blobs.clear()
    (missing,) = opened_world(one).missing()
    assert (missing.type, one.entries()[missing.index].kind.value) == ("bundle", "attest.verdict")


def test_every_byte_of_a_small_bundle() -> None:
    """No flipped byte leads to an opened log."""
    data = bundled([change(1)])
    for place in range(len(data)):
        refusal(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])


def test_a_forged_byte_in_a_tile_is_named() -> None:
    """With every sum in order again, an altered entry, hash or checkpoint is still found, by its own name."""
    data = bundled([change(number) for number in range(299)])
    read = BundleReader(io.BytesIO(data))
    for name, text in {
        "log/tile/entries/000": "entry 7 does not hash",
        "log/tile/0/000": "tile/0/000 does not hash",
        "log/tile/0/001.p/44": "partial tiles do not hash",
        "log/tile/1/000.p/1": "partial tiles do not hash",
    }.items():
        content = bytearray(read.read(name))
        place = content.index(b"row-6") if "entries" in name else 20
        content[place] ^= 1
        error = refusal(rewritten(data, {name: bytes(content)}))
        assert error.reason is Reason.PROOF_INVALID
        assert text in error.message
    forged = read.read(CHECKPOINT).replace(b"\n300\n", b"\n299\n")
    assert refusal(rewritten(data, {CHECKPOINT: forged})).reason is Reason.CHECKPOINT_INVALID


def test_another_log_and_another_key() -> None:
    """Trust comes from the auditor's own file: a log under another key is refused, whatever policy it brings."""
    data = bundled()
    other = trust()
    object.__setattr__(other, "log_key", log_signer(seed=9).verifier)
    with pytest.raises(NotGenuine) as caught:
        open_bundle(io.BytesIO(data), other)
    assert caught.value.reason is Reason.CHECKPOINT_INVALID
    other = trust()
    object.__setattr__(other, "lease_key", b"\x11" * 32)
    with pytest.raises(NotGenuine) as caught:
        open_bundle(io.BytesIO(data), other)
    assert caught.value.reason is Reason.LOG_FORK
    assert opened(rewritten(data, {"policy.txt": b"anything"})).head.size == 1


def test_the_quorum_is_the_auditors() -> None:
    """A bundle without the cosignatures that the auditor asks for is refused, and may still be asked who signed."""
    signer = Dated(witness(1), AT)
    policy = parse_witness_policy(policy_text("quorum W1"))
    with pytest.raises(NotGenuine) as caught:
        opened(bundled(), policy)
    assert caught.value.reason is Reason.CHECKPOINT_INVALID
    assert opened(bundled(), policy, quorum=False).head.size == 1
    assert opened(bundled(cosigners=[signer]), policy).head.size == 1


def test_a_tile_too_many_or_too_few_and_a_manifest_of_another_log() -> None:
    """The tiles are exactly those of the size, and the manifest says what the checkpoint says."""
    data = bundled([change(1)])
    assert fault(rewritten(data, {"log/tile/0/000.p/2": None})) is BundleFault.MISSING
    assert fault(rewritten(data, {"log/tile/0/000.p/1": bytes(32)})) is BundleFault.TILE_NOT_IN_TREE
    manifest = Manifest.of(Checkpoint(origin="log.example/evidence", size=3, root=bytes(32)))
    assert fault(rewritten(data, {MANIFEST: manifest.encode()})) is BundleFault.MANIFEST_WRONG
    assert fault(rewritten(data, {MANIFEST: b"{}"})) is BundleFault.MANIFEST_FORM


def test_evidence_under_another_name() -> None:
    """An archived file that is not what its name says is refused."""
    data = rewritten(bundled(), {"evidence/" + "ab" * 32: b"something else"})
    assert fault(data) is BundleFault.EVIDENCE_ADDRESS


def test_earlier_checkpoints() -> None:
    """An earlier checkpoint must be of this log and of a prefix of it; a larger one shows that the log shrank."""
    history = [genesis(), change(1), change(2)]
    data = [entry.encoded for entry in history]
    earlier = note_of(data[:2])
    found = opened(bundled(history[1:], checkpoints=[earlier]))
    assert [head.size for head in found.earlier] == [2]
    assert found.root_at(2) == found.earlier[0].root
    forked = note_of([data[0], data[2]])
    assert refusal(bundled(history[1:], checkpoints=[forked])).reason is Reason.LOG_FORK
    longer = note_of([*data, change(3).encoded])
    assert refusal(bundled(history[1:], checkpoints=[longer])).reason is Reason.LOG_ROLLBACK
    renamed = rewritten(bundled(history[1:]), {"checkpoints/1.note": earlier})
    assert fault(renamed) is BundleFault.CHECKPOINT_NAME


def test_entries_that_are_none() -> None:
    """A signed log whose entry does not parse, or whose genesis comes twice, is named by the entry."""
    first, second = genesis().encoded, genesis().encoded
    for data, reason in (([first, second], Reason.ENTRY_INVALID), ([change(1).encoded], Reason.ENTRY_INVALID)):
        out = io.BytesIO()
        export_bundle(out, trust=trust(), note=note_of(data), log=MemoryLog(data), archive=None)
        assert refusal(out.getvalue()).reason is reason


def test_a_damaged_store_is_not_exported() -> None:
    """Entries that do not hash to the published checkpoint, or are gone, make no bundle."""
    data = [genesis().encoded, change(1).encoded]
    for stored in ([data[0], change(2).encoded], data[:1]):
        with pytest.raises(NotGenuine) as caught:
            export_bundle(io.BytesIO(), trust=trust(), note=note_of(data), log=MemoryLog(stored), archive=None)
        assert caught.value.reason is Reason.LOG_FORK
