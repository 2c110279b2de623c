# SPDX-License-Identifier: Apache-2.0
"""Witness policies: whose signatures a checkpoint needs besides the log's own (the quorum of C2SP tlog-policy).

    policy = "none"

With `none` nobody outside the operator vouches that the log shows everyone the same history, so every screen that
shows such a checkpoint shows `operator's word only` beside it. A quorum of witnesses is to be another value of
`WitnessPolicy`; cosignatures are further lines of the same note, so no byte signed under `none` changes with it.
"""

from dataclasses import dataclass
from typing import Final, TypeAlias

from attestation.errors import MalformedEvidence, Reason
from attestation.tlog.note import NoteVerifier, SignedNote


@dataclass(frozen=True, slots=True)
class NoWitnesses:
    """The log operator's signature is enough."""

    @property
    def name(self) -> str:
        """The policy as configuration spells it."""
        return "none"

    @property
    def display(self) -> str:
        """What a person must be told."""
        return "operator's word only"

    @property
    def witnesses(self) -> tuple[NoteVerifier, ...]:
        """The keys whose lines are verified and counted."""
        return ()

    def check(self, note: SignedNote) -> None:
        """Refuses a note that too few witnesses have signed; here none are asked for."""


WitnessPolicy: TypeAlias = NoWitnesses
"""The closed union of witness policies."""

NO_WITNESSES: Final = NoWitnesses()


def parse_witness_policy(text: str) -> WitnessPolicy:
    """The policy that configuration spells `text`. Raises `MalformedEvidence` for any but "none"."""
    if text != NO_WITNESSES.name:
        raise MalformedEvidence(Reason.UNSUPPORTED, "witness policy is not none, the only one this version knows")
    return NO_WITNESSES
