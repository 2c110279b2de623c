# SPDX-License-Identifier: Apache-2.0
"""Binary event logs made by hand: what is read, what is refused, and what a replay makes of it."""

import hashlib

import pytest

from attestation.bundle import Collateral
from attestation.errors import MalformedEvidence, NotGenuine, Reason
from attestation.tee.dcap.event_logs import replay_logs
from attestation.tee.eventlog.replay import EV_NO_ACTION, MAX_EVENTS, Event, replay
from attestation.tee.eventlog.tcg2 import LOG_KIND, MAX_LOG_BYTES, read_tcg2

SHA1, SHA256, SHA384, UNKNOWN = 0x04, 0x0B, 0x0C, 0x77
SIZES = {SHA1: 20, SHA256: 32, SHA384: 48, UNKNOWN: 16}


def u(width: int, value: int) -> bytes:
    """A little-endian number."""
    return value.to_bytes(width, "little")


def first(
    *algorithms: int, signature: bytes = b"Spec ID Event03\0", size: int | None = None, extra: bytes = b""
) -> bytes:
    """The event that begins a log and names its algorithms."""
    named = b"".join(u(2, one) + u(2, SIZES[one] if size is None else size) for one in algorithms)
    spec = signature + u(4, 0) + bytes([0, 2, 0, 2]) + u(4, len(algorithms)) + named + b"\0" + extra
    return u(4, 0) + u(4, EV_NO_ACTION) + bytes(20) + u(4, len(spec)) + spec


def event(register: int, kind: int, data: bytes, *algorithms: int) -> bytes:
    """One event with digests that are hashes of its data, or zeros for other algorithms."""
    digests = b"".join(u(2, one) + digest(one, data) for one in algorithms)
    return u(4, register) + u(4, kind) + u(4, len(algorithms)) + digests + u(4, len(data)) + data


def digest(algorithm: int, data: bytes) -> bytes:
    """The digest an event of this data carries."""
    names = {SHA1: "sha1", SHA256: "sha256", SHA384: "sha384"}
    return hashlib.new(names[algorithm], data).digest() if algorithm in names else bytes(SIZES[algorithm])


def extended(algorithm: str, *datas: bytes, start: bytes | None = None) -> bytes:
    """A register after these were measured into it."""
    value = bytes(hashlib.new(algorithm).digest_size) if start is None else start
    for data in datas:
        value = hashlib.new(algorithm, value + hashlib.new(algorithm, data).digest()).digest()
    return value


def refusal(log: bytes) -> Reason:
    """Why a log is not read."""
    with pytest.raises(MalformedEvidence) as refused:
        read_tcg2(log)
    return refused.value.reason


def test_each_bank_of_a_log_is_replayed_by_itself() -> None:
    """Registers are extended in order, bank by bank; one without events stays zero."""
    both = (SHA256, SHA384)
    log = first(*both) + event(1, 8, b"one", *both) + event(2, 8, b"two", *both) + event(1, 8, b"three", *both)
    for name in ("sha256", "sha384"):
        values = replay(read_tcg2(log), name, (1, 2, 3))
        assert values == {1: extended(name, b"one", b"three"), 2: extended(name, b"two"), 3: extended(name)}


def test_an_event_that_is_no_action_is_not_extended() -> None:
    """It informs; no register saw it."""
    log = first(SHA384) + event(1, EV_NO_ACTION, b"note", SHA384) + event(1, 8, b"one", SHA384)
    assert replay(read_tcg2(log), "sha384", (1,)) == {1: extended("sha384", b"one")}


@pytest.mark.parametrize(("data", "start"), [(b"StartupLocality\0\3", 3), (b"StartupLocality\0\4", 4), (b"Startup", 0)])
def test_pcr_0_starts_at_the_locality_the_log_names(data: bytes, start: int) -> None:
    """Only PCR 0, and only by an event of that very form."""
    log = first(SHA256) + event(0, EV_NO_ACTION, data, SHA256) + event(0, 8, b"one", SHA256)
    begins = bytes(31) + bytes([start])
    assert replay(read_tcg2(log), "sha256", (0, 1)) == {0: extended("sha256", b"one", start=begins), 1: bytes(32)}


