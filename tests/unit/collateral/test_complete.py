# SPDX-License-Identifier: Apache-2.0
"""A completed bundle has what its evidence needs, the vendors' newest in place of what the worker sent."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime

from attestation.bundle import MAX_COLLATERAL, Collateral, Evidence, EvidenceBundle
from attestation.claims import TEEKind
from attestation.collateral.complete import AsSent, Completion, FetchingCompleter
from attestation.collateral.requests import (
    CertificateStatus,
    ReferenceManifest,
    Request,
)
from attestation.errors import CollateralUnavailable, Reason
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
    """Evidence, keys and what the worker sent are kept byte for byte; the answers follow."""
    world = fake_amd.good()
    log = item("event-log-dstack", b"[]")
    sent = bundle([world.evidence], [log, *world.collateral])
    newest = fake_amd.crl(Product.GENOA)
    done = completed(Kept(AMDRevocations=(newest,)), sent)
    assert done.bundle.collateral == (*sent.collateral, newest)
    assert (done.bundle.evidence, done.bundle.binding) == (sent.evidence, sent.binding)
    assert done.missing == ()
    assert done.bundle.sha256 != sent.sha256


def test_newer_statements_take_the_place_of_those_sent() -> None:
    """The worker's TCB info and revocation list go when the vendor's came: nobody may be judged by older news."""
    world, amd = fake_intel.mint(TEEKind.TDX), fake_amd.good()
    newer, newest = item("intel-dcap-json", b"newer"), item("amd-crl", b"newest")
    sent = bundle([world.evidence, amd.evidence], [world.collateral, *amd.collateral, item("amd-crl", b"older")])
    done = completed(Kept(IntelCollateral=(newer,), AMDRevocations=(newest,)), sent)
    assert done.bundle.collateral == (*amd.collateral, newer, newest)


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
    assert done.bundle.collateral == (gpu.chain, foreign, item("nvidia-ocsp"), revoked)


def test_the_same_bytes_are_there_once() -> None:
    """An answer that came along already is not added again."""
    world = fake_amd.good().without("SEV-Genoa")
    ark = fake_amd.certificate(fake_amd.ark(Product.GENOA))
    ask = fake_amd.certificate(fake_amd.intermediate(Product.GENOA))
    done = completed(Kept(AMDChain=(ask, ark)), bundle([world.evidence], list(world.collateral)))
    assert done.bundle.collateral == (*world.collateral, ask)


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


def test_a_bundle_never_outgrows_its_limits() -> None:
    """Answers beyond what a bundle holds are left out; a bundle too large with them is judged as it came."""
    world = fake_amd.good()
    full = [item("event-log-dstack", b"%d" % number) for number in range(MAX_COLLATERAL - 1)]
    sent = bundle([world.evidence], full)
    done = completed(Kept(AMDChain=tuple(world.collateral), AMDRevocations=(item("amd-crl"),)), sent)
    assert len(done.bundle.collateral) == MAX_COLLATERAL
    huge = [item("event-log-dstack", bytes(4 << 20)) for _ in range(3)]
    big = tuple(item("amd-crl", bytes([number]) * (3 << 20)) for number in range(2))
    sent = bundle([world.evidence], huge)
    done = completed(Kept(AMDRevocations=big), sent)
    assert done.bundle == sent
    assert Reason.COLLATERAL_UNAVAILABLE in {error.reason for error in done.missing}


def test_no_error_names_a_chip() -> None:
    """What is missing is told without the hardware id it was asked for by."""
    world = fake_amd.good()
    done = completed(Kept(), bundle([world.evidence], []))
    assert len(done.missing) == 3
    chip = fake_amd.chip_id(Product.GENOA).hex()
    assert not any(chip[:16] in error.message for error in done.missing)
