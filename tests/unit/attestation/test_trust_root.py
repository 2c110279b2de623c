# SPDX-License-Identifier: Apache-2.0
"""The trust root names one log and two different keys, strictly."""

import pytest

from attestation.errors import SealbidError, SettingsError
from attestation.trust import read_trust
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
