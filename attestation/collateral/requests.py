# SPDX-License-Identifier: Apache-2.0
"""What may be asked of a vendor's service, as values: they name a piece of collateral, and so are keys of the cache.

Some hold hardware identities (a VCEK is a chip's own), so a request is never logged and never put into an error.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

from attestation.claims import TEEKind
from attestation.codec.labels import lp
from attestation.tee.snp.product import Product


class PCKAuthority(StrEnum):
    """Which of Intel's two authorities issued the platform's certificate, by the names its service uses."""

    PLATFORM = "platform"
    PROCESSOR = "processor"


class AMDSigner(StrEnum):
    """Which of AMD's keys signs a report, by the names its service uses."""

    VCEK = "vcek"
    VLEK = "vlek"


@dataclass(frozen=True, slots=True, kw_only=True)
class IntelCollateral:
    """All that a quote of one platform model needs: one `intel-dcap-json`. `tee` is TDX or SGX."""

    tee: TEEKind
    fmspc: bytes
    authority: PCKAuthority

    @property
    def name(self) -> str:
        """What errors call it; names no machine."""
        return f"intel collateral for fmspc {self.fmspc.hex()}"

    @property
    def key(self) -> bytes:
        """The name in the cache."""
        return _key("intel", self.tee, self.fmspc, self.authority)


@dataclass(frozen=True, slots=True, kw_only=True)
class VCEK:
    """The endorsement of one chip at one firmware level: one `amd-certificate`.

    `chip` is as long as the product's hardware ids are; `tcb` is spelled as the product's reports spell it.
    """

    product: Product
    chip: bytes = field(repr=False)
    tcb: bytes

    @property
    def name(self) -> str:
        """What errors call it; names no machine."""
        return f"amd vcek of a {self.product} chip"

    @property
    def key(self) -> bytes:
        """The name in the cache."""
        return _key("vcek", self.product, self.chip, self.tcb)


@dataclass(frozen=True, slots=True, kw_only=True)
class AMDChain:
    """The intermediate and root certificate of a product: two `amd-certificate`."""

    product: Product
    signer: AMDSigner

    @property
    def name(self) -> str:
        """What errors call it; names no machine."""
        return f"amd {self.signer} chain of {self.product}"

    @property
    def key(self) -> bytes:
        """The name in the cache."""
        return _key("amd-chain", self.product, self.signer)


@dataclass(frozen=True, slots=True, kw_only=True)
class AMDRevocations:
    """The revocation list of a product's root: one `amd-crl`."""

    product: Product
    signer: AMDSigner

    @property
    def name(self) -> str:
        """What errors call it; names no machine."""
        return f"amd {self.signer} revocation list of {self.product}"

    @property
    def key(self) -> bytes:
        """The name in the cache."""
        return _key("amd-crl", self.product, self.signer)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceManifest:
    """One reference integrity manifest by NVIDIA's id: one `nvidia-rim`."""

    id: str

    @property
    def name(self) -> str:
        """What errors call it; names no machine."""
        return f"nvidia manifest {self.id[:96]}"

    @property
    def key(self) -> bytes:
        """The name in the cache."""
        return _key("rim", self.id)


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateStatus:
    """The OCSP status of one certificate of NVIDIA's, both as DER: one `nvidia-ocsp`."""

    certificate: bytes = field(repr=False)
    issuer: bytes = field(repr=False)

    @property
    def name(self) -> str:
        """What errors call it; names no machine."""
        return "nvidia certificate status"

    @property
    def key(self) -> bytes:
        """The name in the cache."""
        return _key("ocsp", self.certificate, self.issuer)


Request: TypeAlias = IntelCollateral | VCEK | AMDChain | AMDRevocations | ReferenceManifest | CertificateStatus


def _key(kind: str, *parts: str | bytes) -> bytes:
    return b"".join(lp(part if isinstance(part, bytes) else part.encode()) for part in (kind, *parts))
