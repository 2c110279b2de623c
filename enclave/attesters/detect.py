# SPDX-License-Identifier: Apache-2.0
"""Which TEEs this machine shows and what stands in the way of using them, and which attester a worker gets.

Seeing a device proves nothing; it only decides what to try. SIMULATED is never chosen by itself: it must be asked for
by name, and its evidence passes under development policies only. A TPM must be named as well, because it measures a
boot and hides no memory.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from attestation.claims import TEEKind
from attestation.errors import SettingsError
from enclave.attesters.gramine import FOLDER
from enclave.attesters.interface import Attester
from enclave.attesters.tsm import REPORTS

_NVIDIA_VENDOR: Final = "0x10de"
_MAX_TEXT: Final = 1 << 20


class AttesterChoice(StrEnum):
    """The setting that picks an attester; `auto` picks the first of TDX, SEV-SNP and SGX that is ready."""

    AUTO = "auto"
    TDX = "tdx"
    SNP = "snp"
    SGX = "sgx"
    TPM = "tpm"
    SIMULATED = "simulated"


_AUTOMATIC: Final = (
    (TEEKind.TDX, AttesterChoice.TDX),
    (TEEKind.SNP, AttesterChoice.SNP),
    (TEEKind.SGX, AttesterChoice.SGX),
)


class SignState(StrEnum):
    """How far a kind of TEE is from making evidence."""

    READY = "ready"
    BLOCKED = "blocked"
    """The machine shows it, and something stands in the way."""
    ABSENT = "absent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sign:
    """What this machine shows of one kind: what was seen, and what would mend it where anything would."""

    kind: TEEKind
    state: SignState
    seen: str
    remedy: str = ""


def inspect(root: Path = Path("/")) -> tuple[Sign, ...]:
    """What the machine below `root` shows of every kind that has an attester. Opens no device."""
    return (
        _tsm(root, TEEKind.TDX, device="dev/tdx_guest", module="tdx_guest", flag="tdx_guest"),
        _tsm(root, TEEKind.SNP, device="dev/sev-guest", module="sev-guest", flag="sev_snp"),
        _gramine(root),
        _tpm(root),
        _nvidia(root),
    )


def detect(root: Path = Path("/")) -> tuple[TEEKind, ...]:
    """The kinds that are ready below `root`."""
    return tuple(sign.kind for sign in inspect(root) if sign.state is SignState.READY)


def choose_attester(
    choice: AttesterChoice, *, signs: Sequence[Sign], makers: Mapping[AttesterChoice, Callable[[], Attester]]
) -> Attester:
    """The attester for `choice` on a machine that shows `signs`.

    Raises:
        SettingsError: `auto` with nothing ready that may be chosen by itself, or a choice nobody makes here.
    """
    if choice is AttesterChoice.AUTO:
        choice = _automatic(signs)
    if choice not in makers:
        raise SettingsError(f"attester is {choice.value}, want one of {', '.join(sorted(makers))}")
    return makers[choice]()


def _automatic(signs: Sequence[Sign]) -> AttesterChoice:
    states = {sign.kind: sign for sign in signs}
    for kind, choice in _AUTOMATIC:
        if kind in states and states[kind].state is SignState.READY:
            return choice
    blocked = [f"{sign.kind.value}: {sign.seen}" for sign in signs if sign.state is SignState.BLOCKED]
    seen = "; ".join(blocked) or "no sign of a TEE"
    raise SettingsError(
        f"attester is auto with {seen}, want TDX, SEV-SNP or SGX ready (`sealbid worker doctor` says what is missing); "
        "tpm and simulated must be named"
    )


def _tsm(root: Path, kind: TEEKind, *, device: str, module: str, flag: str) -> Sign:
    shown = (root / device).exists()
    if not shown and flag not in _flags(root):
        return Sign(kind=kind, state=SignState.ABSENT, seen=f"no /{device} and no {flag} among the CPU's flags")
    if not shown:
        remedy = f"load the guest's driver: modprobe {module}"
        return Sign(kind=kind, state=SignState.BLOCKED, seen=f"no /{device}, module {module} not loaded", remedy=remedy)
    if not (root / REPORTS).is_dir():
        remedy = f"use Linux 6.7 or later with CONFIG_TSM_REPORTS; mount -t configfs none /{Path(REPORTS).parents[1]}"
        return Sign(kind=kind, state=SignState.BLOCKED, seen=f"no /{REPORTS}", remedy=remedy)
    if not os.access(root / REPORTS, os.W_OK | os.X_OK):
        remedy = f"run the worker as a user who may make directories in /{REPORTS}"
        return Sign(kind=kind, state=SignState.BLOCKED, seen=f"no permission to write /{REPORTS}", remedy=remedy)
    return Sign(kind=kind, state=SignState.READY, seen=f"/{device} and /{REPORTS}")


def _gramine(root: Path) -> Sign:
    kind, quote = TEEKind.SGX, f"{FOLDER}/quote"
    if not (root / FOLDER).is_dir():
        if not (root / "dev/sgx_enclave").exists():
            return Sign(kind=kind, state=SignState.ABSENT, seen=f"no /{FOLDER} and no /dev/sgx_enclave")
        remedy = "start the worker under Gramine with gramine-sgx"
        return Sign(kind=kind, state=SignState.BLOCKED, seen="an SGX CPU, and not inside an enclave", remedy=remedy)
    found = _text(root / FOLDER / "attestation_type").strip()
    if found != "dcap" or not (root / quote).exists():
        remedy = 'set sgx.remote_attestation = "dcap" in the Gramine manifest and sign it again'
        seen = f"attestation type {found[:16] or 'unknown'}"
        return Sign(kind=kind, state=SignState.BLOCKED, seen=seen, remedy=remedy)
    return Sign(kind=kind, state=SignState.READY, seen=f"/{quote} of type dcap")


def _tpm(root: Path) -> Sign:
    kind, device = TEEKind.TPM, root / "dev/tpmrm0"
    if not device.exists():
        if not (root / "sys/class/tpm/tpm0").exists():
            return Sign(kind=kind, state=SignState.ABSENT, seen="no /dev/tpmrm0 and no /sys/class/tpm/tpm0")
        remedy = "use a TPM 2.0 and a kernel with its resource manager"
        return Sign(kind=kind, state=SignState.BLOCKED, seen="a TPM without /dev/tpmrm0", remedy=remedy)
    if not os.access(device, os.R_OK | os.W_OK):
        remedy = "add the worker's user to the group that owns /dev/tpmrm0 (tss)"
        return Sign(kind=kind, state=SignState.BLOCKED, seen="no permission to use /dev/tpmrm0", remedy=remedy)
    return Sign(kind=kind, state=SignState.READY, seen='/dev/tpmrm0; chosen only by kind = "tpm"')


def _nvidia(root: Path) -> Sign:
    kind, device = TEEKind.NVIDIA_GPU, root / "dev/nvidiactl"
    if not device.exists():
        if _NVIDIA_VENDOR not in _vendors(root):
            return Sign(kind=kind, state=SignState.ABSENT, seen="no /dev/nvidiactl and no NVIDIA device on PCI")
        remedy = "install NVIDIA's driver (open kernel modules, 535 or later) and load it: modprobe nvidia"
        return Sign(kind=kind, state=SignState.BLOCKED, seen="an NVIDIA device without a driver", remedy=remedy)
    if not os.access(device, os.R_OK | os.W_OK):
        remedy = "run the worker as a user who may open /dev/nvidiactl"
        return Sign(kind=kind, state=SignState.BLOCKED, seen="no permission to use /dev/nvidiactl", remedy=remedy)
    return Sign(kind=kind, state=SignState.READY, seen="/dev/nvidiactl; the driver says more")


def _flags(root: Path) -> frozenset[str]:
    for line in _text(root / "proc/cpuinfo").splitlines():
        name, _, flags = line.partition(":")
        if name.strip() == "flags":
            return frozenset(flags.split())
    return frozenset()


def _vendors(root: Path) -> frozenset[str]:
    return frozenset(_text(path).strip() for path in (root / "sys/bus/pci/devices").glob("*/vendor"))


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_MAX_TEXT).decode("utf-8", "replace")
    except OSError:
        return ""
