# SPDX-License-Identifier: Apache-2.0
"""A machine's attester: CPU, GPUs and collateral in one bundle, through the files of a device and of a root folder."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from attestation.binding import KeyBinding, Profile, device_digest
from attestation.bundle import Collateral, Evidence
from attestation.claims import TEEKind
from enclave.attesters.detect import AttesterChoice
from enclave.attesters.device import DeviceFailed, LocalFiles, read_text
from enclave.attesters.local import local_attesters
from enclave.attesters.machine import MachineAttester
from enclave.attesters.nvml import NVMLReporter
from enclave.attesters.tsm import TSMQuoter
from tests.support.fake_tsm import FakeNVML, FakeTSM
from tests.support.worlds import Machine, world


def attester(
    profile: Profile = Profile.PRODUCTION, *, gpus: int = 2, finder: "Finder | None" = None
) -> MachineAttester:
    kernel = FakeTSM(make_report=lambda data: b"quote" + data)
    library = FakeNVML(
        make_report=lambda index, nonce: b"\x11\xe0\x01\xff" + nonce + bytes([index]),
        chains=[b"chain %d" % index for index in range(gpus)],
    )
    return MachineAttester(
        profile=profile,
        cpu=TSMQuoter(files=kernel, entropy=bytes, sleep=lambda _: None),
        gpus=NVMLReporter(open_library=lambda: library) if gpus else None,
        collateral=finder,
    )


class Finder:
    """A finder that names what it was asked about."""

    def find(self, evidence: Sequence[Evidence]) -> tuple[Collateral, ...]:
        return tuple(Collateral(kind="found", data=item.kind.value.encode()) for item in evidence)


def test_a_bundle_holds_the_whole_machine() -> None:
    """The CPU's evidence, every GPU's, and the collateral each came with, under one binding that names the GPUs."""
    here = world()
    bundle = Machine(attester=attester()).bundle(here.challenge(), here.clock.now)
    kinds = [item.kind for item in bundle.evidence]
    assert kinds == [TEEKind.TDX, TEEKind.NVIDIA_GPU, TEEKind.NVIDIA_GPU]
    binding = KeyBinding.decode(bundle.binding)
    assert bundle.evidence[0].data == b"quote" + binding.report_data()
    digests = sorted(device_digest(item.data) for item in bundle.evidence[1:])
    assert binding.devices == tuple(("gpu", digest) for digest in digests)
    assert [item.data for item in bundle.collateral] == [b"chain 0", b"chain 1"]


def test_a_machine_without_gpus_has_no_device_reports() -> None:
    """No GPU, no device evidence, and a binding that says so."""
    here = world()
    bundle = Machine(attester=attester(gpus=0)).bundle(here.challenge(), here.clock.now)
    assert [item.kind for item in bundle.evidence] == [TEEKind.TDX]
    assert KeyBinding.decode(bundle.binding).devices == ()


@pytest.mark.parametrize("profile", list(Profile))
def test_bindings_are_of_the_profile_served_under(profile: Profile) -> None:
    """Real evidence under a development registry carries a development binding, and never the other way round."""
    here = world()
    bundle = Machine(attester=attester(profile, gpus=0)).bundle(here.challenge(), here.clock.now)
    assert KeyBinding.decode(bundle.binding).profile is profile


def test_a_finder_adds_to_what_devices_hold() -> None:
    """Collateral of the finder stands beside the devices' own, for CPU and GPUs alike."""
    here = world()
    bundle = Machine(attester=attester(gpus=1, finder=Finder())).bundle(here.challenge(), here.clock.now)
    assert [item.data for item in bundle.collateral] == [b"tdx", b"chain 0", b"nvidia-gpu"]


def test_gpus_that_are_shown_are_always_asked(tmp_path: Path) -> None:
    """A machine that shows an NVIDIA device has it report, or makes no evidence."""

    def missing() -> FakeNVML:
        raise DeviceFailed("no library")

    (tmp_path / "dev").mkdir()
    for choice in (AttesterChoice.TDX, AttesterChoice.SNP, AttesterChoice.SGX):
        made = local_attesters(Profile.PRODUCTION, root=tmp_path, open_library=missing)[choice]()
        assert made.devices(bytes(32)).evidence == ()
    (tmp_path / "dev/nvidiactl").touch()
    made = local_attesters(Profile.PRODUCTION, root=tmp_path, open_library=missing)[AttesterChoice.TDX]()
    with pytest.raises(DeviceFailed):
        made.devices(bytes(32))


def test_files_of_a_root_are_read_within_bounds(tmp_path: Path) -> None:
    """Reads stop at their limit, writes go to files that exist, and a directory made can be removed."""
    files = LocalFiles(tmp_path)
    (tmp_path / "blob").write_bytes(b"12345")
    assert files.read("blob", 5) == b"12345"
    with pytest.raises(DeviceFailed):
        files.read("blob", 4)
    files.write("blob", b"abcdefg")
    assert read_text(files, "blob") == "abcdefg"
    with pytest.raises(FileNotFoundError):
        files.write("absent", b"1")
    assert not files.exists("absent")
    files.make("entry")
    assert (tmp_path / "entry").stat().st_mode & 0o777 == 0o700
    files.remove("entry")
    assert not files.exists("entry")
