# SPDX-License-Identifier: Apache-2.0
"""A registry and two witnesses on loopback: nothing is usable before the quorum has cosigned. All SIMULATED."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import grpc
import pytest
from sealbid_wire.log.v1 import log_pb2, log_pb2_grpc

from attestation.errors import Reason, SealbidError, SettingsError
from attestation.registry.values import Admitted
from attestation.server.admin import initialise
from attestation.server.app import RunningRegistry
from attestation.server.config import RegistrySettings, WithoutQuorum, WitnessesSettings
from attestation.server.witnessing import read_witness_policy
from attestation.tlog.checkpoint import open_signed_checkpoint
from attestation.tlog.policy import parse_witness_policy
from attestation.tlog.store import LogError
from attestation.trust import TrustRoot, load_trust
from attestation.witness.config import TLSFiles
from tests.support.site import Site, failure, machine, make_site, next_admission, register, verified, watching
from tests.support.vendor_server import server_certificates
from tests.support.witnessing import Post, make_post

pytestmark = pytest.mark.net

NAMES = ("one", "two")


@dataclass
class Town:
    """A registry on disk, two witnesses of its log, and the policy that asks for both."""

    site: Site
    posts: dict[str, Post]
    ports: dict[str, int]
    policy_file: Path

    def settings(self, **changes: object) -> WitnessesSettings:
        chosen = {"policy_file": self.policy_file, "seconds": 30.0, "grace_seconds": 1.0, "renew_seconds": 3600.0}
        return WitnessesSettings(**{**chosen, **changes})  # type: ignore[arg-type]

    @property
    def trust(self) -> TrustRoot:
        """What a caller holds who asks for both witnesses."""
        policy = parse_witness_policy(self.policy_file.read_bytes())
        return replace(self.site.trust, witness_policy=policy)

    @asynccontextmanager
    async def witnesses(self, *names: str, tls: TLSFiles | None = None) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            for name in names:
                await stack.enter_async_context(self.posts[name].run(listen=f"127.0.0.1:{self.ports[name]}", tls=tls))
            yield

    def accepts(self, admitted: Admitted, heartbeat: bytes) -> bool:
        """Whether a gateway that asks for both takes the worker; under `none` every gateway here does."""
        verified(self.site, admitted, heartbeat)
        try:
            verified(replace(self.site, trust=self.trust), admitted, heartbeat)
        except SealbidError as error:
            return error.reason is not Reason.CHECKPOINT_INVALID
        return True


@pytest.fixture
def town(tmp_path: Path) -> Town:
    site = make_site(tmp_path)
    posts, lines, ports = {}, [], {}
    for name in NAMES:
        posts[name] = make_post(tmp_path / name, f"{name}.example/w", site.trust.log_key.vkey)
        ports[name] = _free_port()
        lines.append(f"witness {name} {posts[name].identity.vkeys[0]} http://127.0.0.1:{ports[name]}\n")
    policy_file = tmp_path / "witnesses.txt"
    policy_file.write_text("".join(lines) + "group both all one two\nquorum both\n", encoding="utf-8")
    return Town(site, posts, ports, policy_file)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def quorum_of(running: RunningRegistry, trust: TrustRoot) -> int | None:
    """The quorum's time of the newest checkpoint, None where it is not met."""
    opened = open_signed_checkpoint(
        running.log.checkpoint(), origin=trust.origin, log_key=trust.log_key, policy=trust.witness_policy
    )
    return trust.witness_policy.cosigned_at(opened.note)


async def shown_by(running: RunningRegistry) -> str:
    """What the registry tells a reader to show beside its checkpoint."""
    async with grpc.aio.insecure_channel(running.address) as channel:
        stub = log_pb2_grpc.LogServiceStub(channel)
        return str((await stub.GetCheckpoint(log_pb2.GetCheckpointRequest(), timeout=60)).witnesses)


async def test_a_lease_comes_with_a_verdict_that_both_witnesses_cosigned(town: Town) -> None:
    """From challenge to a gateway's own verification under two of two, over real sockets throughout."""
    async with (
        town.witnesses(*NAMES),
        town.site.run(witnesses=town.settings()) as running,
        town.site.client(running, "provider") as provider,
        town.site.client(running, "gateway") as gateway,
        watching(gateway) as events,
    ):
        assert isinstance(await register(provider, machine()), Admitted)
        admitted, heartbeat = await next_admission(events)
        assert town.accepts(admitted, heartbeat)
        assert await shown_by(running) == "cosigned by 2 of (one, two)"


async def test_with_one_witness_down_nothing_becomes_usable_until_it_is_back(town: Town) -> None:
    """Two of two and fail-closed: the registration has no verdict; with the witness back, the worker asks again."""
    async with (
        town.witnesses("one"),
        town.site.run(witnesses=town.settings()) as running,
        town.site.client(running, "provider") as provider,
    ):
        assert await failure(register(provider, machine())) is Reason.STORE_UNAVAILABLE
        async with town.witnesses("two"):
            verdict = await register(provider, machine())
            assert isinstance(verdict, Admitted)
            assert town.accepts(verdict, running.registry.heartbeat())


async def test_fail_open_serves_what_only_the_policy_none_takes(town: Town) -> None:
    """With `serve`, leases are granted without quorum, and whoever asks for it refuses them."""
    open_doors = town.settings(without_quorum=WithoutQuorum.SERVE)
    async with (
        town.witnesses("one"),
        town.site.run(witnesses=open_doors) as running,
        town.site.client(running, "provider") as provider,
    ):
        verdict = await register(provider, machine())
        assert isinstance(verdict, Admitted)
        assert not town.accepts(verdict, running.registry.heartbeat())


