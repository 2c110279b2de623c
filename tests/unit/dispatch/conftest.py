# SPDX-License-Identifier: Apache-2.0
"""A gateway and a scripted worker, linked in each direction, for the tests of dispatch."""

from collections.abc import AsyncIterator

import pytest

from tests.support.dispatch import Gateway
from tests.support.scripted import DIRECTIONS, Pair, ScriptedWorker


@pytest.fixture(params=sorted(DIRECTIONS))
async def pair(request: pytest.FixtureRequest) -> AsyncIterator[Pair]:
    """Both ends, linked in each direction."""
    gateway, worker = Gateway(), ScriptedWorker()
    async with DIRECTIONS[request.param](worker, gateway):
        attested = worker.attested()
        gateway.admit(attested)
        await gateway.reach(attested)
        yield Pair(gateway, worker, attested)
