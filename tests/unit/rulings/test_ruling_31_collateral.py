# SPDX-License-Identifier: Apache-2.0
"""Ruling 31: no lease outlives the collateral its verdict rests on."""

from dataclasses import replace
from datetime import datetime, timedelta

from typing_extensions import override

from attestation.binding import KeyBinding
from attestation.claims import ComponentID, ComponentKind
from attestation.lease import open_lease
from attestation.simulated.formats import open_tcb, sign_tcb
from enclave.attesters.interface import Quoted
from enclave.attesters.simulated import SimulatedAttester
from tests.support.worlds import Machine, world

LEFT = 600


class OldCollateral(SimulatedAttester):
    """A SIMULATED machine whose vendor's statement ends in ten minutes."""

    @override
    def quote(self, binding: KeyBinding, *, now: datetime) -> Quoted:
        """Evidence as ever, with collateral that is nearly over."""
        quoted = super().quote(binding, now=now)
        (statement,) = quoted.collateral
        tcb = replace(open_tcb(statement.data), expires=now + timedelta(seconds=LEFT))
        return replace(quoted, collateral=(replace(statement, data=sign_tcb(tcb)),))


def test_ruling_31_a_lease_ends_with_its_collateral() -> None:
    """The vendor's statement ends first, so the lease ends with it."""
    here = world()
    machine = Machine(attester=OldCollateral(components=(ComponentID(kind=ComponentKind.CPU, value=b"platform"),)))
    lease = open_lease(here.admit(machine).lease, here.trust.lease_key)
    assert lease.expires - lease.issued == LEFT
