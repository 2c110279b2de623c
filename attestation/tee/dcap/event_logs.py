# SPDX-License-Identifier: Apache-2.0
"""A TDX guest's event logs against its quoted RTMRs: every log must give all four, or the evidence is not genuine.

A log that leaves out what was measured after boot does not replay: it would hide what runs. A register without events
must be quoted as zero.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from attestation.bundle import Collateral
from attestation.errors import MalformedEvidence, NotGenuine, Reason
from attestation.tee.eventlog import dstack, tcg2
from attestation.tee.eventlog.replay import Event, replay


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayedLogs:
    """What the logs of a presentation prove."""

    replayed: bool
    app_compose: bytes | None


def replay_logs(collateral: Sequence[Collateral], rtmrs: tuple[bytes, bytes, bytes, bytes]) -> ReplayedLogs:
    """What the event logs among the collateral prove of a guest with these registers; at most one log of each form.

    Raises:
        MalformedEvidence: a log that does not parse, or two of one form.
        NotGenuine: EVENT_LOG_MISMATCH, a log that gives other registers.
    """
    own = _one(collateral, dstack.LOG_KIND)
    firmware = _one(collateral, tcg2.LOG_KIND)
    compose = None
    if own is not None:
        events = dstack.read_dstack(own)
        _check(events, 0, rtmrs)
        compose = dstack.app_compose(events)
    if firmware is not None:
        _check(tcg2.read_tcg2(firmware), 1, rtmrs)  # register 0 of such a log stands for MRTD
    return ReplayedLogs(replayed=own is not None or firmware is not None, app_compose=compose)


def _check(events: Sequence[Event], first: int, rtmrs: tuple[bytes, ...]) -> None:
    values = replay(events, "sha384", range(first, first + len(rtmrs)))
    for index, quoted in enumerate(rtmrs):
        got = values[first + index]
        if got != quoted:
            message = f"rtmr{index} by the event log is {got.hex()}, want {quoted.hex()} as quoted"
            raise NotGenuine(Reason.EVENT_LOG_MISMATCH, message)


def _one(collateral: Sequence[Collateral], kind: str) -> bytes | None:
    logs = [item.data for item in collateral if item.kind == kind]
    if len(logs) > 1:
        raise MalformedEvidence(Reason.MALFORMED, f"{kind} is there {len(logs)} times, want once")
    return logs[0] if logs else None
