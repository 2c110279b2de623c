# SPDX-License-Identifier: Apache-2.0
"""A worker process's whole life in one test process: a real registry, real leases, real links, a fake gateway."""

import asyncio
import json
import logging
import os
import signal
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import grpc
import numpy as np
import pytest
from sealbid_oip.codec import decode_outputs, parse_response
from sealbid_wire.market.v1 import market_pb2, market_pb2_grpc
from typing_extensions import override

from attestation.appraisal.policy import read_policy
from attestation.attested import AttestedWorker
from attestation.binding import SuiteID
from attestation.errors import Reason, SettingsError
from attestation.offer import Offer, open_offer, open_withdrawal
from attestation.registration import sign_enrolment
from attestation.registry.values import Admitted
from attestation.rpc.auth import new_api_key
from attestation.sealing.halves import WorkerStatus
from attestation.server import admin
from attestation.server import app as registry_app
from attestation.server.config import RegistrySettings
from attestation.trust import read_trust
from attestation.verifiers import verifiers_for
from attestation.verify import verify_worker
from attestation.wire.client import RegistryClient
from enclave import app as worker_app
from enclave.attesters.detect import AttesterChoice
from enclave.config import Attestation, Dial, Model, Offering, Service, Simulated, WorkerSettings
from tests.support.link import SECONDS, GatewayPeer, add_one_request, dialled_by_gateway, until
from tests.support.worker import Workplace

pytestmark = pytest.mark.net

POLICY = Path(__file__).parents[2] / "manifests" / "policies" / "development.toml"
ROLES = {"provider-a": "provider", "gateway-a": "gateway", "operator-a": "operator"}


@dataclass(kw_only=True)
class Town:
    """A running registry, its keys and the files a worker needs."""

    directory: Path
    registry: str
    keys: dict[str, str]
    market: "FakeMarket"
    trust_file: Path
    policy_bytes: bytes = field(default_factory=POLICY.read_bytes)

    def service(self, address: str, account: str) -> Service:
        """Settings of a service called as this account."""
        return Service(address=address, api_key_file=self.directory / f"{account}.key")

    def worker(self, **changes: Any) -> WorkerSettings:
        """Settings of a worker of provider-a."""
        settings: dict[str, Any] = {
            "provider": "provider-a",
            "registry": self.service(self.registry, "provider-a"),
            "trust_file": self.trust_file,
            "models": (Model(source="add-one"), Model(source="tiny")),
            "offers": (Offering(model="add-one", ask_nanos=100), Offering(model="tiny", ask_nanos=50)),
            "markets": (self.service(self.market.address, "provider-a"),),
            "listen": "127.0.0.1:0",
            "attester": Attestation(kind=AttesterChoice.SIMULATED, simulated=Simulated(cpu="machine one")),
            "gateways_seconds": 0.1,
            "metrics_listen": "127.0.0.1:0",
        }
        return WorkerSettings(**(settings | changes))

    def client(self, account: str) -> RegistryClient:
        """A registry client as this account."""
        return RegistryClient.connect(self.registry, api_key=self.keys[account])

    async def admitted(self) -> AttestedWorker:
        """The first worker the registry admits, verified as a gateway verifies it."""
        trust, policy = read_trust(self.trust_file.read_bytes()), read_policy(self.policy_bytes)
        heartbeat = b""
        async with asyncio.timeout(SECONDS), self.client("gateway-a") as client:
            async for event in client.watch():
                if isinstance(event, Admitted):
                    return verify_worker(
                        event.presented,
                        heartbeat=heartbeat,
                        trust=trust,
                        policy=policy,
                        verifiers=verifiers_for(policy.profile),
                        now=datetime.now(UTC),
                    )
                heartbeat = event
        raise AssertionError("watch ended")


class FakeMarket(market_pb2_grpc.MarketServiceServicer):
    """Takes offers as they come; may refuse the first ones, as a market does that has not seen the keyset yet."""

    def __init__(self) -> None:
        self.address = ""
        self.refusals = 0
        self.placed: asyncio.Queue[bytes] = asyncio.Queue()
        self.withdrawn: asyncio.Queue[bytes] = asyncio.Queue()

    @override
    async def PlaceOffer(self, request, context):  # type: ignore[no-untyped-def]
        """Keeps the offer."""
        if self.refusals:
            self.refusals -= 1
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not yet")
        self.placed.put_nowait(request.offer)
        return market_pb2.PlaceOfferResponse()

    @override
    async def WithdrawOffer(self, request, context):  # type: ignore[no-untyped-def]
        """Keeps the withdrawal."""
        self.withdrawn.put_nowait(request.withdrawal)
        return market_pb2.WithdrawOfferResponse()

    @override
    async def ListOffers(self, request, context):  # type: ignore[no-untyped-def]
        """Nothing to show."""
        return market_pb2.ListOffersResponse()