def test_no_locality_is_named_late_or_freely() -> None:
    """A log that could set a byte of PCR 0 at its end, or to any value, would choose part of what it replays to."""
    one, locality = event(0, 8, b"one", SHA256), event(0, EV_NO_ACTION, b"StartupLocality\0\3", SHA256)
    other = event(0, EV_NO_ACTION, b"StartupLocality\0\7", SHA256)
    for log in (one + locality, other + one):
        assert replay(read_tcg2(first(SHA256) + log), "sha256", (0,)) == {0: extended("sha256", b"one")}


def test_a_guests_firmware_log_gives_all_its_registers_or_nothing() -> None:
    """Register 1..4 of such a log is RTMR0..3; something measured after boot that the log leaves out is a mismatch."""
    log = first(SHA384) + event(1, 8, b"firmware", SHA384) + event(3, 8, b"kernel", SHA384)
    offered = (Collateral(kind=LOG_KIND, data=log + b"\xff" * 64),)
    zero = bytes(48)
    quoted = (extended("sha384", b"firmware"), zero, extended("sha384", b"kernel"), zero)
    assert replay_logs(offered, quoted).replayed
    assert not replay_logs((), quoted).replayed
    for index in range(4):
        other = [*quoted]
        other[index] = extended("sha384", b"more", start=quoted[index])
        with pytest.raises(NotGenuine) as refused:
            replay_logs(offered, (other[0], other[1], other[2], other[3]))
        assert refused.value.reason is Reason.EVENT_LOG_MISMATCH


@pytest.mark.parametrize(
    "log",
    [
        first(SHA256, signature=b"Spec ID Event02\0"),
        first(UNKNOWN),
        event(0, EV_NO_ACTION, b"", SHA256),
        u(4, 0) + u(4, 8) + bytes(20) + u(4, 0),
    ],
    ids=["old", "algorithm", "no first", "other first"],
)
def test_a_log_of_another_form_is_unsupported(log: bytes) -> None:
    """SHA-1 logs without a specification, and algorithms not known here."""
    assert refusal(log) is Reason.UNSUPPORTED


@pytest.mark.parametrize(
    "log",
    [
        b"",
        first(SHA256)[:-1],
        first(SHA256, extra=b"\0"),
        first(SHA256, size=20),
        first(SHA256, SHA256),
        first(),
        first(*[SHA256] * 9),
        first(SHA256) + event(1, 8, b"", SHA256, SHA384),
        first(SHA256) + event(1, 8, b"", SHA384),
        first(SHA256, SHA384) + event(1, 8, b"", SHA256, SHA256),
        first(SHA256) + event(32, 8, b"", SHA256),
        first(SHA256) + event(1, 8, b"abc", SHA256)[:-1],
        first(SHA256) + event(1, 8, b"", SHA256)[:-4] + u(4, 0xFFFFFFFF),
        first(SHA256) + b"\0" * 8 + b"\xff" * 8,
        first(SHA256) + event(1, 8, b"", SHA256) * (MAX_EVENTS + 1),
        b"\1" * (MAX_LOG_BYTES + 1),
    ],
    ids=range(16),
)
def test_a_log_that_lies_about_itself_is_malformed(log: bytes) -> None:
    """Counts, sizes, algorithms and ends must be what the log says, within limits."""
    assert refusal(log) is Reason.MALFORMED


def test_an_event_without_a_digest_of_the_bank_changes_the_result_for_the_worse() -> None:
    """A log cannot leave a register at zero by omitting the digest: the hardware's value differs then."""
    silent = Event(register=0, kind=8, digests={}, data=b"")
    assert replay([silent], "sha384", (0,)) == {0: bytes(48)} != {0: extended("sha384", b"")}
