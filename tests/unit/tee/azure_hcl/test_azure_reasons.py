# SPDX-License-Identifier: Apache-2.0
"""An Azure VM whose hardware or event log is wrong is refused for that, by the hardware's own reason."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from attestation.bundle import Collateral
from attestation.claims import TEEKind
from attestation.errors import AttestationError, Reason
from attestation.tee.azure_hcl.verifier import AzureHCLVerifier
from attestation.tee.dcap.verifier import TDXVerifier
from attestation.tee.snp.product import Product
from tests.support import fake_amd as amd
from tests.support import fake_azure as azure
from tests.support import fake_intel as intel
from tests.support.fake_amd import LeafOptions
from tests.support.fake_azure import AzureWorld

GENOA = Product.GENOA


def with_leaf(options: LeafOptions) -> AzureWorld:
    """A VM whose chip's key has another certificate."""
    chain = (amd.leaf(GENOA, "VCEK", options), amd.intermediate(GENOA), amd.ark(GENOA))
    return replace(azure.good(), collateral=tuple(map(amd.certificate, chain)))


def adding(*items: Collateral) -> AzureWorld:
    """A good VM with more collateral."""
    world = azure.good()
    return replace(world, collateral=(*world.collateral, *items))


def log(*measured: bytes) -> Collateral:
    """An event log of the SHA-256 bank that measures these into PCR 0."""
    spec = b"Spec ID Event03\0" + bytes(4) + bytes((0, 2, 0, 2, 1, 0, 0, 0)) + b"\x0b\0\x20\0\0"
    first = bytes(4) + (3).to_bytes(4, "little") + bytes(20) + len(spec).to_bytes(4, "little") + spec
    head = bytes(4) + (13).to_bytes(4, "little") + (1).to_bytes(4, "little") + b"\x0b\0"
    events = (head + hashlib.sha256(data).digest() + len(data).to_bytes(4, "little") + data for data in measured)
    return Collateral(kind="event-log-tcg2", data=first + b"".join(events))


def on_tdx(**wish: object) -> tuple[AzureWorld, AzureHCLVerifier, datetime]:
    """A VM on a fake Intel's TDX, its quote beside the paravisor's report."""
    runtime = azure.runtime_data()
    slot = hashlib.sha256(runtime).digest().ljust(64, b"\0")
    td = intel.mint(TEEKind.TDX, report_data=slot, **wish)
    world = replace(azure.on_tdx(td.evidence.data), collateral=(td.collateral,))
    return world, AzureHCLVerifier(tdx=TDXVerifier(roots=td.roots)), td.now


def refusal(world: AzureWorld, now: datetime = azure.NOW, verifier: AzureHCLVerifier | None = None) -> Reason:
    """Why the VM is refused."""
    with pytest.raises(AttestationError) as refused:
        (verifier or world.verifier).verify(world.evidence, world.collateral, now=now)
    return refused.value.reason


WRONG: dict[str, tuple[Callable[[], AzureWorld], Reason]] = {
    "a key signed by another": (lambda: with_leaf(LeafOptions(signer="SEV-Turin")), Reason.CHAIN_INVALID),
    "a key of other firmware": (lambda: with_leaf(LeafOptions(levels={"snp": 7})), Reason.TCB_MISMATCH),
    "a key of another chip": (lambda: with_leaf(LeafOptions(chip="another")), Reason.CHIP_MISMATCH),
    "a revoked intermediate": (lambda: adding(amd.crl(GENOA, revoked=[0x10001])), Reason.CERTIFICATE_REVOKED),
    "an old revocation list": (lambda: adding(amd.crl(GENOA, issued=-timedelta(days=40))), Reason.COLLATERAL_EXPIRED),
    "a log of other firmware": (lambda: adding(log(b"other firmware")), Reason.EVENT_LOG_MISMATCH),
    "two logs": (lambda: adding(log(b"one"), log(b"two")), Reason.MALFORMED),
}


def test_a_good_vm_is_genuine_with_a_current_list() -> None:
    """The counterpart of the refusals on SEV-SNP: the same VM with a list that names nobody."""
    world = adding(amd.crl(GENOA))
    claims = world.verifier.verify(world.evidence, world.collateral, now=azure.NOW)
    assert (claims.facts["snp_crl"], claims.facts["event_log"]) == ("checked", "absent")


@pytest.mark.parametrize("name", WRONG)
def test_each_wrong_vm_has_its_reason(name: str) -> None:
    """One thing is wrong, and its reason is given."""
    make, reason = WRONG[name]
    assert refusal(make()) is reason


def test_a_chain_past_its_time_is_refused() -> None:
    """Long after its key's certificate ended."""
    assert refusal(azure.good(), azure.NOW + timedelta(days=3650)) is Reason.CERTIFICATE_EXPIRED


def test_on_tdx_a_good_vm_is_genuine() -> None:
    """A quote of the fake Intel's over the runtime data, by the real TDX verifier."""
    world, verifier, now = on_tdx()
    claims = verifier.verify(world.evidence, world.collateral, now=now)
    assert (claims.facts["hardware"], claims.facts["tdx_tcb_level"], claims.slot) == ("tdx", "known", azure.SLOT)


@pytest.mark.parametrize(
    ("wish", "reason"),
    [
        ({"wrong_quote_key": True}, Reason.SIGNATURE_INVALID),
        ({"pck_revoked": True}, Reason.CERTIFICATE_REVOKED),
        ({"statement_fmspc": bytes(6)}, Reason.COLLATERAL_UNAVAILABLE),
        ({"next_update": intel.NOW - timedelta(hours=1)}, Reason.COLLATERAL_EXPIRED),
        ({"mrsignerseam": b"\1" * 48}, Reason.TCB_MISMATCH),
    ],
    ids=lambda value: str(value)[:24],
)
def test_on_tdx_each_wrong_world_has_its_reason(wish: dict[str, object], reason: Reason) -> None:
    """What Intel's verifier refuses a quote for, the VM is refused for."""
    world, verifier, now = on_tdx(**wish)
    assert refusal(world, now, verifier) is reason