@pytest.fixture
async def town(tmp_path: Path) -> AsyncIterator[Town]:
    """A registry and a market on loopback."""
    keys, lines = {}, []
    for account, role in ROLES.items():
        keys[account], digest = new_api_key(os.urandom)
        (tmp_path / f"{account}.key").write_text(keys[account] + "\n")
        lines.append(f'[[key]]\nname = "{account}"\nsha256 = "{digest}"\nroles = ["{role}"]\n')
    (tmp_path / "keys.toml").write_text("".join(lines))
    state = tmp_path / "registry"
    state.mkdir(mode=0o700)
    settings = RegistrySettings(
        origin="registry.test/evidence",
        state_dir=state,
        policy_file=POLICY,
        keys_file=tmp_path / "keys.toml",
        listen="127.0.0.1:0",
        heartbeat_seconds=0.2,
    )
    trust_file = admin.initialise(settings, now=datetime.now(UTC))
    async with registry_app.running(settings) as registry, market_server() as market:
        yield Town(directory=tmp_path, registry=registry.address, keys=keys, market=market, trust_file=trust_file)


@asynccontextmanager
async def market_server() -> AsyncIterator[FakeMarket]:
    """A market on loopback."""
    market = FakeMarket()
    server = grpc.aio.server()
    market_pb2_grpc.add_MarketServiceServicer_to_server(market, server)
    market.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    try:
        yield market
    finally:
        await server.stop(None)


async def enrolled(town: Town, running: worker_app.RunningWorker, offers: dict[str, Offer]) -> GatewayPeer:
    """A gateway whose keys the log holds and the worker knows."""
    attested = await town.admitted()
    place = SimpleNamespace(
        attested=attested,
        clock=SimpleNamespace(now=datetime.now(UTC)),
        placed=offers,
        custody=running.worker.custody,
        gateways=SimpleNamespace(replace=lambda gateways: None),
        port=int(attested.endpoint.rpartition(":")[2]) if attested.endpoint else 0,
    )
    peer = GatewayPeer(cast("Workplace", place), suite=SuiteID.MLKEM768_X25519)
    async with town.client("gateway-a") as client:
        await client.enrol_gateway(
            signing_key=peer.public_key,
            certificate_der=peer.tls.certificate_der,
            enrolment=sign_enrolment(peer.signing_key, peer.tls.certificate_der),
        )
    await until(lambda: running.gateways.by_id(peer.gateway_id) is not None)
    return peer


async def placed(town: Town, attested: AttestedWorker, count: int) -> dict[str, Offer]:
    """The next offers the market got, verified."""
    offers = {}
    async with asyncio.timeout(SECONDS):
        for _ in range(count):
            offer = open_offer(await town.market.placed.get(), attested.keyset.receipt_key)
            offers[offer.model] = offer
    return offers


async def test_a_worker_registers_offers_and_serves_a_gateway_that_verified_it(town: Town) -> None:
    """From an empty process to a sealed answer: evidence, verdict, lease, logged gateway, offer, link, inference."""
    town.market.refusals = 1
    async with worker_app.running(town.worker()) as running:
        attested = await town.admitted()
        assert attested.endpoint == running.endpoint
        offers = await placed(town, attested, 2)
        assert offers["add-one"].keyset_id == attested.keyset_id
        peer = await enrolled(town, running, offers)
        async with dialled_by_gateway(peer) as link:
            hello = await link.greet()
            assert hello.worker_id == attested.worker_id
            answer = await (await link.call(add_one_request())).answer()
            assert answer.status is WorkerStatus.OK
            np.testing.assert_array_equal(decode_outputs(parse_response(answer.data))["y"], [[1.0, 2.0, 3.0]])
            await link.confirm(answer.half_bytes)
        await worker_app.drain(running, seconds=SECONDS)
        withdrawal = open_withdrawal(await town.market.withdrawn.get(), attested.keyset.receipt_key)
        assert withdrawal.offer_id in {offer.offer_id for offer in offers.values()}


