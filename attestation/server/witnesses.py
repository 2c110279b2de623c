# SPDX-License-Identifier: Apache-2.0
"""Asks witnesses to cosign the registry's checkpoints (C2SP tlog-witness), all at once and within one time limit.

What a witness does, how it is named in logs and metrics, and what follows (docs/spec.md, 10.8):

    cosigned   its signature over this head verifies and is of now     counted
    slow       nothing within the limit, or still busy with the last    not counted; asked again with the next head
    down       no connection, or a status that says so                  the same
    limited    429                                                     the same
    refused    403, 404, 400: it does not know this log or its key      not counted; its operator must be told
    ahead      it has cosigned a longer log than ours                   not counted; one side was rolled back
    forked     422: it holds another history under this origin          not counted; somebody signed two
    lying      200 without its signature, or with one that is none      not counted
    untimely   its signature is of another time than now                not counted; it may be replayed

One that remembers less than we know (409 with a smaller size) is sent the proof from there; if it has cosigned more
before, it was restored from a backup, which is logged.

A witness's word alone never stops the log. But one that is ahead or forked is asked for its last note, and if that is
signed by our own key, and is longer than our log or no prefix of it, then we are the side that was rolled back or
forked: LOG_ROLLBACK or LOG_FORK, whatever the policy, until a person has looked.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from attestation.collateral.transport import Response, Transport, TransportError
from attestation.errors import AttestationError, MalformedEvidence, Reason
from attestation.server.witness_telemetry import WitnessTelemetry
from attestation.tlog.add_checkpoint import (
    MAX_ANSWER_BYTES,
    MAX_REQUEST_BYTES,
    PATH,
    SIZE_TYPE,
    AddCheckpoint,
    monitoring_path,
    read_conflict,
    read_cosignatures,
)
from attestation.tlog.checkpoint import Checkpoint, open_checkpoint
from attestation.tlog.cosignature import cosigned_at
from attestation.tlog.merkle import verify_consistency
from attestation.tlog.note import NoteKey, SignatureLine
from attestation.tlog.policy import NO_WITNESSES
from attestation.tlog.quorum import Witness, WitnessPolicy, shown
from attestation.tlog.store import LogError

MAX_ATTEMPTS: Final = 3
TIME_SLACK_SECONDS: Final = 60
"""How far a witness's clock may be from ours."""

_LOG: Final = logging.getLogger("attestation.server")
Prove = Callable[[int], Sequence[bytes]]


class Answer(StrEnum):
    """What a witness did; a closed set, used in metrics and log lines."""

    COSIGNED = "cosigned"
    SLOW = "slow"
    DOWN = "down"
    LIMITED = "limited"
    REFUSED = "refused"
    AHEAD = "ahead"
    FORKED = "forked"
    LYING = "lying"
    UNTIMELY = "untimely"


_BY_STATUS: Final[Mapping[int, Answer]] = {
    400: Answer.REFUSED,
    403: Answer.REFUSED,
    404: Answer.REFUSED,
    422: Answer.FORKED,
    429: Answer.LIMITED,
}
_ALARMING: Final = frozenset({Answer.AHEAD, Answer.FORKED, Answer.LYING})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """An answer, and the lines of it that were verified."""

    answer: Answer
    names: tuple[str, ...] = ()
    lines: tuple[SignatureLine, ...] = ()
    detail: str = ""
    proven: LogError | None = None
    """What the witness showed under our own key, if anything."""


class QuorumMissing(LogError):
    """Too few witnesses cosigned; the head stays unpublished until they do."""


