# SPDX-License-Identifier: Apache-2.0
"""Leases and heartbeats are canonical bytes signed for their own purpose by the lease key."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from attestation.binding import Profile
from attestation.codec import cbor, cose
from attestation.errors import Malformed, NotGenuine, Reason
from attestation.lease import (
    MAX_LEASE_SECONDS,
    Heartbeat,
    Lease,
    open_heartbeat,
    open_lease,
    sign_heartbeat,
    sign_lease,
)

KEY = Ed25519PrivateKey.from_private_bytes(bytes(31) + b"\x01")
OTHER = Ed25519PrivateKey.from_private_bytes(bytes(31) + b"\x02")
PUBLIC = KEY.public_key().public_bytes_raw()
LEASE = Lease(
    worker_id=b"\x01" * 32,
    keyset_id=b"\x02" * 32,
    binding_digest=b"\x03" * 32,
    provider_id=b"\x04" * 32,
    policy_sha256=b"\x05" * 32,
    verdict_index=7,
    verdict_leaf=b"\x06" * 32,
    profile=Profile.DEVELOPMENT,
    issued=1000,
    expires=4600,
)
HEARTBEAT = Heartbeat(
    origin="log.test/evidence",
    size=9,
    root=b"\x07" * 32,
    revoked=(b"\x08" * 32, b"\x09" * 32),
    profile=Profile.PRODUCTION,
    made=5000,
)


def test_ruling_31_a_lease_states_everything_and_opens_under_the_lease_key_only() -> None:
    """All ten facts travel in the signed bytes; another key, purpose or byte does not open."""
    signed = sign_lease(KEY, LEASE)
    assert open_lease(signed, PUBLIC) == LEASE
    assert LEASE.expires_at == datetime.fromtimestamp(4600, UTC)
    for bad in (sign_lease(OTHER, LEASE), cose.sign(KEY, "heartbeat", LEASE.encode())):
        with pytest.raises(NotGenuine) as refused:
            open_lease(bad, PUBLIC)
        assert refused.value.reason is Reason.LEASE_INVALID


def test_ruling_31_no_lease_is_longer_than_an_hour() -> None:
    """A lease over an hour, or that ends before it begins, neither encodes nor parses."""
    for expires in (LEASE.issued + MAX_LEASE_SECONDS + 1, LEASE.issued, LEASE.issued - 1):
        with pytest.raises(Malformed):
            replace(LEASE, expires=expires).encode()


def test_heartbeat_round_trip_and_purpose() -> None:
    """A heartbeat opens as it was signed, under its own key and purpose only."""
    assert open_heartbeat(sign_heartbeat(KEY, HEARTBEAT), PUBLIC) == HEARTBEAT
    for bad in (sign_heartbeat(OTHER, HEARTBEAT), sign_lease(KEY, LEASE)):
        with pytest.raises(NotGenuine) as refused:
            open_heartbeat(bad, PUBLIC)
        assert refused.value.reason is Reason.HEARTBEAT_INVALID


def test_revoked_keysets_are_ascending_and_unique() -> None:
    """One set of revoked keysets has one encoding."""
    for revoked in ((b"\x09" * 32, b"\x08" * 32), (b"\x08" * 32, b"\x08" * 32), (b"short",)):
        with pytest.raises(Malformed):
            replace(HEARTBEAT, revoked=revoked).encode()


@pytest.mark.parametrize("place", [8, 9, 10])
def test_times_and_profiles_out_of_range_are_malformed(place: int) -> None:
    """Unknown profiles and times no clock can show are refused when parsing."""
    body = dict(cbor.decode_map(LEASE.encode(), "sealbid/lease/1", 11))
    body[place] = "staging" if place == 8 else 1 << 63
    with pytest.raises(Malformed):
        Lease.decode(cbor.encode(body))
