# SPDX-License-Identifier: Apache-2.0
"""Collateral serves within its validity, is renewed before it ends, and fails closed after it."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from attestation.bundle import Collateral
from attestation.claims import TEEKind
from attestation.collateral.cache import CollateralCache
from attestation.collateral.requests import (
    VCEK,
    AMDChain,
    AMDRevocations,
    AMDSigner,
    CertificateStatus,
    IntelCollateral,
    PCKAuthority,
    ReferenceManifest,
    Request,
)
from attestation.collateral.source import CHIPS_BURST, FAILED_AGAIN, AskedTooOften, CachedSource
from attestation.collateral.transport import Response
from attestation.errors import CollateralUnavailable, Reason, SealbidError
from attestation.rates import Rates
from attestation.tee.certificates import der_of
from attestation.tee.snp.product import Product
from tests.support import fake_amd, fake_intel, fake_nvidia
from tests.support.vendor_server import response
from tests.support.vendor_services import Vendors

NOW = fake_amd.NOW
HOUR = timedelta(hours=1)
CRL = AMDRevocations(product=Product.GENOA, signer=AMDSigner.VCEK)
LIST = fake_amd.crl(Product.GENOA, issued=-HOUR, lasts=10 * HOUR)


class Desk:
    """A source over a cache of its own and vendors that can go down."""

    def __init__(self, folder: Path, vendors: Vendors | None = None, *, jitter: float = 0.0) -> None:
        self.cache = CollateralCache(folder, limit_bytes=1 << 20, limit_entries=100)
        self.vendors = vendors or Vendors(amd_crl=LIST.data)
        self.jitter = jitter
        self.source = self.made()

    def made(self, *, online: bool = True) -> CachedSource:
        """Another source on the same cache, as a process has that starts again."""
        services = self.vendors.services() if online else None
        return CachedSource(cache=self.cache, services=services, jitter=lambda: self.jitter)

    def get(self, now: datetime, request: Request = CRL, *, account: str = "provider-a") -> tuple[Collateral, ...]:
        return self.source.get(request, now, account=account)

    def refusal(self, now: datetime) -> Reason:
        with pytest.raises(CollateralUnavailable) as refused:
            self.get(now)
        return refused.value.reason


def test_the_second_asker_is_served_from_the_cache(tmp_path: Path) -> None:
    """One fetch serves until renewal is due, also a process that starts later."""
    desk = Desk(tmp_path)
    assert desk.get(NOW) == desk.get(NOW + HOUR) == (LIST,)
    assert desk.made().get(CRL, NOW + 2 * HOUR, account="provider-a") == (LIST,)
    assert len(desk.vendors.asked) == 1


def test_it_is_renewed_before_it_ends(tmp_path: Path) -> None:
    """After three quarters of the nine hours left the vendor is asked again; jitter makes that earlier, never later."""
    desk = Desk(tmp_path)
    desk.get(NOW)
    newer = fake_amd.crl(Product.GENOA, issued=HOUR, lasts=10 * HOUR)
    desk.vendors.amd_crl = newer.data
    assert desk.get(NOW + 6 * HOUR) == (LIST,)
    desk.jitter = 1.0
    assert desk.get(NOW + 6 * HOUR) == (newer,)
    assert len(desk.vendors.asked) == 2


def test_statements_are_renewed_daily_whatever_their_end(tmp_path: Path) -> None:
    """A list that is good for a month is asked for again the next day, so that news do not take a month."""
    desk = Desk(tmp_path, Vendors(amd_crl=fake_amd.crl(Product.GENOA).data))
    for day in range(3):
        desk.get(NOW + day * timedelta(days=1))
    assert len(desk.vendors.asked) == 3


def test_endorsements_for_good_are_not_renewed_daily(tmp_path: Path) -> None:
    """A chip's certificate does not change; its service limits how often it may be asked."""
    desk = Desk(tmp_path, Vendors(vcek=fake_amd.leaf(Product.GENOA)))
    chip = VCEK(product=Product.GENOA, chip=fake_amd.chip_id(Product.GENOA), tcb=fake_amd.tcb(Product.GENOA))
    for day in range(30):
        desk.get(NOW + day * timedelta(days=1), chip)
    assert len(desk.vendors.asked) == 1


def test_while_the_vendor_is_down_what_is_kept_serves_until_it_ends(tmp_path: Path) -> None:
    """To the last second of its validity, and not one more: then the reason is COLLATERAL_EXPIRED."""
    desk = Desk(tmp_path)
    desk.get(NOW)
    desk.vendors.down = True
    ends = NOW + 9 * HOUR
    assert desk.get(ends - timedelta(seconds=1)) == (LIST,)
    assert desk.refusal(ends) is Reason.COLLATERAL_EXPIRED
    assert desk.refusal(ends + timedelta(days=365)) is Reason.COLLATERAL_EXPIRED
    desk.vendors.down = False
    desk.vendors.amd_crl = fake_amd.crl(Product.GENOA, issued=10 * HOUR).data
    assert desk.get(ends + 2 * HOUR) != (LIST,)


