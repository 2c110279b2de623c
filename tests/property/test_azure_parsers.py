# SPDX-License-Identifier: Apache-2.0
"""The Azure verifier is total: any evidence gives claims or one named error."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from attestation.bundle import Evidence
from attestation.claims import TEEKind
from attestation.errors import AttestationError
from attestation.tee.azure_hcl.evidence import EVIDENCE_FORMAT, read_evidence
from attestation.tee.azure_hcl.hcl import read_hcl
from attestation.tee.azure_hcl.runtime import read_runtime_data
from tests.support import fake_azure as azure

WORLD = azure.good()
VERIFIER = WORLD.verifier
DATA = WORLD.evidence.data


def decides(data: bytes) -> bool:
    """True if the verifier accepts; any error but a named one escapes and fails the test."""
    evidence = Evidence(kind=TEEKind.AZURE_HCL, format=EVIDENCE_FORMAT, data=data)
    try:
        VERIFIER.verify(evidence, WORLD.collateral, now=azure.NOW)
    except AttestationError:
        return False
    return True


@given(st.binary(max_size=4096))
def test_random_bytes_are_no_evidence(data: bytes) -> None:
    """Random input is refused by a named error, by each parser."""
    assert not decides(data)
    for parse in (read_evidence, read_hcl, read_runtime_data):
        try:
            parse(data)
        except AttestationError:
            continue
        raise AssertionError(parse)


@given(st.integers(0, len(DATA) - 1))
def test_truncated_evidence_is_refused(size: int) -> None:
    """No prefix of evidence is evidence."""
    assert not decides(DATA[:size])


@settings(max_examples=200)
@given(st.lists(st.tuples(st.integers(0, len(DATA) - 1), st.integers(1, 255)), min_size=1, max_size=12))
def test_changed_evidence_is_refused(changes: list[tuple[int, int]]) -> None:
    """However evidence is changed, lengths included, it is refused unless nothing changed in the end."""
    data = bytearray(DATA)
    for at, by in changes:
        data[at] ^= by
    assert decides(bytes(data)) is (bytes(data) == DATA)


@given(st.binary(max_size=9000), st.sampled_from(["hcl_report", "attest", "signature", "td_quote"]))
def test_any_part_may_be_anything(part: bytes, name: str) -> None:
    """Each part replaced by any bytes, whole in its frame, is refused by a named error."""
    assert not decides(WORLD.having(**{name: part or b"\0"}).evidence.data)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda v: st.lists(v) | st.dictionaries(st.text(), v)
    )
)
def test_any_json_is_no_runtime_data(value: object) -> None:
    """Runtime data of any shape is read or refused by name, whoever vouches for it."""
    assert not decides(azure.world(json.dumps({"keys": value, "vm-configuration": value}).encode()).evidence.data)


@settings(deadline=None)
@given(st.text(max_size=400), st.sampled_from(["kid", "kty", "e", "n"]))
def test_a_key_may_be_spelt_as_anything(text: str, member: str) -> None:
    """Members of the key are texts of any script: none but the canonical ones make a key."""
    root = json.loads(azure.runtime_data())
    root["keys"][0][member] = text
    try:
        read_runtime_data(json.dumps(root).encode())
    except AttestationError:
        return
    assert member == "n" or text in {"HCLAkPub", "RSA", "AQAB"}
