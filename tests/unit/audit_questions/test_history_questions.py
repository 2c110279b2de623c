# SPDX-License-Identifier: Apache-2.0
"""Questions about a log's history: each with a log in which the answer is yes and one in which it is no."""

import io
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from attestation.audit.bundle.verified import open_bundle
from attestation.audit.judgement import Answer
from attestation.audit.questions.access import access
from attestation.audit.questions.changes import changes
from attestation.audit.questions.check import check
from attestation.audit.questions.compare import compare
from attestation.audit.questions.fsck import fsck
from attestation.audit.questions.gateway import gateway
from attestation.audit.questions.keys import keys
from attestation.audit.questions.policies import policies
from attestation.audit.questions.population import population
from attestation.audit.questions.privacy import privacy
from attestation.audit.questions.reply import About
from attestation.audit.questions.uptime import uptime
from attestation.audit.questions.verifier import verifier
from attestation.audit.questions.when import when
from attestation.audit.questions.witnesses import witnesses
from attestation.codec.labels import sha256
from attestation.errors import NotGenuine
from attestation.exits import Exit
from attestation.tlog import entry as entries
from attestation.tlog.entry import Entry, VerifierRef
from attestation.tlog.policy import WitnessPolicy, parse_witness_policy
from tests.support.audit_bundles import bundled, genesis, log_with, note_of, opened, trust
from tests.support.cosigning import Dated, policy_text, witness
from tests.support.log import NOW, change, log_signer, verdict
from tests.support.worlds import policy_bytes

LATER = NOW + timedelta(hours=2)
AT = int(NOW.timestamp()) + 30
HISTORY = [genesis(), change(1), change(2)]
DATA = [entry.encoded for entry in HISTORY]


def quorum_of(count: int) -> WitnessPolicy:
    """A policy that asks this many of three witnesses."""
    return parse_witness_policy(policy_text(f"group g {count} W1 W2 W3", "quorum g"))


def cosigned(*seeds: int, at: int = AT) -> list[Dated]:
    return [Dated(witness(seed), at) for seed in seeds]


class TestCheck:
    """Is this log append-only since my last visit?"""

    @staticmethod
    def asked(since: bytes | None, **more: int) -> Answer:
        found = log_with(*HISTORY[1:])
        return check(found, since=since, max_age_seconds=more.get("age"), now=NOW).answer

    def test_yes(self) -> None:
        """The checkpoint of then is a prefix, also the very same."""
        assert self.asked(note_of(DATA[:2])) is Answer.YES
        assert self.asked(note_of(DATA)) is Answer.YES

    def test_no(self) -> None:
        """A log that shrank, or whose first entries are others, is named as such."""
        longer = [*DATA, change(3).encoded]
        assert self.asked(note_of(longer)) is Answer.NO
        assert self.asked(note_of([DATA[0], change(9).encoded])) is Answer.NO

    def test_undecided(self) -> None:
        """On a first visit there is nothing to compare, and without witnesses nobody states an age."""
        assert self.asked(None) is Answer.UNDECIDED
        assert self.asked(note_of(DATA[:2]), age=60) is Answer.UNDECIDED

    def test_age(self) -> None:
        """With a quorum the age is that of its cosignatures."""
        found = opened(bundled(cosigners=cosigned(1)), quorum_of(1))
        then = note_of(DATA[:1])
        fresh = check(found, since=then, max_age_seconds=600, now=NOW + timedelta(minutes=5))
        stale = check(found, since=then, max_age_seconds=600, now=LATER)
        assert (fresh.answer, stale.answer) == (Answer.YES, Answer.NO)

    def test_another_logs_checkpoint(self) -> None:
        """A checkpoint of another key is no checkpoint of this log."""
        forged = note_of(DATA).replace(b"log.example", b"log.examplf")
        with pytest.raises(NotGenuine):
            self.asked(forged)


class TestFsck:
    """Is every stored byte what was signed?"""

    def test_yes_and_no(self) -> None:
        """A whole bundle is; one with a flipped byte is not, and says where."""
        data = bundled(HISTORY[1:])
        assert fsck(io.BytesIO(data), trust())[0].answer is Answer.YES
        flipped = data.replace(b"row-1", b"row-8")
        reply, found = fsck(io.BytesIO(flipped), trust())
        assert (reply.answer, found) == (Answer.NO, None)
        assert reply.table.rows == [("MALFORMED", "file-checksum", "log/tile/entries/000.p/3")]

    def test_undecided(self) -> None:
        """Evidence that is not there is named with its entry."""
        one = entries.Blob(type="bundle", sha256=b"\x45" * 32, size=3)
        reply, _ = fsck(io.BytesIO(bundled([refusal(one)])), trust())
        assert (reply.answer, reply.table.rows) == (Answer.UNDECIDED, [(1, "bundle", "45" * 32)])


