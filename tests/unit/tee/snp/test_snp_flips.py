# SPDX-License-Identifier: Apache-2.0
"""Every single byte of a valid report and of its key's certificate, flipped: nothing signed or bound is accepted.

No byte of a report is free: what is not signed is the signature itself or must be zero. No byte of the certificate is
free either.
"""

import pytest

from attestation.bundle import Collateral
from attestation.errors import AttestationError
from attestation.tee.snp.product import Product
from attestation.tee.snp.report import REPORT_BYTES
from tests.support import fake_amd as amd

FREE_IN_A_REPORT: frozenset[int] = frozenset()
FREE_IN_A_CERTIFICATE: frozenset[int] = frozenset()
FLIPS = (0x01, 0x80, 0xFF)


def flipped(data: bytes, at: int, by: int) -> bytes:
    return data[:at] + bytes((data[at] ^ by,)) + data[at + 1 :]


@pytest.mark.parametrize("version", [2, 3, 5])
def test_no_flipped_byte_of_a_report_is_accepted(version: int) -> None:
    """1184 bytes, three flips each: all refused by a named error."""
    product = Product.TURIN if version == 5 else Product.GENOA
    world = amd.good(product, version)
    verifier, data = world.verifier, world.evidence.data
    verifier.verify(world.evidence, world.collateral, now=amd.NOW)
    accepted = set()
    for at in range(REPORT_BYTES):
        for by in FLIPS:
            try:
                verifier.verify(amd.evidence(flipped(data, at, by)), world.collateral, now=amd.NOW)
            except AttestationError:
                continue
            accepted.add(at)
    assert accepted == FREE_IN_A_REPORT


@pytest.mark.parametrize("name", ["SEV-VCEK", "SEV-Genoa", "ARK-Genoa"])
def test_no_flipped_byte_of_the_chain_is_accepted(name: str) -> None:
    """Every byte of each certificate: the chain is refused, or no longer endorses this report."""
    world = amd.good()
    verifier = world.verifier
    kept = world.without(name).collateral
    der = next(item.data for item in world.collateral if item not in kept)
    accepted = set()
    for at in range(len(der)):
        for by in FLIPS:
            changed = Collateral(kind="amd-certificate", data=flipped(der, at, by))
            try:
                verifier.verify(world.evidence, (*kept, changed), now=amd.NOW)
            except AttestationError:
                continue
            accepted.add(at)
    assert accepted == FREE_IN_A_CERTIFICATE
