# SPDX-License-Identifier: Apache-2.0
"""The SEV-SNP verifier is total: any report and any certificates give claims or one named error."""

from hypothesis import given, settings
from hypothesis import strategies as st

from attestation.bundle import Collateral
from attestation.errors import AttestationError
from attestation.tee.snp.product import Product
from attestation.tee.snp.report import read_report
from tests.support import fake_amd as amd

WORLD = amd.good(Product.TURIN, 5)
VERIFIER = WORLD.verifier
REPORT = WORLD.evidence.data


def decides(data: bytes, collateral: tuple[Collateral, ...]) -> bool:
    """True if the verifier accepts; any error but a named one escapes and fails the test."""
    try:
        VERIFIER.verify(amd.evidence(data), collateral, now=amd.NOW)
    except AttestationError:
        return False
    return True


@given(st.binary(max_size=2500))
def test_random_bytes_are_no_report(data: bytes) -> None:
    """Random input is refused by a named error."""
    assert not decides(data, WORLD.collateral)


@given(st.integers(0, len(REPORT) - 1))
def test_a_truncated_report_is_refused(size: int) -> None:
    """No prefix of a report is a report."""
    assert not decides(REPORT[:size], WORLD.collateral)


@given(st.lists(st.tuples(st.integers(0, len(REPORT) - 1), st.integers(1, 255)), min_size=1, max_size=20))
def test_a_changed_report_is_refused(changes: list[tuple[int, int]]) -> None:
    """However a report is changed, it is refused unless nothing changed in the end."""
    data = bytearray(REPORT)
    for at, by in changes:
        data[at] ^= by
    assert decides(bytes(data), WORLD.collateral) is (bytes(data) == REPORT)


@given(st.sampled_from([2, 3, 5]), st.binary(min_size=1180, max_size=1180))
def test_fields_of_any_value_parse_or_are_named(version: int, rest: bytes) -> None:
    """Reports of a known version with any content at all are read or refused by name."""
    try:
        read_report(version.to_bytes(4, "little") + rest)
    except AttestationError:
        return
    assert not any(rest[-368:])


@settings(max_examples=200)
@given(
    st.sampled_from([item.data for item in WORLD.collateral]),
    st.lists(st.tuples(st.integers(0, 2000), st.binary(min_size=1, max_size=4)), max_size=4),
    st.integers(0, 3),
    st.sampled_from(["amd-certificate", "amd-crl"]),
)
def test_any_collateral_is_judged_or_named(der: bytes, changes: list[tuple[int, bytes]], cut: int, kind: str) -> None:
    """Broken certificates, lying lengths and certificates given as lists never escape as another error."""
    data = bytearray(der[: len(der) - cut])
    for at, patch in changes:
        data[at % len(data) : at % len(data) + len(patch)] = patch
    others = tuple(item for item in WORLD.collateral if item.data != der)
    decides(REPORT, (*others, Collateral(kind=kind, data=bytes(data))))
