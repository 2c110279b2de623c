# SPDX-License-Identifier: Apache-2.0
"""Log entries: each kind's table, one spelling, and what may never stand in them."""

import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from attestation.errors import MalformedEvidence, Reason
from attestation.tlog import entry as entries
from attestation.tlog import jcs
from attestation.tlog.entry import MAX_ENTRY_BYTES, Entry, Kind, parse_entry
from tests.support.log import NOW, ORIGIN, genesis, log_signer, verdict
from tests.support.vectors import vector_files, vectors

DIGEST = b"\x0d" * 32


def every_kind() -> dict[Kind, Entry]:
    """One entry of each kind, every optional key included where a pass allows it."""
    text = 'profile = "development"\n'
    return {
        Kind.GENESIS: genesis(),
        Kind.KEY_ADD: entries.key_add(
            use="gateway-sign", key=DIGEST, subject=DIGEST, at=NOW, by="ops-1", not_after=NOW + timedelta(days=90)
        ),
        Kind.ATTEST_VERDICT: verdict(),
        Kind.ATTEST_REVOKE: entries.attest_revoke(
            keyset_id=DIGEST, worker_id=DIGEST, reason="key reported lost", by="ops-1", simulated=True, at=NOW
        ),
        Kind.PLATFORM_MOVE: entries.platform_move(
            platform=DIGEST, from_provider=DIGEST, to_provider=bytes(32), worker_id=DIGEST, simulated=True, at=NOW
        ),
        Kind.POLICY_PUBLISH: entries.policy_publish(
            id="demo",
            version=1,
            sha256=hashlib.sha256(text.encode()).digest(),
            profile="development",
            at=NOW,
            text=text,
            by="ops-1",
        ),
        Kind.ADMIN_CHANGE: entries.admin_change(
            by="ops-1", action="settings.change", at=NOW, target="lease", detail="3600 to 1800", approved_by="ops-2"
        ),
        Kind.AUDIT_ACCESS: entries.audit_access(
            by="aud-1", action="evidence/read", target="ab" * 32, at=NOW, purpose="yearly review"
        ),
    }


def altered(entry: Entry, change: Callable[[dict[str, Any]], object]) -> bytes:
    """The canonical bytes of an entry after a change to its parsed form."""
    body = json.loads(entry.encoded)
    change(body)
    return jcs.encode(body)


def refusal(data: bytes) -> str:
    """The text a parser refuses these bytes with, always as ENTRY_INVALID or as a malformed key."""
    with pytest.raises(MalformedEvidence) as caught:
        parse_entry(data)
    assert caught.value.reason in {Reason.ENTRY_INVALID, Reason.MALFORMED}
    return caught.value.message


class TestKinds:
    @pytest.mark.parametrize("kind", Kind)
    def test_round_trip(self, kind: Kind) -> None:
        """Every kind is read back from its bytes to the same entry."""
        entry = every_kind()[kind]
        assert parse_entry(entry.encoded) == entry
        assert (entry.kind, entry.at, entry.body["v"]) == (kind, NOW, 1)

    def test_exact_bytes(self) -> None:
        """The bytes of an entry: sorted keys, no spaces. Later versions must keep reading and hashing them."""
        entry = entries.admin_change(by="ops-1", action="drain", at=NOW)
        assert entry.encoded == (
            b'{"action":"drain","at":"2026-11-21T22:10:05Z","by":"ops-1","kind":"admin.change","v":1}'
        )
        assert entry.leaf_hash == hashlib.sha256(b"\x00" + entry.encoded).digest()

    def test_subjects(self) -> None:
        """An entry is found again by what it is about."""
        subjects = {kind: entry.subject for kind, entry in every_kind().items()}
        assert subjects[Kind.GENESIS] == ORIGIN
        assert subjects[Kind.ATTEST_VERDICT] == ("57" * 32)
        assert subjects[Kind.KEY_ADD] == subjects[Kind.ATTEST_REVOKE] == DIGEST.hex()

    def test_a_move_is_between_two_providers(self) -> None:
        """From a provider to itself is no move."""
        entry = every_kind()[Kind.PLATFORM_MOVE]
        assert "to itself" in refusal(altered(entry, lambda body: body.update(to=body["from"])))
        assert entry.subject == DIGEST.hex()

    @pytest.mark.parametrize("kind", Kind)
    def test_an_unknown_key_is_refused(self, kind: Kind) -> None:
        """No kind carries a key that its table does not have."""
        assert "unknown key" in refusal(altered(every_kind()[kind], lambda body: body.update(extra="x")))

    @pytest.mark.parametrize("kind", Kind)
    def test_every_key_is_checked(self, kind: Kind) -> None:
        """No key of any kind takes null, a float, an object or a very long string in its place."""
        entry = every_kind()[kind]
        for key in entry.body:
            for value in (None, 1.5, {"a": 1}, "x" * 16001):
                refusal(altered(entry, lambda body, key=key, value=value: body.update({key: value})))  # type: ignore[misc]

    @pytest.mark.parametrize(
        ("kind", "key"),
        [
            (Kind.GENESIS, "log_key"),
            (Kind.KEY_ADD, "subject"),
            (Kind.ATTEST_VERDICT, "simulated"),
            (Kind.ATTEST_VERDICT, "policy"),
            (Kind.ATTEST_REVOKE, "simulated"),
            (Kind.POLICY_PUBLISH, "profile"),
            (Kind.ADMIN_CHANGE, "by"),
            (Kind.AUDIT_ACCESS, "target"),
            (Kind.GENESIS, "at"),
            (Kind.GENESIS, "kind"),
            (Kind.GENESIS, "v"),
        ],
    )
    def test_a_missing_key_is_refused(self, kind: Kind, key: str) -> None:
        """What an entry must say cannot be left out."""
        assert refusal(altered(every_kind()[kind], lambda body: body.pop(key)))

    @pytest.mark.parametrize("version", [0, 2, True, "1"])
    def test_another_version(self, version: object) -> None:
        """Only version 1 is read."""
        assert "entry v" in refusal(altered(genesis(), lambda body: body.update(v=version)))

    def test_an_unknown_kind(self) -> None:
        """A kind this version does not know is refused."""
        assert "kind" in refusal(altered(genesis(), lambda body: body.update(kind="node.enrol")))

    def test_keys_of_known_uses_have_32_bytes(self) -> None:
        """A gateway's key or pin of another length is refused; other uses may have other lengths."""
        with pytest.raises(MalformedEvidence):
            entries.key_add(use="gateway-tls", key=b"short", subject=DIGEST, at=NOW)
        assert entries.key_add(use="witness", key=b"short", subject=DIGEST, at=NOW).body["key"] == b"short".hex()


