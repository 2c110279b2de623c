# SPDX-License-Identifier: Apache-2.0
"""Ruling 29: a binding names each device's report together with what kind of device made it."""

from dataclasses import replace

from attestation.claims import TEEKind
from attestation.errors import Reason
from attestation.registry.values import Refused
from tests.support.confidential import confidential_world, good_machine
from tests.support.worlds import Machine


def test_ruling_29_a_report_is_bound_as_the_kind_of_device_it_is_of() -> None:
    """The bytes the binding names, handed over as a switch's, are not what it names."""
    here, machine = confidential_world(), Machine(attester=good_machine())
    bundle = machine.bundle(here.challenge(), here.clock.now)
    cpu, first, second = bundle.evidence
    assert second.kind is TEEKind.NVIDIA_GPU
    relabelled = replace(bundle, evidence=(cpu, first, replace(second, kind=TEEKind.NVIDIA_SWITCH)))
    refused = here.registry.register(machine.provider, machine.registration(relabelled))
    assert isinstance(refused, Refused)
    assert refused.reason is Reason.DEVICES_MISMATCH