def test_without_any_answer_it_is_unavailable(tmp_path: Path) -> None:
    """Nothing kept and nobody answers: COLLATERAL_UNAVAILABLE, whether the vendor is down or may not be asked."""
    desk = Desk(tmp_path)
    desk.vendors.down = True
    assert desk.refusal(NOW) is Reason.COLLATERAL_UNAVAILABLE
    desk.vendors.down = False
    with pytest.raises(CollateralUnavailable):
        desk.made(online=False).get(CRL, NOW, account="provider-a")


def test_offline_serves_what_is_kept(tmp_path: Path) -> None:
    """A process without a network uses the cache alone, and fails closed when it ends."""
    desk = Desk(tmp_path)
    desk.get(NOW)
    offline = desk.made(online=False)
    assert offline.get(CRL, NOW + 8 * HOUR, account="provider-a") == (LIST,)
    with pytest.raises(CollateralUnavailable) as refused:
        offline.get(CRL, NOW + 9 * HOUR, account="provider-a")
    assert refused.value.reason is Reason.COLLATERAL_EXPIRED
    assert len(desk.vendors.asked) == 1


def test_a_vendor_that_is_down_is_not_asked_by_everybody(tmp_path: Path) -> None:
    """After a failure the same is not asked again for a minute; then it is."""
    desk = Desk(tmp_path)
    desk.vendors.down = True
    desk.refusal(NOW)
    asked = len(desk.vendors.asked)
    desk.refusal(NOW + FAILED_AGAIN / 2)
    assert len(desk.vendors.asked) == asked
    desk.vendors.down = False
    assert desk.get(NOW + FAILED_AGAIN) == (LIST,)


def test_an_answer_that_is_over_is_not_kept(tmp_path: Path) -> None:
    """A mirror that still serves last month's list gives nothing."""
    desk = Desk(tmp_path, Vendors(amd_crl=fake_amd.crl(Product.GENOA, issued=-50 * HOUR, lasts=49 * HOUR).data))
    assert desk.refusal(NOW) is Reason.COLLATERAL_UNAVAILABLE
    assert desk.cache.get(CRL.key) is None


def test_a_broken_answer_does_not_replace_a_good_one(tmp_path: Path) -> None:
    """When renewal brings rubbish, what is kept goes on serving."""
    desk = Desk(tmp_path)
    desk.get(NOW)
    desk.vendors.change["/crl"] = lambda _: response(b"<html>", "application/octet-stream")
    assert desk.get(NOW + 8 * HOUR) == (LIST,)


def test_a_clock_that_jumps_back_asks_again(tmp_path: Path) -> None:
    """What was fetched in the future says nothing about its age."""
    desk = Desk(tmp_path)
    desk.get(NOW)
    desk.get(NOW - HOUR / 2)
    assert len(desk.vendors.asked) == 2


