# SPDX-License-Identifier: Apache-2.0
"""Ruling 31: no lease outlives the collateral its verdict rests on."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from typing_extensions import override

from attestation.binding import KeyBinding
from attestation.claims import ComponentID, ComponentKind
from attestation.errors import Reason
from attestation.lease import open_lease
from attestation.simulated.formats import open_tcb, sign_tcb
from enclave.attesters.interface import Quoted
from enclave.attesters.simulated import SimulatedAttester
from tests.support.confidential import ConfidentialMachine, confidential_world, nvidia, without_collateral
from tests.support.worlds import START, Machine, world

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


@dataclass(kw_only=True)
class OldAnswers(ConfidentialMachine):
    """A machine with GPUs whose vendor's answers about revocation end in ten minutes, or as said."""

    left: int = LEFT

    @override
    def devices(self, nonce: bytes) -> Quoted:
        """Reports as ever, with answers of almost a day ago."""
        quoted = without_collateral(super().devices(nonce), "nvidia-ocsp")
        told = START - timedelta(days=1) + timedelta(seconds=self.left)
        about = [answer for gpu in self.gpus for answer in nvidia().statements(gpu, at=told)]
        return replace(quoted, collateral=(*quoted.collateral, *about, *nvidia().rim_statements(at=START)))


def test_ruling_31_a_lease_ends_with_what_a_vendor_answered_about_one_gpu() -> None:
    """The same with genuine evidence of real kinds: what any part rests on bounds the whole."""
    here = confidential_world()
    lease = open_lease(here.admit(Machine(attester=OldAnswers())).lease, here.trust.lease_key)
    assert lease.expires - lease.issued == LEFT


def test_ruling_31_what_rests_on_collateral_that_ends_now_gets_no_lease() -> None:
    """In the last second of an answer the evidence still verifies, and there is no time left to lease."""
    refused = confidential_world().refuse(Machine(attester=OldAnswers(left=0)))
    assert refused.reason is Reason.EVIDENCE_STALE
