# SPDX-License-Identifier: Apache-2.0
"""The registry's HTTP side put together: which logs, which archive, whose credentials, which page."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

from attestation.http.server import serving, tls_context
from attestation.server.config import HTTPSettings
from attestation.server.http_evidence import EvidenceArchive
from attestation.server.http_log import PublicLog, TileStore
from attestation.server.http_site import EVERYWHERE, Page, Site, log_path


@asynccontextmanager
async def serving_logs(
    settings: HTTPSettings,
    *,
    logs: Mapping[str, TileStore],
    evidence: EvidenceArchive,
    policy: Callable[[], str],
    page: Page,
) -> AsyncIterator[str | None]:
    """Serves the logs, by their origins, for as long as the block lasts; yields the address, None if it is off.

    Raises:
        SettingsError: an address that cannot be bound, or others can reach without TLS.
    """
    if settings.listen is None:
        yield None
        return
    site = Site(
        logs={log_path(origin): PublicLog(store) for origin, store in logs.items()},
        evidence=evidence,
        policy=policy,
        page=page,
    )
    tls = tls_context(
        settings.listen,
        certificate=settings.tls.certificate if settings.tls else None,
        key=settings.tls.key if settings.tls else None,
    )
    async with serving(settings.listen, site.answer, tls=tls, everywhere=EVERYWHERE) as address:
        yield address
