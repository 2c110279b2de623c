# SPDX-License-Identifier: Apache-2.0
"""Witness policies: published good and bad ones, quorums, and whose word and time a checkpoint has."""

import re
from datetime import UTC, datetime, timedelta

import pytest

from attestation.errors import MalformedEvidence, NotGenuine, Reason, Stale
from attestation.tlog.checkpoint import open_checkpoint, open_listed_checkpoint, open_signed_checkpoint, sign_checkpoint
from attestation.tlog.faults import Fault, MalformedLog
from attestation.tlog.note import NoteVerifier, SignatureLine, SignedNote, open_note
from attestation.tlog.policy import (
    CLOCK_SKEW_SECONDS,
    MAX_POLICY_BYTES,
    NO_WITNESSES,
    WitnessPolicy,
    parse_witness_policy,
    witnessed,
)
from tests.support.cosigning import AT, HEAD, cosigned, log_line_signer, policy_text, witness
from tests.support.log import ORIGIN, log_signer
from tests.support.vectors import vector_json

TWO_OF_THREE = policy_text("group G 2 W1 W2 W3", "quorum G")
NOW = datetime.fromtimestamp(AT, UTC)

FAULTS = {
    "empty": Fault.POLICY_QUORUM_MISSING,
    "duplicate log": Fault.POLICY_LOG_TWICE,
    "end-of-line comment": Fault.POLICY_LOG_LINE,
    "duplicate witness": Fault.POLICY_WITNESS_TWICE,
    "duplicate name": Fault.POLICY_NAME_TWICE,
    "duplicate none": Fault.POLICY_NAME_TWICE,
    "undef name": Fault.POLICY_NAME_UNDEFINED,
    "missing quorum": Fault.POLICY_QUORUM_MISSING,
    "repeated member": Fault.POLICY_MEMBER_TWICE,
    "member in two groups": Fault.POLICY_MEMBER_TWICE,
    "none as member": Fault.POLICY_NONE_AS_MEMBER,
    "invalid control char (formfeed)": Fault.POLICY_CONTROL_CHARACTER,
    "invalid control char (DEL)": Fault.POLICY_CONTROL_CHARACTER,
}


def with_vkeys(config: str) -> str:
    """A published policy, whose keys are raw hex, with the verifier keys that this format asks for."""

    def log(found: re.Match[str]) -> str:
        return f"log {NoteVerifier(name='log.example', public_key=bytes.fromhex(found[1])).vkey}"

    def cosigner(found: re.Match[str]) -> str:
        seeded = witness(1).verifier
        key = type(seeded)(name=f"{found[1]}.example", key_type=4, public_key=bytes.fromhex(found[2]))
        return f"witness {found[1]} {key.vkey}"

    config = re.sub(r"log ([0-9a-f]{64})", log, config)
    return re.sub(r"witness (\S+) ([0-9a-f]{64})", cosigner, config)


def opened(note: bytes, policy: WitnessPolicy) -> SignedNote:
    """A note of the test log as this policy opens it."""
    return open_signed_checkpoint(note, origin=ORIGIN, log_key=log_signer().verifier, policy=policy).note


def verified(times: dict[int, int], policy: WitnessPolicy) -> SignedNote:
    """The lines of a note that verify, whether they suffice or not."""
    return open_note(cosigned(times), [log_signer().verifier, *policy.keys])


class TestPublishedPolicies:
    def test_quorums(self) -> None:
        """Every published set of cosigning witnesses meets the published quorum, or not, as published."""
        nested, either = vector_json("log", "transcribed", "sigsum-policies.json")["valid"]
        policy = parse_witness_policy(with_vkeys(nested["config"]))
        assert (len(policy.logs), len(policy.witnesses), len(policy.groups), policy.name) == (3, 6, 3, "G3")
        assert len(nested["quorum"]) == 9
        for witnesses, want in nested["quorum"]:
            assert policy.met([f"W{number}" for number in witnesses]) == want
        policy = parse_witness_policy(with_vkeys(either["config"]))
        assert len(either["quorum_AB"]) == 13
        for first, second, want in either["quorum_AB"]:
            names = [f"A{number}" for number in first] + [f"B{number}" for number in second]
            assert policy.met(names) == want

    def test_bad_ones(self) -> None:
        """Each of the thirteen published bad policies is refused, each for what is wrong with it."""
        cases = vector_json("log", "transcribed", "sigsum-policies.json")["invalid"]
        assert {case["desc"] for case in cases} == set(FAULTS)
        for case in cases:
            with pytest.raises(MalformedLog) as caught:
                parse_witness_policy(with_vkeys(case["config"]))
            assert (case["desc"], caught.value.fault) == (case["desc"], FAULTS[case["desc"]])


