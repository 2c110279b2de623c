# SPDX-License-Identifier: Apache-2.0
"""Every byte of one valid quote of each form, changed by a bit or by all: none is accepted.

Signed are header and report; bound are the attestation key and its auth data (by the quoting enclave's report), that
report (by the PCK), and each certificate (by the next); sizes must be used up exactly; and the PEM is held to its
canonical spelling, so that not even white space may differ. Free is one byte: the newline that ends the PEM may be a
zero byte instead (which is two bits away), as hosts count the end of the text differently.
"""

import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

import pytest

from attestation.bundle import Collateral, Evidence
from attestation.claims import TEEKind
from attestation.errors import CollateralUnavailable, MalformedEvidence, NotGenuine
from attestation.tee.dcap.verifier import SGXVerifier, TDXVerifier
from attestation.tee.interface import Verifier
from tests.support.fake_intel import World, mint
from tests.support.vectors import vectors

RECORDED = (("tdx/v4_0c699dd453", 0), ("tdx/v5_cf77a6e91e", 0), ("sgx/v3_268c068133", 1))
FREE: frozenset[int] = frozenset()
"""Offsets of bytes that may change so without effect: none."""


class Flips:
    """One valid quote and a warm verifier of it."""

    def __init__(self, verifier: Verifier, evidence: Evidence, collateral: Collateral, now: datetime) -> None:
        self.evidence = evidence
        self._verifier, self._collateral, self._now = verifier, collateral, now
        self.claims = verifier.verify(evidence, (collateral,), now=now)

    def accepted(self, places: Iterable[int], masks: Iterable[int]) -> Iterator[tuple[int, int]]:
        """The places and masks for which the changed quote is still accepted; there should be none."""
        data = self.evidence.data
        masks = tuple(masks)
        for place in places:
            for mask in masks:
                changed = data[:place] + bytes([data[place] ^ mask]) + data[place + 1 :]
                evidence = Evidence(kind=self.evidence.kind, format=self.evidence.format, data=changed)
                try:
                    self._verifier.verify(evidence, (self._collateral,), now=self._now)
                except (MalformedEvidence, NotGenuine):
                    continue
                yield place, mask


def recorded(case: str, which: int) -> Flips:
    """A recorded quote with the collateral of its time."""
    folder, kind = vectors(*case.split("/")), TEEKind(case.partition("/")[0])
    verdict = json.loads((folder / "meta.json").read_text())["verdicts"][which]
    return Flips(
        TDXVerifier() if kind is TEEKind.TDX else SGXVerifier(),
        Evidence(kind=kind, format=f"{kind.value}-quote", data=(folder / "quote.bin").read_bytes()),
        Collateral(kind="intel-dcap-json", data=(folder / verdict["collateral"]).read_bytes()),
        datetime.fromtimestamp(verdict["verify_at_unix"], UTC),
    )


def minted(world: World) -> Flips:
    """A minted quote."""
    tdx = world.evidence.kind is TEEKind.TDX
    verifier: Verifier = TDXVerifier(roots=world.roots) if tdx else SGXVerifier(roots=world.roots)
    return Flips(verifier, world.evidence, world.collateral, world.now)


@pytest.mark.slow
@pytest.mark.parametrize(("case", "which"), RECORDED)
def test_no_changed_byte_of_a_recorded_quote_is_accepted(case: str, which: int) -> None:
    """Every byte, with each single bit and with all bits changed."""
    flips = recorded(case, which)
    masks = (*(1 << bit for bit in range(8)), 0xFF)
    assert {place for place, _ in flips.accepted(range(len(flips.evidence.data)), masks)} == FREE


@pytest.mark.parametrize(("case", "which"), RECORDED)
def test_no_changed_byte_of_a_recorded_quote_is_accepted_one_bit_each(case: str, which: int) -> None:
    """Every byte, with one bit of it changed."""
    flips = recorded(case, which)
    assert {place for place, _ in flips.accepted(range(len(flips.evidence.data)), (1,))} == FREE


@pytest.mark.parametrize("kind", [TEEKind.TDX, TEEKind.SGX])
def test_no_changed_byte_of_a_minted_quote_is_accepted(kind: TEEKind) -> None:
    """The same where no recorded evidence is at hand."""
    flips = minted(mint(kind))
    assert {place for place, _ in flips.accepted(range(len(flips.evidence.data)), (0x20,))} == FREE


def test_the_newline_that_ends_the_chain_is_the_one_free_byte() -> None:
    """It may be a zero byte and nothing else."""
    flips = minted(mint(TEEKind.TDX))
    last = len(flips.evidence.data) - 1
    assert [mask for _, mask in flips.accepted([last], range(1, 256))] == [ord("\n")]


def test_no_changed_byte_of_a_debug_quote_is_accepted() -> None:
    """Debug quotes rest on one implementation, so it alone must catch every change."""
    flips = minted(mint(TEEKind.TDX, debug=True))
    assert {place for place, _ in flips.accepted(range(len(flips.evidence.data)), (1,))} == FREE


def test_no_changed_byte_of_a_signed_statement_is_accepted() -> None:
    """TCB info and quoting enclave identity are signed as they stand, byte for byte."""
    world = mint(TEEKind.TDX)
    verifier = TDXVerifier(roots=world.roots)
    accepted = []
    for name in ("tcb_info", "qe_identity"):
        text = world.statements[name]
        for place in range(len(text)):
            changed = text[:place] + chr(ord(text[place]) ^ 1) + text[place + 1 :]
            spoiled = world.with_statements(**{name: changed})
            try:
                verifier.verify(spoiled.evidence, (spoiled.collateral,), now=spoiled.now)
            except (MalformedEvidence, NotGenuine, CollateralUnavailable):
                continue
            accepted.append((name, place))
    assert accepted == []


def test_no_changed_byte_of_lists_signatures_and_chains_in_the_collateral_is_accepted() -> None:
    """Free is only how a chain's PEM is spelled: its white space and the spare bits before the padding of base64."""
    world = mint(TEEKind.TDX)
    verifier = TDXVerifier(roots=world.roots)
    for name in ("root_ca_crl", "pck_crl", "tcb_info_signature", "qe_identity_signature", "tcb_info_issuer_chain"):
        text = world.statements[name]
        chain = name.endswith("chain")
        raw = text.encode() if chain else bytes.fromhex(text)
        for place in range(len(raw)):
            changed = raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :]
            spoiled = world.with_statements(**{name: changed.decode() if chain else changed.hex()})
            try:
                verifier.verify(spoiled.evidence, (spoiled.collateral,), now=spoiled.now)
            except (MalformedEvidence, NotGenuine, CollateralUnavailable):
                continue
            assert chain
            assert raw[place : place + 1].isspace() or raw[place + 1 : place + 2] == b"="
