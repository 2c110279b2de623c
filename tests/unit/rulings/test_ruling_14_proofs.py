# SPDX-License-Identifier: Apache-2.0
"""Ruling 14: a verdict that stands in no published tree is no verdict, even if the registry itself leases on it."""

import json
from dataclasses import replace

import pytest

from attestation.errors import NotGenuine, Reason
from attestation.lease import open_lease, sign_lease
from attestation.tlog import jcs
from attestation.tlog.entry import parse_entry
from attestation.verify import verify_worker
from tests.support.worlds import SIMULATED, Machine, world


def test_ruling_14_an_entry_that_is_not_in_the_log_proves_nothing() -> None:
    """A well-formed pass that was never logged, under a lease that cites it, is refused for want of its proof."""
    here = world()
    presented = here.admit(Machine())
    body = json.loads(presented.verdict_entry)
    body["verifier"]["version"] = "another"
    unlogged = parse_entry(jcs.encode(body))
    lease = replace(open_lease(presented.lease, here.trust.lease_key), verdict_leaf=unlogged.leaf_hash)
    forged = replace(presented, verdict_entry=unlogged.encoded, lease=sign_lease(here.keys.lease_key, lease))
    with pytest.raises(NotGenuine) as refused:
        verify_worker(
            forged,
            heartbeat=here.heartbeat(),
            trust=here.trust,
            policy=here.policy,
            verifiers=SIMULATED,
            now=here.clock.now,
        )
    assert refused.value.reason is Reason.PROOF_INVALID
