# SPDX-License-Identifier: Apache-2.0
"""The worker's small parts: settings, gateways, metrics, health, hardening."""

import asyncio
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from attestation.binding import Profile
from attestation.errors import NotGenuine, SettingsError
from attestation.logs import LogLevel
from attestation.rpc.pinning import GATEWAY_NAME, make_identity
from attestation.settings import load_settings
from enclave.config import Limits, Model, Service, WorkerSettings, config_sha256
from enclave.gateways import Gateways, KnownGateway
from enclave.metrics import Metrics
from enclave.scrape import Scrape

TOML = """
provider = "provider-a"
trust_file = "trust.toml"
listen = "127.0.0.1:0"

[registry]
address = "127.0.0.1:7443"
api_key_file = "provider.key"

[attester]
kind = "simulated"
simulated = { cpu = "machine one" }

[[models]]
source = "magika"

[[offers]]
model = "magika"
ask_nanos = 900
tier = "interactive"

[[markets]]
address = "127.0.0.1:8001"
api_key_file = "provider.key"
"""


def settings_of(path: Path, text: str = TOML, **environment: str) -> WorkerSettings:
    """Settings as the command reads them."""
    file = path / "worker.toml"
    file.write_text(text)
    return load_settings(WorkerSettings, file, environment, prefix="SEALBID_WORKER_")


def test_a_workers_settings_are_one_file_and_the_environment(tmp_path: Path) -> None:
    """The file is read strictly, paths are relative to it, and the environment overrides it."""
    settings = settings_of(tmp_path, SEALBID_WORKER_REGISTRY_ADDRESS="10.0.0.1:1")
    assert settings.registry == Service(address="10.0.0.1:1", api_key_file=tmp_path / "provider.key")
    assert settings.offers[0].tier == "interactive"
    assert settings.attester.simulated is not None


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (('listen = "127.0.0.1:0"', ""), "listen or dial"),
        (("ask_nanos = 900", "ask_nanos = -1"), "offers"),
        (('source = "magika"', 'source = "magika"\nthreads = 0'), "models"),
        (('provider = "provider-a"', 'provider = "provider-a"\nstate_dir = "x"'), "state_dir"),
    ],
)
def test_settings_that_make_no_sense_do_not_start(tmp_path: Path, change: tuple[str, str], named: str) -> None:
    """Each is refused with the table or key it is about."""
    with pytest.raises(SettingsError, match=named):
        settings_of(tmp_path, TOML.replace(*change))


def test_the_configuration_digest_covers_what_decides_and_nothing_else(tmp_path: Path) -> None:
    """Another engine, model limit or memory limit is another configuration; another price or account is not."""
    settings = settings_of(tmp_path)
    engines = [("magika", b"e" * 32)]
    digest = config_sha256(settings, engines)
    same = replace(settings, provider="other", offers=(), log_level=LogLevel.DEBUG, listen="0.0.0.0:1")
    assert config_sha256(same, engines) == digest
    others = [
        config_sha256(settings, [("magika", b"f" * 32)]),
        config_sha256(settings, [("other", b"e" * 32)]),
        config_sha256(replace(settings, limits=Limits(max_calls=1)), engines),
        config_sha256(replace(settings, models=(Model(source="magika", max_batch_size=4),)), engines),
    ]
    assert len({digest, *others}) == 5


def known(name: str) -> KnownGateway:
    """A gateway with its own certificate."""
    identity = make_identity(name, GATEWAY_NAME)
    return KnownGateway(
        gateway_id=name.encode().ljust(32),
        signing_key=bytes(32),
        certificate_der=identity.certificate_der,
        spki_sha256=identity.spki_sha256,
    )


def test_a_gateway_is_known_by_its_certificates_key_or_not_at_all() -> None:
    """Lookups follow the newest list; a key in no entry is nobody's."""
    first, second = known("first"), known("second")
    gateways = Gateways([first])
    assert gateways.by_certificate(first.spki_sha256) is first
    gateways.replace([second])
    assert gateways.certificates() == [second.certificate_der]
    assert gateways.by_id(first.gateway_id) is None
    with pytest.raises(NotGenuine):
        gateways.by_certificate(first.spki_sha256)


def test_metrics_are_prometheus_text_and_say_simulated() -> None:
    """Counters and gauges in the text format, escaped, each sample marked with the profile."""
    metrics = Metrics(profile=Profile.DEVELOPMENT)
    metrics.calls.add('a "name"\n', "OK")
    metrics.calls.add('a "name"\n', "OK")
    metrics.gauge("temperature", "How warm.", lambda: 1.5)
    text = metrics.render()
    assert 'sealbid_worker_calls_total{model="a \\"name\\"\\n",status="OK",profile="SIMULATED"} 2\n' in text
    assert 'sealbid_worker_temperature{profile="SIMULATED"} 1.5\n' in text
    assert "# TYPE sealbid_worker_calls_total counter\n" in text
    assert "SIMULATED" not in Metrics(profile=Profile.PRODUCTION).render()


async def exchange(scrape: Scrape, request: bytes) -> bytes:
    """One connection to a scrape listener on loopback."""
    port = await scrape.start("127.0.0.1", 0)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    writer.write_eof()
    async with asyncio.timeout(20):
        answer = await reader.read()
    writer.close()
    await scrape.stop()
    return answer


@pytest.mark.net
@pytest.mark.parametrize(
    ("request_line", "healthy", "status"),
    [
        (b"GET /metrics HTTP/1.1", True, b"200"),
        (b"GET /healthz HTTP/1.1", True, b"200"),
        (b"GET /healthz HTTP/1.1", False, b"503"),
        (b"GET /secret HTTP/1.1", True, b"404"),
        (b"POST /metrics HTTP/1.1", True, b"404"),
    ],
)
async def test_the_scrape_listener_answers_two_paths(request_line: bytes, healthy: bool, status: bytes) -> None:
    """Metrics and health, and nothing else."""
    scrape = Scrape(metrics=Metrics(profile=Profile.DEVELOPMENT), healthy=lambda: healthy)
    answer = await exchange(scrape, request_line + b"\r\nHost: x\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 " + status)


@pytest.mark.net
@pytest.mark.parametrize("garbage", [b"", b"\x16\x03\x01", b"GET /metrics", b"x" * 20_000])
async def test_the_scrape_listener_drops_what_is_not_http(garbage: bytes) -> None:
    """No answer and no log for what does not ask in HTTP."""
    scrape = Scrape(metrics=Metrics(profile=Profile.DEVELOPMENT), healthy=lambda: True)
    try:
        assert await exchange(scrape, garbage) == b""
    except ConnectionError:
        await scrape.stop()


def test_hardening_leaves_no_core_dump_and_says_what_it_got() -> None:
    """In a process of its own: no core file can be written, the process cannot be dumped, and the report is true."""
    code = (
        "import json, resource; from enclave.hardening import harden; h = harden();"
        "print(json.dumps([h.core_dumps_off, h.undumpable, h.memory_locked, resource.getrlimit(resource.RLIMIT_CORE),"
        "[l for l in open('/proc/self/status') if l.startswith('VmLck')]]))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, cwd=Path(__file__).parents[3])
    core_off, undumpable, locked, limit, locked_line = json.loads(run.stdout)
    assert core_off
    assert undumpable
    assert limit == [0, 0]
    assert locked == (int(locked_line[0].split()[1]) > 0)
