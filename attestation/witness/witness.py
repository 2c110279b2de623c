# SPDX-License-Identifier: Apache-2.0
"""The witness's one act: cosign a head that continues the last one it cosigned, and keep it first.

The order, and what a crash after each step leaves (docs/spec.md, 10.8):

    1 judge the head against the note in the store     nothing
    2 make the cosignatures, put the note in the store a head nobody has a cosignature of; the log is told its size
    3 move the guard up                                the same
    4 answer                                           a cosignature that got lost; asked again, it is made anew

The time in a cosignature never goes back for one log: a clock that fell behind the last one by more than
`CLOCK_SLACK_SECONDS` stops cosigning, since "the largest head as of then" would contradict what was said before.
"""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from attestation.errors import AttestationError, MalformedEvidence, NotGenuine, Reason
from attestation.tlog.add_checkpoint import AddCheckpoint
from attestation.tlog.checkpoint import Checkpoint
from attestation.tlog.cosignature import CosignatureSigner, CosignatureVerifier, cosigned_at
from attestation.tlog.note import NoteKey, SignatureLine, SignedNote, open_note, parse_note
from attestation.tlog.store import LogError
from attestation.witness.quota import Buckets
from attestation.witness.store import WitnessStore, head_of
from attestation.witness.verdict import Outcome, judge

CLOCK_SLACK_SECONDS: Final = 5
SECONDS_A_DAY: Final = 86_400

_LOG: Final = logging.getLogger("attestation.witness")


@dataclass(frozen=True, slots=True, kw_only=True)
class WitnessedLog:
    """A log this witness knows: its origin, its keys (any one signs), and the heads it may have cosigned a day."""

    origin: str
    keys: tuple[NoteKey, ...]
    per_day: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """What became of a request, for which log (if one we know), and the lines or the size it is answered with."""

    outcome: Outcome
    origin: str = ""
    size: int = 0
    lines: tuple[SignatureLine, ...] = ()


class Witness:
    """Cosigns for `logs` with all of `signers`. Safe to call from any thread; blocks on disk."""

    def __init__(
        self,
        *,
        signers: Sequence[CosignatureSigner],
        logs: Sequence[WitnessedLog],
        store: WitnessStore,
        clock: Callable[[], datetime],
    ) -> None:
        self._signers = tuple(signers)
        self._logs: Mapping[str, WitnessedLog] = {log.origin: log for log in logs}
        self._store = store
        self._clock = clock
        self._writing = {origin: threading.Lock() for origin in self._logs}
        self._quota = {
            log.origin: Buckets(per_second=log.per_day / SECONDS_A_DAY, burst=max(10.0, log.per_day / 24))
            for log in logs
        }

    @property
    def logs(self) -> Sequence[WitnessedLog]:
        """The logs it knows."""
        return tuple(self._logs.values())

    def last(self, origin: str) -> bytes | None:
        """The last note cosigned for a log it knows. Raises `LogError`."""
        return self._store.load(origin) if origin in self._logs else None

    def add_checkpoint(self, body: bytes) -> Answered:
        """Judges a request's body and, where it continues what is known, cosigns. Raises nothing a caller causes."""
        try:
            request = AddCheckpoint.decode(body)
            text, _ = parse_note(request.note)
        except MalformedEvidence:
            return Answered(outcome=Outcome.MALFORMED)
        log = self._logs.get(text.partition("\n")[0])
        if log is None:
            return Answered(outcome=Outcome.UNKNOWN_LOG)
        try:
            note = open_note(request.note, log.keys)
            head = Checkpoint.read(note.text)
        except NotGenuine:
            return Answered(outcome=Outcome.UNSIGNED, origin=log.origin)
        except MalformedEvidence:
            return Answered(outcome=Outcome.MALFORMED, origin=log.origin)
        if not self._quota[log.origin].take("", self._clock()):
            return Answered(outcome=Outcome.LIMITED, origin=log.origin)
        with self._writing[log.origin]:
            return self._judged(log, request, note, head)

    def _judged(self, log: WitnessedLog, request: AddCheckpoint, note: SignedNote, head: Checkpoint) -> Answered:
        try:
            stored = self._store.load(log.origin)
            last = head_of(stored) if stored is not None else None
            known = last.size if last else 0
            if head.size > known and self._is_ours(note):
                # Nobody else can make this line: what we remember is less than what we signed.
                self._store.remember(log.origin, request.note)
                self._store.load(log.origin)
            outcome = judge(request, head, last)
            if outcome is not Outcome.COSIGNED:
                return self._refused(outcome, log, head, known, request.note)
            return self._cosigned(log, note, head, stored)
        except (LogError, AttestationError) as error:
            rolled_back = error.reason is Reason.LOG_ROLLBACK
            _LOG.exception("witness cannot cosign", extra={"origin": log.origin})
            return Answered(outcome=Outcome.ROLLED_BACK if rolled_back else Outcome.UNAVAILABLE, origin=log.origin)

    def _cosigned(self, log: WitnessedLog, note: SignedNote, head: Checkpoint, stored: bytes | None) -> Answered:
        at, before = int(self._clock().timestamp()), self._last_time(stored)
        if at < before - CLOCK_SLACK_SECONDS:
            _LOG.error("clock is behind the last cosignature", extra={"origin": log.origin, "last": before})
            return Answered(outcome=Outcome.CLOCK, origin=log.origin)
        lines = tuple(signer.cosign(note.text, max(at, before)) for signer in self._signers)
        kept = "".join(line.text for line in (*note.verified, *lines))
        self._store.swap(log.origin, stored, f"{note.text}\n{kept}".encode())
        return Answered(outcome=Outcome.COSIGNED, origin=log.origin, size=head.size, lines=lines)

    def _refused(self, outcome: Outcome, log: WitnessedLog, head: Checkpoint, known: int, note: bytes) -> Answered:
        if outcome in (Outcome.FORKED, Outcome.INCONSISTENT, Outcome.EMPTY_ROOT):
            # It is signed by the log, so it may be proof of two histories: whoever reads this line can ask the log.
            facts = {"origin": log.origin, "outcome": outcome.value, "size": head.size, "known_size": known}
            _LOG.error("signed head does not continue", extra=facts | {"note": note.decode()})
        return Answered(outcome=outcome, origin=log.origin, size=known)

    def _is_ours(self, note: SignedNote) -> bool:
        return any(_verifies(signer.verifier, note.text, line) for signer in self._signers for line in note.unknown)

    def _last_time(self, stored: bytes | None) -> int:
        if stored is None:
            return 0
        lines = parse_note(stored)[1]
        return max(
            (cosigned_at(line) for line in lines for signer in self._signers if signer.verifier.made(line)), default=0
        )


def _verifies(verifier: CosignatureVerifier, text: str, line: SignatureLine) -> bool:
    if not verifier.made(line):
        return False
    try:
        verifier.verify(text, line)
    except AttestationError:
        return False
    return True
