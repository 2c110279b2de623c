# SPDX-License-Identifier: Apache-2.0
"""A CPU and its devices are one presentation: each way of mixing machines or moments is refused by its own reason."""

from dataclasses import dataclass, replace
from datetime import datetime

from typing_extensions import override

from attestation.attested import AttestedWorker
from attestation.binding import KeyBinding
from attestation.bundle import EvidenceBundle
from attestation.claims import TEEKind
from attestation.errors import Reason
from attestation.registry.values import Refused
from attestation.verify import verify_worker
from enclave.attesters.interface import Quoted
from tests.support.confidential import (
    ConfidentialMachine,
    confidential_world,
    good_machine,
    nvidia,
    verifiers,
    without_collateral,
)
from tests.support.worlds import Machine, World

P384_ORDER = int("ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973", 16)


def attested(here: World, machine: Machine) -> AttestedWorker:
    presented = here.admit(machine)
    return verify_worker(
        presented,
        heartbeat=here.heartbeat(),
        trust=here.trust,
        policy=here.policy,
        verifiers=verifiers(),
        now=here.clock.now,
    )


def reasons(refused: Refused) -> set[Reason]:
    return {finding.reason for finding in refused.findings}


def test_a_good_machine_is_admitted_and_every_party_verifies_it_itself() -> None:
    """SNP guest and two GPUs under a production policy: registry and gateway come to the same claims, unsimulated."""
    here = confidential_world()
    worker = attested(here, Machine(attester=good_machine()))
    assert worker.claims.kind is TEEKind.SNP
    assert [device.kind for device in worker.claims.devices] == [TEEKind.NVIDIA_GPU] * 2
    assert not worker.claims.simulated


def test_eight_gpus_behind_four_switches_are_admitted_whole_and_refused_without_one() -> None:
    """The full node passes; with one GPU or one switch left out it is refused by the topology."""
    here = confidential_world(gpus=8, switches=4)
    node = good_machine(gpus=8, switches=4)
    assert len(attested(here, Machine(attester=node)).claims.devices) == 12
    for less in (replace(node, gpus=node.gpus[1:]), replace(node, switches=node.switches[1:])):
        refused = here.refuse(Machine(attester=less, seed=2))
        assert reasons(refused) == {Reason.TOPOLOGY_REFUSED}


def test_a_missing_gpu_is_refused_by_the_topology() -> None:
    """A machine that does not attest one of its GPUs is not a smaller machine."""
    node = good_machine()
    refused = confidential_world().refuse(Machine(attester=replace(node, gpus=node.gpus[:1])))
    assert reasons(refused) == {Reason.TOPOLOGY_REFUSED}


def test_one_gpu_does_not_count_twice() -> None:
    """A GPU asked twice, or one report whose signature is written in its other form, is no second GPU."""
    here, gpu = confidential_world(), nvidia().gpu()
    for attester in (ConfidentialMachine(gpus=(gpu, gpu)), _TwiceSigned(gpus=(gpu,))):
        assert reasons(here.refuse(Machine(attester=attester))) == {Reason.DEVICES_MISMATCH}


def test_a_report_left_out_after_binding_or_put_in_is_refused() -> None:
    """The binding names the reports: one taken away and one of another machine added are both refused."""
    here, machine = confidential_world(), Machine(attester=good_machine())
    for taken, added in ((1, ()), (0, (nvidia().gpu().evidence(),))):
        bundle = machine.bundle(here.challenge(), here.clock.now)
        changed = replace(bundle, evidence=(*bundle.evidence[: len(bundle.evidence) - taken], *added))
        assert refused_bundle(here, machine, changed) == {Reason.DEVICES_MISMATCH}


def test_a_gpu_that_answered_for_another_machine_is_refused() -> None:
    """A report over another worker's device nonce, however genuine, is not this machine's."""
    machine = replace(good_machine(), answered_nonce=b"\x5a" * 32)
    assert reasons(confidential_world().refuse(Machine(attester=machine))) == {Reason.NONCE_MISMATCH}


def test_a_gpu_that_serves_another_worker_is_refused() -> None:
    """A GPU of another provider's live worker, answering our nonce by relay, is claimed already."""
    here = confidential_world(workers_per_cpu=8)
    theirs = good_machine()
    here.admit(Machine(attester=theirs))
    here.admit(
        Machine(provider="provider-b", seed=2, attester=good_machine())
    )  # its own GPUs on a shared host are fine
    ours = good_machine()
    borrowed = replace(ours, gpus=(ours.gpus[0], theirs.gpus[0]))
    assert reasons(here.refuse(Machine(provider="provider-b", seed=3, attester=borrowed))) == {Reason.HARDWARE_CLAIMED}


def test_a_cpu_of_a_dedicated_host_serves_one_worker() -> None:
    """Under a policy that says dedicated host, a second guest on the chip is refused, whatever its GPUs."""
    here = confidential_world()
    here.admit(Machine(attester=good_machine()))
    second = Machine(provider="provider-b", seed=2, attester=good_machine())
    assert reasons(here.refuse(second)) == {Reason.HARDWARE_CLAIMED}


def test_a_stale_half_is_refused_whichever_half_it_is() -> None:
    """Yesterday's quote with today's reports, and today's quote with yesterday's reports."""
    here, node = confidential_world(), good_machine()
    machine = Machine(attester=node)
    earlier = machine.bundle(here.challenge(), here.clock.now)
    old_quote = replace(node, old_quote=earlier.evidence[0])
    assert reasons(here.refuse(Machine(attester=old_quote))) == {Reason.BINDING_MISMATCH}
    old_nonce = earlier.evidence[1].data[4:36]
    assert reasons(here.refuse(Machine(attester=replace(node, answered_nonce=old_nonce)))) == {Reason.NONCE_MISMATCH}


@dataclass(kw_only=True)
class _Without(ConfidentialMachine):
    kind: str = ""

    @override
    def devices(self, nonce: bytes) -> Quoted:
        return without_collateral(super().devices(nonce), self.kind)

    @override
    def quote(self, binding: KeyBinding, *, now: datetime) -> Quoted:
        return without_collateral(super().quote(binding, now=now), self.kind)


class _TwiceSigned(ConfidentialMachine):
    @override
    def devices(self, nonce: bytes) -> Quoted:
        quoted = super().devices(nonce)
        (report,) = quoted.evidence
        s = P384_ORDER - int.from_bytes(report.data[-48:], "big")
        other = replace(report, data=report.data[:-48] + s.to_bytes(48, "big"))
        return replace(quoted, evidence=(report, other))


def test_what_is_missing_is_undecided_and_never_accepted() -> None:
    """Without chains, manifests or AMD certificates the verdict says what to bring, not that anything was forged."""
    here = confidential_world()
    expected = {
        "nvidia-chain": Reason.ENDORSEMENT_MISSING,
        "amd-certificate": Reason.ENDORSEMENT_MISSING,
        "nvidia-rim": Reason.RIM_UNAVAILABLE,
    }
    for kind, reason in expected.items():
        refused = here.refuse(Machine(attester=_Without(kind=kind)))
        assert reason in reasons(refused), kind


def refused_bundle(here: World, machine: Machine, bundle: EvidenceBundle) -> set[Reason]:
    verdict = here.registry.register(machine.provider, machine.registration(bundle))
    assert isinstance(verdict, Refused)
    return reasons(verdict)