async def test_refused_evidence_leaves_a_worker_without_a_lease(town: Town, caplog: pytest.LogCaptureFixture) -> None:
    """The refusal's finding is said by field, got and want; nothing is offered and health says so."""
    attester = Attestation(kind=AttesterChoice.SIMULATED, simulated=Simulated(cpu="machine two", debug=True))
    caplog.set_level(logging.INFO, logger="enclave")
    async with worker_app.running(town.worker(attester=attester)) as running:
        await until(lambda: bool(running.worker.metrics.leases.samples))
        assert set(running.worker.metrics.leases.samples) == {("refused",)}
        record = next(record for record in caplog.records if record.message == "registration failed")
        assert record.__dict__["reason"] == Reason.DEBUG_REFUSED
        assert "debug" in record.__dict__["text"]
        with pytest.raises(urllib.error.HTTPError) as caught:
            await scrape(running, "/healthz")
        assert caught.value.code == 503
        caught.value.close()
    assert town.market.placed.empty()


async def test_metrics_say_simulated_and_count_calls(town: Town) -> None:
    """Every sample of a worker under a development trust root carries SIMULATED."""
    async with worker_app.running(town.worker()) as running:
        await town.admitted()
        text = await scrape(running, "/metrics")
        samples = [line for line in text.splitlines() if not line.startswith("#")]
        assert samples
        assert all('profile="SIMULATED"' in line for line in samples)
        assert 'sealbid_worker_lease_in_force{profile="SIMULATED"} 1' in samples
        assert await scrape(running, "/healthz") == "serving SIMULATED\n"


async def test_a_worker_that_only_dials_registers_without_an_endpoint(town: Town) -> None:
    """No port is opened; the lease says that this worker is not to be dialled."""
    settings = town.worker(listen=None, dial=(Dial(address="127.0.0.1:1", gateway_id="00" * 32),))
    async with worker_app.running(settings) as running:
        assert running.endpoint == ""
        assert (await town.admitted()).endpoint == ""


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"listen": "203.0.113.1:1"}, "listen"),
        ({"metrics_listen": "203.0.113.1:1"}, "metrics_listen"),
        ({"offers": (Offering(model="other", ask_nanos=1),)}, "other"),
        ({"models": (Model(source="add-one"), Model(source="add-one"))}, "twice"),
        ({"attester": Attestation(kind=AttesterChoice.AUTO)}, "simulated must be named"),
        ({"attester": Attestation(kind=AttesterChoice.SIMULATED)}, "attester.simulated"),
        ({"trust_file": Path("/nowhere")}, "trust_file"),
    ],
)
async def test_what_cannot_work_does_not_start(town: Town, change: dict[str, Any], named: str) -> None:
    """Addresses that cannot be bound, offers for no model, no named attester, missing files: said by the setting."""
    with pytest.raises(SettingsError, match=named):
        async with worker_app.running(town.worker(**change)):
            pass


async def scrape(running: worker_app.RunningWorker, path: str) -> str:
    """What the worker shows over HTTP."""

    def get() -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{running.metrics_port}{path}") as response:
            return cast("bytes", response.read()).decode()

    return await asyncio.to_thread(get)


async def test_the_process_serves_drains_on_sigterm_and_writes_nothing(town: Town, tmp_path: Path) -> None:
    """`sealbid worker serve`: a lease from a file of settings, SIMULATED on every log line, exit 0, no file left."""
    config = town.directory / "worker.toml"
    config.write_text(
        f"""
provider = "provider-a"
trust_file = "{town.trust_file}"
listen = "127.0.0.1:0"
registry = {{ address = "{town.registry}", api_key_file = "provider-a.key" }}
attester = {{ kind = "simulated", simulated = {{ cpu = "machine three" }} }}
models = [{{ source = "add-one" }}]
offers = [{{ model = "add-one", ask_nanos = 100 }}]
markets = [{{ address = "{town.market.address}", api_key_file = "provider-a.key" }}]
"""
    )
    home = tmp_path / "home"
    home.mkdir()
    root = Path(__file__).parents[2]
    paths = os.pathsep.join(str(root / part) for part in (".", "proto", "proto/gen"))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sealbid", "worker", "serve", "--config", str(config)),
        cwd=home,
        env={"HOME": str(home), "TMPDIR": str(home), "PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        attested = await town.admitted()
        await placed(town, attested, 1)
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(SECONDS):
            stdout, stderr = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    lines = [json.loads(line) for line in stderr.splitlines()]
    assert process.returncode == 0, stderr.decode()
    assert not stdout
    assert [line["event"] for line in lines if line["event"] in {"hardened", "lease granted", "draining"}] == [
        "hardened",
        "lease granted",
        "draining",
    ]
    assert all(line["profile"] == "SIMULATED" for line in lines)
    assert not list(home.iterdir())
