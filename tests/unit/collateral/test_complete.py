# SPDX-License-Identifier: Apache-2.0
"""A completed bundle has what its evidence needs, the vendors' newest in place of what the worker sent."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime

import pytest

from attestation.bundle import MAX_BUNDLE_BYTES, MAX_COLLATERAL, Collateral, Evidence, EvidenceBundle
from attestation.claims import DEVICE_KINDS, TEEKind
from attestation.collateral import complete as complete_module
from attestation.collateral.complete import AsSent, Completion, FetchingCompleter
from attestation.collateral.kinds import KINDS
from attestation.collateral.needs import Planner
from attestation.collateral.requests import (
    CertificateStatus,
    ReferenceManifest,
    Request,
)
from attestation.collateral.source import AskedTooOften
from attestation.errors import CollateralUnavailable, Reason
from attestation.simulated.formats import COLLATERAL_KIND
from attestation.tee.certificates import der_of
from attestation.tee.nvidia.endorsements import Endorsements
from attestation.tee.snp.product import Product
from tests.support import fake_amd, fake_intel, fake_nvidia, fake_tsm

NOW = datetime.fromisoformat("2026-11-22T12:00:00+00:00")
Answering = Callable[[Request], tuple[Collateral, ...]]


def unavailable(request: Request) -> CollateralUnavailable:
    return CollateralUnavailable(Reason.COLLATERAL_UNAVAILABLE, f"{request.name} is not at hand, want it")


class Kept:
    """A source that answers by type of request, and has nothing else."""

    def __init__(self, **answers: tuple[Collateral, ...] | Answering) -> None:
        self.answers = answers
        self.asked: list[Request] = []
        self._lock = threading.Lock()

    def get(self, request: Request, now: datetime, *, account: str) -> tuple[Collateral, ...]:
        with self._lock:
            self.asked.append(request)
        found = self.answers.get(type(request).__name__)
        if found is None:
            raise unavailable(request)
        return found(request) if callable(found) else found


@contextmanager
def completing(source: Kept, *, seconds: float = 60) -> Iterator[Callable[[EvidenceBundle], Completion]]:
    planner = Planner(Endorsements(roots=NVIDIA.roots, rim_roots=NVIDIA.rim_maker.roots))
    completer = FetchingCompleter(source, seconds=seconds, planner=planner)
    try:
        yield lambda bundle: completer.complete(bundle, NOW, account="provider-a")
    finally:
        completer.close()


def completed(source: Kept, bundle: EvidenceBundle) -> Completion:
    with completing(source) as complete:
        return complete(bundle)


def bundle(evidence: list[Evidence], collateral: list[Collateral]) -> EvidenceBundle:
    devices = sorted((part.sha256, DEVICE_KINDS[part.kind]) for part in evidence if part.kind in DEVICE_KINDS)
    binding = fake_tsm.binding(devices=tuple((kind, digest) for digest, kind in devices))
    return EvidenceBundle(
        challenge=b"c",
        keyset=b"k",
        binding=binding.encode(),
        evidence=tuple(evidence),
        collateral=tuple(collateral),
    )


def item(kind: str, data: bytes = b"x") -> Collateral:
    return Collateral(kind=kind, data=data)


CPU = fake_amd.good().evidence
INTEL = fake_intel.mint(TEEKind.TDX)
NEWER = item("intel-dcap-json", b"newer")
NVIDIA = fake_nvidia.FakeNVIDIA()


def test_as_sent_is_as_sent() -> None:
    """Without a source nothing is added and nothing is missing."""
    sent = bundle([fake_amd.good().evidence], [])
    assert AsSent().complete(sent, NOW, account="provider-a") == Completion(bundle=sent, missing=())


def test_what_is_needed_is_added_and_the_rest_stays() -> None:
    """Evidence, keys and what the worker sent are kept byte for byte, after the answers."""
    world = fake_amd.good()
    log = item("event-log-dstack", b"[]")
    sent = bundle([world.evidence], [log, *world.collateral])
    newest = fake_amd.crl(Product.GENOA)
    done = completed(Kept(AMDRevocations=(newest,)), sent)
    assert done.bundle.collateral == (newest, *sent.collateral)
    assert (done.bundle.evidence, done.bundle.binding) == (sent.evidence, sent.binding)
    assert done.missing == ()
    assert done.bundle.sha256 != sent.sha256


def test_newer_statements_take_the_place_of_those_sent() -> None:
    """The worker's TCB info and revocation list go when the vendor's came: nobody may be judged by older news."""
    done = completed(Kept(IntelCollateral=(NEWER,)), bundle([INTEL.evidence], [INTEL.collateral]))
    assert done.bundle.collateral == (NEWER,)
    amd, newest = fake_amd.good(), item("amd-crl", b"newest")
    sent = bundle([amd.evidence], [item("amd-crl", b"older"), *amd.collateral])
    done = completed(Kept(AMDRevocations=(newest,)), sent)
    assert done.bundle.collateral == (newest, *amd.collateral)


def test_what_was_sent_serves_when_nothing_newer_is_to_be_had() -> None:
    """Without an answer the worker's own statement stays, and what was not to be had is named."""
    world = fake_intel.mint(TEEKind.TDX)
    sent = bundle([world.evidence], [world.collateral])
    done = completed(Kept(), sent)
    assert done.bundle == sent
    assert [error.reason for error in done.missing] == [Reason.COLLATERAL_UNAVAILABLE]


