# SPDX-License-Identifier: Apache-2.0
"""`sealbid audit when`: what bounds the time of an entry, besides the operator's word?

Not later than the cosignatures of the smallest checkpoint that covers it; not earlier, for a verdict, than those of the
checkpoint its challenge names, if that is at hand. Yes when a quorum bounds it from above and the stated time is within
the bounds; no when it is not; undecided where no witness says anything.
"""

from datetime import UTC, datetime
from typing import Final

from attestation.audit.bundle.layout import CHECKPOINTS
from attestation.audit.bundle.verified import VerifiedBundle
from attestation.audit.judgement import Answer
from attestation.audit.questions.reply import Reply, Table
from attestation.binding import Challenge
from attestation.codec.labels import sha256
from attestation.errors import SealbidError
from attestation.tlog.checkpoint import Checkpoint
from attestation.tlog.note import parse_note
from attestation.tlog.policy import witnessed
from attestation.tlog.quorum import CLOCK_SKEW_SECONDS
from attestation.tlog.schema import format_time

_FAR: Final = 253402300799
"""The last second of year 9999: a witness may state any number."""


def when(bundle: VerifiedBundle, index: int) -> Reply:
    """The answer about an entry. Raises `IndexError` for one the log does not have."""
    logged = bundle.view.entry(index)
    stated = int(logged.entry.at.timestamp())
    table = Table(("bound", "at", "by"))
    table.add("stated", format_time(logged.entry.at), "the operator")
    notes = sorted(_notes(bundle), key=lambda one: (one[0], _FAR if one[1] is None else one[1]))
    latest = next(((size, at) for size, at, _ in notes if size > index and at is not None), None)
    named = _named(logged.text("challenge"))
    earliest = next(((size, at) for size, at, digest in notes if digest == named and at is not None), None)
    if earliest is not None:
        table.add("not before", _time(earliest[1]), f"quorum on the checkpoint of size {earliest[0]} that it names")
    if latest is not None:
        table.add("not after", _time(latest[1]), f"quorum on the checkpoint of size {latest[0]}")
    answer, because = _answer(stated, earliest[1] if earliest else None, latest[1] if latest else None)
    return Reply(question="when", answer=answer, because=because, table=table)


def _answer(stated: int, earliest: int | None, latest: int | None) -> tuple[Answer, str]:
    if latest is not None and stated > latest + CLOCK_SKEW_SECONDS:
        return Answer.NO, "it states a time after witnesses had already seen it"
    if earliest is not None and stated < earliest - CLOCK_SKEW_SECONDS:
        return Answer.NO, "it states a time before the checkpoint that it names"
    if latest is None:
        return Answer.UNDECIDED, "no quorum states a time for a checkpoint that covers it: operator's word only"
    return Answer.YES, "its stated time is within what a quorum of witnesses states"


def _notes(bundle: VerifiedBundle) -> list[tuple[int, int | None, bytes]]:
    """Size, quorum's time and digest of every checkpoint note at hand."""
    notes = [bundle.note, *(bundle.files.read(name) for name in bundle.files.names(CHECKPOINTS))]
    return [
        (Checkpoint.parse(parse_note(note)[0]).size, witnessed(note, bundle.trust.witness_policy).at, sha256(note))
        for note in notes
    ]


def _named(challenge: str) -> bytes:
    try:
        return Challenge.decode(bytes.fromhex(challenge)).checkpoint_sha256
    except SealbidError:
        return b""


def _time(at: int | None) -> str:
    return format_time(datetime.fromtimestamp(min(at or 0, _FAR), UTC))
