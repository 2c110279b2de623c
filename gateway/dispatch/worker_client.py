# SPDX-License-Identifier: Apache-2.0
"""Dials WorkerService of every admitted worker that has an endpoint, with both keys pinned (docs/spec.md, 11.1).

The worker's attested certificate is the only root of its channel, so a completed handshake is the pin. A link that ends
is dialled again after a wait that doubles up to half a minute and is spread, as long as the worker is admitted.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

import grpc

from attestation.attested import AttestedWorker
from attestation.errors import SealbidError
from attestation.rpc.pinning import WORKER_NAME, TLSIdentity, channel_credentials, channel_options
from gateway.dispatch.interface import DispatchEvent, DispatchMetrics
from gateway.dispatch.link import Link, pump
from gateway.dispatch.pool import WorkerPool

_LOG = logging.getLogger("sealbid.gateway.dispatch")
METHOD: Final = "/sealbid.worker.v1.WorkerService/Link"
FIRST_WAIT: Final = 0.1
LONGEST_WAIT: Final = 30.0
MAX_MESSAGE_BYTES: Final = 16 << 20
MESSAGE_OPTIONS: Final = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
)
# A channel of its own connection: one shared with an earlier attempt would also share that attempt's backoff.
_OWN_CONNECTION: Final = ("grpc.use_local_subchannel_pool", 1)


class WorkerClient:
    """One task for each worker that can be dialled."""

    def __init__(
        self,
        *,
        pool: WorkerPool,
        identity: TLSIdentity,
        gateway_id: bytes,
        metrics: DispatchMetrics,
        jitter: Callable[[], float],
    ) -> None:
        """`jitter` gives numbers from 0 to 1 that spread reconnects."""
        self._pool = pool
        self._identity = identity
        self._gateway_id = gateway_id
        self._metrics = metrics
        self._jitter = jitter
        self._tasks: dict[bytes, asyncio.Task[None]] = {}

    def admit(self, worker: AttestedWorker) -> None:
        """Dials the worker, unless it is dialled already or has no endpoint. The pool has admitted it before."""
        if worker.endpoint and worker.worker_id not in self._tasks:
            task = asyncio.get_running_loop().create_task(self._keep(worker.worker_id))
            self._tasks[worker.worker_id] = task
            task.add_done_callback(lambda _: self._tasks.pop(worker.worker_id, None))

    async def close(self) -> None:
        """Stops dialling and ends the links this client opened."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _keep(self, worker_id: bytes) -> None:
        wait, lost = FIRST_WAIT, False
        while (worker := self._pool.admitted(worker_id)) is not None and worker.endpoint:
            # A worker that dialled us needs no second link; two would take turns ending each other.
            if not self._pool.linked(worker_id):
                spoken, error = await self._link(worker)
                if spoken:
                    wait, lost = FIRST_WAIT, False
                if error is not None:
                    self._note(worker, error, spoken=spoken, again=lost)
                lost = lost or error is not None
            await asyncio.sleep(wait * (0.5 + self._jitter() / 2))
            wait = min(wait * 2, LONGEST_WAIT)

    async def _link(self, worker: AttestedWorker) -> tuple[bool, Exception | None]:
        """One link from its opening to its end: whether the worker spoke on it, and what ended it."""
        spoken = False
        try:
            credentials = channel_credentials(self._identity, worker.certificate_der)
            options = [*channel_options(WORKER_NAME), *MESSAGE_OPTIONS, _OWN_CONNECTION]
            async with grpc.aio.secure_channel(worker.endpoint, credentials, options=options) as channel:
                call: grpc.aio.StreamStreamCall[bytes, bytes] = channel.stream_stream(METHOD)()
                link = Link(
                    worker_id=worker.worker_id,
                    receipt_key=worker.keyset.receipt_key,
                    gateway_id=self._gateway_id,
                    owner=self._pool,
                    dialled=True,
                )

                async def read() -> bytes | None:
                    nonlocal spoken
                    data = await call.read()
                    if not isinstance(data, bytes):
                        return None
                    spoken = True
                    return data

                try:
                    await pump(link, read=read, write=call.write)
                finally:
                    self._pool.detach(link)
                    call.cancel()
        except Exception as error:  # noqa: BLE001  whatever ended it, an admitted worker is dialled again
            return spoken, error
        return spoken, None

    def _note(self, worker: AttestedWorker, error: Exception, *, spoken: bool, again: bool) -> None:
        """Every failure is counted; of attempts that fail one after the other only the first is worth a warning."""
        refused = isinstance(error, SealbidError)
        self._metrics.dispatch(DispatchEvent.LINK_REFUSED if refused else DispatchEvent.LINK_FAILED)
        extra = {"worker_id": worker.worker_id.hex(), "endpoint": worker.endpoint, "reason": _reason(error)}
        event = "link ended" if spoken else "worker cannot be reached"
        _LOG.log(logging.DEBUG if again else logging.WARNING, event, extra=extra)


def _reason(error: Exception) -> str:
    """A code that says why; never the text of a library."""
    if isinstance(error, SealbidError):
        return error.reason.value
    return error.code().name if isinstance(error, grpc.aio.AioRpcError) else type(error).__name__