class TestVerdicts:
    def test_a_refusal_says_why(self) -> None:
        """A failed verdict has reasons and no validity."""
        entry = verdict(passed=False)
        assert (entry.body["verdict"], entry.body["reasons"]) == ("fail", ["MEASUREMENT_REFUSED"])
        assert refusal(altered(entry, lambda body: body.update(reasons=[])))
        assert refusal(altered(entry, lambda body: body.update(valid_until="2026-11-21T23:10:05Z")))

    def test_a_refusal_may_know_little(self) -> None:
        """Evidence that could not be read is refused in the log too, without worker or keys."""
        entry = altered(
            verdict(passed=False), lambda body: [body.pop(key) for key in ("worker_id", "keyset_id", "keys", "claims")]
        )
        assert parse_entry(entry).subject == ""

    @pytest.mark.parametrize(
        "key", ["worker_id", "keyset_id", "binding_digest", "challenge", "claims", "engines", "keys", "tls_spki_sha256"]
    )
    def test_a_pass_says_everything(self, key: str) -> None:
        """A pass without any one of what it binds is refused."""
        assert f"pass without {key}" in refusal(altered(verdict(), lambda body: body.pop(key)))

    def test_a_pass_ends(self) -> None:
        """A pass has no reasons and an end after its beginning."""
        assert refusal(altered(verdict(), lambda body: body.update(reasons=["POLICY_REFUSED"])))
        assert refusal(altered(verdict(), lambda body: body.pop("valid_until")))
        assert refusal(altered(verdict(), lambda body: body.update(valid_until=body["at"])))

    def test_simulated_is_marked(self) -> None:
        """A verdict on simulated evidence says so, in the bytes that are hashed."""
        assert verdict(simulated=True).simulated
        assert b'"simulated":true' in verdict(simulated=True).encoded
        assert not verdict(simulated=False).simulated

    def test_simulated_never_passes_for_production(self) -> None:
        """No pass of simulated evidence stands under a production policy; its refusal does."""
        production = lambda body: body["policy"].update(profile="production")  # noqa: E731 -- used twice
        assert "not for development" in refusal(altered(verdict(simulated=True), production))
        assert parse_entry(altered(verdict(simulated=True, passed=False), production)).simulated

    @pytest.mark.parametrize("name", ["ppid", "cpu.ppid", "gpu.0.serial", "gpu.uuid", "snp.chip_id"])
    def test_hardware_identities_are_refused(self, name: str) -> None:
        """A claim that identifies a machine does not enter the log, whatever part it belongs to."""
        assert "identifies a machine" in refusal(altered(verdict(), lambda body: body["claims"].update({name: "x"})))

    def test_claims_are_flat_text(self) -> None:
        """A claim is a text under a plain name."""
        for key, value in (("tcb", ["a"]), ("tcb", 1), ("Upper", "x"), ("", "x"), ("a b", "x")):
            assert refusal(altered(verdict(), lambda body, k=key, v=value: body["claims"].update({k: v})))  # type: ignore[misc]

    @pytest.mark.parametrize("value", ["AB" * 32, "ab" * 31, "ab" * 33, "ab" * 31 + "a ", "0x" + "ab" * 31, 5])
    def test_digests_have_one_spelling(self, value: object) -> None:
        """A digest is 64 lower-case hex digits."""
        assert "64 lower-case hex digits" in refusal(altered(verdict(), lambda body: body.update(worker_id=value)))


