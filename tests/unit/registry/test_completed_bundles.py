# SPDX-License-Identifier: Apache-2.0
"""The registry completes a bundle before it judges, and what it judged is what it logs, archives and hands out."""

from dataclasses import dataclass, field, replace
from datetime import datetime

import pytest

from attestation.bundle import EvidenceBundle
from attestation.codec.labels import sha256
from attestation.collateral.complete import Completion
from attestation.errors import CollateralUnavailable, Reason
from attestation.registry.values import Admitted, Refused
from attestation.tlog.entry import parse_entry
from attestation.verify import verify_worker
from tests.support.worlds import SIMULATED, Machine, World, world

MISSING = CollateralUnavailable(
    Reason.COLLATERAL_EXPIRED, "intel collateral is valid until yesterday, want valid at today"
)


@dataclass(slots=True, kw_only=True)
class Adding:
    """A completer that gives each bundle the collateral of a bundle that has it, and remembers what it was shown."""

    like: EvidenceBundle | None = None
    missing: tuple[CollateralUnavailable, ...] = ()
    left_out: tuple[CollateralUnavailable, ...] = ()
    shown: list[EvidenceBundle] = field(default_factory=list)
    accounts: list[str] = field(default_factory=list)

    def complete(self, bundle: EvidenceBundle, now: datetime, *, account: str) -> Completion:
        self.shown.append(bundle)
        self.accounts.append(account)
        collateral = self.like.collateral if self.like else bundle.collateral
        completed = replace(bundle, collateral=collateral)
        return Completion(bundle=completed, missing=self.missing, left_out=self.left_out)


def sent_bare(here: World, machine: Machine) -> tuple[EvidenceBundle, EvidenceBundle]:
    """A machine's answer to a fresh challenge, with its collateral and without."""
    whole = machine.bundle(here.challenge(), here.clock.now)
    return whole, replace(whole, collateral=())


def registered(here: World, completer: Adding, machine: Machine, bundle: EvidenceBundle) -> Admitted | Refused:
    here.registry._completer = completer
    return here.registry.register(machine.provider, machine.registration(bundle))


def test_the_completed_bundle_is_judged_logged_archived_and_handed_out() -> None:
    """A worker that sends bare evidence is admitted; everybody gets the bytes the verdict names."""
    here, machine = world(), Machine()
    whole, bare = sent_bare(here, machine)
    completer = Adding(like=whole)
    verdict = registered(here, completer, machine, bare)
    assert isinstance(verdict, Admitted)
    assert completer.accounts == [machine.provider]
    assert verdict.presented.bundle == whole
    logged = parse_entry(verdict.presented.verdict_entry).body["evidence"]
    assert isinstance(logged, list)
    digest = sha256(whole.encode())
    assert logged[0]["sha256"] == digest.hex()
    assert here.store.blobs[digest] == whole.encode()
    _, (handed,) = here.registry.changes(0)
    assert handed.presented.bundle == whole


def test_a_gateway_judges_the_completed_bundle_again() -> None:
    """Whoever is handed the worker verifies it from the same bytes, without asking a vendor."""
    here, machine = world(), Machine()
    whole, bare = sent_bare(here, machine)
    verdict = registered(here, Adding(like=whole), machine, bare)
    assert isinstance(verdict, Admitted)
    worker = verify_worker(
        verdict.presented,
        heartbeat=here.heartbeat(),
        trust=here.trust,
        policy=here.policy,
        verifiers=SIMULATED,
        now=here.clock.now,
    )
    assert worker.worker_id == machine.keyset.worker_id


def test_without_a_completer_a_bundle_is_judged_as_it_came() -> None:
    """The default adds nothing: bare evidence is undecided for want of collateral."""
    here, machine = world(), Machine()
    _, bare = sent_bare(here, machine)
    verdict = here.registry.register(machine.provider, machine.registration(bare))
    assert isinstance(verdict, Refused)
    assert verdict.reason is Reason.COLLATERAL_UNAVAILABLE


def test_what_could_not_be_had_is_among_the_findings_of_an_undecided_verdict() -> None:
    """The provider and the log learn what was missing and why, after what the verifier said."""
    here, machine = world(), Machine()
    _, bare = sent_bare(here, machine)
    verdict = registered(here, Adding(missing=(MISSING,)), machine, bare)
    assert isinstance(verdict, Refused)
    assert [finding.reason for finding in verdict.findings] == [
        Reason.COLLATERAL_UNAVAILABLE,
        Reason.COLLATERAL_EXPIRED,
    ]
    assert here.entries()[-1].body["reasons"] == ["COLLATERAL_UNAVAILABLE", "COLLATERAL_EXPIRED"]


def test_what_was_not_needed_after_all_refuses_nobody() -> None:
    """A verdict that was reached does not mention what might have helped."""
    here, machine = world(), Machine()
    whole, _ = sent_bare(here, machine)
    assert isinstance(registered(here, Adding(missing=(MISSING,)), machine, whole), Admitted)


def test_nobody_is_admitted_without_a_vendors_newer_word() -> None:
    """A statement that is known and had no room refuses, whatever the rest of the bundle proves."""
    here, machine = world(), Machine()
    whole, _ = sent_bare(here, machine)
    verdict = registered(here, Adding(left_out=(MISSING,)), machine, whole)
    assert isinstance(verdict, Refused)
    assert verdict.reason is Reason.COLLATERAL_EXPIRED


@pytest.mark.parametrize("how", ["used", "foreign", "none"])
def test_without_a_challenge_of_this_registry_nothing_is_asked(how: str) -> None:
    """A spent, another provider's or a made-up challenge is refused before any vendor hears of it."""
    here, machine = world(), Machine()
    whole, _ = sent_bare(here, machine)
    completer = Adding()
    if how == "used":
        here.registry.register(machine.provider, machine.registration(whole))
    elif how == "foreign":
        whole = Machine(provider="provider-b").bundle(here.challenge("provider-b"), here.clock.now)
    else:
        whole = replace(whole, challenge=b"\xa0")
    assert isinstance(registered(here, completer, machine, whole), Refused)
    assert completer.shown == []