async def test_without_witnesses_everything_is_the_operator_s_word(town: Town) -> None:
    """Under `none` the registry asks nobody, says so, and a caller with a quorum refuses its workers."""
    async with town.site.run() as running, town.site.client(running, "provider") as provider:
        verdict = await register(provider, machine())
        assert isinstance(verdict, Admitted)
        assert not town.accepts(verdict, running.registry.heartbeat())
        assert await shown_by(running) == "operator's word only"


async def test_witnesses_are_asked_over_tls_under_the_authority_that_is_set(town: Town, tmp_path: Path) -> None:
    """`ca_file` says whose certificates witnesses may have."""
    authority, chain = server_certificates("127.0.0.1")
    certificate, begin, key = chain.partition("-----BEGIN PRIVATE KEY")
    files = {"ca.pem": authority, "witness.pem": certificate, "witness.key": begin + key}
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="ascii")
    text = town.policy_file.read_text(encoding="utf-8")
    town.policy_file.write_text(text.replace("http://", "https://"), encoding="utf-8")
    tls = TLSFiles(certificate=tmp_path / "witness.pem", key=tmp_path / "witness.key")
    settings = town.settings(ca_file=tmp_path / "ca.pem")
    async with (
        town.witnesses(*NAMES, tls=tls),
        town.site.run(witnesses=settings) as running,
        town.site.client(running, "provider") as provider,
    ):
        assert isinstance(await register(provider, machine()), Admitted)
        assert quorum_of(running, town.trust) is not None


async def test_a_registry_starts_without_its_witnesses_and_catches_up(town: Town) -> None:
    """Old leases and revocations go on being served; once the witnesses answer, the log's head is cosigned."""
    async with town.site.run(witnesses=town.settings(renew_seconds=1.0)) as running:
        assert running.registry.heartbeat()
        with pytest.raises(SealbidError):
            quorum_of(running, town.trust)
        async with town.witnesses(*NAMES):
            for _ in range(600):
                try:
                    assert quorum_of(running, town.trust) is not None
                    break
                except SealbidError:
                    await asyncio.sleep(0.1)
            else:
                pytest.fail("the log's head was never cosigned")


async def test_a_quiet_log_is_cosigned_anew(town: Town) -> None:
    """Without any new entry the newest head gets younger cosignatures, so that policies on age go on being met."""
    async with (
        town.witnesses(*NAMES),
        town.site.run(witnesses=town.settings(renew_seconds=1.0)) as running,
    ):
        first, size = quorum_of(running, town.trust), running.log.size()
        assert first is not None
        for _ in range(600):
            if (quorum_of(running, town.trust) or 0) > first:
                break
            await asyncio.sleep(0.1)
        else:
            pytest.fail("the head was never cosigned anew")
        assert running.log.size() == size


async def test_a_registry_restored_from_a_backup_with_its_head_store_does_not_start(town: Town) -> None:
    """Nobody at home remembers the longer log; the witnesses do, and show it."""
    state, backup = town.site.settings.state_dir, town.policy_file.parent / "backup"
    async with town.witnesses(*NAMES):
        async with town.site.run(witnesses=town.settings()):
            pass
        _copy(state, backup)
        async with (
            town.site.run(witnesses=town.settings()) as running,
            town.site.client(running, "provider") as provider,
        ):
            assert isinstance(await register(provider, machine()), Admitted)
        _copy(backup, state)
        # The witnesses show a longer log under the registry's own key: that is more than a quorum missed.
        with pytest.raises(LogError) as stopped:
            await town.site.run(witnesses=town.settings()).__aenter__()
        assert stopped.value.reason is Reason.LOG_ROLLBACK


def _copy(source: Path, target: Path) -> None:
    target.mkdir(mode=0o700, exist_ok=True)
    for path in target.iterdir():
        path.unlink()
    for path in source.iterdir():
        copied = target / path.name
        copied.write_bytes(path.read_bytes())
        copied.chmod(path.stat().st_mode & 0o777)


def test_init_writes_the_policy_into_the_trust_file(town: Town, tmp_path: Path) -> None:
    """What others must hold names the witnesses from the start."""
    settings = replace(town.site.settings, state_dir=tmp_path / "second", witnesses=town.settings())
    trust = load_trust(initialise(settings, now=datetime.now(UTC)), "trust file")
    assert trust.witness_policy == town.trust.witness_policy
    assert trust.witness_policy.display == "cosigned by 2 of (one, two)"


def _reading(town: Town, text: str) -> RegistrySettings:
    town.policy_file.write_text(text, encoding="utf-8")
    return replace(town.site.settings, witnesses=town.settings())


def test_a_policy_that_is_none_or_of_another_log_stops_the_start(town: Town) -> None:
    """A registry reads its policy before anything else, and it must be about its own log or about none."""
    text = town.policy_file.read_text(encoding="utf-8")
    own = f"log {town.site.trust.log_key.vkey}\n"
    other = own.replace("registry.test", "other.test")
    assert read_witness_policy(_reading(town, text + own)).logs
    with pytest.raises(SealbidError):
        read_witness_policy(_reading(town, text + other))
    with pytest.raises(SealbidError):
        read_witness_policy(_reading(town, text + "quorum both\n"))


@pytest.mark.parametrize("url", ["", "ftp://127.0.0.1:1", "http://", "http://a:b", "https://a/?q"])
async def test_a_witness_that_nobody_could_ask_stops_the_start(town: Town, url: str) -> None:
    """A quorum out of reach, or an address that is none, is a setting to put right, not a day without leases."""
    lines = town.policy_file.read_text(encoding="utf-8").splitlines()
    lines[0] = f"{lines[0].rpartition(' ')[0]} {url}"
    settings = _reading(town, "\n".join([*lines, ""]))
    with pytest.raises(SettingsError):
        async with town.site.run(witnesses=settings.witnesses):
            pass
