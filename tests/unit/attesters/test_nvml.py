# SPDX-License-Identifier: Apache-2.0
"""GPU evidence through NVML: every GPU over the nonce, or none; layouts of NVIDIA's header, against a library."""

import shutil
import subprocess
from pathlib import Path

import pytest

from attestation.claims import TEEKind
from enclave.attesters.device import DeviceFailed
from enclave.attesters.nvml import MAX_GPUS, CCState, NVMLLibrary, NVMLReporter
from tests.support.fake_tsm import FakeNVML
from tests.support.vectors import vectors

NONCE = bytes(range(32))
STUB = Path(__file__).parents[2] / "support" / "nvml_stub.c"


def report_over(index: int, nonce: bytes) -> bytes:
    return b"\x11\xe0\x01\xff" + nonce + b"\x00" + b"report of %d" % index


def reporter(library: FakeNVML) -> NVMLReporter:
    return NVMLReporter(open_library=lambda: library)


def test_every_gpu_reports_over_the_nonce() -> None:
    """One report and one chain for each GPU, and the library is given back."""
    library = FakeNVML(make_report=report_over, chains=[b"chain 0", b"chain 1"])
    quoted = reporter(library).reports(NONCE)
    assert [item.data for item in quoted.evidence] == [report_over(index, NONCE) for index in (0, 1)]
    assert {(item.kind, item.format) for item in quoted.evidence} == {(TEEKind.NVIDIA_GPU, "nvidia-spdm-1.1")}
    assert [(item.kind, item.data) for item in quoted.collateral] == [
        ("nvidia-chain", b"chain 0"),
        ("nvidia-chain", b"chain 1"),
    ]
    assert library.asked[-1] == "close"


def test_one_silent_gpu_makes_all_fail() -> None:
    """A machine that leaves a GPU out shows less than it uses, so it shows nothing."""
    library = FakeNVML(make_report=lambda index, nonce: None if index else report_over(index, nonce), chains=[b"c"] * 2)
    with pytest.raises(DeviceFailed, match="not supported"):
        reporter(library).reports(NONCE)
    assert library.asked[-1] == "close"


def test_a_report_over_another_nonce_is_never_handed_on() -> None:
    """A driver that answers from a cache is found out."""
    library = FakeNVML(make_report=lambda index, _: report_over(index, bytes(32)), chains=[b"c"])
    with pytest.raises(DeviceFailed, match="another nonce"):
        reporter(library).reports(NONCE)


@pytest.mark.parametrize("count", [0, MAX_GPUS + 1])
def test_no_gpus_or_too_many_are_refused(count: int) -> None:
    """A machine that shows GPUs and has none, or more than any machine, is not attested."""
    state = CCState(enabled=True, development_tools=False, ready=True, gpus=count)
    library = FakeNVML(make_report=report_over, chains=[b"c"] * count, cc=state)
    with pytest.raises(DeviceFailed, match="want 1"):
        reporter(library).reports(NONCE)


def test_a_recorded_report_passes_through_unchanged() -> None:
    """A real report, given back by a driver that was asked for its nonce, leaves byte for byte."""
    folder = vectors("nvidia-gpu", "550.90.07_96009F0001_c438e7e714")
    raw, chain = (folder / "report.bin").read_bytes(), (folder / "chain.pem").read_bytes()
    quoted = reporter(FakeNVML(make_report=lambda index, nonce: raw, chains=[chain])).reports(raw[4:36])
    assert (quoted.evidence[0].data, quoted.collateral[0].data) == (raw, chain)


def test_a_machine_without_the_library_is_told_so() -> None:
    """The library is looked for only when asked, and its absence has a name."""
    with pytest.raises(DeviceFailed, match=r"libnvidia-ml\.so\.1"):
        NVMLLibrary.load("libnvidia-ml-that-is-not-there.so.1")


@pytest.fixture(scope="module")
def stub(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A library of NVML's interface, compiled from C with the structures of NVIDIA's header."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    out = tmp_path_factory.mktemp("nvml") / "libnvidia-ml.so.1"
    subprocess.run([compiler, "-shared", "-fPIC", "-Wall", "-Werror", "-o", out, STUB], check=True)
    return str(out)


def test_layouts_are_those_of_the_header(stub: str) -> None:
    """State, nonce, report and chain cross the C boundary where the header has them."""
    library = NVMLLibrary.load(stub)
    assert library.state() == CCState(enabled=True, development_tools=True, ready=True, gpus=2)
    for index in (0, 1):
        assert library.report(index, NONCE) == b"\x11\xe0\x01\xff" + NONCE + bytes([0, index]) * 8
        assert library.chain(index) == b"-----BEGIN CERTIFICATE-----%d" % index
    library.close()


def test_the_whole_way_through_a_library(stub: str) -> None:
    """The reporter works over a real shared library as over a fake."""
    quoted = NVMLReporter(open_library=lambda: NVMLLibrary.load(stub)).reports(NONCE)
    assert len(quoted.evidence) == len(quoted.collateral) == 2
    assert all(item.data[4:36] == NONCE for item in quoted.evidence)


def test_errors_of_the_library_are_named(stub: str) -> None:
    """A GPU that is not there, and sizes beyond their fields, are devices that failed."""
    library = NVMLLibrary.load(stub)
    with pytest.raises(DeviceFailed, match="an invalid argument"):
        library.report(7, NONCE)
    with pytest.raises(DeviceFailed, match="not supported by this GPU"):
        library.report(5, NONCE)
    with pytest.raises(DeviceFailed, match=r"want 1\.\.8192"):
        library.report(6, NONCE)
    with pytest.raises(DeviceFailed, match=r"want 1\.\.5120"):
        library.chain(6)
    with pytest.raises(DeviceFailed, match="want 32"):
        library.report(0, NONCE[:31])


def test_an_old_driver_is_told_so(tmp_path: Path) -> None:
    """A library without the confidential-computing functions says which driver has them."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    source = tmp_path / "old.c"
    source.write_text(
        "int nvmlInit_v2(void) { return 0; }\nint nvmlDeviceGetCount_v2(unsigned *n) { *n = 1; return 0; }\n"
    )
    subprocess.run([compiler, "-shared", "-fPIC", "-o", tmp_path / "old.so", source], check=True)
    with pytest.raises(DeviceFailed, match="535 or later"):
        NVMLLibrary.load(str(tmp_path / "old.so")).state()
