# SPDX-License-Identifier: Apache-2.0
"""Ruling 15: news of revocations is never further apart than gateways can wait, and what it costs is bounded."""

from pathlib import Path

import pytest

from attestation.appraisal.policy import read_policy
from attestation.errors import MalformedEvidence, Reason
from attestation.server.config import RegistrySettings

POLICIES = Path(__file__).resolve().parents[3] / "manifests" / "policies"


def settings(seconds: float) -> RegistrySettings:
    """A registry that sends a heartbeat so often."""
    here = Path("registry")
    return RegistrySettings(
        origin="registry.example/evidence",
        state_dir=here,
        policy_file=here,
        keys_file=here,
        heartbeat_seconds=seconds,
    )


def test_ruling_15_heartbeats_are_at_most_five_seconds_apart() -> None:
    """A registry that would be silent for longer does not start."""
    assert settings(5).heartbeat_seconds == 5
    with pytest.raises(ValueError, match="heartbeat_seconds"):
        settings(5.1)


def test_ruling_15_the_strict_policy_tolerates_a_minute_of_silence_and_none_more_than_an_hour() -> None:
    """The shipped strict policy says 60 seconds, and no policy can say more than 3,600."""
    strict = (POLICIES / "production-strict.toml").read_bytes()
    assert read_policy(strict).max_revocation_staleness_seconds == 60
    lenient = strict.replace(b"max_revocation_staleness_seconds = 60", b"max_revocation_staleness_seconds = 3600")
    assert read_policy(lenient).max_revocation_staleness_seconds == 3600
    with pytest.raises(MalformedEvidence) as refused:
        read_policy(lenient.replace(b"staleness_seconds = 3600", b"staleness_seconds = 3601"))
    assert refused.value.reason is Reason.POLICY_INVALID
