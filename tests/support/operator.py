# SPDX-License-Identifier: Apache-2.0
"""A folder as an operator would fill it: settings of each process, keys, a policy, a registry that was made."""

import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from attestation.server.admin import initialise
from attestation.server.config import RegistrySettings
from attestation.settings import load_settings
from gateway.auth import new_key

POLICY = Path(__file__).parents[2] / "manifests" / "policies" / "development.toml"

REGISTRY = """\
origin = "registry.sealbid.invalid/evidence"
listen = "127.0.0.1:0"
state_dir = "registry"
policy_file = "policy.toml"
keys_file = "accounts.toml"
"""

GATEWAY = f"""\
listen = "127.0.0.1:0"
state_dir = "gateway"
keys_file = "accounts.toml"
trust_file = "registry/trust.toml"
policy_file = "policy.toml"
[registry]
address = "127.0.0.1:1"
api_key_file = "some.key"
[models.m]
engines = ["{"ab" * 32}"]
reference_price_nanos = 1000
"""

WORKER = """\
provider = "p"
trust_file = "registry/trust.toml"
models = [{ source = "identity" }]
listen = "127.0.0.1:0"
[registry]
address = "127.0.0.1:1"
api_key_file = "some.key"
[attester]
kind = "simulated"
simulated = { cpu = "c" }
"""


def lay_out(folder: Path, *, tenant: str = "acme", role: str = "caller") -> None:
    """Writes settings in which every file is right, and makes the registry."""
    (folder / "policy.toml").write_bytes(POLICY.read_bytes())
    key, entry = new_key(tenant, [role])
    (folder / "accounts.toml").write_text(entry, encoding="utf-8")
    (folder / "some.key").write_text(key, encoding="utf-8")
    for name, text in (("registry", REGISTRY), ("gateway", GATEWAY), ("worker", WORKER)):
        (folder / f"{name}.toml").write_text(text, encoding="utf-8")
    initialise(load_settings(RegistrySettings, folder / "registry.toml", {}, prefix=""), now=datetime.now(UTC))


def run(folder: Path, *arguments: str) -> tuple[int, str, str]:
    """The command in a process of its own: status, stdout, stderr."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("SEALBID_")}
    command = [sys.executable, "-m", "sealbid", *arguments]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr
