# SPDX-License-Identifier: Apache-2.0
"""Strict settings: the right value in the right field, or a named refusal that shows no value."""

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attestation.errors import Reason, SettingsError
from attestation.settings import load_settings

PREFIX = "SEALBID_GATEWAY_"


class Tier(StrEnum):
    STANDARD = "standard"
    BATCH = "batch"


@dataclass(frozen=True, slots=True, kw_only=True)
class Listen:
    port: int
    host: str = "127.0.0.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    name: str
    limit: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    burst: float = 1.5
    drain: bool = False

    def __post_init__(self) -> None:
        if self.burst <= 0:
            raise ValueError(f"burst is {self.burst}, want more than 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    listen: Listen
    policy: Path
    tier: Tier = Tier.STANDARD
    limits: Limits = field(default_factory=lambda: Limits(burst=3.0, drain=True))
    tenants: tuple[Tenant, ...] = ()
    engines: tuple[str, ...] = ()
    labels: dict[str, str] = field(default_factory=dict)
    tls: Listen | None = None


def load(tmp_path: Path, toml: str, env: dict[str, str] | None = None) -> Settings:
    path = tmp_path / "gateway.toml"
    path.write_text(toml, encoding="utf-8")
    return load_settings(Settings, path, env or {}, prefix=PREFIX)


LEAST = 'policy = "policies/dev.toml"\n[listen]\nport = 1\n'


def test_defaults_stand_where_nothing_is_given(tmp_path: Path) -> None:
    """A file with only the required keys gives every other field its default, also inside a defaulted table."""
    got = load(tmp_path, LEAST)
    assert got == Settings(listen=Listen(port=1), policy=tmp_path / "policies/dev.toml")


def test_every_supported_type_is_read(tmp_path: Path) -> None:
    """Each declared type is read from its TOML form into the declared Python type."""
    got = load(
        tmp_path,
        'policy = "/etc/p.toml"\ntier = "batch"\nengines = ["a", "b"]\n[listen]\nport = 2\nhost = "::1"\n'
        '[limits]\nburst = 2\n[[tenants]]\nname = "x"\nlimit = 3\n[[tenants]]\nname = "y"\n'
        '[labels]\nregion = "eu"\n[tls]\nport = 4\n',
    )
    assert got == Settings(
        listen=Listen(port=2, host="::1"),
        policy=Path("/etc/p.toml"),
        tier=Tier.BATCH,
        limits=Limits(burst=2.0, drain=True),
        tenants=(Tenant(name="x", limit=3), Tenant(name="y")),
        engines=("a", "b"),
        labels={"region": "eu"},
        tls=Listen(port=4),
    )
    assert type(got.limits.burst) is float


def test_environment_overrides_the_file(tmp_path: Path) -> None:
    """A variable wins over the file, and reaches into tables that the file does not have."""
    env = {
        "SEALBID_GATEWAY_LISTEN_PORT": "9",
        "SEALBID_GATEWAY_LIMITS_DRAIN": "false",
        "SEALBID_GATEWAY_TLS_PORT": "5",
        "SEALBID_GATEWAY_ENGINES": '["c"]',
        "SEALBID_GATEWAY_TIER": "batch",
        "SEALBID_GATEWAY_POLICY": "here.toml",
        "SEALBID_GATEWAY_TENANTS": '[{ name = "z" }]',
        "SEALBID_REGISTRY_LISTEN_PORT": "ignored",
    }
    assert load(tmp_path, LEAST, env) == Settings(
        listen=Listen(port=9),
        policy=Path("here.toml"),
        tier=Tier.BATCH,
        limits=Limits(burst=3.0, drain=False),
        tls=Listen(port=5),
        engines=("c",),
        tenants=(Tenant(name="z"),),
    )


def test_the_environment_alone_is_enough() -> None:
    """Without a file, required keys may all come from the environment."""
    env = {"SEALBID_GATEWAY_LISTEN_PORT": "7", "SEALBID_GATEWAY_POLICY": "p"}
    assert load_settings(Settings, None, env, prefix=PREFIX).listen.port == 7


@pytest.mark.parametrize(
    ("toml", "text"),
    [
        ("[listen]\nport = 1\n", "policy is missing, want a path"),
        ('policy = "p"\n', "listen.port is missing, want an integer"),
        ('policy = "p"\nlisten = 3\n', "listen is an integer, want a table"),
        ('policy = "p"\n[listen]\nport = "hunter2"\n', "listen.port is a string, want an integer"),
        ('policy = "p"\n[listen]\nport = true\n', "listen.port is a boolean, want an integer"),
        ('policy = "p"\n[listen]\nport = 1\nprot = 2\n', "listen.prot is unknown, want one of host, port"),
        ('tier = "hunter2"\n' + LEAST, "tier is not one of standard, batch"),
        ('engines = "hunter2"\n' + LEAST, "engines is a string, want an array"),
        ('engines = ["a", 1]\n' + LEAST, "engines[1] is an integer, want a string"),
        (LEAST + "[[tenants]]\nlimit = 1\n", "tenants[0].name is missing, want a string"),
        (LEAST + "[labels]\na = 1\n", "labels.a is an integer, want a string"),
        (LEAST + "[limits]\nburst = -1\n", "limits: burst is -1.0, want more than 0"),
        (LEAST + "[limits]\nburst = 1979-05-27\n", "limits.burst is a date, want a number"),
        ("policy = ", "is not TOML: invalid value"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, toml: str, text: str) -> None:
    """Each wrong file is refused with the key, what was got and what is wanted, and without the value."""
    with pytest.raises(SettingsError) as refused:
        load(tmp_path, toml)
    assert refused.value.reason is Reason.SETTINGS_INVALID
    assert text in refused.value.message
    assert "hunter2" not in refused.value.message


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("LISTEN_PROT", "1", "SEALBID_GATEWAY_LISTEN_PROT is set in the environment, but no such key exists"),
        ("LISTEN_PORT", "hunter2", "listen.port is unreadable in the environment, want an integer"),
        ("LISTEN_PORT", "1\nx = 2", "listen.port is more than one value in the environment, want an integer"),
        ("LISTEN_PORT", '"hunter2"', "listen.port is a string, want an integer"),
        ("TIER", "hunter2", "tier is not one of standard, batch"),
    ],
)
def test_a_wrong_variable_is_named(tmp_path: Path, name: str, value: str, text: str) -> None:
    """A variable under the prefix that fits no key or type is refused by name, without its value."""
    with pytest.raises(SettingsError) as refused:
        load(tmp_path, LEAST, {PREFIX + name: value})
    assert text in refused.value.message
    assert "hunter2" not in refused.value.message


def test_an_unreadable_file_is_a_settings_error(tmp_path: Path) -> None:
    """A missing, a binary and an oversized file are refusals of the settings, not crashes."""
    with pytest.raises(SettingsError, match="no such file"):
        load_settings(Settings, tmp_path / "none.toml", {}, prefix=PREFIX)
    path = tmp_path / "binary.toml"
    path.write_bytes(b"\xff")
    with pytest.raises(SettingsError, match="not UTF-8 at byte 0"):
        load_settings(Settings, path, {}, prefix=PREFIX)
    path.write_bytes(b"#" * (1 << 20) + b"##")
    with pytest.raises(SettingsError, match="more than 1048576 bytes"):
        load_settings(Settings, path, {}, prefix=PREFIX)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from(["LISTEN_PORT", "TENANTS", "LABELS", "LIMITS_BURST", "TIER", "X"]), st.text()))
def test_any_environment_gives_settings_or_a_refusal(found: dict[str, str]) -> None:
    """Whatever text the variables hold, the reader answers with settings or one SettingsError."""
    env = {"SEALBID_GATEWAY_POLICY": "p"} | {PREFIX + name: value for name, value in found.items()}
    try:
        got = load_settings(Settings, None, env, prefix=PREFIX)
    except SettingsError:
        return
    assert isinstance(got.listen.port, int)
