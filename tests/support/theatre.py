# SPDX-License-Identifier: Apache-2.0
"""A deployment in which one request at a time meets one fault, and what the request came to once all has settled."""

import asyncio
import sqlite3
import time
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import grpc
import numpy as np
from prometheus_client.parser import text_string_to_metric_families

from sealbid.demo.readiness import offers
from tests.support.e2e import Account, Answered, Caller, E2EDeployment, a_request, eventually
from tests.support.faulty import GATEWAY_STAGES, WORKER_STAGES, arm, armed

BIG: Final = np.random.default_rng(5).random((1, 750_000), np.float32)
"""Three MiB each way: several frames, and more than one message of a link."""
DEADLINE: Final = 20.0
WINNER: Final = "alder"
PATIENCE: Final = 20
SIGNATURE_SECONDS: Final = 3.0
"""How long the deployment's gateway waits for a worker's signature."""
OPEN: Final = (
    "SELECT half_sha256 FROM returned_memo",
    "SELECT request_id FROM begun",
    "SELECT half_sha256 FROM unsigned_half WHERE closed = 0",
)
"""What the journal has not closed."""


@dataclass(frozen=True, kw_only=True)
class Before:
    """How things stood before a request."""

    account: Account
    completed: int
    suspense_nanos: int


@dataclass(frozen=True, kw_only=True)
class Struck:
    """The request that met the fault."""

    before: Before
    answered: Answered | None
    code: grpc.StatusCode
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Ledger:
    """What one request came to: the account before and after, and the receipts it left."""

    charges: int
    charged_nanos: int
    receipts: dict[bytes, int]
    completed: int
    """How many executions the living workers finished, as they count them."""
    suspense_nanos: int
    """What their providers are not paid for want of signatures."""


