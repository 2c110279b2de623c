# SPDX-License-Identifier: Apache-2.0
"""A whole deployment on this machine: settings, keys and processes of a registry, a gateway and workers.

The demo and the end-to-end tests run the same thing. Everything lies under one directory; every worker is SIMULATED.

    registry.toml gateway.toml worker-NAME.toml       settings, as an operator would write them
    keys/NAME.key                                     API keys in the clear, mode 0600, for the clients of this run
    registry/trust.toml                               the trust root everybody else holds
    logs/NAME.log                                     one per process
"""

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from attestation.rpc.auth import Role, new_api_key
from gateway.identity import load_identity
from sealbid.demo.processes import Processes, free_port

ORIGIN = "registry.sealbid.invalid/evidence"
REGION = "eu-demo-1"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelPlan:
    """One model of the deployment: what workers load, and what it is expected to cost."""

    source: str
    engine_sha256: str
    reference_price_nanos: int = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerPlan:
    """One worker: who runs it, what it asks, and whether its image is the one the policy names."""

    name: str
    ask_nanos: int
    latency_ms: int = 50
    slots: int = 8
    models: tuple[str, ...]
    dials: bool = False
    """True when the worker dials the gateway instead of being dialled."""
    image: str = ""
    """Name of another worker image than the one the policy accepts; empty for the good one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to run."""

    models: Mapping[str, ModelPlan]
    workers: Sequence[WorkerPlan]
    policy: Path
    gateway_extra: str = ""
    """More TOML for the gateway's settings."""
    environment: Mapping[str, str] = field(default_factory=dict)


class Deployment:
    """Writes the settings of a plan and runs its processes."""

    def __init__(self, root: Path, plan: Plan) -> None:
        self.root = root.resolve()
        self.plan = plan
        self.registry = f"127.0.0.1:{free_port()}"
        self.gateway = f"127.0.0.1:{free_port()}"
        self.gateway_links = f"127.0.0.1:{free_port()}"
        self.metrics = f"127.0.0.1:{free_port()}"
        self.endpoints = {worker.name: f"127.0.0.1:{free_port()}" for worker in plan.workers}
        self.advertised: dict[str, str] = {}
        """Where gateways are told to dial a worker, if not where it listens."""
        self.processes = Processes(self.root / "logs", environment=plan.environment)

    @property
    def trust_file(self) -> Path:
        """The trust root of this deployment."""
        return self.root / "registry" / "trust.toml"

    def key(self, name: str) -> str:
        """The API key of an account."""
        return self.key_file(name).read_text()

    def key_file(self, name: str) -> Path:
        """The file of an account's API key."""
        return self.root / "keys" / f"{name}.key"

    def worker_settings(self, name: str) -> Path:
        """A worker's settings file."""
        return self.root / f"worker-{name}.toml"

    def prepare(self) -> None:
        """Writes every file but the trust root, which `sealbid registry init` makes."""
        self.root.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(self.plan.policy, self.root / "policy.toml")
        self._write_keys()
        self._write("registry.toml", self._registry_toml())
        self._write("gateway.toml", self._gateway_toml())
        for worker in self.plan.workers:
            self._write(f"worker-{worker.name}.toml", self._worker_toml(worker))

    def launch(self) -> None:
        """Prepares everything, makes the registry and starts all processes."""
        self.prepare()
        self.initialise_registry()
        self.start_registry()
        self.start_gateway()
        for worker in self.plan.workers:
            self.start_worker(worker.name)

    def initialise_registry(self) -> None:
        """Makes the registry's keys and log, and the trust root everybody else holds."""
        self.processes.run("registry-init", "registry", "init", "--config", str(self.root / "registry.toml"))

    def start_registry(self) -> None:
        """Starts the registry; it must have been initialised."""
        self.processes.start("registry", "registry", "serve", "--config", str(self.root / "registry.toml"))

    def start_gateway(self) -> None:
        """Starts the gateway."""
        self.processes.start("gateway", "gateway", "serve", "--config", str(self.root / "gateway.toml"))

    def start_worker(self, name: str) -> None:
        """Starts one worker."""
        self.processes.start(name, "worker", "serve", "--config", str(self.worker_settings(name)))

    def _write(self, name: str, text: str) -> None:
        (self.root / name).write_text(text)

    def _write_keys(self) -> None:
        """One key per account; the files the processes read hold hashes only."""
        (self.root / "keys").mkdir(mode=0o700, exist_ok=True)
        accounts = {
            "operator": (Role.OPERATOR,),
            "auditor": (Role.AUDITOR,),
            "gateway": (Role.GATEWAY,),
            "acme": (Role.CALLER,),
            **{worker.name: (Role.PROVIDER,) for worker in self.plan.workers},
        }
        tables = []
        for name, roles in accounts.items():
            key, digest = new_api_key(os.urandom)
            descriptor = os.open(self.key_file(name), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(key)
            listed = ", ".join(f'"{role.value}"' for role in roles)
            tables.append(f'[[key]]\nname = "{name}"\nsha256 = "{digest}"\nroles = [{listed}]\n')
        self._write("accounts.toml", "\n".join(tables))

    def _registry_toml(self) -> str:
        return f"""\
origin = "{ORIGIN}"
listen = "{self.registry}"
state_dir = "registry"
policy_file = "policy.toml"
keys_file = "accounts.toml"
heartbeat_seconds = 1.0
"""

    def _gateway_toml(self) -> str:
        models = "\n".join(
            f'[models.{name}]\nengines = ["{model.engine_sha256}"]\n'
            f"reference_price_nanos = {model.reference_price_nanos}\n"
            for name, model in self.plan.models.items()
        )
        return f"""\
listen = "{self.gateway}"
link_listen = "{self.gateway_links}"
metrics_listen = "{self.metrics}"
state_dir = "gateway"
keys_file = "accounts.toml"
trust_file = "registry/trust.toml"
policy_file = "policy.toml"

[registry]
address = "{self.registry}"
api_key_file = "keys/gateway.key"

{models}
{self.plan.gateway_extra}
"""

    def _worker_toml(self, worker: WorkerPlan) -> str:
        models = ", ".join(
            f'{{ source = "{self.plan.models[name].source}", name = "{name}" }}' for name in worker.models
        )
        offers = "".join(
            f"""
[[offers]]
model = "{name}"
ask_nanos = {worker.ask_nanos}
region = "{REGION}"
slots = {worker.slots}
latency_ms = {worker.latency_ms}
"""
            for name in worker.models
        )
        return f"""\
provider = "{worker.name}"
trust_file = "registry/trust.toml"
models = [{models}]
gateways_seconds = 0.5
drain_seconds = 10.0
{self._way_in(worker)}
[registry]
address = "{self.registry}"
api_key_file = "keys/{worker.name}.key"

[[markets]]
address = "{self.gateway}"
api_key_file = "keys/{worker.name}.key"

[attester]
kind = "simulated"
simulated = {{ cpu = "{worker.name}-cpu-0", image = "{worker.image}" }}
{offers}"""

    def _way_in(self, worker: WorkerPlan) -> str:
        """Who dials whom: a worker that dials must know which gateway to expect."""
        if not worker.dials:
            endpoint = self.endpoints[worker.name]
            return f'listen = "{endpoint}"\nadvertise = "{self.advertised.get(worker.name, endpoint)}"\n'
        gateway_id = load_identity(self.root / "gateway", entropy=os.urandom).gateway_id
        return f'dial = [{{ address = "{self.gateway_links}", gateway_id = "{gateway_id.hex()}" }}]\n'
