# SPDX-License-Identifier: Apache-2.0
"""SGX evidence through Gramine's files: of type dcap, over the data asked for, or none at all."""

import errno

import pytest
from typing_extensions import override

from attestation.claims import TEEKind
from attestation.errors import Reason
from enclave.attesters.device import DeviceFailed
from enclave.attesters.gramine import GramineQuoter
from tests.support.fake_tsm import FakeGramine, binding
from tests.support.vectors import vector_files
from tests.support.worlds import START


def quote_over(data: bytes) -> bytes:
    return b"\x03\x00" + bytes(366) + data + bytes(100)


def test_a_quote_is_over_the_binding() -> None:
    """What is written as user report data is the binding's 64 bytes, and the quote is evidence of SGX."""
    files = FakeGramine(make_quote=quote_over)
    quoted = GramineQuoter(files=files).quote(binding(), now=START)
    (evidence,) = quoted.evidence
    assert (evidence.kind, evidence.format) == (TEEKind.SGX, "sgx-quote")
    assert files.written == binding().report_data()
    assert evidence.data == quote_over(binding().report_data())
    assert quoted.collateral == ()


@pytest.mark.parametrize("kind", ["none", "epid", "", "dcap2"])
def test_only_dcap_quotes_are_made(kind: str) -> None:
    """An enclave without remote attestation, or of another scheme, is told so before anything is written."""
    files = FakeGramine(make_quote=quote_over, kind=kind)
    with pytest.raises(DeviceFailed, match="want dcap"):
        GramineQuoter(files=files).quote(binding(), now=START)
    assert files.written == b""


@pytest.mark.parametrize("wrong", [b"", quote_over(bytes(64)), quote_over(b"\x01" * 64)[:400]])
def test_a_quote_of_other_data_is_never_handed_on(wrong: bytes) -> None:
    """Whatever the platform answers, evidence over other data does not leave."""
    with pytest.raises(DeviceFailed, match="other data"):
        GramineQuoter(files=FakeGramine(make_quote=lambda _: wrong)).quote(binding(), now=START)


@pytest.mark.parametrize("name", ["attestation_type", "user_report_data", "quote"])
@pytest.mark.parametrize("code", [errno.ENOENT, errno.EACCES, errno.EIO])
def test_errors_of_the_files_are_named(name: str, code: int) -> None:
    """A file that is not there, not permitted or broken is a device that failed."""
    files = FakeGramine(make_quote=quote_over, faults={name: code})
    with pytest.raises(DeviceFailed) as failed:
        GramineQuoter(files=files).quote(binding(), now=START)
    assert failed.value.reason is Reason.PEER_UNAVAILABLE


def test_recorded_quotes_hold_their_data_where_it_is_looked_for() -> None:
    """In real quotes of version 3 the field checked here is the report_data that was recorded with them."""
    checked = 0
    for path in vector_files("sgx", pattern="*/quote.bin"):
        raw = path.read_bytes()
        if raw[:2] != b"\x03\x00":
            continue

        class Recorded(FakeGramine):
            @override
            def write(self, path: str, data: bytes) -> None:
                assert data != b""

        quote = raw[:368] + binding().report_data() + raw[432:]
        files = Recorded(make_quote=lambda _, quote=quote: quote)  # type: ignore[misc]
        assert GramineQuoter(files=files).quote(binding(), now=START).evidence[0].data == quote
        checked += 1
    assert checked