@dataclass
class Theatre:
    """A deployment in which one request at a time meets one fault."""

    deployment: E2EDeployment
    caller: Caller
    known: set[bytes] = field(default_factory=set)

    def arm(self, stage: str, victim: str) -> None:
        """The next request that passes the stage kills the victim."""
        where = "gateway" if stage in GATEWAY_STAGES else WINNER
        arm(self.deployment.fault_dir(where), stage, self.deployment.processes.pid(victim))

    def armed(self) -> bool:
        """Whether a fault has not struck yet."""
        places = [("gateway", stage) for stage in GATEWAY_STAGES] + [(WINNER, stage) for stage in WORKER_STAGES]
        return any(armed(self.deployment.fault_dir(name), stage) for name, stage in places)

    def revive(self, name: str) -> None:
        """Starts a killed process again and waits until it serves."""
        assert eventually(lambda: self.deployment.processes.exited(name), lambda status: status is not None) == -9
        self.restart(name)

    def restart(self, name: str) -> None:
        """Kills a process, if it still lives, starts it and waits until every worker can be sent a request."""
        self.deployment.processes.kill(name)
        old = set() if name == "gateway" else set(self.standing()[name])
        if name == "gateway":
            self.deployment.start_gateway()
        else:
            self.deployment.start_worker(name)
        self.ready(without=old)

    def ready(self, *, without: Collection[bytes] = ()) -> None:
        """Waits until every worker has its link and all its offers in the book, for a keyset that has not gone by."""
        for worker in self.deployment.plan.workers:
            offered = partial(self.offered, worker.name, without)
            assert eventually(offered, bool), f"{worker.name} has its offers in the book"
            gauges = eventually(partial(self.gauges, worker.name), lambda now: now.get("links") == 1)
            assert gauges.get("links") == 1, f"{worker.name} is linked"
        wanted = len(self.deployment.plan.workers)
        linked = eventually(lambda: self.gauges("gateway").get("workers"), lambda count: count == wanted)
        assert linked == wanted, "the gateway counts every worker as linked"

    def offered(self, name: str, without: Collection[bytes]) -> set[bytes]:
        """Keysets of this worker with offers for all its models in the book; none while the gateway does not answer.

        Offers are placed one by one and committed every second: a worker may stand with one model and not the other.
        """
        models = next(len(worker.models) for worker in self.deployment.plan.workers if worker.name == name)
        try:
            return {keyset_id for keyset_id, offered in self.standing()[name].items() if offered >= models} - set(
                without
            )
        except grpc.aio.AioRpcError:
            return set()

    def standing(self) -> dict[str, Counter[bytes]]:
        """How many offers each keyset has in the book, by worker, which is known by the price it asks."""
        names = {worker.ask_nanos: worker.name for worker in self.deployment.plan.workers}
        keysets: dict[str, Counter[bytes]] = {name: Counter() for name in names.values()}
        for offer in asyncio.run(offers(self.deployment)):
            keysets[names[offer.ask_nanos]][offer.keyset_id] += 1
        return keysets

    def settled(self) -> None:
        """Waits until no living worker runs a call or keeps a half, and the journal has closed every request."""
        for name in self.living():
            quiet = partial(self.quiet, name)
            assert eventually(quiet, bool), f"{name} runs a call or keeps a half"
        for query in OPEN:
            assert not eventually(partial(self.rows, query), lambda rows: not rows), query

    def living(self) -> list[str]:
        """Workers that run."""
        names = [worker.name for worker in self.deployment.plan.workers]
        return [name for name in names if self.deployment.processes.exited(name) is None]

    def completed(self) -> int:
        """How many executions the living workers finished with an answer, as they count them."""
        families = [kind for name in self.living() for kind in text_string_to_metric_families(self.shown(name))]
        samples = [one for kind in families for one in kind.samples]
        wanted = [one for one in samples if one.name == "sealbid_worker_calls_total"]
        return sum(int(one.value) for one in wanted if one.labels["status"] == "OK")

    def suspense_nanos(self) -> int:
        """What providers are not paid for want of signatures."""
        rows = self.rows("SELECT balance_nanos FROM ledger_account WHERE kind = 'suspense'")
        return sum(balance for (balance,) in rows)

    def quiet(self, name: str) -> bool:
        """Whether a worker runs nothing and keeps nothing, or was killed."""
        gauges = self.gauges(name)
        quiet = gauges.get("running") == 0 and gauges.get("unconfirmed_halves") == 0
        return quiet or self.deployment.processes.exited(name) is not None

    def gauges(self, name: str) -> dict[str, float]:
        """What a process measures, by name without its own; nothing while it does not listen."""
        lines = [line.split() for line in self.shown(name).splitlines() if line.startswith("sealbid_")]
        return {line[0].partition("{")[0].split("_", 2)[-1]: float(line[-1]) for line in lines}

    def shown(self, name: str) -> str:
        """A process's metrics; nothing while it does not listen, or once it was killed."""
        try:
            return self.deployment.scrape(name).decode()
        except OSError:
            return ""

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Rows of the gateway's journal, read beside it."""
        path = self.deployment.root / "gateway" / "journal.sqlite"
        database = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)
        try:
            return database.execute(query).fetchall()
        finally:
            database.close()

    def new_receipts(self) -> dict[bytes, int]:
        """Receipts journaled since the account was looked at: request id → charge."""
        now = self.rows("SELECT request_id, charge_nanos FROM receipt")
        return {request_id: charge for request_id, charge in now if request_id not in self.known}

    def signed(self, request_id: bytes) -> bool:
        """Whether the worker's signature over the half of this request has reached the journal."""
        query = "SELECT request_id FROM receipt JOIN worker_half ON half_sha256 = worker_half_sha256"
        return (request_id,) in self.rows(f"{query} WHERE batch_sha256 <> x''")

    def balanced(self) -> bool:
        """Whether the ledger's transactions sum to 0, and its balances are what its entries add up to."""
        entries = self.rows("SELECT kind, owner, sum(amount_nanos) FROM ledger_entry GROUP BY kind, owner")
        stored = self.rows("SELECT kind, owner, balance_nanos FROM ledger_account")
        return sum(amount for *_, amount in entries) == 0 and sorted(entries) == sorted(stored)

    def begin(self) -> Before:
        """How things stand once everything is settled; receipts that are there are no news from here on."""
        self.settled()
        self.known |= self.new_receipts().keys()
        return Before(account=self.caller.account(), completed=self.completed(), suspense_nanos=self.suspense_nanos())

    def since(self, before: Before, *, receipts: int) -> Ledger:
        """The difference once everything is settled; waits for so many receipts and then looks for one too many."""
        eventually(self.new_receipts, lambda fresh: len(fresh) >= receipts)
        self.settled()
        after = self.caller.account()
        return Ledger(
            charges=after.charges - before.account.charges,
            charged_nanos=after.charged_nanos - before.account.charged_nanos,
            receipts=self.new_receipts(),
            completed=self.completed() - before.completed,
            suspense_nanos=self.suspense_nanos() - before.suspense_nanos,
        )

    def infer(self) -> Answered:
        """One big request."""
        return self.caller.infer(a_request("identity", {"x": BIG}), seconds=DEADLINE)

    def strike(self, stage: str, victim: str) -> Struck:
        """Sends requests until one meets the fault: the first worker gets most of them, and need not get the first."""
        if stage == "session":
            self.restart(WINNER)  # so that the next request to it is the first on its session
        self.arm(stage, victim)
        for _ in range(PATIENCE):
            before, began = self.begin(), time.monotonic()
            try:
                answered, code = self.infer(), grpc.StatusCode.OK
            except grpc.RpcError as error:
                answered, code = None, error.code()
            seconds = time.monotonic() - began
            # A receipt is journaled a moment after its answer.
            if not eventually(self.armed, lambda waiting: not waiting, seconds=0.5):
                return Struck(before=before, answered=answered, code=code, seconds=seconds)
            assert code is grpc.StatusCode.OK
        raise AssertionError(f"no request passed {stage}")
