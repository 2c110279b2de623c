# SPDX-License-Identifier: Apache-2.0
"""Questions about nodes, verdicts and receipts: each with a log that says yes and one that says no."""

import io
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import partial

from attestation.appraisal.policy import read_policy
from attestation.audit.bundle.export import export_bundle
from attestation.audit.bundle.verified import VerifiedBundle, archived_by, open_bundle
from attestation.audit.judgement import Answer
from attestation.audit.questions.gaps import gaps
from attestation.audit.questions.node import node
from attestation.audit.questions.refusals import refusals
from attestation.audit.questions.reverify import reverify
from attestation.audit.questions.revocations import revocations
from attestation.codec.labels import sha256
from attestation.tlog import entry as entries
from attestation.tlog.checkpoint import Checkpoint, sign_checkpoint
from attestation.tlog.entry import Blob, Entry, Kind, parse_entry
from attestation.tlog.merkle import leaf_hash, root_of
from attestation.tlog.note import NoteSigner
from tests.support import receipts
from tests.support.audit_bundles import (
    MemoryArchive,
    MemoryLog,
    bundled,
    log_with,
    opened,
    opened_world,
    unlisted_machine,
)
from tests.support.log import NOW, verdict
from tests.support.worlds import Machine, World, policy_bytes, world

WORKER = "57" * 32
KEYSET = b"\x4b" * 32


def revoke(*, after: timedelta = timedelta(minutes=5), keyset: bytes = KEYSET) -> Entry:
    """The keyset of the test verdict, revoked some time after it."""
    return entries.attest_revoke(
        keyset_id=keyset, worker_id=b"\x57" * 32, reason="key leaked", by="ops-1", simulated=True, at=NOW + after
    )


class TestNode:
    """The whole history of a node, and was it valid then?"""

    def test_yes(self) -> None:
        """A pass covers the moment, up to the revocation."""
        found = log_with(verdict(), revoke())
        assert node(found, WORKER, at=NOW + timedelta(minutes=4)).answer is Answer.YES
        assert [row[2] for row in node(found, WORKER, at=NOW).table.rows] == ["pass", "revoked"]

    def test_no(self) -> None:
        """Revoked, expired, not yet, or only ever refused."""
        found = log_with(verdict(), revoke())
        assert node(found, WORKER, at=NOW + timedelta(minutes=5)).answer is Answer.NO
        assert node(log_with(verdict()), WORKER, at=NOW + timedelta(hours=1)).answer is Answer.NO
        assert node(log_with(verdict()), WORKER, at=NOW - timedelta(seconds=1)).answer is Answer.NO
        assert node(log_with(verdict(passed=False)), WORKER, at=NOW).answer is Answer.NO

    def test_undecided(self) -> None:
        """A node that the log does not know."""
        assert node(log_with(verdict()), "00" * 32, at=None).answer is Answer.UNDECIDED

    def test_a_move_is_told(self) -> None:
        """Hardware that came from another provider stands in the history."""
        moved = entries.platform_move(
            platform=b"\x01" * 32,
            from_provider=b"\x02" * 32,
            to_provider=b"\x03" * 32,
            worker_id=b"\x57" * 32,
            simulated=True,
            at=NOW,
        )
        assert node(log_with(moved, verdict()), WORKER, at=NOW).table.rows[-1][2] == "moved"


def index_of(one: World, passed: bool) -> int:
    """The index of a world's newest verdict of this kind."""
    want = "pass" if passed else "fail"
    found = [
        index
        for index, entry in enumerate(one.entries())
        if entry.kind is Kind.ATTEST_VERDICT and entry.body["verdict"] == want
    ]
    return found[-1]


def replaced(pattern: bytes, other: bytes, data: bytes) -> bytes:
    """The bytes with the first match replaced, which there must be."""
    edited, count = re.subn(pattern, other, data, count=1)
    assert count == 1
    return edited


def rewritten(one: World, index: int, edit: Callable[[bytes], bytes]) -> VerifiedBundle:
    """The bundle of an operator that wrote another entry at `index` and signed it."""
    data = [stored.data for stored in one.log_store.stored]
    data[index] = parse_entry(edit(data[index])).encoded
    return signed(data, one, one.store.blobs)


