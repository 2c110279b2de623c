# SPDX-License-Identifier: Apache-2.0
"""Runs the verifier of a fake Intel world, trusting that world's root."""

from datetime import datetime

from attestation.claims import EvidenceClaims, TEEKind
from attestation.tee.dcap.verifier import SGXVerifier, TDXVerifier
from attestation.tee.interface import Verifier
from tests.support.fake_intel import World


def verify_world(world: World, *, now: datetime | None = None) -> EvidenceClaims:
    """The claims of a world's evidence at its time or another."""
    tdx = world.evidence.kind is TEEKind.TDX
    verifier: Verifier = TDXVerifier(roots=world.roots) if tdx else SGXVerifier(roots=world.roots)
    return verifier.verify(world.evidence, (world.collateral,), now=now or world.now)