class Witnesses:
    """`Cosigner` over the witnesses of `policy` that have an address.

    `seconds` bounds a whole round; once the policy is met, `grace_seconds` is left for the others, whose signatures
    callers with stricter policies may want. With `fail_open` a head that misses the policy is published all the same,
    and flagged; whoever holds the policy will refuse it. Otherwise it is not published, and nothing becomes usable.
    """

    def __init__(
        self,
        *,
        policy: WitnessPolicy,
        log_key: NoteKey,
        transport: Transport,
        seconds: float,
        grace_seconds: float,
        fail_open: bool,
        telemetry: WitnessTelemetry,
        clock: Callable[[], datetime],
    ) -> None:
        self._policy = policy
        self._seconds = seconds
        self._grace_seconds = grace_seconds
        self._fail_open = fail_open
        self._telemetry = telemetry
        by_url: dict[str, list[Witness]] = {}
        for witness in policy.witnesses:
            if witness.url:
                by_url.setdefault(witness.url.rstrip("/"), []).append(witness)
        self._peers = [_Peer(url, found, log_key, transport, seconds, clock) for url, found in by_url.items()]
        self._pool = ThreadPoolExecutor(max(1, 2 * len(self._peers)), thread_name_prefix="witness")
        self._proving = threading.Lock()
        self._closed = False
        telemetry.starts(policy)

    def close(self) -> None:
        """Waits for no witness; afterwards nothing is read from the log any more."""
        with self._proving:
            self._closed = True
        self._pool.shutdown(wait=False, cancel_futures=True)

    def cosign(self, note: bytes, head: Checkpoint, prove: Prove) -> bytes:
        """`note` with the lines of every witness that cosigned `head` in time.

        Raises:
            QuorumMissing: STORE_UNAVAILABLE; the policy is not met, unless `fail_open`.
            LogError: LOG_ROLLBACK or LOG_FORK; a witness shows that this log signed another history.
        """
        names, lines = self._round(note, head, prove)
        cosigned = note + "".join(line.text for line in lines).encode()
        met = self._policy.met(names)
        self._telemetry.round(met=met)
        if met:
            return cosigned
        got = ", ".join(sorted(map(shown, names))) or "nobody"
        message = f"checkpoint of size {head.size} is cosigned by {got}, want {self._policy.display}"
        if not self._fail_open:
            raise QuorumMissing(Reason.STORE_UNAVAILABLE, message)
        _LOG.warning("checkpoint without quorum is published", extra={"size": head.size, "text": message})
        return cosigned

    def _round(self, note: bytes, head: Checkpoint, prove: Prove) -> tuple[set[str], list[SignatureLine]]:
        # A policy that asks for nobody is met from the start: then there is only the grace.
        end = time.monotonic() + (self._grace_seconds if self._policy.met(()) else self._seconds)

        def proving(size: int) -> Sequence[bytes]:
            # One at a time, as the log's tree is read, and not for a straggler when the log is closed already.
            with self._proving:
                if self._closed:
                    raise LogError(Reason.STORE_UNAVAILABLE, "log is closed, want no more proofs of it")
                return prove(size)

        waiting: dict[Future[_Asked], _Peer] = {
            self._pool.submit(peer.ask, note, head, proving): peer for peer in self._peers
        }
        names: set[str] = set()
        lines: list[SignatureLine] = []
        while waiting and (left := end - time.monotonic()) > 0:
            done, _ = wait(waiting, timeout=left, return_when=FIRST_COMPLETED)
            for future in done:
                asked, peer = future.result(), waiting.pop(future)
                self._note(peer, asked, head)
                if asked.proven is not None:
                    raise asked.proven
                names.update(asked.names)
                lines += asked.lines
            if done and self._policy.met(names):
                end = min(end, time.monotonic() + self._grace_seconds)
        for peer in waiting.values():
            self._note(peer, _Asked(answer=Answer.SLOW), head)
        return names, lines

    def _note(self, peer: "_Peer", asked: _Asked, head: Checkpoint) -> None:
        at = max((cosigned_at(line) for line in asked.lines), default=None)
        for name in peer.names:
            self._telemetry.answered(name, asked.answer.value, at)
        if asked.answer is Answer.COSIGNED:
            return
        facts = {"witness": peer.names, "answer": asked.answer.value, "size": head.size, "detail": asked.detail}
        level = logging.ERROR if asked.answer in _ALARMING else logging.WARNING
        _LOG.log(level, "witness did not cosign", extra=facts)


