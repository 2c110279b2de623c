# SPDX-License-Identifier: Apache-2.0
"""Exit codes of every command that verifies: scripts switch on these, never on a text."""

from enum import IntEnum

from attestation.errors import (
    UNDECIDED,
    CollateralUnavailable,
    Malformed,
    MalformedEvidence,
    Reason,
    SealbidError,
    SettingsError,
)


class Exit(IntEnum):
    """What the exit status of a command says."""

    ACCEPTED = 0
    BUG = 1
    USAGE = 2
    REJECTED = 10
    UNDECIDED = 20
    MALFORMED = 30


_BY_REASON = {
    Reason.SETTINGS_INVALID: Exit.USAGE,
    Reason.MALFORMED: Exit.MALFORMED,
    Reason.UNSUPPORTED: Exit.UNDECIDED,
    **dict.fromkeys(UNDECIDED, Exit.UNDECIDED),
    Reason.STORE_UNAVAILABLE: Exit.UNDECIDED,
    Reason.PEER_UNAVAILABLE: Exit.UNDECIDED,
    Reason.DEADLINE_EXCEEDED: Exit.UNDECIDED,
    Reason.INTERNAL: Exit.BUG,
}


def exit_code(error: SealbidError) -> Exit:
    """The exit status for a refusal: its reason decides, then its kind; every other refusal is a rejection."""
    if error.reason in _BY_REASON:
        return _BY_REASON[error.reason]
    if isinstance(error, SettingsError):
        return Exit.USAGE
    if isinstance(error, MalformedEvidence | Malformed):
        return Exit.MALFORMED
    if isinstance(error, CollateralUnavailable):
        return Exit.UNDECIDED
    return Exit.REJECTED
