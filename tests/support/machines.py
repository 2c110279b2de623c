# SPDX-License-Identifier: Apache-2.0
"""Root folders laid out as the kernel lays out machines: what device files, flags and PCI devices they show."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Root:
    """A folder that stands for `/`; every method adds something and gives the same folder back."""

    path: Path

    def having(self, *names: str) -> "Root":
        """Empty files."""
        for name in names:
            (self.path / name).parent.mkdir(parents=True, exist_ok=True)
            (self.path / name).touch()
        return self

    def cpu(self, flags: str) -> "Root":
        """The CPU's flags, as /proc/cpuinfo has them."""
        (self.path / "proc").mkdir(exist_ok=True)
        (self.path / "proc/cpuinfo").write_text(f"processor\t: 0\nflags\t\t: {flags}\nbugs\t\t:\n")
        return self

    def configfs(self) -> "Root":
        """configfs with the kernel's tsm subsystem."""
        (self.path / "sys/kernel/config/tsm/report").mkdir(parents=True, exist_ok=True)
        return self

    def tdx(self) -> "Root":
        """A TDX guest that is complete."""
        return self.cpu("fpu tdx_guest").having("dev/tdx_guest").configfs()

    def snp(self) -> "Root":
        """An SNP guest that is complete."""
        return self.cpu("fpu sev sev_snp").having("dev/sev-guest").configfs()

    def gramine(self, kind: str = "dcap") -> "Root":
        """The inside of a Gramine enclave."""
        names = ("attestation_type", "user_report_data", "quote")
        self.having(*(f"dev/attestation/{name}" for name in names))
        (self.path / "dev/attestation/attestation_type").write_text(f"{kind}\n")
        return self

    def pci(self, *vendors: str) -> "Root":
        """PCI devices of these vendors."""
        for place, vendor in enumerate(vendors):
            folder = self.path / f"sys/bus/pci/devices/0000:0{place}:00.0"
            folder.mkdir(parents=True)
            (folder / "vendor").write_text(f"{vendor}\n")
        return self

    def closed(self) -> "Root":
        """No permission for anything in it."""
        for path in sorted(self.path.rglob("*"), reverse=True):
            path.chmod(0o400)
        return self


def root_folder(path: Path) -> Root:
    """An empty machine in `path`."""
    return Root(path)
