# SPDX-License-Identifier: Apache-2.0
"""Who must have cosigned a checkpoint, who has, and when (the evaluation of C2SP tlog-policy; grammar in policy.py).

A group has witnessed a head when at least `threshold` of its members have; the quorum is one name, a witness or a
group. `quorum none` asks nobody: nobody outside the operator then vouches that the log shows everyone the same
history, so every screen that shows such a checkpoint shows `operator's word only` beside it.

The age of a checkpoint is that of its quorum: the newest time T such that cosignatures made at T or later alone meet
it. So one witness alone cannot make an old head look young where two are asked for, and a cosignature from further in
the future than clocks may differ says nothing on age at all.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from attestation.errors import NotGenuine, Reason, Stale
from attestation.tlog.cosignature import CosignatureVerifier, cosigned_at
from attestation.tlog.note import NoteKey, SignedNote, parse_note

NONE: Final = "none"
OPERATORS_WORD: Final = "operator's word only"
CLOCK_SKEW_SECONDS: Final = 60
"""How far ahead of ours a witness's clock may be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedLog:
    """A log whose checkpoints are accepted; the key's name is the origin. `url` is empty where none is given."""

    key: NoteKey
    url: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Witness:
    """A witness under the name that this policy gives it, which may differ from its key's."""

    name: str
    key: CosignatureVerifier
    url: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Witnesses and groups defined before, of which `threshold` suffice."""

    name: str
    threshold: int
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cosignature:
    """That `witness` cosigned, at POSIX time `at` by its own clock."""

    witness: Witness
    at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Witnessed:
    """Who stands behind a note: `lying` are known witnesses with a line that does not verify."""

    met: bool
    cosigned: tuple[Cosignature, ...]
    missing: tuple[Witness, ...]
    lying: tuple[Witness, ...]
    at: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WitnessPolicy:
    """A policy as `policy.parse_witness_policy` reads it: groups name only what stands before them."""

    text: str = field(repr=False)
    logs: tuple[ListedLog, ...] = ()
    witnesses: tuple[Witness, ...] = ()
    groups: tuple[Group, ...] = ()
    name: str = NONE
    """The witness or group that is the quorum, or `none`."""

    @property
    def keys(self) -> tuple[CosignatureVerifier, ...]:
        """The keys whose lines are verified."""
        return tuple(witness.key for witness in self.witnesses)

    @property
    def display(self) -> str:
        """What a person must be told."""
        if self.name == NONE:
            return OPERATORS_WORD
        return f"cosigned by {self._spelled(self.name)}"

    def logs_of(self, origin: str) -> tuple[NoteKey, ...]:
        """The keys listed for a log."""
        return tuple(log.key for log in self.logs if log.key.name == origin)

    def met(self, names: Collection[str]) -> bool:
        """Whether cosignatures by the witnesses of these names suffice."""
        satisfied = {witness.name for witness in self.witnesses if witness.name in names}
        for group in self.groups:
            if sum(member in satisfied for member in group.members) >= group.threshold:
                satisfied.add(group.name)
        return self.name == NONE or self.name in satisfied

    def cosignatures(self, note: SignedNote) -> tuple[Cosignature, ...]:
        """The newest cosignature of each witness that has one among the verified lines, in the policy's order."""
        found = []
        for witness in self.witnesses:
            times = [cosigned_at(line) for line in note.verified if witness.key.made(line)]
            if times:
                found.append(Cosignature(witness=witness, at=max(times)))
        return tuple(found)

    def check(self, note: SignedNote) -> None:
        """Refuses a note that too few witnesses have signed.

        Raises:
            NotGenuine: CHECKPOINT_INVALID.
        """
        names = [cosignature.witness.name for cosignature in self.cosignatures(note)]
        if not self.met(names):
            by = ", ".join(map(shown, names)) or "no witness"
            raise NotGenuine(Reason.CHECKPOINT_INVALID, f"checkpoint is cosigned by {by}, want {self.display}")

    def cosigned_at(self, note: SignedNote) -> int | None:
        """The time of the quorum (see above); None where nobody is asked, or too few have signed."""
        return self.time_of(self.cosignatures(note))

    def check_age(self, note: SignedNote, *, now: datetime, max_age_seconds: int) -> None:
        """Refuses a note whose quorum is older than `max_age_seconds`. Under `none` nobody states a time: passes.

        Raises:
            Stale: CHECKPOINT_STALE; also where a quorum is met only by cosignatures from the future.
        """
        if self.name == NONE:
            return
        present = int(now.timestamp())
        usable = [one for one in self.cosignatures(note) if one.at <= present + CLOCK_SKEW_SECONDS]
        at = self.time_of(usable)
        if at is None:
            raise Stale(Reason.CHECKPOINT_STALE, f"no quorum states a time until now, want {self.display}")
        if present - at > max_age_seconds:
            age = present - at
            raise Stale(Reason.CHECKPOINT_STALE, f"quorum is {age} seconds old, want at most {max_age_seconds}")

    def time_of(self, cosignatures: Sequence[Cosignature]) -> int | None:
        """The time of the quorum that these make; None where nobody is asked, or they are too few."""
        if self.name == NONE:
            return None
        names: set[str] = set()
        for cosignature in sorted(cosignatures, key=lambda one: one.at, reverse=True):
            names.add(cosignature.witness.name)
            if self.met(names):
                return cosignature.at
        return None

    def _spelled(self, name: str) -> str:
        group = next((group for group in self.groups if group.name == name), None)
        if group is None:
            return shown(name)
        members = ", ".join(self._spelled(member) for member in group.members)
        return f"{group.threshold} of ({members})"


def witnessed(note: bytes, policy: WitnessPolicy) -> Witnessed:
    """Who of the policy's witnesses stands behind a note: for showing, and for naming a witness that lies.

    Does not check the log's own signature, and does not refuse a note for a wrong line, as opening it does.

    Raises:
        MalformedEvidence: the bytes are no note of a checkpoint.
    """
    text, lines = parse_note(note)
    good, lying = [], []
    for witness in policy.witnesses:
        claimed = {line for line in lines if witness.key.made(line)}
        times = []
        for line in claimed:
            try:
                witness.key.verify(text, line)
            except NotGenuine:
                lying.append(witness)
                break
            times.append(cosigned_at(line))
        else:
            if times:
                good.append(Cosignature(witness=witness, at=max(times)))
    heard = {one.witness.name for one in good} | {witness.name for witness in lying}
    return Witnessed(
        met=policy.met([one.witness.name for one in good]),
        cosigned=tuple(good),
        missing=tuple(witness for witness in policy.witnesses if witness.name not in heard),
        lying=tuple(lying),
        at=policy.time_of(good),
    )


def shown(name: str) -> str:
    """A policy's name as a screen can take it: names are any bytes, and not all are text."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