def signed(data: list[bytes], one: World, blobs: dict[bytes, bytes]) -> VerifiedBundle:
    """A log of a world's origin and key with these entries, opened by its auditor."""
    key = receipts.World().log_key
    head = Checkpoint(origin=one.trust.origin, size=len(data), root=root_of([leaf_hash(each) for each in data]))
    note = sign_checkpoint(head, NoteSigner(name=head.origin, key=key))
    out = io.BytesIO()
    export_bundle(out, trust=one.trust, note=note, log=MemoryLog(data), archive=MemoryArchive(blobs))
    return open_bundle(out, one.trust)


class TestReverify:
    """Does the archived evidence lead to the same verdict again?"""

    def test_a_pass_again(self) -> None:
        """A registry's pass is derived again, entry and all, long after its leases and clocks have moved on."""
        one = world()
        one.admit(Machine())
        one.clock.advance(3_000_000)
        reply = reverify(opened_world(one), index_of(one, passed=True))
        assert (reply.answer, reply.table.rows[0]) == (Answer.YES, ("verdict", "pass", "pass"))

    def test_a_refusal_again(self) -> None:
        """A refusal is derived again for its reason."""
        one = world()
        one.refuse(unlisted_machine())
        reply = reverify(opened_world(one), index_of(one, passed=False))
        assert (reply.answer, reply.table.rows[1]) == (
            Answer.YES,
            ("reasons", "MEASUREMENT_REFUSED", "MEASUREMENT_REFUSED"),
        )

    def test_a_pass_that_never_was(self) -> None:
        """An operator that logs the evidence of a refused machine as a pass is found out."""
        one = world()
        one.admit(Machine())
        good = index_of(one, passed=True)
        one.refuse(unlisted_machine())
        bad = one.entries()[index_of(one, passed=False)]
        digests = [digest.hex() for _, digest in archived_by(bad)]
        honest = [digest.hex() for _, digest in archived_by(one.entries()[good])]
        found = rewritten(one, good, lambda data: data.replace(honest[0].encode(), digests[0].encode()))
        assert reverify(found, good).answer is Answer.NO

    def test_an_entry_that_says_more_than_its_evidence(self) -> None:
        """A pass whose entry names another engine, key, node, claim or end is named by the key that is wrong."""
        one = world()
        one.admit(Machine())
        index = index_of(one, passed=True)
        for key, pattern, other in (
            ("engines", rb'"engines":\["[0-9a-f]{64}"', b'"engines":["' + b"ee" * 32 + b'"'),
            ("tls_spki_sha256", rb'"tls_spki_sha256":"[0-9a-f]{64}"', b'"tls_spki_sha256":"' + b"ee" * 32 + b'"'),
            ("worker_id", rb'"worker_id":"[0-9a-f]{64}"', b'"worker_id":"' + b"ee" * 32 + b'"'),
            ("claims", rb'"debug":"false"', b'"debug":"other"'),
            ("valid_until", rb'"valid_until":"2026', b'"valid_until":"2027'),
        ):
            found = rewritten(one, index, partial(replaced, pattern, other))
            reply = reverify(found, index)
            assert (reply.answer, reply.table.rows[-1][0]) == (Answer.NO, key)

    def test_a_refusal_that_its_evidence_does_not_bear_out(self) -> None:
        """A refusal for another reason than the evidence gives is no."""
        one = world()
        one.refuse(unlisted_machine())
        index = index_of(one, passed=False)
        found = rewritten(one, index, lambda data: data.replace(b"MEASUREMENT_REFUSED", b"DEBUG_REFUSED"))
        assert reverify(found, index).answer is Answer.NO
        known = rewritten(one, index, lambda data: data.replace(b"MEASUREMENT_REFUSED", b"HARDWARE_CLAIMED"))
        assert reverify(known, index).answer is Answer.UNDECIDED

    def test_without_evidence_or_policy(self) -> None:
        """What is not at hand is said; the auditor's own policy file counts if it has the digest."""
        one = world()
        one.admit(Machine())
        index = index_of(one, passed=True)
        blobs, data = dict(one.store.blobs), [stored.data for stored in one.log_store.stored]
        assert reverify(signed(data, one, {}), index).answer is Answer.UNDECIDED
        assert reverify(signed(data, one, blobs), 0).answer is Answer.UNDECIDED
        unpublished = [entry for entry in data if parse_entry(entry).kind is not Kind.POLICY_PUBLISH]
        found, place = signed(unpublished, one, blobs), unpublished.index(data[index])
        assert reverify(found, place).answer is Answer.UNDECIDED
        assert reverify(found, place, policy=one.policy).answer is Answer.YES
        other = read_policy(policy_bytes(version="9"))
        assert reverify(found, place, policy=other).answer is Answer.UNDECIDED