def test_a_fetched_manifests_signers_are_asked_for_too() -> None:
    """The second round asks for the status of who signed what the first round brought."""
    gpu = NVIDIA.gpu()
    driver, vbios = NVIDIA.rims()
    answers = iter([driver, vbios])
    status = item("nvidia-ocsp")
    source = Kept(ReferenceManifest=lambda _: (next(answers),), CertificateStatus=(status,))
    done = completed(source, bundle([CPU, gpu.evidence()], [gpu.chain]))
    assert sum(isinstance(request, ReferenceManifest) for request in source.asked) == 2
    assert sum(isinstance(request, CertificateStatus) for request in source.asked) == 3 + 3
    assert len({request.key for request in source.asked}) == len(source.asked)
    assert {part.kind for part in done.bundle.collateral} == {"nvidia-chain", "nvidia-rim", "nvidia-ocsp"}


def test_a_newer_status_takes_the_place_of_that_of_the_same_certificate() -> None:
    """Of two answers about one certificate the vendor's is kept; answers about others stay."""
    gpu, other = NVIDIA.gpu(), NVIDIA.gpu()
    brom, ica = gpu.levels[1], gpu.levels[2]
    revoked = fake_nvidia.answer(brom, ica, status="revoked")
    foreign = fake_nvidia.answer(other.levels[1], other.levels[2])

    def about_brom(request: Request) -> tuple[Collateral, ...]:
        assert isinstance(request, CertificateStatus)
        if request.certificate != der_of(brom.certificate):
            raise unavailable(request)
        return (revoked,)

    old = fake_nvidia.answer(brom, ica)
    sent = bundle([CPU, gpu.evidence()], [gpu.chain, old, foreign, item("nvidia-ocsp")])
    done = completed(Kept(CertificateStatus=about_brom), sent)
    assert done.bundle.collateral == (revoked, gpu.chain, foreign, item("nvidia-ocsp"))


def test_the_same_bytes_are_there_once() -> None:
    """An answer that came along already is not added again."""
    world = fake_amd.good().without("SEV-Genoa")
    ark_item = fake_amd.certificate(fake_amd.ark(Product.GENOA))
    ask = fake_amd.certificate(fake_amd.intermediate(Product.GENOA))
    done = completed(Kept(AMDChain=(ask, ark_item)), bundle([world.evidence], list(world.collateral)))
    assert done.bundle.collateral == (ask, ark_item, *(part for part in world.collateral if part != ark_item))


def test_what_does_not_come_in_time_is_missing() -> None:
    """A registration does not wait for a slow vendor: the rest is added, the late one is named."""
    world = fake_amd.good()
    answer = threading.Event()

    def slow(_: Request) -> tuple[Collateral, ...]:
        answer.wait()
        return ()

    chain = tuple(part for part in world.collateral[1:])
    try:
        with completing(Kept(VCEK=slow, AMDChain=chain), seconds=0.5) as complete:
            done = complete(bundle([world.evidence], []))
            assert done.bundle.collateral == chain
            assert sorted(error.message.partition(" is ")[0] for error in done.missing) == [
                "amd vcek of a Genoa chip",
                "amd vcek revocation list of Genoa",
            ]
    finally:
        answer.set()


def padding(size: int, kind: str) -> list[Collateral]:
    """Items of one kind that together have `size` bytes."""
    sizes = [min(4 << 20, size - start) for start in range(0, size, 4 << 20)]
    return [item(kind, bytes([number]) * each) for number, each in enumerate(sizes)]


@pytest.mark.parametrize("kind", ["pad", "event-log-dstack", "amd-crl"])
def test_what_a_vendor_says_has_room_in_a_bundle_padded_to_its_limit(kind: str) -> None:
    """A worker that fills its bundle to the last byte is judged by the newer statement, never by its own older one."""
    room = MAX_BUNDLE_BYTES - len(INTEL.evidence.data) - len(INTEL.collateral.data)
    sent = bundle([INTEL.evidence], [INTEL.collateral, *padding(room, kind)])
    done = completed(Kept(IntelCollateral=(NEWER,)), sent)
    assert done.bundle.collateral[0] == NEWER
    assert INTEL.collateral not in done.bundle.collateral
    assert done.left_out == ()