def refusal(*evidence: entries.Blob, reasons: tuple[str, ...] = ("MEASUREMENT_REFUSED",)) -> Entry:
    """A refusal with this evidence."""
    return entries.attest_verdict(
        provider="north",
        provider_id=b"\x50" * 32,
        audience="log.example/evidence",
        evidence=evidence,
        collateral=[],
        policy=entries.PolicyRef(id="demo", version=1, sha256=b"\x70" * 32, profile="development"),
        verifier=VerifierRef(version="0.1.0", sha256=b"\x76" * 32),
        passed=False,
        simulated=True,
        at=NOW,
        reasons=reasons,
    )


class TestCompare:
    """Do two auditors see the same log?"""

    def test_yes(self) -> None:
        """Equal checkpoints agree, and two sizes do where a bundle covers both."""
        assert compare(note_of(DATA), note_of(DATA), trust(), None).answer is Answer.YES
        found = log_with(*HISTORY[1:])
        assert compare(note_of(DATA[:1]), note_of(DATA[:2]), trust(), found).answer is Answer.YES

    def test_no(self) -> None:
        """Two roots of one size are a split view, and so is a smaller checkpoint of another history."""
        other = note_of([DATA[0], change(7).encoded])
        assert compare(note_of(DATA[:2]), other, trust(), None).answer is Answer.NO
        assert compare(other, note_of(DATA), trust(), log_with(*HISTORY[1:])).answer is Answer.NO

    def test_undecided(self) -> None:
        """Two sizes alone say nothing."""
        assert compare(note_of(DATA[:2]), note_of(DATA), trust(), None).answer is Answer.UNDECIDED


class TestWitnesses:
    """Who vouches besides the operator, and when last?"""

    def test_yes(self) -> None:
        """A met quorum, with the time of its last cosignature, and who is missing."""
        found = opened(bundled(cosigners=cosigned(1, 3)), quorum_of(2), quorum=False)
        reply = witnesses(found, max_age_seconds=600, now=NOW)
        assert reply.answer is Answer.YES
        assert [row[:2] for row in reply.table.rows] == [("W1", "cosigned"), ("W2", "missing"), ("W3", "cosigned")]

    def test_no(self) -> None:
        """Too few, too old, nobody asked, and a line that does not verify."""
        one = opened(bundled(cosigners=cosigned(1)), quorum_of(2), quorum=False)
        assert witnesses(one, max_age_seconds=None, now=NOW).answer is Answer.NO
        old = opened(bundled(cosigners=cosigned(1, 2)), quorum_of(2), quorum=False)
        assert witnesses(old, max_age_seconds=60, now=LATER).answer is Answer.NO
        assert witnesses(log_with(), max_age_seconds=None, now=NOW).answer is Answer.NO

    def test_a_lying_witness_is_named(self) -> None:
        """A line under a witness's key that is of another text is no, whoever else signed."""
        found = opened(bundled(cosigners=cosigned(1, 2)), quorum_of(1), quorum=False)
        other = opened(bundled([change(1)], cosigners=cosigned(1)), quorum_of(1), quorum=False)
        forged = found.note + other.note.splitlines(keepends=True)[-1]
        reply = witnesses(replace(found, note=forged), max_age_seconds=None, now=NOW)
        assert (reply.answer, reply.table.rows[0][1]) == (Answer.NO, "does not verify")


class TestPopulation:
    """How many entries between two dates?"""

    def test_yes(self) -> None:
        """The period's entries are counted by kind, with the first and last of each."""
        found = log_with(change(1), verdict(), change(2, at=LATER), change(3, at=LATER))
        reply = population(found, since=NOW, until=LATER)
        assert (reply.answer, reply.table.rows) == (
            Answer.YES,
            [("admin.change", 1, 1, 1), ("attest.verdict", 1, 2, 2), ("genesis", 1, 0, 0)],
        )
        assert population(found, since=LATER, until=None).table.rows == [("admin.change", 2, 3, 4)]

    def test_no(self) -> None:
        """An entry dated before its forerunner could have been moved into a period."""
        found = log_with(change(1, at=LATER), change(2))
        assert population(found, since=None, until=None).answer is Answer.NO


