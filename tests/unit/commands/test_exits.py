# SPDX-License-Identifier: Apache-2.0
"""Exit codes, error lines and the environment of the command."""

import json
from types import SimpleNamespace

import pytest

from attestation.errors import (
    AttestationError,
    CollateralUnavailable,
    Malformed,
    MalformedEvidence,
    NotAcceptable,
    NotGenuine,
    Reason,
    SealbidError,
    SettingsError,
    Stale,
    Tampered,
)
from attestation.exits import Exit, exit_code
from attestation.rpc.auth import Role
from sealbid.commands.configuration import settings_environment
from sealbid.commands.gateway import ROLES
from sealbid.commands.output import HINTS, refuse
from sealbid.commands.ownership import check_ownership


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SettingsError("port is missing, want an integer"), 2),
        (MalformedEvidence(Reason.MALFORMED, "x"), 30),
        (MalformedEvidence(Reason.ENTRY_INVALID, "x"), 30),
        (Malformed("x"), 30),
        (NotGenuine(Reason.SIGNATURE_INVALID, "x"), 10),
        (NotAcceptable(Reason.POLICY_REFUSED, "x"), 10),
        (Stale(Reason.LEASE_EXPIRED, "x"), 10),
        (Tampered(Reason.TAMPERED, "x"), 10),
        (CollateralUnavailable(Reason.COLLATERAL_UNAVAILABLE, "x"), 20),
        (NotGenuine(Reason.UNSUPPORTED, "x"), 20),
        (AttestationError(Reason.STORE_UNAVAILABLE, "x"), 20),
        (SealbidError(Reason.INTERNAL, "x"), 1),
    ],
)
def test_a_refusal_has_its_exit_code(error: SealbidError, code: int) -> None:
    """Rejected, undecided, malformed, usage and bug are told apart by number."""
    assert exit_code(error) == code


def test_no_reason_exits_as_accepted() -> None:
    """No refusal of any reason ends with the status of success."""
    assert Exit.ACCEPTED not in {exit_code(SealbidError(reason, "x")) for reason in Reason}


def test_a_refusal_is_an_error_line_and_a_hint(capsys: pytest.CaptureFixture[str]) -> None:
    """The text goes to stderr with its reason, then the hint of that reason; stdout stays empty."""
    with pytest.raises(SystemExit) as left:
        refuse(NotGenuine(Reason.PROOF_INVALID, "proof is for index 3, want 2"))
    shown = capsys.readouterr()
    assert left.value.code == 10
    assert shown.out == ""
    assert shown.err.splitlines() == [
        "sealbid: error: proof is for index 3, want 2 (PROOF_INVALID)",
        f"sealbid: hint: {HINTS[Reason.PROOF_INVALID]}",
    ]


def test_a_json_refusal_is_one_object_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    """With --json the whole verdict is on stdout, findings included, and stderr stays empty."""
    finding = SimpleNamespace(reason=Reason.DEBUG_REFUSED)
    with pytest.raises(SystemExit):
        refuse(NotAcceptable(Reason.POLICY_REFUSED, "policy refuses", [finding]), as_json=True)
    shown = capsys.readouterr()
    assert shown.err == ""
    assert json.loads(shown.out) == {
        "exit": 10,
        "findings": [str(finding)],
        "message": "policy refuses",
        "reason": "POLICY_REFUSED",
        "verdict": "rejected",
    }


def test_flags_of_the_command_are_not_settings() -> None:
    """A variable that stands for a flag is kept from the strict reader; every other one is passed on."""
    env = {"SEALBID_GATEWAY_SERVE_CONFIG": "a", "SEALBID_GATEWAY_CHECK_CONFIG_JSON": "1", "SEALBID_GATEWAY_LISTEN": "b"}
    kept = settings_environment(env, "gateway", ("serve", "check-config"))
    assert kept == {"SEALBID_GATEWAY_LISTEN": "b"}


def test_a_second_owner_of_our_names_is_refused() -> None:
    """A distribution that also installs one of our import names is refused by name; ours alone is fine."""
    check_ownership({"attestation": ["sealbid"], "numpy": ["numpy"]})
    with pytest.raises(SettingsError, match="attestation is owned by distribution attest-tools too"):
        check_ownership({"attestation": ["sealbid", "attest-tools"]})


def test_this_environment_is_ours() -> None:
    """The environment of the tests passes its own check."""
    check_ownership()


def test_the_command_offers_every_role() -> None:
    """The roles of `gateway new-key` are those that services check, in one order."""
    assert tuple(Role) == ROLES
