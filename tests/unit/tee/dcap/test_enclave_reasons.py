# SPDX-License-Identifier: Apache-2.0
"""SGX alone: where the two implementations would not agree about an enclave, it is refused."""

from dataclasses import replace

import pytest

from attestation.claims import TCBStatus, TEEKind
from attestation.errors import NotGenuine, Reason
from attestation.tee.dcap.endorsements import read_statements, verify_endorsements
from attestation.tee.dcap.genuine import GenuineQuote, QuoteVerifier
from attestation.tee.dcap.second_opinion import SecondOpinion
from tests.support.fake_intel import World, mint


def both() -> tuple[World, GenuineQuote, SecondOpinion]:
    """An enclave's world, what we make of its quote, and the other implementation with its collateral."""
    world = mint(TEEKind.SGX)
    verifier = QuoteVerifier(roots=world.roots)
    genuine = verifier.verify(world.evidence.data, TEEKind.SGX, (world.collateral,), now=world.now)
    statements = read_statements(world.collateral.data, TEEKind.SGX)
    return world, genuine, SecondOpinion(verify_endorsements(statements, world.roots))


def test_an_enclave_whose_standing_the_other_reads_alike_passes() -> None:
    """The counterpart: nothing differs, nothing is raised."""
    world, genuine, opinion = both()
    opinion.check(genuine.quote, genuine.platform, genuine.standing, world.now)


def test_an_enclave_of_another_standing_or_platform_is_refused() -> None:
    """Another TCB status, and another platform identity, than the other implementation reads."""
    world, genuine, opinion = both()
    worse = replace(genuine.standing, status=TCBStatus.OUT_OF_DATE)
    other = replace(genuine.platform, ppid=bytes(16))
    for platform, standing in ((genuine.platform, worse), (other, genuine.standing)):
        with pytest.raises(NotGenuine) as refused:
            opinion.check(genuine.quote, platform, standing, world.now)
        assert refused.value.reason is Reason.TCB_MISMATCH
