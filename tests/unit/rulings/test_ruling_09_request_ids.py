# SPDX-License-Identifier: Apache-2.0
"""Ruling 9: ids of requests are remembered for their lifetime, and no gateway alone uses up the room for them."""

from datetime import UTC, datetime

import pytest

from attestation.errors import Reason, SealingError
from attestation.sealing.replay import RequestIDs

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
EXPIRES = int(NOW.timestamp()) + 60
LOUD, QUIET = b"\x01" * 32, b"\x02" * 32


def run(ids: RequestIDs, number: int, gateway_id: bytes) -> None:
    """One request that opened."""
    request_id = number.to_bytes(16, "big")
    ids.check(request_id, EXPIRES, gateway_id=gateway_id, now=NOW)
    ids.mark(request_id, EXPIRES, gateway_id=gateway_id)


def test_ruling_09_a_gateway_fills_its_own_share_of_the_request_ids_only() -> None:
    """One gateway takes half the table at most; another's requests then still run, and neither runs an id twice."""
    ids = RequestIDs(capacity=8)
    for number in range(4):
        run(ids, number, LOUD)
    with pytest.raises(SealingError) as refused:
        run(ids, 4, LOUD)
    assert refused.value.reason is Reason.WORKER_OVERLOADED
    for number in range(5, 7):
        run(ids, number, QUIET)
    with pytest.raises(SealingError) as twice:
        run(ids, 5, QUIET)
    assert twice.value.reason is Reason.DUPLICATE_REQUEST