class TestGrammar:
    def test_none(self) -> None:
        """The short form, and a file that says the same, leave the operator's word only."""
        assert parse_witness_policy("none") is NO_WITNESSES
        policy = parse_witness_policy(policy_text("quorum none"))
        assert (policy.name, policy.display, len(policy.witnesses)) == ("none", "operator's word only", 3)
        assert policy.met([])

    def test_everything_a_line_may_have(self) -> None:
        """Tabs, blanks before and after, comments, empty lines, urls and lines after the quorum are read."""
        key = witness(4, ml_dsa=True).verifier
        text = policy_text("", "  # a comment", "\tquorum\tW1 ", f"witness  W4 {key.vkey}\thttps://w4/", "#", "  ")
        policy = parse_witness_policy(text)
        assert (policy.name, policy.text) == ("W1", text)
        assert (policy.witnesses[3].key, policy.witnesses[3].url) == (key, "https://w4/")
        assert (policy.witnesses[0].url, policy.logs[0].url) == ("https://w1.example/", "")

    def test_names_are_octets(self) -> None:
        """A name that is no UTF-8 is a name, and is shown without a character that no screen has."""
        data = policy_text("quorum W1").encode().replace(b"W1", b"\xe2\x84\xff")
        policy = parse_witness_policy(data)
        assert policy.met([policy.witnesses[0].name])
        assert policy.display == "cosigned by \\xe2\\x84\\xff"
        assert policy.text.encode("utf-8", "surrogateescape") == data

    @pytest.mark.parametrize(
        ("spelled", "members", "want"), [("any", 3, 1), ("all", 3, 3), ("1", 1, 1), ("2", 3, 2), ("3", 3, 3)]
    )
    def test_thresholds(self, spelled: str, members: int, want: int) -> None:
        """Any is one, all is every member, and a number is itself."""
        names = " ".join(f"W{number + 1}" for number in range(members))
        policy = parse_witness_policy(policy_text(f"group G {spelled} {names}", "quorum G"))
        assert [group.threshold for group in policy.groups] == [want]
        assert policy.met([f"W{number + 1}" for number in range(want)])
        assert not policy.met([f"W{number + 1}" for number in range(want - 1)])

    @pytest.mark.parametrize(
        ("lines", "fault"),
        [
            (["group G 0 W1", "quorum G"], Fault.POLICY_THRESHOLD),
            (["group G 2 W1", "quorum G"], Fault.POLICY_THRESHOLD),
            (["group G -1 W1", "quorum G"], Fault.POLICY_THRESHOLD),
            (["group G 01 W1", "quorum G"], Fault.POLICY_THRESHOLD),
            (["group G most W1 W2", "quorum G"], Fault.POLICY_THRESHOLD),
            (["group G 99999999999999999999 W1", "quorum G"], Fault.POLICY_THRESHOLD),
            (["group G any", "quorum G"], Fault.POLICY_GROUP_LINE),
            (["group G", "quorum G"], Fault.POLICY_GROUP_LINE),
            (["group G any G", "quorum G"], Fault.POLICY_NAME_UNDEFINED),
            (["group W1 any W2", "quorum W1"], Fault.POLICY_NAME_TWICE),
            (["group none any W2", "quorum W1"], Fault.POLICY_NAME_TWICE),
            (["group G any H", "group H any W1", "quorum G"], Fault.POLICY_NAME_UNDEFINED),
            (["quorum"], Fault.POLICY_QUORUM_LINE),
            (["quorum W1 W2"], Fault.POLICY_QUORUM_LINE),
            (["quorum W1", "quorum W1"], Fault.POLICY_QUORUM_TWICE),
            (["quorum none", "quorum W1"], Fault.POLICY_QUORUM_TWICE),
            (["quorum W9"], Fault.POLICY_NAME_UNDEFINED),
            (["quorum G", "group G any W1"], Fault.POLICY_NAME_UNDEFINED),
            (["Quorum W1"], Fault.POLICY_KEYWORD),
            (["witness W4"], Fault.POLICY_WITNESS_LINE),
            (["witness W4 key url more"], Fault.POLICY_WITNESS_LINE),
            (["witness W4 key"], Fault.KEY_FORM),
            ([f"witness W4 {log_signer(seed=8).verifier.vkey}"], Fault.POLICY_WITNESS_KEY_TYPE),
            ([f"witness W4 {witness(1, name='other').verifier.vkey}"], Fault.POLICY_WITNESS_TWICE),
            (["log"], Fault.POLICY_LOG_LINE),
            ([f"log {witness(8).verifier.vkey}"], Fault.POLICY_LOG_KEY_TYPE),
            ([f"log {log_signer('other').verifier.vkey}"], Fault.POLICY_LOG_TWICE),
            (["quorum W1\r"], Fault.POLICY_CONTROL_CHARACTER),
            (["quorum W1\x00"], Fault.POLICY_CONTROL_CHARACTER),
        ],
    )
    def test_refused(self, lines: list[str], fault: Fault) -> None:
        """Every way a policy can be malformed has its own fault."""
        with pytest.raises(MalformedLog) as caught:
            parse_witness_policy(policy_text(*lines))
        assert (caught.value.fault, caught.value.reason) == (fault, Reason.MALFORMED)

    @pytest.mark.parametrize(
        ("text", "fault"),
        [
            ("", Fault.POLICY_QUORUM_MISSING),
            ("None", Fault.POLICY_LAST_LINE),
            ("none\n", Fault.POLICY_KEYWORD),
            ("quorum none", Fault.POLICY_LAST_LINE),
            ("#" * (MAX_POLICY_BYTES + 1), Fault.POLICY_SIZE),
        ],
    )
    def test_nothing_but_none_is_none(self, text: str, fault: Fault) -> None:
        """A policy that cannot be read is refused rather than taken for none."""
        with pytest.raises(MalformedLog) as caught:
            parse_witness_policy(text)
        assert caught.value.fault == fault

    def test_a_key_of_a_later_type(self) -> None:
        """A key whose type this version does not know is unsupported, not damaged."""
        with pytest.raises(MalformedEvidence) as caught:
            parse_witness_policy("witness W w+00000000+AgA=\nquorum W\n")
        assert caught.value.reason == Reason.UNSUPPORTED

    def test_limits(self) -> None:
        """Sixty-four logs, witnesses and groups are read, one more of any is refused."""
        logs = [f"log {log_signer(seed=seed).verifier.vkey}" for seed in range(100, 163)]
        groups = [f"group G{number} any {f'G{number - 1}' if number else 'W1'}" for number in range(64)]
        seeds = range(1, 65)
        assert parse_witness_policy(policy_text(*logs, *groups, "quorum G63", seeds=seeds)).met(["W1"])
        for more in (
            f"log {log_signer(seed=163).verifier.vkey}",
            f"witness W65 {witness(65).verifier.vkey}",
            "group G64 any G63",
        ):
            with pytest.raises(MalformedLog) as caught:
                parse_witness_policy(policy_text(*logs, *groups, more, "quorum G63", seeds=seeds))
            assert caught.value.fault == Fault.POLICY_LIMIT


