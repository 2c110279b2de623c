# SPDX-License-Identifier: Apache-2.0
"""Two implementations must agree: what one of them refuses or reads otherwise is not genuine."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from attestation.claims import TCBStatus, TEEKind
from attestation.errors import NotGenuine, Reason
from attestation.tee.dcap.endorsements import read_statements, verify_endorsements
from attestation.tee.dcap.genuine import GenuineQuote, QuoteVerifier
from attestation.tee.dcap.second_opinion import SecondOpinion
from tests.support.fake_intel import World, mint


def both(kind: TEEKind, **wishes: Any) -> tuple[World, GenuineQuote, SecondOpinion]:
    """A world, what we make of its quote, and the other implementation with its collateral."""
    world = mint(kind, **wishes)
    genuine = QuoteVerifier(roots=world.roots).verify(world.evidence.data, kind, (world.collateral,), now=world.now)
    endorsements = verify_endorsements(read_statements(world.collateral.data, kind), world.roots)
    return world, genuine, SecondOpinion(endorsements)


@pytest.mark.parametrize(("kind", "version"), [(TEEKind.TDX, 4), (TEEKind.TDX, 5), (TEEKind.SGX, 3)])
def test_both_read_the_same_of_a_right_quote(kind: TEEKind, version: int) -> None:
    """Every byte of the report, the platform, the level and the numbers."""
    world, genuine, opinion = both(kind, version=version)
    opinion.check(genuine.quote, genuine.platform, genuine.standing, world.now)


@pytest.mark.parametrize(
    "changes",
    [
        {"status": TCBStatus.OUT_OF_DATE},
        {"advisories": ("INTEL-SA-00001",)},
        {"date": None},
    ],
    ids=str,
)
def test_another_standing_than_the_other_implementations_is_refused(changes: dict[str, Any]) -> None:
    """Status, advisories and date of the level."""
    world, genuine, opinion = both(TEEKind.TDX)
    with pytest.raises(NotGenuine) as refused:
        opinion.check(genuine.quote, genuine.platform, replace(genuine.standing, **changes), world.now)
    assert refused.value.reason is Reason.TCB_MISMATCH


def test_another_report_or_platform_than_the_other_implementation_read_is_refused() -> None:
    """Claims come from bytes that both have read alike."""
    world, genuine, opinion = both(TEEKind.TDX)
    body = genuine.quote.body[:-1] + b"\xff"
    for quote, platform in (
        (replace(genuine.quote, body=body), genuine.platform),
        (genuine.quote, replace(genuine.platform, ppid=bytes(16))),
    ):
        with pytest.raises(NotGenuine) as refused:
            opinion.check(quote, platform, genuine.standing, world.now)
        assert refused.value.reason is Reason.TCB_MISMATCH


def test_a_quote_that_the_other_implementation_refuses_is_refused() -> None:
    """Of another platform, or at another time: it decides by itself."""
    world, genuine, opinion = both(TEEKind.TDX)
    stranger = both(TEEKind.TDX)[1]
    for quote, now in ((stranger.quote, world.now), (genuine.quote, world.now + timedelta(days=60))):
        with pytest.raises(NotGenuine) as refused:
            opinion.check(quote, genuine.platform, genuine.standing, now)
        assert refused.value.reason is Reason.CHAIN_INVALID
