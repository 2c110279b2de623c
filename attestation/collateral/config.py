# SPDX-License-Identifier: Apache-2.0
"""What a process is told about collateral, and the parts made of it. The addresses given are all it may ever ask."""

import re
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from attestation.collateral.amd import AMDService
from attestation.collateral.cache import CollateralCache
from attestation.collateral.complete import FetchingCompleter
from attestation.collateral.intel import IntelService
from attestation.collateral.nvidia import NVIDIAService
from attestation.collateral.service import Service
from attestation.collateral.source import CachedSource, Services
from attestation.collateral.transport import HTTPSTransport
from attestation.errors import SettingsError
from attestation.settings import check_address
from attestation.tee.dcap.endorsements import INTEL_SGX_ROOT_CA
from attestation.tee.nvidia.rim import RIM_ROOTS
from attestation.tee.snp.endorsement import ROOTS as AMD_ROOTS

MIB: Final = 1 << 20
_AUTHORITY: Final = re.compile(r"[A-Za-z0-9.-]{1,253}:[0-9]{1,5}")


class CollateralMode(StrEnum):
    """`off`: evidence is judged with what it brings; `cache`: and with what is kept; `fetch`: the vendors are asked."""

    OFF = "off"
    CACHE = "cache"
    FETCH = "fetch"


@dataclass(frozen=True, slots=True, kw_only=True)
class CollateralSettings:
    """The table `[collateral]`."""

    mode: CollateralMode = CollateralMode.OFF
    folder: Path | None = None
    """The cache; `collateral` in the process's state directory when unset. Processes may share one."""
    intel_pcs: str = "https://api.trustedservices.intel.com"
    """Intel's service, or a PCCS."""
    intel_root_crl: str = "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der"
    """With a PCCS: its own `/sgx/certification/v4/rootcacrl`."""
    amd_kds: str = "https://kdsintf.amd.com"
    nvidia_rim: str = "https://rim.attestation.nvidia.com"
    nvidia_ocsp: str = "https://ocsp.ndis.nvidia.com"
    ca_file: Path | None = None
    """PEM of authorities that may certify these hosts instead of the system's, for mirrors of one's own."""
    proxy: str | None = None
    """`host:port` of an HTTP proxy that CONNECTs; none is taken from the environment."""
    request_seconds: float = 10.0
    """For one attempt, from connecting to the last byte."""
    wait_seconds: float = 10.0
    """How long a registration waits for all of its collateral; a worker waits twenty seconds for its verdict."""
    limit_mib: int = 256
    limit_entries: int = 4096

    def __post_init__(self) -> None:
        for name, base in self.bases().items():
            _check_base(name, base)
        check_address("proxy", self.proxy)
        if self.proxy is not None and not _AUTHORITY.fullmatch(self.proxy):
            raise ValueError("proxy is not host:port")
        if not 0.1 <= self.request_seconds <= 60 or not 0.1 <= self.wait_seconds <= 15:
            raise ValueError("request_seconds is 0.1 to 60, wait_seconds 0.1 to 15")
        if self.limit_mib < 1 or self.limit_entries < 1:
            raise ValueError("limit_mib and limit_entries are at least 1")

    def bases(self) -> dict[str, str]:
        """The addresses of the services by setting."""
        names = ("intel_pcs", "intel_root_crl", "amd_kds", "nvidia_rim", "nvidia_ocsp")
        return {name: getattr(self, name) for name in names}

    def hosts(self) -> frozenset[str]:
        """The `host:port` pairs that may be asked."""
        parts = [urlsplit(base) for base in self.bases().values()]
        return frozenset(f"{part.hostname}:{part.port or 443}" for part in parts)


def open_source(
    settings: CollateralSettings, folder: Path, *, pause: Callable[[float], None], jitter: Callable[[], float]
) -> CachedSource:
    """The source of a process in mode `cache` or `fetch`. Raises `SettingsError` or `SealbidError`."""
    cache = CollateralCache(
        settings.folder or folder, limit_bytes=settings.limit_mib * MIB, limit_entries=settings.limit_entries
    )
    services = _services(settings, pause, jitter) if settings.mode is CollateralMode.FETCH else None
    return CachedSource(cache=cache, services=services, jitter=jitter)


def open_completer(settings: CollateralSettings, source: CachedSource) -> FetchingCompleter:
    """The completer over a source."""
    return FetchingCompleter(source, seconds=settings.wait_seconds)


def _services(settings: CollateralSettings, pause: Callable[[float], None], jitter: Callable[[], float]) -> Services:
    transport = HTTPSTransport(
        hosts=settings.hosts(), tls=_tls(settings), seconds=settings.request_seconds, proxy=settings.proxy
    )
    made = {
        name: Service(transport=transport, base=base, pause=pause, jitter=jitter)
        for name, base in settings.bases().items()
    }
    return Services(
        intel=IntelService(pcs=made["intel_pcs"], root_crl=made["intel_root_crl"], roots=INTEL_SGX_ROOT_CA),
        amd=AMDService(made["amd_kds"], roots=AMD_ROOTS.keys()),
        nvidia=NVIDIAService(rim=made["nvidia_rim"], ocsp=made["nvidia_ocsp"], rim_roots=RIM_ROOTS),
    )


def _tls(settings: CollateralSettings) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=settings.ca_file)
    except (OSError, ssl.SSLError):
        raise SettingsError("collateral.ca_file cannot be read, want PEM certificates") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _check_base(name: str, base: str) -> None:
    parts = urlsplit(base)
    try:
        port = parts.port
    except ValueError:
        port = 0
    plain = parts.scheme == "https" and parts.hostname and not (parts.query or parts.fragment or "@" in parts.netloc)
    if not plain or port == 0:
        raise ValueError(f"{name} is no https address without query and user name")
