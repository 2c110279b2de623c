# SPDX-License-Identifier: Apache-2.0
"""A gateway and a worker face to face."""

import pytest

from tests.support.sealing import GatewaySide, WorkerSide


@pytest.fixture
def worker() -> WorkerSide:
    """A worker with suite 2 keys, which are the quicker."""
    return WorkerSide()


@pytest.fixture
def gateway(worker: WorkerSide) -> GatewaySide:
    """A gateway with a granted transport to it."""
    return GatewaySide(worker)
