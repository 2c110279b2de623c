# SPDX-License-Identifier: Apache-2.0
"""How a call is answered: authenticate, check the role, work in a thread, turn every failure into a named status."""

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Any, Final, NoReturn, TypeAlias, TypeVar

import grpc

from attestation.errors import Reason, SealbidError
from attestation.rpc.auth import APIKeys, Credential, Role
from attestation.rpc.status import abort
from attestation.server.telemetry import Telemetry

_LOG: Final = logging.getLogger("attestation.server")
T = TypeVar("T")


CallContext: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


class Answering:
    """Shared by the services of one process."""

    def __init__(self, *, accounts: APIKeys, telemetry: Telemetry) -> None:
        self._accounts = accounts
        self._telemetry = telemetry

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
        try:
            return await asyncio.to_thread(work)
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