def test_a_full_disk_costs_a_fetch_and_no_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The asker gets the answer though it cannot be kept; the next one asks the vendor again."""
    desk = Desk(tmp_path)

    def full(*_: object, **__: object) -> None:
        raise SealbidError(Reason.STORE_UNAVAILABLE, "collateral cache failed: no space left on device")

    monkeypatch.setattr(CollateralCache, "put", full)
    assert desk.get(NOW) == desk.get(NOW) == (LIST,)
    assert len(desk.vendors.asked) == 2


def test_many_askers_at_once_are_one_fetch(tmp_path: Path) -> None:
    """Eight threads that need the same wait for the one that asks."""
    started = threading.Event()
    desk = Desk(tmp_path)

    def slow(made: Response) -> Response:
        started.wait()
        return made

    desk.vendors.change["/crl"] = slow
    with ThreadPoolExecutor(8) as pool:
        waiting = [pool.submit(desk.get, NOW) for _ in range(8)]
        started.set()
        assert {future.result() for future in waiting} == {(LIST,)}
    assert len(desk.vendors.asked) == 1


def test_whoever_holds_something_valid_does_not_wait_for_renewal(tmp_path: Path) -> None:
    """While one thread waits for a slow vendor, the others are served what is kept."""
    desk = Desk(tmp_path)
    desk.get(NOW)
    asking, answer = threading.Event(), threading.Event()

    def slow(made: Response) -> Response:
        asking.set()
        answer.wait()
        return made

    desk.vendors.change["/crl"] = slow
    with ThreadPoolExecutor(1) as pool:
        renewing = pool.submit(desk.get, NOW + 8 * HOUR)
        asking.wait()
        try:
            assert desk.get(NOW + 8 * HOUR) == (LIST,)
        finally:
            answer.set()
        assert renewing.result() == (LIST,)


def test_refresh_renews_what_was_served_and_nothing_else(tmp_path: Path) -> None:
    """What once was served is renewed unasked; what never was is not, since anybody may have anything asked."""
    desk = Desk(tmp_path)
    desk.get(NOW)
    with pytest.raises(CollateralUnavailable):
        desk.get(NOW, ReferenceManifest(id="NV_GPU_DRIVER_GH100_1.2"))
    desk.vendors.asked.clear()
    assert desk.source.refresh(NOW + 8 * HOUR) == 0
    assert [url.rpartition("/")[2] for url in desk.vendors.asked] == ["crl"]
    desk.vendors.down = True
    assert desk.source.refresh(NOW + 30 * timedelta(days=1)) == 1


NVIDIA = fake_nvidia.FakeNVIDIA()
GPU = NVIDIA.gpu()
INTEL = fake_intel.mint(TEEKind.TDX)


@pytest.mark.parametrize(
    ("request_", "kinds"),
    [
        (
            IntelCollateral(tee=TEEKind.TDX, fmspc=INTEL.wish.fmspc, authority=PCKAuthority.PLATFORM),
            ["intel-dcap-json"],
        ),
        (
            VCEK(product=Product.GENOA, chip=fake_amd.chip_id(Product.GENOA), tcb=fake_amd.tcb(Product.GENOA)),
            ["amd-certificate"],
        ),
        (AMDChain(product=Product.GENOA, signer=AMDSigner.VCEK), ["amd-certificate", "amd-certificate"]),
        (CRL, ["amd-crl"]),
        (ReferenceManifest(id="NV_GPU_DRIVER_GH100_550.90.07"), ["nvidia-rim"]),
        (
            CertificateStatus(certificate=der_of(GPU.levels[1].certificate), issuer=der_of(GPU.levels[2].certificate)),
            ["nvidia-ocsp"],
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_every_kind_of_request_is_answered_and_kept(tmp_path: Path, request_: Request, kinds: list[str]) -> None:
    """Each goes to its vendor once and comes back from the cache the same."""
    vendors = Vendors(
        intel=dict(INTEL.statements),
        vcek=fake_amd.leaf(Product.GENOA),
        amd_chain=[fake_amd.intermediate(Product.GENOA), fake_amd.ark(Product.GENOA)],
        amd_crl=LIST.data,
        manifests={"NV_GPU_DRIVER_GH100_550.90.07": NVIDIA.rims()[0].data},
        statuses=NVIDIA.statements(GPU, at=NOW),
    )
    services = vendors.services(
        intel_roots=INTEL.roots, amd_roots=list(fake_amd.roots()), rim_roots=NVIDIA.rim_maker.roots
    )
    store = CollateralCache(tmp_path, limit_bytes=1 << 20, limit_entries=100)
    now = INTEL.now if isinstance(request_, IntelCollateral) else NOW
    got = CachedSource(cache=store, services=services, jitter=lambda: 0.0).get(request_, now, account="provider-a")
    assert [item.kind for item in got] == kinds
    assert CachedSource(cache=store, services=None, jitter=lambda: 0.0).get(request_, now, account="provider-a") == got


def chip_certificate(number: int) -> VCEK:
    return VCEK(product=Product.GENOA, chip=number.to_bytes(64, "big"), tcb=fake_amd.tcb(Product.GENOA))


def test_an_account_has_its_share_of_questions_and_no_other_accounts(tmp_path: Path) -> None:
    """Chips that do not exist are asked for so many times and no more; others ask on, and what is kept is served."""
    desk = Desk(tmp_path)
    desk.vendors.vcek = fake_amd.leaf(Product.GENOA)
    for number in range(1, CHIPS_BURST + 1):
        with pytest.raises(CollateralUnavailable) as unknown:
            desk.get(NOW, chip_certificate(number))
        assert not isinstance(unknown.value, AskedTooOften)
    asked = len(desk.vendors.asked)
    with pytest.raises(AskedTooOften):
        desk.get(NOW, chip_certificate(CHIPS_BURST + 1))
    assert len(desk.vendors.asked) == asked
    genuine = VCEK(product=Product.GENOA, chip=fake_amd.chip_id(Product.GENOA), tcb=fake_amd.tcb(Product.GENOA))
    assert desk.get(NOW, genuine, account="provider-b")
    assert desk.get(NOW, genuine) == desk.get(NOW, genuine, account="provider-b")
    assert desk.get(NOW) == (LIST,)


def test_what_is_kept_serves_an_account_that_may_not_have_it_renewed(tmp_path: Path) -> None:
    """Due and still valid is served, over is not; the process itself renews without asking on anybody's account."""
    desk = Desk(tmp_path)
    desk.get(NOW)
    desk.source._rates = Rates(per_minute=0, burst=0)
    assert desk.get(NOW + 8 * HOUR) == (LIST,)
    with pytest.raises(AskedTooOften):
        desk.get(NOW + 10 * HOUR)
    desk.vendors.amd_crl = fake_amd.crl(Product.GENOA, issued=10 * HOUR).data
    assert desk.source.refresh(NOW + 11 * HOUR) == 0
