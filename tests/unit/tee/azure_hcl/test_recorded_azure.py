# SPDX-License-Identifier: Apache-2.0
"""Recorded evidence of Azure confidential VMs, each part as far as it was recorded.

No capture is whole: the quote's VM left no hardware report, and the hardware reports came without their endorsements.
"""

import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from attestation.bundle import Collateral
from attestation.errors import AttestationError, NotGenuine, Reason
from attestation.tee.azure_hcl.hcl import Hardware, read_hcl
from attestation.tee.azure_hcl.runtime import read_runtime_data
from attestation.tee.azure_hcl.verifier import AzureHCLVerifier
from attestation.tee.snp.report import read_report
from attestation.tee.tpm.attest import read_quote
from attestation.tee.tpm.pcrs import check_pcrs
from attestation.tee.tpm.signature import check_signature, read_signature
from tests.support import fake_azure as azure
from tests.support.vectors import vector_files, vectors


def recorded(name: str) -> bytes:
    return vectors("azure-hcl", f"kinvolk--{name}").read_bytes()


def taken(data: bytes) -> tuple[bytes, bytes]:
    """A run of bytes behind its length of eight, and the rest."""
    size = int.from_bytes(data[:8], "little")
    return data[8 : 8 + size], data[8 + size :]


@pytest.mark.parametrize(("name", "hardware"), [("snp", Hardware.SNP), ("tdx", Hardware.TDX)])
def test_the_hardware_reported_the_hash_of_the_runtime_data(name: str, hardware: Hardware) -> None:
    """Both recorded reports bind their runtime data, and each shows one attestation key of 2048 bits."""
    report = read_hcl(recorded(f"hcl-report-{name}.bin"))
    assert report.hardware is hardware
    assert report.report_data == hashlib.sha256(report.runtime_data).digest().ljust(64, b"\0")
    assert read_runtime_data(report.runtime_data).key.key_size == 2048


def test_the_switches_of_the_recorded_vms() -> None:
    """The VM on SEV-SNP booted securely and the one on TDX did not; only the newer paravisor states persistence."""
    snp, tdx = (read_runtime_data(read_hcl(recorded(f"hcl-report-{name}.bin")).runtime_data) for name in ("snp", "tdx"))
    assert dict(snp.switches) == {
        "secure_boot": "on",
        "console_enabled": "on",
        "tpm_enabled": "on",
        "tpm_persisted": "unstated",
    }
    assert (tdx.switches["secure_boot"], tdx.switches["tpm_persisted"]) == ("off", "off")
    assert read_runtime_data(recorded("var-data.bin")).switches["secure_boot"] == "on"


def test_the_recorded_quote_holds_under_its_key() -> None:
    """Signature, slot and all 24 registers of the quote hold under the key beside it, and not under another."""
    signature, rest = taken(recorded("quote.bin"))
    message, rest = taken(rest)
    count, rest = int.from_bytes(rest[:8], "little"), rest[8:]
    values = {index: rest[32 * index : 32 * (index + 1)] for index in range(count)}
    key = load_pem_public_key(recorded("akpub.pem"))
    assert isinstance(key, rsa.RSAPublicKey)
    quote = read_quote(message)
    signed = read_signature(b"\x00\x14\x00\x0b" + len(signature).to_bytes(2, "big") + signature)
    check_signature(signed, key, message, "quote")
    check_pcrs(quote, values, signed.algorithm)
    assert quote.extra_data == b"challenge"
    other = read_runtime_data(recorded("var-data.bin")).key
    with pytest.raises(NotGenuine):
        check_signature(signed, other, message, "quote")


def test_a_recorded_report_without_its_own_chip_s_key_is_refused() -> None:
    """AMD's authorities alone decide nothing; the certificates recorded with the report are of another chip."""
    world = azure.good().having(hcl_report=recorded("hcl-report-snp.bin"))
    authorities = [
        Collateral(kind="amd-certificate", data=path.read_bytes()) for path in vector_files("amd-ca", pattern="*.der")
    ]
    verifier = AzureHCLVerifier()
    with pytest.raises(AttestationError) as caught:
        verifier.verify(world.evidence, authorities, now=azure.NOW)
    assert caught.value.reason is Reason.ENDORSEMENT_MISSING
    assert read_report(read_hcl(world.parts.hcl_report).report).vmpl == 0