class TestPolicies:
    def test_text_and_digest_agree(self) -> None:
        """A published policy's digest is that of the text beside it."""
        with pytest.raises(MalformedEvidence, match="not that of its text"):
            entries.policy_publish(id="p", version=1, sha256=DIGEST, profile="production", at=NOW, text="other")

    @pytest.mark.parametrize("version", [0, -1, True, 1 << 53])
    def test_versions_count_from_one(self, version: int) -> None:
        """A policy version is an integer from 1 that JSON carries exactly."""
        with pytest.raises(MalformedEvidence):
            entries.policy_publish(id="p", version=version, sha256=DIGEST, profile="production", at=NOW)

    def test_a_text_turned_around_is_refused(self) -> None:
        """Characters that do not print, or that turn the writing direction, do not enter the log."""
        for text in ("a\u202eb", "a\x07", "\ufeffa"):
            with pytest.raises(MalformedEvidence, match="do not print"):
                entries.admin_change(by="ops-1", action="x", at=NOW, detail=text)


class TestTimes:
    def test_any_zone_is_written_in_utc(self) -> None:
        """A time is written in UTC and whole seconds."""
        at = datetime(2026, 11, 22, 0, 10, 5, 999999, tzinfo=timezone(timedelta(hours=2)))
        assert entries.admin_change(by="a", action="b", at=at).at == NOW

    def test_a_time_without_zone_is_refused(self) -> None:
        """A time that names no instant is refused."""
        with pytest.raises(MalformedEvidence, match="without zone"):
            entries.admin_change(by="a", action="b", at=datetime(2026, 11, 21))  # noqa: DTZ001 -- the point

    @pytest.mark.parametrize(
        "text",
        [
            "2026-11-21T22:10:05",
            "2026-11-21T22:10:05+00:00",
            "2026-11-21T22:10:05.5Z",
            "2026-11-21 22:10:05Z",
            "2026-11-21T22:10Z",
            "2026-02-30T00:00:00Z",
            "2026-11-21T22:10:60Z",
            "20261121T221005Z",
            "",
        ],
    )
    def test_one_spelling(self, text: str) -> None:
        """A time has one spelling."""
        assert refusal(altered(genesis(), lambda body: body.update(at=text)))

    def test_utc_is_read_back_aware(self) -> None:
        """A parsed time is aware."""
        assert genesis().at.tzinfo is UTC


class TestJSON:
    def test_published_pairs(self) -> None:
        """Every RFC 8785 pair comes out byte for byte."""
        files = vector_files("log", "jcs", "input")
        assert len(files) == 6
        for file in files:
            want = vectors("log", "jcs", "output", file.name).read_bytes()
            assert (file.name, jcs.encode(json.loads(file.read_bytes()))) == (file.name, want)

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"[]",
            b"1",
            b'{"a":1}x',
            b' {"a":1}',
            b'{"b":1,"a":1}',
            b'{"a":1,"a":1}',
            b'{"a":1.0}',
            b'{"a":1e2}',
            b'{"a":-0}',
            b'{"a":NaN}',
            b'{"a":Infinity}',
            b'{"a":9007199254740992}',
            b'{"a":' + b"9" * 9000 + b"}",
            b'{"a":"\\u0041"}',
            b'{"a":"\\ud800"}',
            b'{"\\ud800":1}',
            b'{"a":"\xff"}',
            b"\xef\xbb\xbf{}",
            b'{"a":' + b"[" * 8000 + b"]" * 8000 + b"}",
            b'{"a":' * 3000 + b"1" + b"}" * 3000,
            b"[" * 16000,
        ],
    )
    def test_refused(self, data: bytes) -> None:
        """Anything but one canonical object is refused, and nothing overflows."""
        with pytest.raises(MalformedEvidence) as caught:
            jcs.decode(data, 1 << 20)
        assert caught.value.reason == Reason.ENTRY_INVALID

    def test_size_limit(self) -> None:
        """An entry above 16 KiB is refused, when read and when written."""
        assert "want at most" in refusal(b" " * (MAX_ENTRY_BYTES + 1))
        with pytest.raises(MalformedEvidence):
            entries.policy_publish(
                id="p", version=1, sha256=DIGEST, profile="production", at=NOW, text="\u4e2d" * 13_000
            )

    def test_largest_integers(self) -> None:
        """Integers up to 2^53 - 1 are exact in every reader and accepted."""
        assert jcs.decode(b'{"a":9007199254740991}', 100) == {"a": 9007199254740991}

    def test_vkeys_are_checked(self) -> None:
        """A genesis whose log key does not parse is no genesis."""
        vkey = log_signer().verifier.vkey
        assert refusal(altered(genesis(), lambda body: body.update(log_key=vkey[:-4])))
