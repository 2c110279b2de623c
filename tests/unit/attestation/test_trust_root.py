# SPDX-License-Identifier: Apache-2.0
"""The trust root names one log and two different keys, strictly."""

from dataclasses import replace
from pathlib import Path

import pytest

from attestation.errors import SealbidError, SettingsError
from attestation.tlog.policy import parse_witness_policy
from attestation.trust import load_trust, read_trust
from tests.support.log import log_signer
from tests.support.witnessing import policy_of, witness_signer
from tests.support.worlds import world


def test_round_trip() -> None:
    """What is written reads back equal."""
    trust = world().trust
    assert read_trust(trust.to_toml()) == trust


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('profile = "development"', 'profile = "staging"'),
        ('witness_policy = "none"', 'witness_policy = "some"'),
        ('witness_policy = "none"', ""),
        ('origin = "registry.test/evidence"', 'origin = "other.test/evidence"'),
        ("profile = ", "surprise = 1\nprofile = "),
        ("lease_key = ", 'lease_key = "zz"\n# '),
        ("log_key = ", 'log_key = "not a key"\n# '),
        ("log_key = ", "log_key = 7\n# "),
    ],
)
def test_wrong_files_are_refused(old: str, new: str) -> None:
    """A missing, unknown or wrong key stops the process that reads it."""
    text = world().trust.to_toml().decode()
    assert old in text
    with pytest.raises(SealbidError):
        read_trust(text.replace(old, new).encode())


def test_log_key_and_lease_key_differ() -> None:
    """Ruling 31 wants two keys; one key for both is refused."""
    trust = world().trust
    text = trust.to_toml().decode().replace(trust.lease_key.hex(), trust.log_key.public_key.hex())
    with pytest.raises(SettingsError):
        read_trust(text.encode())


@pytest.mark.parametrize("data", [b"\xff", b"= =", b"x = " + b"[" * 9000, b"#" * (17 << 10)])
def test_garbage_is_refused(data: bytes) -> None:
    """Bytes that are no small TOML file are a settings error."""
    with pytest.raises(SettingsError):
        read_trust(data)


POLICY = policy_of(one=witness_signer()) + "quorum one\n"


def test_a_whole_witness_policy_stands_in_the_file() -> None:
    """A quorum is written into the trust file and read back as it was."""
    trust = replace(world().trust, witness_policy=parse_witness_policy(POLICY))
    assert read_trust(trust.to_toml()) == trust


def test_a_witness_policy_stands_beside_the_file(tmp_path: Path) -> None:
    """A trust file may name a policy file, found where the trust file lies."""
    trust = world().trust
    text = trust.to_toml().decode().replace('witness_policy = "none"', 'witness_policy_file = "policy.txt"')
    (tmp_path / "trust.toml").write_text(text, encoding="utf-8")
    with pytest.raises(SettingsError):
        load_trust(tmp_path / "trust.toml", "trust file")
    (tmp_path / "policy.txt").write_text(POLICY, encoding="utf-8")
    loaded = load_trust(tmp_path / "trust.toml", "trust file")
    assert loaded == replace(trust, witness_policy=parse_witness_policy(POLICY))


def test_a_policy_file_is_named_instead_of_a_policy_and_where_there_is_a_folder(tmp_path: Path) -> None:
    """Both at once is ambiguous, and a file without a folder is nowhere."""
    (tmp_path / "policy.txt").write_text(POLICY, encoding="utf-8")
    text = world().trust.to_toml().decode()
    both = text + 'witness_policy_file = "policy.txt"\n'
    with pytest.raises(SettingsError):
        read_trust(both.encode(), folder=tmp_path)
    alone = text.replace('witness_policy = "none"', 'witness_policy_file = "policy.txt"')
    with pytest.raises(SettingsError):
        read_trust(alone.encode())


def test_a_policy_that_lists_logs_lists_this_one() -> None:
    """Logs in the policy must include the file's own with its own key, else the two contradict each other."""
    trust = world().trust
    other = log_signer(trust.origin, seed=9).verifier
    mine = parse_witness_policy(f"log {other.vkey}\nlog {trust.log_key.vkey}\n{POLICY}")
    assert read_trust(replace(trust, witness_policy=mine).to_toml()).witness_policy == mine
    with pytest.raises(SettingsError):
        replace(trust, witness_policy=parse_witness_policy(f"log {other.vkey}\n{POLICY}"))


def test_names_that_are_no_text() -> None:
    """A policy whose names are not UTF-8 is a policy, and is not written into a TOML file."""
    policy = parse_witness_policy(POLICY.encode().replace(b" one", b" \xff"))
    assert policy.witnesses[0].name == "\udcff"
    with pytest.raises(SettingsError):
        replace(world().trust, witness_policy=policy).to_toml()