class TestUptime:
    """Was logging ever down?"""

    def test_yes_and_no(self) -> None:
        """A pause longer than asked is named with the entry before it."""
        found = log_with(change(1), change(2, at=LATER))
        assert uptime(found, max_gap_seconds=7200).answer is Answer.YES
        reply = uptime(found)
        assert (reply.answer, reply.table.rows[0][0], reply.table.rows[0][3]) == (Answer.NO, 1, 7200)


class TestKeys:
    """Key history."""

    @staticmethod
    def key(seed: int, hours: int | None, subject: bytes = b"\x01" * 32) -> Entry:
        until = None if hours is None else NOW + timedelta(hours=hours)
        return entries.key_add(
            use="gateway-sign", key=bytes([seed]) * 32, subject=subject, at=NOW, by="ops-1", not_after=until
        )

    def test_yes(self) -> None:
        """Keys in force, and one that is over and was succeeded."""
        reply = keys(log_with(self.key(1, 1), self.key(2, None), change(1, at=LATER)))
        assert reply.answer is Answer.YES
        assert [row[7] for row in reply.table.rows] == ["in force", "in force", "succeeded by entry 2", "in force"]

    def test_no(self) -> None:
        """A key that is over and has no successor, and one added for a time already over."""
        assert keys(log_with(self.key(1, 1), change(1, at=LATER))).answer is Answer.NO
        assert keys(log_with(self.key(1, -1), self.key(2, None))).answer is Answer.NO


class TestChanges:
    """Which changes by administrators, approved by whom?"""

    def test_yes_and_no(self) -> None:
        """A change needs a second person; oneself is none."""
        approved = entries.admin_change(by="ops-1", action="rates.set", approved_by="ops-2", at=NOW)
        alone = entries.admin_change(by="ops-1", action="rates.set", approved_by="ops-1", at=NOW)
        assert changes(log_with(approved)).answer is Answer.YES
        assert changes(log_with(approved, alone)).answer is Answer.NO
        assert changes(log_with(change(1))).answer is Answer.NO


class TestAccess:
    """Who read or exported audit data?"""

    def test_yes_and_no(self) -> None:
        """Each reading states its purpose, or does not."""
        stated = entries.audit_access(by="aud-1", action="evidence.read", target="ab", purpose="review", at=NOW)
        silent = entries.audit_access(by="aud-1", action="evidence.read", target="ab", at=NOW)
        assert access(log_with(stated)).answer is Answer.YES
        assert access(log_with(stated, silent)).answer is Answer.NO


class TestVerifier:
    """Which build judged?"""

    @staticmethod
    def by(build: int) -> Entry:
        body = verdict()
        return entries.parse_entry(body.encoded.replace(b"76" * 32, b"%02x" % build * 32))

    def test_yes_and_no(self) -> None:
        """Builds succeed one another; one that comes back after it was replaced is no."""
        assert verifier(log_with(self.by(1), self.by(1), self.by(2)), known=()).answer is Answer.YES
        assert verifier(log_with(self.by(1), self.by(2), self.by(1)), known=()).answer is Answer.NO

    def test_known_builds(self) -> None:
        """With builds named, every verdict must be by one of them."""
        found = log_with(self.by(1), self.by(2))
        assert verifier(found, known=["01" * 32, "02" * 32]).answer is Answer.YES
        assert verifier(found, known=["01" * 32]).answer is Answer.NO


class TestPolicies:
    """Which policy judged, and what changed?"""

    @staticmethod
    def published(text: bytes, version: int, at: datetime = NOW) -> Entry:
        return entries.policy_publish(
            id="development", version=version, sha256=sha256(text), profile="development", text=text.decode(), at=at
        )

    def test_yes(self) -> None:
        """Verdicts under a policy published before them, and what a later version changed."""
        first, second = policy_bytes(), policy_bytes(version="2", lease_seconds="60")
        under = entries.parse_entry(verdict().encoded.replace(b"70" * 32, sha256(first).hex().encode()))
        reply = policies(log_with(self.published(first, 1), under, self.published(second, 2)))
        assert reply.answer is Answer.YES
        assert [(row[7], row[8]) for row in reply.table.rows] == [("first", 1), ("1 rules, 0 wider", 0)]

    def test_no(self) -> None:
        """A verdict under a policy that no entry before it published."""
        assert policies(log_with(verdict())).answer is Answer.NO