class _Peer:
    """One witness's address, its keys, and what we know of its memory."""

    def __init__(
        self,
        url: str,
        witnesses: Sequence[Witness],
        log_key: NoteKey,
        transport: Transport,
        seconds: float,
        clock: Callable[[], datetime],
    ) -> None:
        self.names = [shown(witness.name) for witness in witnesses]
        self._url = url
        self._log_key = log_key
        self._witnesses = tuple(witnesses)
        self._transport = transport
        self._seconds = seconds
        self._clock = clock
        self._places = threading.Semaphore(2)
        self._asking = threading.Lock()
        # Guarded by `_asking`: the size it cosigned last, as far as we know.
        self._size = 0

    def ask(self, note: bytes, head: Checkpoint, prove: Prove) -> _Asked:
        """Asks for a cosignature of `head`; one question at a time, and one waiting for it."""
        if not self._places.acquire(blocking=False):
            return _Asked(answer=Answer.SLOW, detail="it still has to answer for two earlier heads")
        try:
            if not self._asking.acquire(timeout=self._seconds):
                return _Asked(answer=Answer.SLOW, detail="it still has to answer for an earlier head")
            try:
                return self._ask(note, head, prove)
            finally:
                self._asking.release()
        except TransportError as error:
            return _Asked(answer=Answer.DOWN, detail=error.message)
        except MalformedEvidence as error:
            return _Asked(answer=Answer.LYING, detail=error.message)
        finally:
            self._places.release()

    def _ask(self, note: bytes, head: Checkpoint, prove: Prove) -> _Asked:
        if head.size < self._size:
            return _Asked(answer=Answer.SLOW, detail="it has cosigned a longer log meanwhile")
        old = self._size
        for _ in range(MAX_ATTEMPTS):
            proof = tuple(prove(old)) if 0 < old < head.size else ()
            body = AddCheckpoint(old=old, proof=proof, note=note).encode()
            response = self._transport.post(self._url + PATH, body, media_type="text/plain", limit=MAX_ANSWER_BYTES)
            if response.status == 200:
                return self._cosigned(response, head)
            if response.status != 409 or response.media_type != SIZE_TYPE:
                answer = _BY_STATUS.get(response.status, Answer.DOWN)
                proven = self._shown(head, prove) if answer is Answer.FORKED else None
                return _Asked(answer=answer, detail=f"status is {response.status}, want 200", proven=proven)
            known = read_conflict(response.body)
            if known > head.size:
                detail = f"its size is {known}, want at most {head.size}"
                return _Asked(answer=Answer.AHEAD, detail=detail, proven=self._shown(head, prove))
            if known < self._size:
                facts = {"witness": self.names, "size": known, "cosigned": self._size}
                _LOG.error("witness has forgotten what it cosigned", extra=facts)
            self._size = old = known
        return _Asked(answer=Answer.LYING, detail=f"it named another size {MAX_ATTEMPTS} times")

    def _shown(self, head: Checkpoint, prove: Prove) -> LogError | None:
        """What is wrong with our log, if the last note that the witness shows is our own and says so."""
        try:
            response = self._transport.get(self._url + monitoring_path(head.origin), limit=MAX_REQUEST_BYTES)
            if response.status != 200:
                return None
            rival = open_checkpoint(response.body, origin=head.origin, log_key=self._log_key, policy=NO_WITNESSES)
        except (TransportError, AttestationError):
            return None
        where = f"witness {self.names[0]} shows size {rival.size} under our own key"
        if rival.size == 0:
            return None
        if rival.size > head.size:
            return LogError(Reason.LOG_ROLLBACK, f"log has {head.size} entries, but {where}")
        try:
            proof = prove(rival.size) if rival.size < head.size else ()
            verify_consistency(rival.size, rival.root, head.size, head.root, proof)
        except AttestationError:
            return LogError(Reason.LOG_FORK, f"log of {head.size} entries does not continue itself: {where}")
        return None

    def _cosigned(self, response: Response, head: Checkpoint) -> _Asked:
        found = read_cosignatures(response.body, head.text)
        ours = [(line, witness) for line in found for witness in self._witnesses if witness.key.made(line)]
        if not ours:
            return _Asked(answer=Answer.LYING, detail=f"{len(found)} signatures, none by its key")
        now = self._clock().timestamp()
        for line, witness in ours:
            try:
                witness.key.verify(head.text, line)
            except AttestationError as error:
                return _Asked(answer=Answer.LYING, detail=error.message)
            if abs(cosigned_at(line) - now) > TIME_SLACK_SECONDS:
                detail = f"cosignature is of {cosigned_at(line)}, want {int(now)}"
                return _Asked(answer=Answer.UNTIMELY, detail=detail)
        self._size = head.size
        newest = {witness.name: line for line, witness in sorted(ours, key=lambda found: cosigned_at(found[0]))}
        return _Asked(answer=Answer.COSIGNED, names=tuple(newest), lines=tuple(newest.values()))
