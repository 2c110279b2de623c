# SPDX-License-Identifier: Apache-2.0
"""The policy file a command is given: a wrong one is wrong usage, never a verdict about evidence."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attestation.errors import MalformedEvidence, SettingsError

if TYPE_CHECKING:
    from pathlib import Path

    from attestation.appraisal.policy import AppraisalPolicy


def read_policy_file(path: Path) -> AppraisalPolicy:
    """The policy at `path`. Raises `SettingsError` if it cannot be read, or names the first key that is wrong in it."""
    from attestation.appraisal.policy import MAX_POLICY_BYTES, read_policy
    from attestation.files import read_file

    try:
        return read_policy(read_file(path, "policy", MAX_POLICY_BYTES))
    except MalformedEvidence as error:
        raise SettingsError(error.message) from None
