# SPDX-License-Identifier: Apache-2.0
"""Recorded event logs replay to what the hardware beside them quoted."""

import hashlib
import json

import pytest

from attestation.bundle import Collateral
from attestation.errors import MalformedEvidence, NotGenuine, Reason
from attestation.tee.dcap.event_logs import replay_logs
from attestation.tee.eventlog.dstack import LOG_KIND, app_compose, read_dstack
from attestation.tee.eventlog.replay import replay
from attestation.tee.eventlog.tcg2 import read_tcg2
from tests.support.vectors import vectors

CAPTURES = (
    "nanogpt_tee_gemma-3-27b-it_20260610_014905__model",
    "neardirect_qwen_qwen3.5-122b-a10b_20260424_021037__model",
    "venice_e2ee-qwen3-5-122b-a10b_20260424_015841__model",
)


@pytest.fixture(params=CAPTURES)
def capture(request: pytest.FixtureRequest) -> tuple[bytes, dict[str, object]]:
    """The event log of a capture and what is known of its quote."""
    folder = vectors("composite", request.param)
    return (folder / "event_log.json").read_bytes(), json.loads((folder / "meta.json").read_text())


def rtmrs(meta: dict[str, object]) -> tuple[bytes, bytes, bytes, bytes]:
    """The quoted registers."""
    values = meta["rtmr"]
    assert isinstance(values, list)
    first, second, third, fourth = (bytes.fromhex(value) for value in values)
    return first, second, third, fourth


def test_a_dstack_log_replays_to_the_quoted_registers(capture: tuple[bytes, dict[str, object]]) -> None:
    """All four registers come out as quoted."""
    log, meta = capture
    assert tuple(replay(read_dstack(log), "sha384", range(4)).values()) == rtmrs(meta)


def test_a_replayed_log_names_the_compose_file_that_mrconfigid_commits_to(
    capture: tuple[bytes, dict[str, object]],
) -> None:
    """The measured compose hash is the one the host put into MRCONFIGID: 01, SHA-256, zeros."""
    log, meta = capture
    compose = replay_logs((Collateral(kind=LOG_KIND, data=log),), rtmrs(meta)).app_compose
    assert compose is not None
    assert (b"\1" + compose).ljust(48, b"\0").hex() == meta["mr_config_id"]


def test_a_log_with_one_event_altered_left_out_or_moved_is_not_genuine(
    capture: tuple[bytes, dict[str, object]],
) -> None:
    """The registers vouch for every event and their order within a register."""
    log, meta = capture
    events = json.loads(log)
    moved = [*events[:-2], events[-1], events[-2]]
    altered = [*events[:-2], {**events[-2], "event_payload": "00", "digest": ""}, events[-1]]
    for changed in (events[:-1], moved, altered, [*events, {**events[-1]}], []):
        data = json.dumps(changed).encode()
        with pytest.raises(NotGenuine) as refused:
            replay_logs((Collateral(kind=LOG_KIND, data=data),), rtmrs(meta))
        assert refused.value.reason is Reason.EVENT_LOG_MISMATCH


def test_a_runtime_event_that_is_not_what_its_digest_says_is_refused() -> None:
    """A log may not show another payload beside the digest that was really extended."""
    log = vectors("composite", CAPTURES[2], "event_log.json").read_bytes()
    events = json.loads(log)
    shown = next(event for event in events if event["event"] == "compose-hash")
    shown["event_payload"] = "00" * 32
    with pytest.raises(MalformedEvidence):
        read_dstack(json.dumps(events).encode())


def test_a_compose_hash_said_twice_is_not_said() -> None:
    """What an application may add later must not pass for what the guest measured at its start."""
    events = read_dstack(vectors("composite", CAPTURES[0], "event_log.json").read_bytes())
    assert app_compose(events) is not None
    again = next(event for event in events if event.data.startswith(b"compose-hash:"))
    assert app_compose([*events, again]) is None


def test_two_logs_of_one_form_are_refused() -> None:
    """Which of them would count is nobody's guess."""
    log = Collateral(kind=LOG_KIND, data=b"[]")
    with pytest.raises(MalformedEvidence):
        replay_logs((log, log), (bytes(48), bytes(48), bytes(48), bytes(48)))


def test_a_tpm_log_replays_to_the_quoted_digest() -> None:
    """PCR 0, 1 and 2 of a recorded cloud TPM log hash to the digest in its quote."""
    events = read_tcg2(vectors("tpm", "dstack--tpm_eventlog.bin").read_bytes())
    quoted = vectors("tpm", "dstack--tpm_quote_sample.bin").read_bytes()[-32:]
    values = replay(events, "sha256", (0, 1, 2))
    assert hashlib.sha256(b"".join(values.values())).digest() == quoted


@pytest.mark.parametrize("fill", [b"\0" * 4096, b"\xff" * 4096])
def test_the_fill_of_a_logs_area_is_no_event(fill: bytes) -> None:
    """Zero bytes or 0xff after the last event end a log; anything else is refused."""
    log = vectors("tpm", "dstack--tpm_eventlog.bin").read_bytes()
    assert read_tcg2(log + fill) == read_tcg2(log)
    with pytest.raises(MalformedEvidence):
        read_tcg2(log + fill + b"\1")
