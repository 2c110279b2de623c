# SPDX-License-Identifier: Apache-2.0
"""Every single byte of the evidence of one Azure VM, flipped: nothing signed or bound is accepted.

The free bytes: none on SEV-SNP. On TDX the TDREPORT but for its report_data, which nobody outside its machine can check
and nobody here reads.
"""

import hashlib
from collections.abc import Iterator, Sequence

from attestation.bundle import Collateral
from attestation.errors import AttestationError
from attestation.tee.azure_hcl.hcl import read_hcl
from attestation.tee.azure_hcl.verifier import AzureHCLVerifier
from tests.support import fake_azure as azure

FLIPS = (0x01, 0x80, 0xFF)


def flipped(data: bytes) -> Iterator[tuple[int, bytes]]:
    for at in range(len(data)):
        for by in FLIPS:
            yield at, data[:at] + bytes((data[at] ^ by,)) + data[at + 1 :]


def accepts(verifier: AzureHCLVerifier, world: azure.AzureWorld, collateral: Sequence[Collateral]) -> bool:
    try:
        verifier.verify(world.evidence, collateral, now=azure.NOW)
    except AttestationError:
        return False
    return True


def test_no_flipped_byte_of_the_evidence_is_accepted() -> None:
    """The whole evidence, CBOR heads included: report, runtime data, quote, signature and registers."""
    world = azure.good()
    verifier, whole = world.verifier, world.evidence
    verifier.verify(whole, world.collateral, now=azure.NOW)
    accepted = set()
    for at, data in flipped(whole.data):
        changed = type(whole)(kind=whole.kind, format=whole.format, data=data)
        try:
            verifier.verify(changed, world.collateral, now=azure.NOW)
        except AttestationError:
            continue
        accepted.add(at)
    assert accepted == set()


def test_on_tdx_only_the_tdreport_s_unread_bytes_are_free() -> None:
    """Of the paravisor's report on TDX nothing is accepted changed but what a TDREPORT says of itself."""
    data = azure.on_tdx().parts.hcl_report
    slot = hashlib.sha256(azure.runtime_data()).digest().ljust(64, b"\0")
    accepted = set()
    for at, changed in flipped(data):
        try:
            report = read_hcl(changed)
        except AttestationError:
            continue
        if report.report_data == slot and hashlib.sha256(report.runtime_data).digest() == slot[:32]:
            accepted.add(at)
    assert accepted == {*range(32, 32 + 128), *range(32 + 192, 32 + 1024)}
