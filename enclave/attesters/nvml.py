# SPDX-License-Identifier: Apache-2.0
"""Measurement reports of NVIDIA GPUs through the driver's own library (NVML API reference, confidential computing).

The library `libnvidia-ml.so.1` comes with the driver; it is loaded when GPUs are asked for and not before, through
ctypes, with the layouts of NVIDIA's public header `nvml.h`. Every GPU of the machine must report, over the nonce given:
a GPU left out could be another machine's to show. NVSwitches are not asked, which NVIDIA serves by another library.

Layouts are tested against a library of the same interface built by the tests; no confidential GPU was at hand.
"""

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol, Self

from attestation.bundle import Collateral, Evidence
from attestation.claims import TEEKind
from enclave.attesters.device import DeviceFailed
from enclave.attesters.interface import Quoted

LIBRARY: Final = "libnvidia-ml.so.1"
NONCE_BYTES: Final = 32
MAX_GPUS: Final = 16
REPORT_BYTES: Final = 0x2000
CEC_REPORT_BYTES: Final = 0x1000
CHAIN_BYTES: Final = 0x1000
ATTESTATION_CHAIN_BYTES: Final = 0x1400
_NONCE_AT: Final = slice(4, 4 + NONCE_BYTES)
"""Where a report repeats the request's nonce (SPDM 1.1 GET_MEASUREMENTS)."""

_ERRORS: Final = {
    2: "an invalid argument",
    3: "not supported by this GPU or in this mode",
    4: "without permission",
    9: "without a driver",
    13: "without this function",
    15: "a lost GPU",
    999: "an unknown error",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CCState:
    """What the driver says of the machine: shown by `sealbid worker doctor`, and proof of nothing."""

    enabled: bool
    development_tools: bool
    ready: bool
    gpus: int


class NVML(Protocol):
    """The part of NVML that attestation needs. Every method may raise `DeviceFailed`."""

    def state(self) -> CCState: ...
    def report(self, index: int, nonce: bytes) -> bytes:
        """The report of one GPU, request and response as they went over SPDM."""
        ...

    def chain(self, index: int) -> bytes:
        """The certificate chain of one GPU's attestation key, PEM, leaf first."""
        ...

    def close(self) -> None: ...


class NVMLReporter:
    """Reports of every GPU of this machine; opens the library anew each time, as drivers may be reloaded."""

    def __init__(self, *, open_library: Callable[[], NVML]) -> None:
        self._open = open_library

    def reports(self, nonce: bytes) -> Quoted:
        """One report and one chain for each GPU."""
        library = self._open()
        try:
            count = library.state().gpus
            if not 0 < count <= MAX_GPUS:
                raise DeviceFailed(f"gpus is {count}, want 1..{MAX_GPUS}")
            made = [(_checked(library.report(index, nonce), nonce), library.chain(index)) for index in range(count)]
        finally:
            library.close()
        return Quoted(
            evidence=tuple(
                Evidence(kind=TEEKind.NVIDIA_GPU, format="nvidia-spdm-1.1", data=report) for report, _ in made
            ),
            collateral=tuple(Collateral(kind="nvidia-chain", data=chain) for _, chain in made),
        )


def _checked(report: bytes, nonce: bytes) -> bytes:
    if report[_NONCE_AT] != nonce:
        raise DeviceFailed("gpu report is over another nonce, want the nonce asked for")
    return report


class _State(ctypes.Structure):
    _fields_ = (("environment", ctypes.c_uint), ("feature", ctypes.c_uint), ("development_tools", ctypes.c_uint))


class _Certificate(ctypes.Structure):
    _fields_ = (
        ("chain_size", ctypes.c_uint),
        ("attestation_chain_size", ctypes.c_uint),
        ("chain", ctypes.c_ubyte * CHAIN_BYTES),
        ("attestation_chain", ctypes.c_ubyte * ATTESTATION_CHAIN_BYTES),
    )


class _Report(ctypes.Structure):
    _fields_ = (
        ("cec_present", ctypes.c_uint),
        ("report_size", ctypes.c_uint),
        ("cec_report_size", ctypes.c_uint),
        ("nonce", ctypes.c_ubyte * NONCE_BYTES),
        ("report", ctypes.c_ubyte * REPORT_BYTES),
        ("cec_report", ctypes.c_ubyte * CEC_REPORT_BYTES),
    )


class NVMLLibrary:
    """`NVML` over the driver's library, initialized by `load` and shut down by `close`."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library

    @classmethod
    def load(cls, name: str = LIBRARY) -> Self:
        """Loads and initializes it. Raises `DeviceFailed` where there is none."""
        try:
            made = cls(ctypes.CDLL(name))
        except OSError:
            raise DeviceFailed(f"{LIBRARY} is not there, want the NVIDIA driver's library") from None
        made._call("nvmlInit_v2")
        return made

    def state(self) -> CCState:
        """Mode and readiness of the machine, and how many GPUs it shows."""
        state, ready, count = _State(), ctypes.c_uint(), ctypes.c_uint()
        self._call("nvmlDeviceGetCount_v2", ctypes.byref(count))
        self._call("nvmlSystemGetConfComputeState", ctypes.byref(state))
        self._call("nvmlSystemGetConfComputeGpusReadyState", ctypes.byref(ready))
        return CCState(
            enabled=state.feature == 1,
            development_tools=state.development_tools != 0,
            ready=ready.value == 1,
            gpus=count.value,
        )

    def report(self, index: int, nonce: bytes) -> bytes:
        """The report of GPU `index` over 32 bytes of nonce."""
        if len(nonce) != NONCE_BYTES:
            raise DeviceFailed(f"nonce is {len(nonce)} bytes, want {NONCE_BYTES}")
        report = _Report(nonce=(ctypes.c_ubyte * NONCE_BYTES)(*nonce))
        self._call("nvmlDeviceGetConfComputeGpuAttestationReport", self._device(index), ctypes.byref(report))
        return _filled(report.report, report.report_size, "gpu report")

    def chain(self, index: int) -> bytes:
        """The attestation key's chain of GPU `index`, without the padding after it."""
        certificate = _Certificate()
        self._call("nvmlDeviceGetConfComputeGpuCertificate", self._device(index), ctypes.byref(certificate))
        size = certificate.attestation_chain_size
        return _filled(certificate.attestation_chain, size, "gpu certificate chain").rstrip(b"\0")

    def close(self) -> None:
        """Gives the library back; after this nothing may be asked."""
        self._call("nvmlShutdown")

    def _device(self, index: int) -> ctypes.c_void_p:
        device = ctypes.c_void_p()
        self._call("nvmlDeviceGetHandleByIndex_v2", ctypes.c_uint(index), ctypes.byref(device))
        return device

    def _call(self, name: str, *arguments: object) -> None:
        try:
            function = getattr(self._library, name)
        except AttributeError:
            raise DeviceFailed(f"{name} is not in this driver's library, want a driver of 535 or later") from None
        function.restype = ctypes.c_int
        if code := function(*arguments):
            raise DeviceFailed(f"{name} is {_ERRORS.get(code, f'error {code}')}, want success")


def _filled(field: "ctypes.Array[ctypes.c_ubyte]", size: int, name: str) -> bytes:
    if not 0 < size <= len(field):
        raise DeviceFailed(f"{name} is {size} bytes, want 1..{len(field)}")
    return bytes(field[:size])
