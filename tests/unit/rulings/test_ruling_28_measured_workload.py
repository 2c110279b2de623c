# SPDX-License-Identifier: Apache-2.0
"""Ruling 28 with evidence of a real kind: what the firmware measured and at which level the guest runs is compared."""

from dataclasses import dataclass
from datetime import datetime

import pytest
from typing_extensions import override

from attestation.binding import KeyBinding
from attestation.errors import Reason
from attestation.tee.snp.product import Product
from enclave.attesters.interface import Quoted
from tests.support import fake_amd
from tests.support.confidential import ConfidentialMachine, confidential_world
from tests.support.worlds import Machine


@dataclass(kw_only=True)
class OtherGuest(ConfidentialMachine):
    """A guest whose report says something else in one field."""

    name: str = "vmpl"
    value: int | bytes = 0

    @override
    def quote(self, binding: KeyBinding, *, now: datetime) -> Quoted:
        """A genuine report of that guest."""
        made = fake_amd.good(Product.GENOA, 3, report_data=binding.report_data(), **{self.name: self.value})
        return Quoted(evidence=(made.evidence,), collateral=made.collateral)


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("vmpl", 0, None),
        ("vmpl", 1, Reason.ATTRIBUTE_REFUSED),
        ("measurement", b"\x07" * 48, Reason.MEASUREMENT_REFUSED),
        ("host_data", b"\x07" * 32, Reason.MEASUREMENT_REFUSED),
        ("id_key_digest", b"\x07" * 48, Reason.MEASUREMENT_REFUSED),
    ],
)
def test_ruling_28_another_image_or_level_is_another_worker(
    name: str, value: int | bytes, reason: Reason | None
) -> None:
    """Software below VMPL 0, another launch digest and other host data are each refused; the listed guest is not."""
    here = confidential_world()
    machine = Machine(attester=OtherGuest(name=name, value=value))
    if reason is None:
        here.admit(machine)
    else:
        assert {finding.reason for finding in here.refuse(machine).findings} == {reason}