class TestQuorums:
    def test_met_and_not(self) -> None:
        """Two of three witnesses open a checkpoint, one does not, and nor does one that signed twice."""
        policy = parse_witness_policy(TWO_OF_THREE)
        assert opened(cosigned({1: AT, 3: AT}), policy).text == HEAD.text
        for times in ({}, {2: AT}):
            with pytest.raises(NotGenuine) as caught:
                opened(cosigned(times), policy)
            assert caught.value.reason == Reason.CHECKPOINT_INVALID
        twice = cosigned({2: AT}) + witness(2).cosign(HEAD.text, AT + 1).text.encode()
        with pytest.raises(NotGenuine, match="cosigned by W2, want cosigned by 2 of"):
            opened(twice, policy)

    def test_the_log_is_no_witness(self) -> None:
        """Enough witnesses without the log's own line, or with a stranger's, are not the log's checkpoint."""
        policy = parse_witness_policy(TWO_OF_THREE)
        for log in ([], [log_signer(seed=9)]):
            with pytest.raises(NotGenuine) as caught:
                opened(cosigned({1: AT, 2: AT}, log=log), policy)
            assert caught.value.reason == Reason.CHECKPOINT_INVALID

    def test_strangers_do_not_count(self) -> None:
        """Witnesses that the policy does not name, or by another key, make no quorum."""
        policy = parse_witness_policy(TWO_OF_THREE)
        impostor = witness(7, name="witness.example/w2").cosign(HEAD.text, AT).text.encode()
        with pytest.raises(NotGenuine):
            opened(cosigned({1: AT, 8: AT, 9: AT}) + impostor, policy)

    def test_a_cosignature_of_another_head(self) -> None:
        """A cosignature of another head under the same size refuses the note: its witness did not sign this one."""
        policy = parse_witness_policy(TWO_OF_THREE)
        other = witness(2).cosign(HEAD.text.replace("ERE=", "EBE="), AT)
        with pytest.raises(NotGenuine):
            opened(cosigned({1: AT, 3: AT}) + other.text.encode(), policy)

    def test_nested(self) -> None:
        """Groups of groups ask of each what they ask."""
        policy = parse_witness_policy(
            policy_text("group X 2 W1 W2 W3", "group Y any W4 W5", "group Z all X Y", "quorum Z", seeds=range(1, 6))
        )
        assert policy.display == "cosigned by 2 of (2 of (W1, W2, W3), 1 of (W4, W5))"
        assert policy.met(["W1", "W3", "W5"])
        for names in (["W1", "W4", "W5"], ["W1", "W2", "W3"], ["W4"], []):
            assert not policy.met(names)

    def test_names_of_no_witness(self) -> None:
        """A group's name among those who signed is nobody's signature."""
        policy = parse_witness_policy(TWO_OF_THREE)
        assert not policy.met(["G", "X", "none"])

    def test_ml_dsa_witnesses(self) -> None:
        """A quorum may be of ML-DSA cosignatures."""
        signer = witness(4, ml_dsa=True)
        policy = parse_witness_policy(f"witness P {signer.verifier.vkey}\nquorum P\n")
        note = cosigned({}) + signer.cosign(HEAD.text, AT).text.encode()
        assert [(one.witness.name, one.at) for one in policy.cosignatures(opened(note, policy))] == [("P", AT)]


