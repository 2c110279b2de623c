# SPDX-License-Identifier: Apache-2.0
"""The evidence log: a sequenced log (`sequencer`) whose leaves are canonical JSON entries, the first its genesis.

Refused (ENTRY_INVALID): a first entry that is no genesis, and a genesis anywhere else; LOG_FORK: the genesis of another
log or of another key.
"""

from collections.abc import Sequence
from datetime import datetime

from attestation.errors import MalformedEvidence, Reason
from attestation.tlog.entry import Entry, Kind, parse_entry
from attestation.tlog.note import NoteSigner, NoteVerifier
from attestation.tlog.schema import format_time
from attestation.tlog.sequencer import Cosigner, Sequencer
from attestation.tlog.served import PAGE, ServedLog
from attestation.tlog.store import HeadStore, LogError, LogStore, NewEntry, StepHook, StoredEntry, no_step


class EvidenceFormat:
    """Entries of the log `origin` under `log_key` (`sequencer.LeafFormat`)."""

    def __init__(self, *, origin: str, log_key: NoteVerifier) -> None:
        self._origin = origin
        self._log_key = log_key

    def read(self, data: bytes) -> NewEntry:
        """The entry of stored bytes. Raises `MalformedEvidence`, ENTRY_INVALID."""
        return new_entry(parse_entry(data))

    def place(self, index: int, entry: NewEntry) -> None:
        """Refuses a genesis that is not first, a first entry that is none, and another log's."""
        if (entry.kind == Kind.GENESIS) != (index == 0):
            raise MalformedEvidence(Reason.ENTRY_INVALID, f"entry {index} is {entry.kind}, want genesis first only")
        if index == 0:
            body = parse_entry(entry.data).body
            if body["origin"] != self._origin or body["log_key"] != self._log_key.vkey:
                raise LogError(Reason.LOG_FORK, f"genesis is of {body['origin']}, want {self._origin} and its key")


class EvidenceLog:
    """The evidence log named `origin`, signed by `signer`; see `Sequencer` for what the arguments promise."""

    def __init__(
        self,
        *,
        origin: str,
        signer: NoteSigner,
        store: LogStore,
        heads: HeadStore,
        inception: bool = False,
        cosigner: Cosigner | None = None,
        gather_seconds: float = 0.0,
        step: StepHook = no_step,
    ) -> None:
        self._sequencer = Sequencer(
            origin=origin,
            signer=signer,
            store=store,
            heads=heads,
            format=EvidenceFormat(origin=origin, log_key=signer.verifier),
            inception=inception,
            cosigner=cosigner,
            gather_seconds=gather_seconds,
            step=step,
        )

    @property
    def origin(self) -> str:
        """The log's name, the first line of its checkpoints."""
        return self._sequencer.origin

    @property
    def log_key(self) -> NoteVerifier:
        """The key that signs its checkpoints."""
        return self._sequencer.log_key

    @property
    def served(self) -> ServedLog:
        """The log as readers see it."""
        return self._sequencer.served

    @property
    def sequencer(self) -> Sequencer:
        """What writes it, for draining what other processes hand in."""
        return self._sequencer

    def size(self) -> int:
        """The number of entries, of which the newest may not be under a checkpoint yet."""
        return self._sequencer.size()

    def append(self, entries: Sequence[Entry]) -> range:
        """The indices these entries now have, durably; see `Sequencer.append`."""
        return self._sequencer.append([new_entry(entry) for entry in entries])

    def publish(self, now: datetime) -> bytes:
        """The checkpoint note of everything appended so far, published; see `Sequencer.publish`."""
        return self._sequencer.publish(now)

    def checkpoint(self) -> bytes:
        """The newest published checkpoint note. Raises `LogError`, NOT_FOUND, before the first."""
        return self._sequencer.served.checkpoint()

    def proof(self, index: int) -> bytes:
        """The tlog-proof of entry `index` under the newest published checkpoint; see `ServedLog.proof`."""
        return self._sequencer.served.proof(index)

    def entries(self, start: int, limit: int = PAGE) -> Sequence[StoredEntry]:
        """Up to `limit` (at most 256) entries from index `start`, in order; the newest may not be signed for yet."""
        return self._sequencer.served.entries(start, limit)

    def about(self, subject: str, limit: int = PAGE) -> Sequence[StoredEntry]:
        """Up to `limit` (at most 256) entries about `subject` (see `Entry.subject`), newest first."""
        return self._sequencer.served.about(subject, limit)


def new_entry(entry: Entry) -> NewEntry:
    """The entry with the columns to find it by, all read from its bytes."""
    return NewEntry(data=entry.encoded, kind=str(entry.kind), subject=entry.subject, at=format_time(entry.at))
