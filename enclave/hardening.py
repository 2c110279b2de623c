# SPDX-License-Identifier: Apache-2.0
"""What a worker process asks of the kernel before it makes a key, and what it got (docs/threat-model.md).

No core dumps, not dumpable or traceable by its own user, and no page of it in swap. Every step is best effort and
reported: a measured image can promise them, a process can only ask. Under a TEE the host sees none of these pages.
"""

import ctypes
import resource
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_PR_SET_DUMPABLE: Final = 4
_MCL_CURRENT_FUTURE_ONFAULT: Final = 1 | 2 | 4
_CAP_IPC_LOCK: Final = 14


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardening:
    """Which protections hold."""

    core_dumps_off: bool
    undumpable: bool
    memory_locked: bool


def harden() -> Hardening:
    """Applies what the kernel grants to this process. Call once, before any key exists."""
    return Hardening(core_dumps_off=_no_core_dumps(), undumpable=_undumpable(), memory_locked=_lock_memory())


def _no_core_dumps() -> bool:
    try:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except (OSError, ValueError):
        return False
    return resource.getrlimit(resource.RLIMIT_CORE) == (0, 0)


def _undumpable() -> bool:
    return _call("prctl", _PR_SET_DUMPABLE, 0, 0, 0, 0)


def _lock_memory() -> bool:
    """Locks pages as they are touched, but only without a limit: under one, a later allocation would fail instead."""
    unlimited = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0] == resource.RLIM_INFINITY
    return (unlimited or _may_lock()) and _call("mlockall", _MCL_CURRENT_FUTURE_ONFAULT)


def _may_lock() -> bool:
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        return False
    effective = next((line.split()[1] for line in status.splitlines() if line.startswith("CapEff:")), "0")
    return bool(int(effective, 16) >> _CAP_IPC_LOCK & 1)


def _call(name: str, *arguments: int) -> bool:
    try:
        function = getattr(ctypes.CDLL(None, use_errno=True), name)
    except (OSError, AttributeError):
        return False
    return bool(function(*(ctypes.c_ulong(argument) for argument in arguments)) == 0)