class TestListedLogs:
    def test_any_key_of_the_origin(self) -> None:
        """A checkpoint is taken from any log the policy lists, by any one of the keys listed for its origin."""
        policy = parse_witness_policy(policy_text(f"log {log_line_signer().verifier.vkey}", "quorum none"))
        for signer in (log_signer(), log_line_signer()):
            assert open_listed_checkpoint(sign_checkpoint(HEAD, signer), policy=policy).head == HEAD

    def test_a_log_that_is_not_listed(self) -> None:
        """Another origin, or a listed key under another origin, is refused."""
        policy = parse_witness_policy(policy_text("quorum none"))
        for name, seed in (("log.example/other", 1), (ORIGIN, 5)):
            head = type(HEAD)(origin=name, size=1, root=bytes(32))
            with pytest.raises(NotGenuine) as caught:
                open_listed_checkpoint(sign_checkpoint(head, log_signer(name, seed)), policy=policy)
            assert caught.value.reason == Reason.CHECKPOINT_INVALID

    def test_only_a_witness_signed(self) -> None:
        """A listed log's head with witnesses' lines alone is not the log's."""
        policy = parse_witness_policy(policy_text("quorum none"))
        with pytest.raises(NotGenuine):
            open_listed_checkpoint(cosigned({1: AT}, log=[]), policy=policy)

    def test_the_quorum_holds_there_too(self) -> None:
        """A listed log's checkpoint needs the quorum."""
        policy = parse_witness_policy(TWO_OF_THREE)
        assert open_listed_checkpoint(cosigned({1: AT, 2: AT}), policy=policy).head == HEAD
        with pytest.raises(NotGenuine):
            open_listed_checkpoint(cosigned({1: AT}), policy=policy)