class TestRefusals:
    """All refusals, and why."""

    def test_yes(self) -> None:
        """The findings of a refusal bear its reasons out, and the first is told."""
        one = world()
        one.refuse(unlisted_machine())
        (row,) = refusals(opened_world(one)).table.rows
        assert (row[4], row[5]) == ("MEASUREMENT_REFUSED", "here")
        assert "want" in str(row[6])
        assert refusals(opened_world(one)).answer is Answer.YES

    def test_no_and_undecided(self) -> None:
        """Findings with another reason than logged are no; without findings it cannot be told."""
        data = b'{"findings":[{"field":"a","got":"b","reason":"DEBUG_REFUSED","remedy":"c","want":"d"}]}'
        body = verdict(passed=False).encoded
        blob = Blob(type="findings", sha256=sha256(data), size=len(data))
        named = body.replace(b'"type":"simulated"', b'"type":"findings"').replace(
            b"45" * 32, blob.sha256.hex().encode()
        )
        entry = parse_entry(named)
        assert refusals(opened(bundled([entry], blobs={blob.sha256: data}))).answer is Answer.NO
        assert refusals(opened(bundled([entry]))).answer is Answer.UNDECIDED


class TestReceipts:
    """Receipts held against the log: gaps, and what revocations exposed."""

    @staticmethod
    def log(*after: Entry, serve: receipts.World | None = None) -> VerifiedBundle:
        """A log with the verdict behind a receipt at its index, and that receipt."""
        made = receipts.World()
        served = serve or made
        first = entries.genesis(
            origin=made.trust.origin,
            log_key=made.trust.log_key.vkey,
            lease_key=made.trust.lease_key,
            at=receipts.NOW - timedelta(hours=1),
        )
        data = [entry.encoded for entry in (first, made._verdict_entry(), *after)]
        head = Checkpoint(origin=first.subject, size=len(data), root=root_of([leaf_hash(one) for one in data]))
        note = sign_checkpoint(head, NoteSigner(name=head.origin, key=made.log_key))
        out = io.BytesIO()
        files = {"r1": served.receipt().encode()}
        export_bundle(out, trust=made.trust, note=note, log=MemoryLog(data), archive=None, receipts=files)
        return open_bundle(out, made.trust)

    @staticmethod
    def revoked(minutes: int) -> Entry:
        return entries.attest_revoke(
            keyset_id=receipts.World().keyset.keyset_id,
            worker_id=receipts.World().keyset.worker_id,
            reason="key leaked",
            by="ops-1",
            simulated=True,
            at=receipts.NOW + timedelta(minutes=minutes),
        )

    def test_no_gap(self) -> None:
        """A receipt whose verdict covers it is none, also if the keyset was revoked afterwards."""
        assert gaps(self.log()).answer is Answer.YES
        assert gaps(self.log(self.revoked(30))).answer is Answer.YES

    def test_gaps(self) -> None:
        """Served after the revocation, under a verdict this log does not have, or by a receipt that does not verify."""
        late = gaps(self.log(self.revoked(-2)))
        assert (late.answer, late.table.rows[0][3]) == (Answer.NO, "revoked before")
        split = replace(receipts.World(), engine=receipts._digest("another engine"))
        assert gaps(self.log(serve=split)).answer is Answer.NO
        broken = replace(receipts.World(), charge=1_000_000)
        assert gaps(self.log(serve=broken)).answer is Answer.NO

    def test_without_receipts(self) -> None:
        """No receipt, no answer."""
        assert gaps(log_with(verdict())).answer is Answer.UNDECIDED

    def test_exposure(self) -> None:
        """A receipt dated after the revocation of its keyset is exposure; one before is not."""
        assert revocations(self.log(self.revoked(30)), exposure=True).answer is Answer.YES
        exposed = revocations(self.log(self.revoked(-2)), exposure=True)
        assert (exposed.answer, exposed.table.rows[0][6]) == (Answer.NO, 1)

    def test_revocations_alone(self) -> None:
        """Keysets are listed with what was left of their time; unknown ones are no, and exposure needs receipts."""
        found = log_with(verdict(), revoke())
        reply = revocations(found, exposure=False)
        assert (reply.answer, reply.table.rows[0][5]) == (Answer.YES, 55 * 60)
        assert revocations(found, exposure=True).answer is Answer.UNDECIDED
        assert revocations(log_with(verdict(), revoke(keyset=b"\x01" * 32)), exposure=False).answer is Answer.NO
