# SPDX-License-Identifier: Apache-2.0
"""Binary event logs in TCG's crypto-agile form: a TPM's log, and a confidential guest's from the ACPI table CCEL.

    log    = first event* fill
    first  = u32 register, u32 3, 20 zero bytes, u32 size, spec
    spec   = "Spec ID Event03" NUL, u32 class, u8 minor, u8 major, u8 errata, u8 uintn,
             u32 count 1..8, (u16 algorithm, u16 size) x count, u8 size, vendor data
    event  = u32 register, u32 type, u32 count, (u16 algorithm, digest) x count, u32 size, data
    fill   = zero bytes, or bytes of 0xff: logs lie in areas of fixed size

Little-endian. Every event has one digest of each algorithm the first names. In a TDX guest register 1..4 is RTMR0..3.
Source: TCG PC Client Platform Firmware Profile 1.06, 10.2 and 10.4; UEFI 2.10, 38.4.1 (Intel TDX mapping). Verifies
nothing. Refused as unsupported: logs of another form, algorithms that are not SHA-1, SHA-2 or SM3.
"""

from typing import Final

from attestation.errors import MalformedEvidence, Reason
from attestation.tee.eventlog.replay import DIGEST_BYTES, EV_NO_ACTION, MAX_EVENTS, Event
from attestation.tee.reader import Reader

LOG_KIND: Final = "event-log-tcg2"
MAX_LOG_BYTES: Final = 2 << 20
MAX_DATA_BYTES: Final = 1 << 20
MAX_REGISTER: Final = 31
_MAX_ALGORITHMS: Final = 8
_SPEC: Final = b"Spec ID Event03\0"
_ALGORITHMS: Final = {0x04: "sha1", 0x0B: "sha256", 0x0C: "sha384", 0x0D: "sha512", 0x12: "sm3_256"}


def read_tcg2(data: bytes) -> tuple[Event, ...]:
    """The events of a log, without the first. Raises `MalformedEvidence`."""
    if len(data) > MAX_LOG_BYTES:
        raise MalformedEvidence(Reason.MALFORMED, f"event log has {len(data)} bytes, want at most {MAX_LOG_BYTES}")
    end = len(_unfilled(data))
    reader = Reader(data, "event log")
    algorithms = _read_first(reader)
    events: list[Event] = []
    while reader.offset < end:
        if len(events) == MAX_EVENTS:
            raise reader.malformed("length", "longer", f"at most {MAX_EVENTS} events")
        events.append(_read_event(reader, algorithms))
    return tuple(events)


def _unfilled(data: bytes) -> bytes:
    """The log up to its fill. An event that itself ends in such bytes is read whole all the same."""
    return data.rstrip(b"\xff") if data.endswith(b"\xff") else data.rstrip(b"\0")


def _read_first(reader: Reader) -> tuple[str, ...]:
    reader.little(4, "first register")
    kind, digest = reader.little(4, "first type"), reader.take(20, "first digest")
    size = reader.little(4, "first size")
    if kind != EV_NO_ACTION or any(digest):
        raise MalformedEvidence(Reason.UNSUPPORTED, "event log does not begin with its specification, want such a log")
    spec = Reader(reader.take(size, "specification"), "event log specification")
    if spec.take(len(_SPEC), "signature") != _SPEC:
        raise MalformedEvidence(Reason.UNSUPPORTED, "event log specification is another, want 'Spec ID Event03'")
    spec.take(8, "class and version")
    count = spec.little(4, "algorithm count")
    if not 0 < count <= _MAX_ALGORITHMS:
        raise spec.malformed("algorithm count", str(count), f"1..{_MAX_ALGORITHMS}")
    algorithms = tuple(_read_algorithm(spec) for _ in range(count))
    if len(set(algorithms)) != count:
        raise spec.malformed("algorithms", "named twice", "each once")
    spec.take(spec.little(1, "vendor size"), "vendor data")
    spec.end()
    return algorithms


def _read_algorithm(spec: Reader) -> str:
    number, size = spec.little(2, "algorithm"), spec.little(2, "digest size")
    name = _algorithm(number)
    if size != DIGEST_BYTES[name]:
        raise spec.malformed(f"{name} size", str(size), str(DIGEST_BYTES[name]))
    return name


def _read_event(reader: Reader, algorithms: tuple[str, ...]) -> Event:
    register, kind, count = (reader.little(4, name) for name in ("register", "type", "digest count"))
    if register > MAX_REGISTER:
        raise reader.malformed("register", str(register), f"at most {MAX_REGISTER}")
    if count != len(algorithms):
        raise reader.malformed("digest count", str(count), str(len(algorithms)))
    digests = {}
    for _ in range(count):
        name = _algorithm(reader.little(2, "algorithm"))
        digests[name] = reader.take(DIGEST_BYTES[name], f"{name} digest")
    if set(digests) != set(algorithms):
        raise reader.malformed("digests", "of other algorithms", "one of each the log names")
    size = reader.little(4, "data size")
    if size > MAX_DATA_BYTES:
        raise reader.malformed("data size", str(size), f"at most {MAX_DATA_BYTES}")
    return Event(register=register, kind=kind, digests=digests, data=reader.take(size, "data"))


def _algorithm(number: int) -> str:
    if number not in _ALGORITHMS:
        message = f"event log algorithm is {number:#06x}, want one of {', '.join(_ALGORITHMS.values())}"
        raise MalformedEvidence(Reason.UNSUPPORTED, message)
    return _ALGORITHMS[number]
