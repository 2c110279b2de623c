# SPDX-License-Identifier: Apache-2.0
"""A log as it looks after some days of use, and the site that shows it; every entry is deterministic, all SIMULATED."""

import hashlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from attestation.http.message import Request, Response
from attestation.http.server import serving
from attestation.rpc.auth import APIKeys
from attestation.server.http_evidence import EvidenceArchive
from attestation.server.http_log import PublicLog
from attestation.server.http_page import AuditPage
from attestation.server.http_site import EVERYWHERE, Site
from attestation.tlog import entry as entries
from attestation.tlog.entry import Blob, Entry, PolicyRef, VerifierRef
from attestation.tlog.evidence_log import EvidenceLog
from attestation.tlog.policy import NO_WITNESSES
from attestation.tlog.quorum import WitnessPolicy
from attestation.tlog.store import HeadStore, LogStore
from tests.support.log import ORIGIN, MemoryHeadStore, log_signer, open_log
from tests.support.tree import ROOT

BEGAN = datetime(2026, 11, 16, 8, 0, 0, tzinfo=UTC)
POLICY = (ROOT / "manifests" / "policies" / "development.toml").read_text(encoding="utf-8")
WIDER = POLICY.replace("version = 1", "version = 2", 1)
HOUR = timedelta(hours=1)
PATH = "evidence"
PROVIDERS = ("north", "south", "east")


def of(text: str) -> bytes:
    """32 bytes that stand for a text."""
    return hashlib.sha256(text.encode()).digest()


def worker(number: int) -> bytes:
    """The id of a worker."""
    return of(f"worker {number}")


def policy_text(version: int) -> str:
    """The development policy as it was, and as it was changed later."""
    return POLICY if version == 1 else WIDER


def published(version: int, at: datetime) -> Entry:
    """A policy comes into force."""
    text = policy_text(version)
    digest = hashlib.sha256(text.encode()).digest()
    return entries.policy_publish(
        id="development", version=version, sha256=digest, profile="development", at=at, text=text, by="ops-1"
    )


def judged(number: int, at: datetime, *, reasons: tuple[str, ...] = (), version: int = 1, generation: int = 0) -> Entry:
    """A verdict on worker `number`; a refusal if there are reasons."""
    name = f"worker {number} generation {generation}"
    blob = Blob(type="bundle", sha256=of(f"{name} bundle"), size=2155)
    digest = hashlib.sha256(policy_text(version).encode()).digest()
    return entries.attest_verdict(
        provider=PROVIDERS[number % len(PROVIDERS)],
        provider_id=of(PROVIDERS[number % len(PROVIDERS)]),
        audience=ORIGIN,
        evidence=[blob],
        collateral=[Blob(type="simulated-tcb", sha256=of("tcb"), size=116)],
        policy=PolicyRef(id="development", version=version, sha256=digest, profile="development"),
        verifier=VerifierRef(version="0.1.0", sha256=of("verifier")),
        passed=not reasons,
        simulated=True,
        at=at,
        reasons=reasons,
        worker_id=worker(number),
        keyset_id=of(f"{name} keyset"),
        binding_digest=of(f"{name} binding"),
        challenge=of(f"{name} challenge") * 2,
        claims={"tee": "simulated", "cpu.measurement": "ab" * 24},
        engines=[of("engine")],
        keys=[("hpke-1", of(f"{name} hpke")), ("receipt", worker(number))],
        tls_spki_sha256=of(f"{name} tls"),
        valid_until=None if reasons else at + HOUR,
    )


def some_days(hours: int = 40) -> Iterator[Entry]:
    """Workers that renew every 50 minutes, one that pauses, one refused, one revoked; a policy that changes."""
    yield published(1, BEGAN)
    yield entries.key_add(use="gateway-sign", key=of("gateway"), subject=of("gateway"), at=BEGAN, by="ops-1")
    for step in range(hours):
        at = BEGAN + step * timedelta(minutes=50)
        version = 1 if step < hours // 2 else 2
        if step == hours // 2:
            yield published(2, at)
        for number in range(5):
            if number == 3 and hours // 3 < step < hours // 2:
                continue
            if number == 4 and step % 7 == 3:
                yield judged(4, at, reasons=("TCB_REFUSED", "DEBUG_REFUSED"), version=version, generation=step)
                continue
            yield judged(number, at, version=version, generation=step)
    last = BEGAN + (hours - 1) * timedelta(minutes=50)
    keyset = of(f"worker 2 generation {hours - 1} keyset")
    yield entries.attest_revoke(
        keyset_id=keyset, worker_id=worker(2), reason="reported stolen", by="ops-2", simulated=True, at=last + HOUR / 4
    )
    yield entries.platform_move(
        platform=of("platform"),
        from_provider=of("north"),
        to_provider=of("south"),
        worker_id=worker(1),
        simulated=True,
        at=last + HOUR / 3,
    )


def filled(store: LogStore, heads: HeadStore | None = None, *, hours: int = 40) -> EvidenceLog:
    """A log of some days in this store, published."""
    log = open_log(store, heads or MemoryHeadStore(), inception=True)
    key = log_signer().verifier.vkey
    log.append([entries.genesis(origin=ORIGIN, log_key=key, lease_key=of("lease"), at=BEGAN), *some_days(hours)])
    log.publish(now_of(hours))
    return log


def now_of(hours: int = 40) -> datetime:
    """A little after the newest entry."""
    return BEGAN + (hours - 1) * timedelta(minutes=50) + HOUR / 2


def page_of(
    log: EvidenceLog, *, now: datetime, witnesses: WitnessPolicy = NO_WITNESSES, simulated: bool = True
) -> AuditPage:
    """The audit page of a log at a time."""
    return AuditPage(
        log=log.served,
        log_key=log.log_key,
        path=PATH,
        witnesses=witnesses,
        simulated=simulated,
        clock=lambda: now,
    )


@asynccontextmanager
async def site_of(
    store: LogStore, page: AuditPage, *, altered: Callable[[str, bytes], bytes] = lambda _, body: body
) -> AsyncIterator[str]:
    """Serves the log in `store` and its page on loopback, and yields the address.

    `altered` is given each address and body, and says what is served instead.
    """

    def record(*, by: str, action: str, target: str) -> None:
        raise AssertionError("nothing here may read evidence")

    archive = EvidenceArchive(accounts=APIKeys({}), archived=lambda _: None, record=record)
    site = Site(logs={PATH: PublicLog(store)}, evidence=archive, policy=lambda: "quorum none\n", page=page.answer)

    def answer(request: Request) -> Response:
        got = site.answer(replace(request, headers={}))  # without accept-encoding nothing is packed
        return replace(got, body=altered(request.path, got.body))

    async with serving("127.0.0.1:0", answer, everywhere=EVERYWHERE) as address:
        yield address
