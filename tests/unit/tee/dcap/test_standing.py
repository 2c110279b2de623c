# SPDX-License-Identifier: Apache-2.0
"""Where a platform stands by Intel's statements: levels, modules, quoting enclaves, and what they make."""

from itertools import product
from typing import Any

import pytest

from attestation.claims import TCBStatus, TEEKind
from attestation.errors import NotGenuine, Reason
from tests.support.fake_intel import mint
from tests.support.intel_verifying import verify_world

STATUSES = tuple(status.value for status in TCBStatus if status is not TCBStatus.UNSTATED)
CONFIGURED = ("UpToDate", "SWHardeningNeeded", "OutOfDate")


def svn(*first: int) -> bytes:
    """TEE_TCB_SVN beginning with these."""
    return bytes(first).ljust(16, b"\0")


@pytest.mark.parametrize(("platform", "part"), [*product(STATUSES, ("qe_status", "module_status"))])
def test_a_current_module_or_enclave_leaves_the_platforms_status(platform: str, part: str) -> None:
    """What is up to date cannot mend what is not."""
    assert verify_world(mint(TEEKind.TDX, status=platform, **{part: "UpToDate"})).tcb_status == platform


@pytest.mark.parametrize(("platform", "part"), [*product(STATUSES, ("qe_status", "module_status"))])
def test_an_outdated_module_or_enclave_makes_the_platform_out_of_date(platform: str, part: str) -> None:
    """Out of date with configuration needed, if configuration was needed; and a revoked platform stays revoked."""
    want = "OutOfDate" if platform in CONFIGURED else "OutOfDateConfigurationNeeded"
    want = "Revoked" if platform == "Revoked" else want
    assert verify_world(mint(TEEKind.TDX, status=platform, **{part: "OutOfDate"})).tcb_status == want


@pytest.mark.parametrize("part", ["status", "qe_status", "module_status"])
def test_one_revoked_part_revokes_the_platform(part: str) -> None:
    """Such a quote is genuine; its status is for the policy to refuse."""
    assert verify_world(mint(TEEKind.TDX, **{part: "Revoked"})).tcb_status is TCBStatus.REVOKED


def test_advisories_of_all_parts_are_stated_once() -> None:
    """Platform, module and quoting enclave each add theirs."""
    claims = verify_world(
        mint(
            TEEKind.TDX,
            status="OutOfDate",
            advisories=("INTEL-SA-1", "INTEL-SA-2"),
            module_status="OutOfDate",
            module_advisories=("INTEL-SA-2", "INTEL-SA-3"),
            qe_status="OutOfDate",
            qe_advisories=("INTEL-SA-4",),
        )
    )
    assert claims.advisories == ("INTEL-SA-1", "INTEL-SA-2", "INTEL-SA-3", "INTEL-SA-4")


@pytest.mark.parametrize(
    ("wish", "level"),
    [
        ({"tee_tcb_svn": svn(5, 0, 2)}, "known"),
        ({"tee_tcb_svn": svn(4, 0, 2)}, "unknown"),  # without a module version, index 0 is a component
        ({"tee_tcb_svn": svn(4, 1, 2)}, "known"),  # with one, it is the module's own level
        ({"tee_tcb_svn": svn(3, 1, 2)}, "unknown"),
        ({"tee_tcb_svn": svn(5, 1, 1)}, "unknown"),
        ({"tee_tcb_svn": svn(5, 3, 2)}, "unknown"),  # a module version Intel does not state
        ({"tee_tcb_svn": svn(5, 3, 2), "module_name": "TDX_03"}, "known"),
        ({"version": 5, "tee_tcb_svn_2": svn(6, 1, 3)}, "known"),
        ({"version": 5, "tee_tcb_svn_2": svn(3, 1, 2)}, "unknown"),  # updated to a module Intel does not know
        ({"version": 5, "tee_tcb_svn_2": svn()}, "unknown"),
        ({"version": 5, "body_type": 2}, "known"),
    ],
    ids=str,
)
def test_the_tdx_modules_version_is_matched_as_intel_does(wish: dict[str, Any], level: str) -> None:
    """Both implementations agree on every one of these."""
    assert verify_world(mint(TEEKind.TDX, **wish)).facts["tcb_level"] == level


@pytest.mark.parametrize("wish", [{"mrsignerseam": b"\1" * 48}, {"seam_attributes": b"\1" + bytes(7)}], ids=str)
def test_a_tdx_module_that_intel_did_not_sign_is_not_genuine(wish: dict[str, Any]) -> None:
    """Its signer and attributes must be those of Intel's statement."""
    with pytest.raises(NotGenuine) as refused:
        verify_world(mint(TEEKind.TDX, **wish))
    assert refused.value.reason is Reason.TCB_MISMATCH