class TestTime:
    def test_the_quorums_time(self) -> None:
        """Two of three: the time is the second newest, since it takes two to say so."""
        policy = parse_witness_policy(TWO_OF_THREE)
        assert policy.cosigned_at(verified({1: AT, 2: AT + 50, 3: AT + 20}, policy)) == AT + 20
        assert policy.cosigned_at(verified({1: AT}, policy)) is None
        assert NO_WITNESSES.cosigned_at(verified({}, NO_WITNESSES)) is None

    def test_the_newest_line_of_a_witness(self) -> None:
        """A witness that cosigned the head twice vouches for it at the later time, wherever the line stands."""
        policy = parse_witness_policy(policy_text("quorum W1"))
        lines = [witness(1).cosign(HEAD.text, at).text.encode() for at in (AT, AT + 60, AT - 60)]
        note = opened(cosigned({}) + b"".join(lines), policy)
        assert [one.at for one in policy.cosignatures(note)] == [AT + 60]

    @pytest.mark.parametrize(("age", "fresh"), [(0, True), (300, True), (301, False), (-CLOCK_SKEW_SECONDS, True)])
    def test_age(self, age: int, fresh: bool) -> None:
        """A quorum is good up to the age that is allowed."""
        policy = parse_witness_policy(TWO_OF_THREE)
        note = opened(cosigned({1: AT - age, 2: AT - age}), policy)
        if fresh:
            policy.check_age(note, now=NOW, max_age_seconds=300)
            return
        with pytest.raises(Stale) as caught:
            policy.check_age(note, now=NOW, max_age_seconds=300)
        assert caught.value.reason == Reason.CHECKPOINT_STALE

    def test_one_witness_from_the_future(self) -> None:
        """A witness whose clock runs ahead cannot keep an old head young: its cosignature says nothing on age."""
        policy = parse_witness_policy(TWO_OF_THREE)
        far = AT + CLOCK_SKEW_SECONDS + 1
        with pytest.raises(Stale):
            policy.check_age(opened(cosigned({1: far, 2: AT}), policy), now=NOW, max_age_seconds=300)
        policy.check_age(opened(cosigned({1: far, 2: AT, 3: AT}), policy), now=NOW, max_age_seconds=300)

    def test_none_has_no_age(self) -> None:
        """Without a quorum nobody states a time, and none is asked for."""
        NO_WITNESSES.check_age(verified({}, NO_WITNESSES), now=NOW + timedelta(days=9999), max_age_seconds=0)


class TestWitnessed:
    def test_who_and_when(self) -> None:
        """Who cosigned, who is missing, whether it suffices, and since when."""
        policy = parse_witness_policy(TWO_OF_THREE)
        found = witnessed(cosigned({1: AT, 3: AT + 9}), policy)
        assert [(one.witness.name, one.at) for one in found.cosigned] == [("W1", AT), ("W3", AT + 9)]
        assert ([one.name for one in found.missing], found.lying, found.met, found.at) == (["W2"], (), True, AT)

    def test_a_witness_that_lies(self) -> None:
        """A line of a known witness that does not verify names the witness, beside a good line of it too."""
        policy = parse_witness_policy(TWO_OF_THREE)
        good = witness(2).cosign(HEAD.text, AT)
        bad = SignatureLine(name=good.name, key_id=good.key_id, signature=good.signature[:-1] + b"\x00")
        for lines in (bad.text, good.text + bad.text):
            found = witnessed(cosigned({1: AT, 3: AT}) + lines.encode(), policy)
            assert [one.name for one in found.lying] == ["W2"]
            assert ([one.witness.name for one in found.cosigned], found.missing) == (["W1", "W3"], ())

    def test_nobody(self) -> None:
        """Under none there is nobody to name."""
        found = witnessed(cosigned({}), NO_WITNESSES)
        assert (found.met, found.cosigned, found.missing, found.lying, found.at) == (True, (), (), (), None)


def test_opening_under_a_policy_verifies_every_known_line() -> None:
    """A wrong line of a known witness refuses the note even where the quorum would be met without it."""
    policy = parse_witness_policy(TWO_OF_THREE)
    good = witness(2).cosign(HEAD.text, AT)
    bad = SignatureLine(name=good.name, key_id=good.key_id, signature=good.signature[:-1] + b"\x00")
    with pytest.raises(NotGenuine):
        open_checkpoint(
            cosigned({1: AT, 3: AT}) + bad.text.encode(), origin=ORIGIN, log_key=log_signer().verifier, policy=policy
        )
