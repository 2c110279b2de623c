# SPDX-License-Identifier: Apache-2.0
"""Calls are worked in threads; those that may wait for a vendor cannot take the threads of those that may not."""

import asyncio
import threading
from typing import Any

from prometheus_client import CollectorRegistry

from attestation.binding import Profile
from attestation.rpc.auth import APIKeys
from attestation.server.answering import MAX_JUDGING, Answering
from attestation.server.telemetry import Telemetry

CONTEXT: Any = None
"""Nothing is refused here, so no call is ended through it."""


def answering() -> Answering:
    telemetry = Telemetry(registry=CollectorRegistry(), profile=Profile.DEVELOPMENT)
    return Answering(accounts=APIKeys({}), telemetry=telemetry)


async def test_heartbeats_go_on_while_registrations_wait_for_a_vendor() -> None:
    """However many registrations hang, other calls are answered: gateways must not stop sealing for a slow vendor."""
    desk, vendor = answering(), threading.Event()
    hanging = [asyncio.create_task(desk.judge(CONTEXT, "Register", vendor.wait)) for _ in range(5 * MAX_JUDGING)]
    try:
        assert [await desk.work(CONTEXT, "Watch", lambda: "beat") for _ in range(3)] == ["beat"] * 3
        assert not any(task.done() for task in hanging)
    finally:
        vendor.set()
    assert all(await asyncio.gather(*hanging))
    desk.close()


async def test_registrations_are_judged_a_few_at_a_time() -> None:
    """No more threads than the bound, however many ask at once."""
    desk, vendor = answering(), threading.Event()
    at_once, peak, lock = 0, 0, threading.Lock()

    def judge() -> None:
        nonlocal at_once, peak
        with lock:
            at_once += 1
            peak = max(peak, at_once)
        vendor.wait(0.01)
        with lock:
            at_once -= 1

    await asyncio.gather(*(desk.judge(CONTEXT, "Register", judge) for _ in range(50)))
    assert 1 <= peak <= MAX_JUDGING
    desk.close()
