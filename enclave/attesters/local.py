# SPDX-License-Identifier: Apache-2.0
"""The attesters of the machine a process runs on, put together from its devices.

A machine that shows NVIDIA GPUs always has them report: a worker whose GPUs stay silent would show less than it uses.
"""

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from attestation.binding import Profile
from attestation.claims import TEEKind
from enclave.attesters.detect import AttesterChoice, SignState, inspect
from enclave.attesters.device import LocalFiles
from enclave.attesters.gramine import GramineQuoter
from enclave.attesters.interface import Attester
from enclave.attesters.machine import CollateralFinder, MachineAttester, Quoter, Reporter
from enclave.attesters.nvml import NVML, NVMLLibrary, NVMLReporter
from enclave.attesters.tpm import TPMAttester, TPMQuoter
from enclave.attesters.tpm_device import DEVICE, open_tpm
from enclave.attesters.tsm import TSMQuoter


def local_attesters(
    profile: Profile,
    *,
    root: Path = Path("/"),
    collateral: CollateralFinder | None = None,
    open_library: Callable[[], NVML] = NVMLLibrary.load,
    tpm: TPMQuoter | None = None,
) -> Mapping[AttesterChoice, Callable[[], Attester]]:
    """A maker for every CPU attester, by the choice that names it. Nothing is opened before evidence is asked for.

    `tpm` is the kernel's device unless given.
    """
    files = LocalFiles(root)
    tsm = TSMQuoter(files=files, entropy=os.urandom, sleep=time.sleep)

    quoter = tpm or TPMQuoter(open_device=lambda: open_tpm(root / DEVICE))

    def gpus() -> Reporter | None:
        return NVMLReporter(open_library=open_library) if _shows_gpus(root) else None

    def machine(cpu: Quoter) -> Attester:
        return MachineAttester(profile=profile, cpu=cpu, gpus=gpus(), collateral=collateral)

    return {
        AttesterChoice.TDX: lambda: machine(tsm),
        AttesterChoice.SNP: lambda: machine(tsm),
        AttesterChoice.SGX: lambda: machine(GramineQuoter(files=files)),
        AttesterChoice.TPM: lambda: TPMAttester(profile=profile, tpm=quoter, gpus=gpus(), collateral=collateral),
    }


def _shows_gpus(root: Path) -> bool:
    return any(sign.kind is TEEKind.NVIDIA_GPU and sign.state is not SignState.ABSENT for sign in inspect(root))
