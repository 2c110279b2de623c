# SPDX-License-Identifier: Apache-2.0
"""How a call is answered: authenticate, check the role, work in a thread, turn every failure into a named status.

Judging a registration may wait for a vendor's service. It has threads of its own, so that however many wait, heartbeats
and revocations do not.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, NoReturn, TypeAlias, TypeVar

import grpc

from attestation.errors import Reason, SealbidError
from attestation.rpc.auth import APIKeys, Credential, Role
from attestation.rpc.status import abort
from attestation.server.telemetry import Telemetry

_LOG: Final = logging.getLogger("attestation.server")
T = TypeVar("T")

MAX_JUDGING: Final = 8
"""Registrations judged at once; further ones wait their turn."""


CallContext: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


class Answering:
    """Shared by the services of one process."""

    def __init__(self, *, accounts: APIKeys, telemetry: Telemetry) -> None:
        self._accounts = accounts
        self._telemetry = telemetry
        self._judging = ThreadPoolExecutor(max_workers=MAX_JUDGING, thread_name_prefix="judging")

    def close(self) -> None:
        """Judges nothing more; does not wait for what is under way."""
        self._judging.shutdown(wait=False, cancel_futures=True)

    async def allow(self, context: CallContext, method: str, roles: Iterable[Role]) -> Credential:
        """The caller's credential, if one of its roles may call; otherwise the call ends here."""
        try:
            credential = self._accounts.authenticate(_pairs(context.invocation_metadata()))
            credential.require(roles)
        except SealbidError as error:
            await self.refuse(context, method, error)
        else:
            return credential

    async def work(self, context: CallContext, method: str, work: Callable[[], T]) -> T:
        """What `work` returns, run in a thread because it blocks on disk; its failure ends the call by its reason."""
        return await self._run(context, method, lambda: asyncio.to_thread(work))

    async def judge(self, context: CallContext, method: str, work: Callable[[], T]) -> T:
        """As `work`, for what may wait for others than the disk."""
        loop = asyncio.get_running_loop()
        return await self._run(context, method, lambda: loop.run_in_executor(self._judging, work))

    async def _run(self, context: CallContext, method: str, start: Callable[[], Awaitable[T]]) -> T:
        try:
            return await start()
        except SealbidError as error:
            await self.refuse(context, method, error)
        except Exception:  # noqa: BLE001  the root of a call: an unknown failure must not carry its text to the caller
            _LOG.exception("call failed", extra={"method": method})
            await self.refuse(context, method, SealbidError(Reason.INTERNAL, "registry failed, want its operator"))

    async def refuse(self, context: CallContext, method: str, error: SealbidError) -> NoReturn:
        """Ends the call with `error`."""
        self._telemetry.failed(method, error.reason)
        await abort(context, error)


def _pairs(metadata: object) -> list[tuple[str, object]]:
    # grpc gives None, a tuple of pairs, or its own type, as the version pleases.
    items = metadata if isinstance(metadata, Iterable) else ()
    return [(str(key), value) for key, value in items]
