# SPDX-License-Identifier: Apache-2.0
"""The TPM verifier and every parser under it are total: any bytes give a value or one named error."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attestation.bundle import Collateral, Evidence
from attestation.claims import TEEKind
from attestation.errors import AttestationError
from attestation.tee.tpm.attest import read_quote
from attestation.tee.tpm.credential import make_credential
from attestation.tee.tpm.endorsement import read_endorsement_key
from attestation.tee.tpm.evidence import EVIDENCE_FORMAT, read_evidence
from attestation.tee.tpm.public import read_public
from attestation.tee.tpm.signature import read_signature
from tests.support.fake_tpm import NOW, crl, good, open_credential, private
from tests.support.worlds import Entropy

WORLD: Final = good().adding(crl("issuer"))
VERIFIER: Final = WORLD.verifier
DATA: Final = WORLD.evidence.data
PARSERS: Final[Mapping[str, tuple[Callable[[bytes], object], bytes]]] = {
    "evidence": (read_evidence, DATA),
    "quote": (read_quote, WORLD.parts.attest),
    "public": (read_public, WORLD.parts.ak),
    "signature": (read_signature, WORLD.parts.signature),
    "certificate": (read_endorsement_key, WORLD.parts.ek_certificate),
}
Changes = list[tuple[int, bytes]]
changes = st.lists(st.tuples(st.integers(0, 4000), st.binary(min_size=1, max_size=4)), max_size=6)


def altered(data: bytes, patches: Changes, cut: int) -> bytes:
    """The data with some bytes replaced, and some taken off or added at its end."""
    out = bytearray(data[: len(data) - cut] if cut >= 0 else data + bytes(-cut))
    for at, patch in patches:
        if out:
            out[at % len(out) : at % len(out) + len(patch)] = patch
    return bytes(out)


def decides(data: bytes, collateral: tuple[Collateral, ...] = WORLD.collateral) -> bool:
    """True if the verifier accepts; any error but a named one escapes and fails the test."""
    try:
        VERIFIER.verify(Evidence(kind=TEEKind.TPM, format=EVIDENCE_FORMAT, data=data), collateral, now=NOW)
    except AttestationError:
        return False
    return True


@pytest.mark.parametrize("name", list(PARSERS))
@given(data=st.binary(max_size=1500))
def test_any_bytes_are_a_value_or_a_named_error(name: str, data: bytes) -> None:
    """Random input never escapes as another error."""
    with suppress(AttestationError):
        PARSERS[name][0](data)


@pytest.mark.parametrize("name", list(PARSERS))
@settings(max_examples=200)
@given(patches=changes, cut=st.integers(-3, 40))
def test_altered_bytes_are_a_value_or_a_named_error(name: str, patches: Changes, cut: int) -> None:
    """Lying lengths, other numbers and cut ends of every structure."""
    read, data = PARSERS[name]
    with suppress(AttestationError):
        read(altered(data, patches, cut))


@given(st.integers(0, len(DATA) - 1))
def test_no_prefix_is_evidence(size: int) -> None:
    """Truncated anywhere, it is refused."""
    assert not decides(DATA[:size])


@settings(max_examples=200)
@given(changes, st.integers(-3, 40))
def test_changed_evidence_is_refused(patches: Changes, cut: int) -> None:
    """Whatever is accepted says what the good evidence says, but for the proof that the registry checks."""
    data = altered(DATA, patches, cut)
    if decides(data):
        assert replace(read_evidence(data), activation=bytes(32)) == WORLD.parts


@settings(max_examples=100)
@given(
    st.integers(0, len(WORLD.collateral) - 1),
    changes,
    st.integers(-3, 40),
    st.sampled_from(["tpm-certificate", "x509-crl", "event-log-tcg2"]),
)
def test_any_collateral_is_judged_or_named(place: int, patches: Changes, cut: int, kind: str) -> None:
    """Broken certificates, lists given as certificates and the reverse never escape as another error."""
    changed = Collateral(kind=kind, data=altered(WORLD.collateral[place].data, patches, cut))
    decides(DATA, (*WORLD.collateral[:place], changed, *WORLD.collateral[place + 1 :]))


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from(["ek", "p256-ek", "p384-ek"]),
    st.binary(min_size=1, max_size=66),
    st.binary(min_size=1, max_size=32),
)
def test_a_credential_opens_to_the_secret_sealed(key: str, name: bytes, secret: bytes) -> None:
    """For every kind of key, name and secret."""
    credential = make_credential(private(key).public_key(), name, secret, Entropy())
    assert open_credential(private(key), name, credential) == secret
