# SPDX-License-Identifier: Apache-2.0
"""A completed bundle has what its evidence needs, the vendors' newest in place of what the worker sent."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime

import pytest

from attestation.bundle import MAX_BUNDLE_BYTES, MAX_COLLATERAL, Collateral, Evidence, EvidenceBundle
from attestation.claims import TEEKind
from attestation.collateral.complete import AsSent, Completion, FetchingCompleter
from attestation.collateral.kinds import KINDS
from attestation.collateral.requests import (
    CertificateStatus,
    ReferenceManifest,
    Request,
)
from attestation.errors import CollateralUnavailable, Reason
from attestation.simulated.formats import COLLATERAL_KIND
from attestation.tee.certificates import der_of
from attestation.tee.snp.product import Product
from tests.support import fake_amd, fake_intel, fake_nvidia

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

    def get(self, request: Request, now: datetime) -> tuple[Collateral, ...]:
        with self._lock:
            self.asked.append(request)
        found = self.answers.get(type(request).__name__)
        if found is None:
            raise unavailable(request)
        return found(request) if callable(found) else found


@contextmanager
def completing(source: Kept, *, seconds: float = 60) -> Iterator[Callable[[EvidenceBundle], Completion]]:
    completer = FetchingCompleter(source, seconds=seconds)
    try:
        yield lambda bundle: completer.complete(bundle, NOW)
    finally:
        completer.close()


def completed(source: Kept, bundle: EvidenceBundle) -> Completion:
    with completing(source) as complete:
        return complete(bundle)


def bundle(evidence: list[Evidence], collateral: list[Collateral]) -> EvidenceBundle:
    return EvidenceBundle(
        challenge=b"c", keyset=b"k", binding=b"b", evidence=tuple(evidence), collateral=tuple(collateral)
    )


def item(kind: str, data: bytes = b"x") -> Collateral:
    return Collateral(kind=kind, data=data)


def test_as_sent_is_as_sent() -> None:
    """Without a source nothing is added and nothing is missing."""
    sent = bundle([fake_amd.good().evidence], [])
    assert AsSent().complete(sent, NOW) == Completion(bundle=sent, missing=())


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
    world, amd = fake_intel.mint(TEEKind.TDX), fake_amd.good()
    newer, newest = item("intel-dcap-json", b"newer"), item("amd-crl", b"newest")
    sent = bundle([world.evidence, amd.evidence], [world.collateral, *amd.collateral, item("amd-crl", b"older")])
    done = completed(Kept(IntelCollateral=(newer,), AMDRevocations=(newest,)), sent)
    assert done.bundle.collateral == (newer, newest, *amd.collateral)


def test_what_was_sent_serves_when_nothing_newer_is_to_be_had() -> None:
    """Without an answer the worker's own statement stays, and what was not to be had is named."""
    world = fake_intel.mint(TEEKind.TDX)
    sent = bundle([world.evidence], [world.collateral])
    done = completed(Kept(), sent)
    assert done.bundle == sent
    assert [error.reason for error in done.missing] == [Reason.COLLATERAL_UNAVAILABLE]


def test_a_fetched_manifests_signers_are_asked_for_too() -> None:
    """The second round asks for the status of who signed what the first round brought."""
    nvidia = fake_nvidia.FakeNVIDIA()
    gpu = nvidia.gpu()
    driver, vbios = nvidia.rims()
    answers = iter([driver, vbios])
    status = item("nvidia-ocsp")
    source = Kept(ReferenceManifest=lambda _: (next(answers),), CertificateStatus=(status,))
    done = completed(source, bundle([gpu.evidence()], [gpu.chain]))
    assert sum(isinstance(request, ReferenceManifest) for request in source.asked) == 2
    assert sum(isinstance(request, CertificateStatus) for request in source.asked) == 3 + 3
    assert len({request.key for request in source.asked}) == len(source.asked)
    assert {part.kind for part in done.bundle.collateral} == {"nvidia-chain", "nvidia-rim", "nvidia-ocsp"}


def test_a_newer_status_takes_the_place_of_that_of_the_same_certificate() -> None:
    """Of two answers about one certificate the vendor's is kept; answers about others stay."""
    nvidia = fake_nvidia.FakeNVIDIA()
    gpu, other = nvidia.gpu(), nvidia.gpu()
    brom, ica = gpu.levels[1], gpu.levels[2]
    revoked = fake_nvidia.answer(brom, ica, status="revoked")
    foreign = fake_nvidia.answer(other.levels[1], other.levels[2])

    def about_brom(request: Request) -> tuple[Collateral, ...]:
        assert isinstance(request, CertificateStatus)
        if request.certificate != der_of(brom.certificate):
            raise unavailable(request)
        return (revoked,)

    sent = bundle([fake_amd.good().evidence], [gpu.chain, fake_nvidia.answer(brom, ica), foreign, item("nvidia-ocsp")])
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


INTEL = fake_intel.mint(TEEKind.TDX)
NEWER = item("intel-dcap-json", b"newer")


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
    filling = [replace(INTEL.evidence, data=bytes([number]) * (1 << 20)) for number in range(15)]
    left = (1 << 20) - len(INTEL.evidence.data) - len(INTEL.collateral.data)
    evidence = [INTEL.evidence, *filling, replace(INTEL.evidence, data=b"x" * left)]
    large = item("intel-dcap-json", b"n" * (len(INTEL.collateral.data) + 1))
    with_old = bundle(evidence, [INTEL.collateral])
    done = completed(Kept(IntelCollateral=(large,)), with_old)
    assert done.bundle.collateral == ()
    assert [error.reason for error in done.left_out] == [Reason.COLLATERAL_UNAVAILABLE]


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
