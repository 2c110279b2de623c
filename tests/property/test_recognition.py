# SPDX-License-Identifier: Apache-2.0
"""Recognising and auditing are total: any bytes under any name are something, and never accepted by accident."""

from hypothesis import given
from hypothesis import strategies as st

from attestation.audit.evidence import Subject, audit
from attestation.audit.evidence_view import lines, to_json
from attestation.audit.judgement import Question
from attestation.audit.recognise import Recognised, recognise
from attestation.exits import Exit
from attestation.verifiers import verifiers_for
from tests.unit.attestation.audit.recorded import NOW, permissive

QUESTION = Question(policy=permissive(), verifiers=verifiers_for(permissive().profile), now=NOW)

MARKS = (
    b"<",
    b"{",
    b'[{"imr":',
    b"-----BEGIN CERTIFICATE-----\n",
    b"0\x82\x01\x00",
    b"0\x03\x0a\x01\x00",
    b"\x11\xe0\x01\xff",
    b"HCLA",
    b"\xffTCG\x80\x18",
    b"\xa6\x00psealbid/bundle/1",
    b"\x04\0\x02\0\x81\0\0\0" + bytes(4) + bytes.fromhex("939a7233f79c4ca9940a0db3957f0607"),
)
NAMES = ("quote.bin", "tdx_quote.bin", "gpu0.report.bin", "meta.json", "README.md", "", "a/b", "x" * 300)


@given(mark=st.sampled_from((b"", *MARKS)), rest=st.binary(max_size=1500), name=st.sampled_from(NAMES))
def test_any_bytes_are_something(mark: bytes, rest: bytes, name: str) -> None:
    """Exactly one thing is said of a file: evidence, a bundle, endorsements, or what accompanies them."""
    found = recognise(name, mark + rest)
    assert isinstance(found, Recognised)
    said = (found.evidence, found.collateral or None, found.recorded, found.beside, found.bundle)
    assert sum(one is not None for one in said) == 1


@given(mark=st.sampled_from(MARKS), rest=st.binary(max_size=600), name=st.sampled_from(NAMES), alone=st.booleans())
def test_an_audit_of_any_bytes_is_a_verdict(mark: bytes, rest: bytes, name: str, alone: bool) -> None:
    """Whatever a file holds, the audit ends with a verdict that is not accepted, alone or as a folder of two."""
    files = {name: mark + rest} if alone else {name: mark + rest, name + ".2": rest}
    verdict = audit(Subject(name="any", files=files, folder=not alone), [("beside", rest)], QUESTION)
    assert verdict.exit in (Exit.REJECTED, Exit.UNDECIDED, Exit.MALFORMED)
    assert lines([verdict])
    assert to_json([verdict])["exit"] == verdict.exit