class TestPrivacy:
    """Does any entry hold personal data?"""

    @pytest.mark.parametrize(
        "text",
        [
            "ask jane.doe@example.org",
            "from 192.0.2.17 at night",
            "2001:db8:0:0:1:2:3:4",
            "call +44 20 7946 0958",
            "123e4567-e89b-12d3-a456-426614174000",
        ],
    )
    def test_no(self, text: str) -> None:
        """What identifies a person or a machine is named by entry and field, and not repeated."""
        found = entries.admin_change(by="ops-1", action="note", detail=text, at=NOW)
        reply = privacy(log_with(found))
        assert (reply.answer, reply.table.rows[0][:3]) == (Answer.NO, (1, "admin.change", "detail"))
        assert text not in "".join(reply.lines(About(trust=trust(), head=None, asked_at=NOW)))

    def test_yes(self) -> None:
        """Digests, versions and ordinary texts are nobody's identity."""
        assert privacy(log_with(change(1), verdict(), refusal())).answer is Answer.YES


class TestWhen:
    """What bounds the time of an entry?"""

    def test_yes_and_no(self) -> None:
        """A quorum's time bounds it from above; an entry dated after that is no."""
        seen = opened(bundled([change(1)], cosigners=cosigned(1)), quorum_of(1))
        assert when(seen, 1).answer is Answer.YES
        assert when(seen, 1).table.rows[-1][0] == "not after"
        late = opened(bundled([change(1, at=LATER)], cosigners=cosigned(1)), quorum_of(1))
        assert when(late, 1).answer is Answer.NO

    def test_the_smallest_checkpoint_bounds_most(self) -> None:
        """An earlier cosigned checkpoint gives the earlier bound."""
        earlier = note_of(DATA[:2], *cosigned(1, at=AT))
        found = opened(bundled(HISTORY[1:], cosigners=cosigned(1, at=AT + 9), checkpoints=[earlier]), quorum_of(1))
        assert when(found, 1).table.rows[-1][1] == "2026-11-21T22:10:35Z"
        assert when(found, 2).table.rows[-1][1] == "2026-11-21T22:10:44Z"

    def test_undecided(self) -> None:
        """Without witnesses there is the operator's word only."""
        assert when(log_with(change(1)), 1).answer is Answer.UNDECIDED


class TestGateway:
    """Does the gateway itself hold a verdict?"""

    def test_all_three(self) -> None:
        """Attested, trusted by key alone, and none enrolled."""
        enrolled = TestKeys.key(1, None, subject=b"\x57" * 32)
        assert gateway(log_with(enrolled, verdict(worker_id=b"\x57" * 32))).answer is Answer.YES
        assert gateway(log_with(enrolled)).answer is Answer.NO
        assert gateway(log_with()).answer is Answer.UNDECIDED


def test_exit_statuses_and_json() -> None:
    """Yes is 0, no is 10, undecided 20; the JSON names log, keys and every fact."""
    found = log_with(change(1))
    about = About.of(found, NOW)
    assert uptime(found).exit is Exit.ACCEPTED
    assert changes(found).exit is Exit.REJECTED
    assert gateway(found).exit is Exit.UNDECIDED
    said = changes(found).to_json(about)
    assert said["trusted"] == {"log_key": log_signer().verifier.vkey, "lease_key": "4c" * 32}
    assert said["facts"] == [
        {
            "entry": 1,
            "at": "2026-11-21T22:10:05Z",
            "action": "settings.change",
            "target": "row-1",
            "detail": "",
            "by": "ops-1",
            "approved by": "",
        }
    ]
    assert (said["answer"], said["exit"], said["simulated"], said["size"]) == ("no", 10, True, 2)


def test_times_are_of_the_log() -> None:
    """The view gives entries back with the times they state."""
    found = open_bundle(io.BytesIO(bundled([change(1, at=LATER)])), trust()).view
    assert (found.at(1), found.at(0).tzinfo) == (LATER, UTC)
    with pytest.raises(IndexError):
        found.entry(2)
