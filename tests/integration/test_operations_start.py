# SPDX-License-Identifier: Apache-2.0
"""What must not start does not: a gateway with wrong settings, keys, policy or address, or one its registry refuses."""

import asyncio
import socket
from collections.abc import Iterator

import pytest

from sealbid.demo.deployment import WorkerPlan
from sealbid.demo.readiness import until_serving
from tests.support.e2e import E2EDeployment, a_deployment, sealbid
from tests.support.tree import ROOT

pytestmark = pytest.mark.net


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[E2EDeployment]:
    """Every file of a deployment, and its registry running."""
    workers = [WorkerPlan(name="alder", ask_nanos=400, models=("identity",))]
    deployment = a_deployment(tmp_path_factory.mktemp("start"), workers=workers)
    try:
        deployment.prepare()
        deployment.initialise_registry()
        deployment.start_registry()
        asyncio.run(until_serving(deployment, "registry", deployment.registry))
        yield deployment
    finally:
        deployment.processes.stop_all()


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (("settings", 'listen = "', 'lisen = "'), "lisen is unknown"),
        (("settings", "", "colour = 1\n"), "colour is unknown"),
        (("settings", "policy.toml", "strict.toml"), "trust_file profile is development, want production"),
        (("settings", "registry/trust.toml", "accounts.toml"), "trust"),
        (("settings", "keys/gateway.key", "keys/none.key"), "registry.api_key_file"),
        (("settings", "accounts.toml", "none.toml"), "keys_file"),
        (("accounts", "sha256 = ", 'expires = "2020-01-01"\nsha256 = '), "keys file key 1 has other fields"),
        (("accounts", 'roles = ["caller"]', 'roles = ["anything"]'), "roles are not a list among"),
    ],
    ids=[
        "misspelt key",
        "unknown key",
        "policy of another profile",
        "no trust root",
        "no registry key",
        "no keys file",
        "unknown field of a key",
        "unknown role",
    ],
)
def test_a_gateway_with_wrong_files_does_not_start(
    deployment: E2EDeployment, change: tuple[str, str, str], text: str
) -> None:
    """Settings, keys, policy or trust root that cannot be right end the start with status 2 and the field's name."""
    which, old, new = change
    root = deployment.root
    (root / "strict.toml").write_bytes((ROOT / "manifests" / "policies" / "production-strict.toml").read_bytes())
    texts = {name: (root / f"{file}.toml").read_text() for name, file in (("settings", "gateway"), ("accounts",) * 2)}
    texts[which] = texts[which].replace(old, new, 1)
    (root / "broken-accounts.toml").write_text(texts["accounts"])
    if which == "accounts":
        texts["settings"] = texts["settings"].replace("accounts.toml", "broken-accounts.toml")
    settings = root / "broken-gateway.toml"
    settings.write_text(texts["settings"].replace('state_dir = "gateway"', 'state_dir = "broken-gateway"'))
    ended = sealbid("gateway", "serve", "--config", str(settings))
    assert (ended.returncode, ended.stdout) == (2, b"")
    assert text in ended.stderr.decode()
    assert deployment.key("gateway") not in ended.stderr.decode()


def test_a_policy_file_that_is_none_does_not_start(deployment: E2EDeployment) -> None:
    """A policy with a wrong value ends the start as malformed, with the key, what it is and what is wanted."""
    policy = (deployment.root / "policy.toml").read_text()
    (deployment.root / "wrong.toml").write_text(policy.replace("lease_seconds = 3600", "lease_seconds = 3601"))
    settings = deployment.root / "wrong-gateway.toml"
    settings.write_text((deployment.root / "gateway.toml").read_text().replace("policy.toml", "wrong.toml"))
    ended = sealbid("gateway", "serve", "--config", str(settings))
    assert ended.returncode == 30
    assert b"freshness.lease_seconds is " in ended.stderr
    assert b"(POLICY_INVALID)" in ended.stderr


def test_a_gateway_the_registry_does_not_know_ends(deployment: E2EDeployment) -> None:
    """A gateway whose key for the registry is another role's is told so, and does not listen."""
    settings = deployment.root / "other-gateway.toml"
    text = (deployment.root / "gateway.toml").read_text().replace("keys/gateway.key", "keys/acme.key")
    for old, new in (('state_dir = "gateway"', 'state_dir = "other-gateway"'), (deployment.gateway, "127.0.0.1:0")):
        text = text.replace(old, new)
    settings.write_text(
        text.replace(deployment.gateway_links, "127.0.0.1:0").replace(deployment.metrics, "127.0.0.1:0")
    )
    ended = sealbid("gateway", "serve", "--config", str(settings))
    assert ended.returncode == 10
    assert b"PERMISSION_DENIED" in ended.stderr or b"role of the credential" in ended.stderr
    assert deployment.key("acme").encode() not in ended.stderr


@pytest.mark.parametrize("key", ["listen", "link_listen", "metrics_listen"])
def test_a_gateway_whose_address_is_taken_ends(deployment: E2EDeployment, key: str) -> None:
    """An address that somebody else listens on ends the start with the setting's name, whichever it is."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        lines = (deployment.root / "gateway.toml").read_text().splitlines()
        changed = [f'{key} = "{address}"' if line.startswith(f"{key} = ") else line for line in lines]
        settings = deployment.root / "taken.toml"
        settings.write_text("\n".join(changed))
        ended = sealbid("gateway", "serve", "--config", str(settings))
    assert ended.returncode == 2
    assert f"{key} {address} cannot be bound, want a free address of this machine" in ended.stderr.decode()
    assert b"Traceback" not in ended.stderr
