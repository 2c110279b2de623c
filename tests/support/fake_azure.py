# SPDX-License-Identifier: Apache-2.0
"""An Azure of our own: a paravisor that keeps a vTPM, over the SEV-SNP machines of `fake_amd`.

Each function is named by what is wrong with its world; `world` takes what to put in instead. TDX has no machines here:
`on_tdx` goes with a verifier of the test's own.
"""

import base64
import hashlib
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass, replace

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from attestation.bundle import Collateral, Evidence
from attestation.claims import TEEKind
from attestation.tee.azure_hcl.evidence import EVIDENCE_FORMAT, AzureHCLEvidence
from attestation.tee.azure_hcl.verifier import AzureHCLVerifier
from attestation.tee.snp.product import Product
from attestation.tee.snp.verifier import SNPVerifier
from tests.support import fake_amd as amd

NOW = amd.NOW
SLOT = hashlib.sha256(b"slot").digest()
PCRS = {index: hashlib.sha256(bytes((index,))).digest() for index in range(24)}
CONFIGURATION: Mapping[str, object] = {
    "console-enabled": False,
    "current-time": 1678652405,
    "secure-boot": True,
    "tpm-enabled": True,
    "vmUniqueId": "00000000-0000-0000-0000-000000000000",
}


@dataclass(frozen=True, kw_only=True)
class AzureWorld:
    """Evidence of one VM by its parts, and what a verifier needs to judge it."""

    parts: AzureHCLEvidence
    collateral: tuple[Collateral, ...]
    roots: Mapping[bytes, Product]

    @property
    def evidence(self) -> Evidence:
        return Evidence(kind=TEEKind.AZURE_HCL, format=EVIDENCE_FORMAT, data=self.parts.encode())

    @property
    def verifier(self) -> AzureHCLVerifier:
        return AzureHCLVerifier(snp=SNPVerifier(roots=self.roots))

    def having(self, **parts: object) -> "AzureWorld":
        """The same world with other parts."""
        return replace(self, parts=replace(self.parts, **parts))  # type: ignore[arg-type]


def ak(name: str = "azure ak") -> rsa.RSAPrivateKey:
    """The vTPM's attestation key."""
    return amd.rsa_key(name)


def runtime_data(**members: object) -> bytes:
    """The paravisor's runtime data; `members` overwrite those of the top level."""
    return json.dumps({"keys": [jwk()], "vm-configuration": CONFIGURATION} | members).encode()


def jwk(key: rsa.RSAPrivateKey | None = None, kid: str = "HCLAkPub") -> dict[str, object]:
    """A key as the paravisor writes it."""
    numbers = (key or ak()).public_key().public_numbers()
    modulus = numbers.n.to_bytes((numbers.n.bit_length() + 7) // 8, "big")
    n = base64.urlsafe_b64encode(modulus).rstrip(b"=").decode()
    return {"kid": kid, "key_ops": ["sign"], "kty": "RSA", "e": "AQAB", "n": n}


def hcl_report(report: bytes, runtime: bytes, *, hardware: int = 2, fill: int = 100) -> bytes:
    """The NV index: header, hardware report, runtime data, zeros."""
    header = b"HCLA" + struct.pack("<4I", 1, 32 + 1184 + 20 + len(runtime), 2, 0) + bytes(12)
    data = struct.pack("<5I", 20 + len(runtime), 1, hardware, 1, len(runtime))
    return header + report.ljust(1184, b"\0") + data + runtime + bytes(fill)


def attest(slot: bytes = SLOT, pcrs: Mapping[int, bytes] = PCRS) -> bytes:
    """A TPMS_ATTEST of type quote over these registers of the SHA-256 bank."""
    selected = sum(1 << index for index in pcrs).to_bytes(3, "little")
    digest = hashlib.sha256(b"".join(pcrs[index] for index in sorted(pcrs))).digest()
    signer = b"\x00\x0b" + hashlib.sha256(b"signer").digest()
    return (
        b"\xff\x54\x43\x47\x80\x18"
        + _tpm2b(signer)
        + _tpm2b(slot)
        + struct.pack(">QIIBQ", 1000, 3, 1, 1, 0x2020031200120003)
        + struct.pack(">IHB", 1, 0x000B, 3)
        + selected
        + _tpm2b(digest)
    )


def signature(message: bytes, key: rsa.RSAPrivateKey | None = None) -> bytes:
    """A TPMT_SIGNATURE, RSASSA with SHA-256."""
    value = (key or ak()).sign(message, padding.PKCS1v15(), hashes.SHA256())
    return struct.pack(">HH", 0x0014, 0x000B) + _tpm2b(value)


def good(slot: bytes = SLOT) -> AzureWorld:
    """A VM on Genoa, its paravisor's report at VMPL 0, and a quote with this slot."""
    return world(runtime_data(), quote=attest(slot))


def world(
    runtime: bytes, *, quote: bytes | None = None, hashed: bytes | None = None, report: bytes | None = None
) -> AzureWorld:
    """A VM with this runtime data; `hashed` is what the hardware reported instead of its hash."""
    quote = quote or attest()
    slot = (hashed or hashlib.sha256(runtime).digest()).ljust(64, b"\0")
    machine = amd.good(report_data=slot)
    parts = AzureHCLEvidence(
        hcl_report=hcl_report(report or machine.evidence.data, runtime),
        attest=quote,
        signature=signature(quote),
        pcrs=PCRS,
        td_quote=b"",
    )
    return AzureWorld(parts=parts, collateral=machine.collateral, roots=machine.roots)


def on_tdx(td_quote: bytes = b"quote") -> AzureWorld:
    """The same VM on TDX: its TDREPORT, and some bytes in place of a TD quote."""
    runtime = runtime_data()
    report = bytes(128) + hashlib.sha256(runtime).digest().ljust(64, b"\0") + b"\x01" * (1024 - 192)
    return good().having(hcl_report=hcl_report(report, runtime, hardware=4), td_quote=td_quote)


def with_other_runtime_data() -> AzureWorld:
    """The hardware reported the hash of another text: the key shown is not the key it vouched for."""
    return world(runtime_data(), hashed=hashlib.sha256(b"another").digest())


def signed_by_another_key() -> AzureWorld:
    """The quote is of another vTPM."""
    return good().having(signature=signature(attest(), ak("another ak")))


def with_another_pcr() -> AzureWorld:
    """One register beside the quote is not as quoted."""
    return good().having(pcrs=PCRS | {7: bytes(32)})


def _tpm2b(data: bytes) -> bytes:
    return len(data).to_bytes(2, "big") + data
