# SPDX-License-Identifier: Apache-2.0
"""What makes a switch's report not genuine, each by its own reason; a GPU's are in `test_gpu_verifier`."""

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from attestation.bundle import Collateral
from attestation.errors import AttestationError, Reason
from tests.support.fake_nvidia import NOW, SWITCH_GOLDEN, FakeDevice, FakeNVIDIA, answer
from tests.support.fake_nvidia_rim import SWITCH_VERSION, with_another_signature

NVIDIA = FakeNVIDIA()
SWITCH, OTHER = NVIDIA.switch(), NVIDIA.switch()
EXPIRED = NVIDIA.device("LS_10", ends=datetime(2024, 1, 1, tzinfo=UTC))
RIM = NVIDIA.switch_rim()
REVOKED = answer(SWITCH.levels[1], SWITCH.levels[2], status="revoked")
Wrong = tuple[FakeDevice, bytes, list[Collateral]]


def altered(at: int) -> bytes:
    """The switch's report with one bit of it flipped."""
    report = bytearray(SWITCH.report())
    report[at] ^= 1
    return bytes(report)


WRONG: dict[str, tuple[Callable[[], Wrong], Reason]] = {
    "a report cut short": (lambda: (SWITCH, SWITCH.report()[:-1], []), Reason.MALFORMED),
    "a chip unknown here": (
        lambda: ((d := NVIDIA.device("LS_10", leaf_name="LS_11 A01 FSP FMC LF")), d.report(), []),
        Reason.UNSUPPORTED,
    ),
    "an altered measurement": (lambda: (SWITCH, altered(60), []), Reason.SIGNATURE_INVALID),
    "another switch's chain": (lambda: (OTHER, SWITCH.report(), []), Reason.SIGNATURE_INVALID),
    "a leaf that certifies": (
        lambda: ((d := NVIDIA.device("LS_10", leaf_signs_certificates=True)), d.report(), []),
        Reason.CHAIN_INVALID,
    ),
    "somebody else's switch": (lambda: ((d := FakeNVIDIA().switch()), d.report(), []), Reason.ROOT_REFUSED),
    "a certificate past its time": (lambda: (EXPIRED, EXPIRED.report(), []), Reason.CERTIFICATE_EXPIRED),
    "a revoked device": (lambda: (SWITCH, SWITCH.report(), [REVOKED]), Reason.CERTIFICATE_REVOKED),
    "a manifest signed otherwise": (
        lambda: (SWITCH, SWITCH.report(), [Collateral(kind="nvidia-rim", data=with_another_signature(RIM.data))]),
        Reason.RIM_INVALID,
    ),
    "a manifest of somebody else's": (
        lambda: (
            SWITCH,
            SWITCH.report(),
            [FakeNVIDIA().rim(kind="switch", product="LS10", version=SWITCH_VERSION, golden=SWITCH_GOLDEN)],
        ),
        Reason.ROOT_REFUSED,
    ),
}


def test_a_good_switch_is_genuine_with_all_that_endorses_it() -> None:
    """The counterpart of every refusal below."""
    collateral = [OTHER.chain, SWITCH.chain, RIM, *NVIDIA.statements(SWITCH)]
    claims = NVIDIA.switch_verifier().verify(SWITCH.evidence(), collateral, now=NOW)
    assert (claims.facts["firmware_rim"], claims.facts["ocsp"]) == ("match", "good")


@pytest.mark.parametrize("name", WRONG)
def test_each_wrong_switch_has_its_reason(name: str) -> None:
    """One thing is wrong, and its reason is given."""
    make, reason = WRONG[name]
    device, report, collateral = make()
    with pytest.raises(AttestationError) as refused:
        NVIDIA.switch_verifier().verify(device.evidence(report), [device.chain, *collateral], now=NOW)
    assert refused.value.reason is reason