@pytest.mark.parametrize("kind", ["pad", "event-log-dstack"])
def test_what_a_vendor_says_has_room_in_a_bundle_of_as_many_items_as_may_be(kind: str) -> None:
    """127 items beside the one that is replaced push nothing out that was fetched."""
    world = fake_amd.good()
    pads = [item(kind, b"%d" % number) for number in range(MAX_COLLATERAL - 1)]
    sent = bundle([world.evidence], [item("amd-crl", b"older"), *pads])
    newest = item("amd-crl", b"newest")
    done = completed(Kept(AMDChain=world.collateral, AMDRevocations=(newest,)), sent)
    assert {newest, *world.collateral} <= set(done.bundle.collateral)
    assert item("amd-crl", b"older") not in done.bundle.collateral
    assert len(done.bundle.collateral) <= MAX_COLLATERAL


def test_what_nobody_reads_is_not_kept() -> None:
    """Collateral of kinds no verifier knows takes no room in what is archived and handed out."""
    log = item("event-log-tcg2")
    done = completed(Kept(), bundle([INTEL.evidence], [item("pad"), INTEL.collateral, log, item("x" * 48)]))
    assert done.bundle.collateral == (INTEL.collateral, log)


def test_the_simulated_kind_is_one_that_is_read() -> None:
    """The name that is written out is the one that simulated evidence comes with."""
    assert COLLATERAL_KIND in KINDS


def test_without_room_for_what_a_vendor_says_nothing_older_stands_in_for_it() -> None:
    """Evidence that leaves no room: neither statement is there, and that one is left out is told."""
    filling = [NVIDIA.gpu().evidence(bytes([number]) * (1 << 20)) for number in range(15)]
    left = (1 << 20) - len(INTEL.evidence.data) - len(INTEL.collateral.data)
    evidence = [INTEL.evidence, *filling, NVIDIA.gpu().evidence(b"x" * left)]
    large = item("intel-dcap-json", b"n" * (len(INTEL.collateral.data) + 1))
    done = completed(Kept(IntelCollateral=(large,)), bundle(evidence, [INTEL.collateral]))
    assert done.bundle.collateral == ()
    assert [error.reason for error in done.left_out] == [Reason.COLLATERAL_UNAVAILABLE]


def test_chains_beside_a_machines_own_do_not_keep_its_status_from_being_asked() -> None:
    """Twenty-two forged chains before the real one: the real device's revocation is what the bundle is judged by."""
    gpu, forger = NVIDIA.gpu(), fake_nvidia.FakeNVIDIA()
    brom, ica = gpu.levels[1], gpu.levels[2]
    revoked = fake_nvidia.answer(brom, ica, status="revoked")
    source = Kept(
        CertificateStatus=lambda request: (
            (revoked,) if getattr(request, "certificate", b"") == brom.der else (item("nvidia-ocsp"),)
        )
    )
    carried = [*(forger.gpu().chain for _ in range(22)), gpu.chain, fake_nvidia.answer(brom, ica)]
    done = completed(source, bundle([CPU, gpu.evidence()], carried))
    assert revoked in done.bundle.collateral
    assert fake_nvidia.answer(brom, ica) not in done.bundle.collateral
    assert sum(isinstance(request, CertificateStatus) for request in source.asked) == 3


def test_nobody_has_more_asked_than_a_machine_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    """What goes beyond the limit is not asked, and the bundle is not decided without it."""
    monkeypatch.setattr(complete_module, "MAX_REQUESTS", 4)
    gpu = NVIDIA.gpu()
    source = Kept(CertificateStatus=(item("nvidia-ocsp"),))
    done = completed(source, bundle([CPU, gpu.evidence()], [gpu.chain]))
    assert len(source.asked) == 4
    # three for the chip, three for the device's certificates, two manifests
    assert len(done.left_out) == 3 + 3 + 2 - 4


def test_what_is_not_asked_for_an_account_leaves_its_bundle_undecided() -> None:
    """An account that had its share of questions is not judged by the statements it carries."""

    def refusing(_: Request) -> tuple[Collateral, ...]:
        raise AskedTooOften(Reason.COLLATERAL_UNAVAILABLE, "calls are too many, want fewer")

    done = completed(Kept(IntelCollateral=refusing), bundle([INTEL.evidence], [INTEL.collateral]))
    assert [error.reason for error in done.left_out] == [Reason.COLLATERAL_UNAVAILABLE]
    assert done.missing == ()


def test_what_a_worker_sent_and_has_no_room_is_told() -> None:
    """An honest provider learns why something it sent is not there."""
    huge = padding(MAX_BUNDLE_BYTES - len(INTEL.evidence.data), "event-log-dstack")
    done = completed(Kept(IntelCollateral=(NEWER,)), bundle([INTEL.evidence], huge))
    assert done.bundle.collateral == (NEWER, *huge[:-1])
    assert [error.message.partition(",")[0] for error in done.missing] == ["bundle collateral is 1 items too many"]


def test_no_error_names_a_chip() -> None:
    """What is missing is told without the hardware id it was asked for by."""
    world = fake_amd.good()
    done = completed(Kept(), bundle([world.evidence], []))
    assert len(done.missing) == 3
    chip = fake_amd.chip_id(Product.GENOA).hex()
    assert not any(chip[:16] in error.message for error in done.missing)
