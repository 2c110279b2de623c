# SPDX-License-Identifier: Apache-2.0
"""What an operator gets wrong in settings, files and flags: an error line, a hint, status 2, and no file is left."""

import re
import sys
from pathlib import Path

import pytest

from sealbid.__main__ import main
from tests.support.operator import POLICY, lay_out, run


def here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """The command inside this process, for verbs that start nothing."""
    monkeypatch.setattr(sys, "argv", ["sealbid", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert isinstance(ended.value.code, int)
    return (ended.value.code, *capsys.readouterr())


def refused(done: tuple[int, str, str], error: str) -> None:
    code, out, err = done
    lines = [line for line in err.splitlines() if not line.startswith("{")]
    assert (code, out) == (2, ""), err
    assert len(lines) == 2, err
    assert lines[0].startswith("sealbid: error: ")
    assert error in lines[0]
    assert lines[1].startswith("sealbid: hint: ")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A place where everything is right, and the working directory."""
    lay_out(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def spoil(folder: Path, process: str, pattern: str, replacement: str) -> str:
    path = folder / f"{process}.toml"
    text, count = re.subn(pattern, replacement, path.read_text(encoding="utf-8"), count=1, flags=re.MULTILINE)
    assert count == 1
    path.write_text(text, encoding="utf-8")
    return path.name


TOP = r"\A"


@pytest.mark.parametrize(
    ("pattern", "replacement", "error"),
    [
        ("^listen = .*", 'listen = "127.0.0.1"', "listen is not host:port"),
        ("^listen = .*", 'listen = "127.0.0.1:99999"', "listen is not host:port"),
        ("^listen = .*", 'listen = "0.0.0.0:8001"', "listen 0.0.0.0:8001 is plaintext beyond loopback"),
        (TOP, 'link_listen = "nowhere"\n', "link_listen is not host:port"),
        (TOP, 'metrics_listen = "nowhere"\n', "metrics_listen is not host:port"),
        (TOP, 'log_level = "loud"\n', "log_level is not one of debug, info, warning, error"),
        ("127.0.0.1:1", "10.1.2.3:1", "channel to 10.1.2.3:1 is plaintext"),
        ("127.0.0.1:1", "registry", "registry: address is not host:port"),
        ("state_dir = .*", 'state_dir = "policy.toml"', "state_dir is a file"),
        ("engines = .*", 'engines = ["xyz"]', "engines are not SHA-256 digests"),
        ("engines = .*", "engines = []", "engines are not SHA-256 digests"),
        ("reference_price_nanos = .*", "reference_price_nanos = 0", "are at least 1"),
        ("reference_price_nanos = .*", "reference_price_nanos = 1" + "0" * 20, "below 2^63"),
        (r"\Z", "[limits]\ndefault_deadline_seconds = -1\n", "default_deadline_seconds is above 0"),
        (r"\Z", "[tenants.a]\nrequests_per_second = -1\n", "requests_per_second is above 0"),
        (r"\Z", '[tenants.a]\ncertificate_sha256 = ["zz"]\n', "certificate_sha256 are not SHA-256 digests"),
        (r"\Z", '[tls]\ncertificate = "none"\nkey = "none"\n', "tls.key cannot be read: no such file"),
        (r"\Z", '[tls]\ncertificate = "policy.toml"\nkey = "policy.toml"\n', "tls.key is not an unencrypted"),
        ('"some.key"', '"/dev/null"', "registry.api_key_file is not one line"),
        ('"some.key"', '"some.key"\nca_file = "policy.toml"', "ca_file is not certificates in PEM"),
    ],
)
def test_a_gateway_is_checked_before_it_starts(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    pattern: str,
    replacement: str,
    error: str,
) -> None:
    """check-config names what serve would stumble over, and makes no file."""
    config = spoil(folder, "gateway", pattern, replacement)
    refused(here(monkeypatch, capsys, "gateway", "check-config", "--config", config), error)
    assert not (folder / "gateway").exists()


def test_a_checked_gateway_is_left_as_it_was(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """check-config of right settings says what would run and makes neither keys nor folder."""
    code, out, err = here(monkeypatch, capsys, "gateway", "check-config", "--config", "gateway.toml")
    assert (code, err) == (0, "")
    assert out.startswith("gateway is new, its keys are made when it starts\n")
    assert not (folder / "gateway").exists()


@pytest.mark.parametrize(
    ("pattern", "replacement", "error"),
    [
        ("^listen = .*", 'listen = "127.0.0.1"', "listen is not host:port"),
        (TOP, 'log_level = "loud"\n', "log_level is not one of"),
        ("127.0.0.1:1", "127.0.0.1:0", "registry: address is not host:port"),
        ('"some.key"', '"/dev/null"', "api_key_file is not one line"),
        ('source = "identity"', 'source = "nope"', "model is nope, want"),
    ],
)
def test_a_worker_that_cannot_serve_does_not_start(folder: Path, pattern: str, replacement: str, error: str) -> None:
    """A worker names the setting that is wrong instead of serving half."""
    refused(run(folder, "worker", "serve", "--config", spoil(folder, "worker", pattern, replacement)), error)


@pytest.mark.parametrize(
    ("pattern", "replacement", "error"),
    [
        ("^listen = .*", 'listen = "127.0.0.1:99999"', "listen is not host:port"),
        (TOP, 'log_level = "loud"\n', "log_level is not one of"),
        (
            "^policy_file = .*",
            f'policy_file = "{POLICY.with_name("production-strict.toml")}"',
            "policy_file profile is production, want development as this log began",
        ),
        (
            r"\Z",
            '[tls]\ncertificate = "policy.toml"\nkey = "policy.toml"\n',
            "tls.key is not an unencrypted private key",
        ),
    ],
)
def test_a_registry_that_cannot_serve_does_not_start(folder: Path, pattern: str, replacement: str, error: str) -> None:
    """A registry names the setting that is wrong; a log of one profile is not continued under another."""
    refused(run(folder, "registry", "serve", "--config", spoil(folder, "registry", pattern, replacement)), error)


@pytest.mark.parametrize("tenant", ["", "ACME", 'a"\nroles = ["operator"]', "a b"])
def test_a_key_is_made_only_for_an_account_a_keys_file_takes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tenant: str
) -> None:
    """new-key refuses a name that the keys file would not be read with, and prints no key."""
    done = here(monkeypatch, capsys, "gateway", "new-key", "--tenant", tenant, "--role", "caller")
    refused(done, "tenant is not lower-case")


def test_a_key_file_that_is_no_key_is_refused(tmp_path: Path) -> None:
    """Revocation names a key file it cannot use, without what stands in it."""
    (tmp_path / "bin").write_bytes(b"\xff\xfe secret")
    arguments = ("--address", "127.0.0.1:1", "--api-key-file", "bin", "--reason", "r", "ab" * 32)
    refused(run(tmp_path, "registry", "revoke", *arguments), "api key file is not ascii text")


def test_the_demo_removes_nothing_it_did_not_make(tmp_path: Path) -> None:
    """A folder that holds files of somebody else is refused and left as it is."""
    (tmp_path / "mine").write_text("keep", encoding="utf-8")
    refused(run(tmp_path, "demo", "--output", "."), "--output . holds files of others")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.net
def test_a_registry_that_does_not_answer_is_undecided(tmp_path: Path) -> None:
    """Revocation at an address where nobody listens exits 20: nothing was decided, nothing was refused."""
    (tmp_path / "k").write_text("sbk_x", encoding="utf-8")
    arguments = ("--address", "127.0.0.1:1", "--api-key-file", "k", "--reason", "r", "ab" * 32)
    code, out, err = run(tmp_path, "registry", "revoke", *arguments)
    assert (code, out) == (20, "")
    assert err.endswith("sealbid: hint: nothing answered at this address; is it right, and does the process run?\n")
