# SPDX-License-Identifier: Apache-2.0
"""Every attestation parser is total: any bytes give a value that writes back to them, or a named error."""

from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attestation.appraisal.policy import read_policy
from attestation.bundle import Evidence, EvidenceBundle
from attestation.claims import TEEKind
from attestation.errors import SealbidError
from attestation.lease import Heartbeat, Lease, open_heartbeat
from attestation.rpc.auth import APIKeys
from attestation.simulated.formats import EVIDENCE_FORMAT
from attestation.simulated.verifier import SimulatedVerifier
from attestation.trust import read_trust
from tests.support.worlds import START, Machine, World, policy_bytes, world

_HERE: list[tuple[World, EvidenceBundle, bytes]] = []


def sample() -> tuple[World, EvidenceBundle, bytes]:
    """One accepted worker, made once: the bundle, the world and a heartbeat."""
    if not _HERE:
        here = world()
        _HERE.append((here, here.admit(Machine()).bundle, here.heartbeat()))
    return _HERE[0]


def verify_simulated(data: bytes) -> None:
    bundle = sample()[1]
    evidence = Evidence(kind=TEEKind.SIMULATED, format=EVIDENCE_FORMAT, data=data)
    SimulatedVerifier().verify(evidence, bundle.collateral, now=START)


PARSERS: dict[str, Callable[[bytes], object]] = {
    "bundle": EvidenceBundle.decode,
    "lease": Lease.decode,
    "heartbeat": Heartbeat.decode,
    "policy": read_policy,
    "trust": read_trust,
    "keys": APIKeys.from_toml,
    "simulated": verify_simulated,
}


@pytest.mark.parametrize("name", list(PARSERS))
@settings(max_examples=60, deadline=None)
@given(data=st.binary(max_size=200))
def test_any_bytes_are_a_value_or_a_named_error(name: str, data: bytes) -> None:
    """No parser raises anything but our own errors."""
    with suppress(SealbidError):
        PARSERS[name](data)


@settings(max_examples=150, deadline=None)
@given(place=st.integers(min_value=0), flip=st.integers(min_value=1, max_value=255))
def test_a_flipped_byte_of_a_bundle_is_refused_or_another_bundle(place: int, flip: int) -> None:
    """The encoding is canonical: altered bytes either do not parse or write back to exactly themselves."""
    data = bytearray(sample()[1].encode())
    data[place % len(data)] ^= flip
    try:
        bundle = EvidenceBundle.decode(bytes(data))
    except SealbidError:
        return
    assert bundle.encode() == bytes(data)


@settings(max_examples=150, deadline=None)
@given(place=st.integers(min_value=0), flip=st.integers(min_value=1, max_value=255))
def test_a_flipped_byte_of_a_heartbeat_is_refused(place: int, flip: int) -> None:
    """Nothing of a signed heartbeat can be altered."""
    here, _, signed = sample()
    data = bytearray(signed)
    data[place % len(data)] ^= flip
    with pytest.raises(SealbidError):
        open_heartbeat(bytes(data), here.trust.lease_key)


@settings(max_examples=150, deadline=None)
@given(line=st.integers(min_value=0), text=st.text(max_size=40))
def test_a_changed_policy_line_never_crashes(line: int, text: str) -> None:
    """Any line of a policy replaced by any text reads, or is refused by name."""
    lines = policy_bytes().decode().splitlines()
    lines[line % len(lines)] = text
    try:
        policy = read_policy("\n".join(lines).encode(errors="replace"))
    except SealbidError:
        return
    assert policy.simulated
