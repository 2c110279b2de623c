# SPDX-License-Identifier: Apache-2.0
"""Intel TDX and AMD SEV-SNP through the kernel's configfs-tsm (Linux Documentation/ABI/testing/configfs-tsm-report).

    mkdir report/NAME → generation → privlevel, if there is a floor → inblob → outblob → auxblob → provider → generation

Every asking has an object of its own, removed afterwards. The kernel counts writes in `generation`: a count other than
expected says that somebody else wrote, or that ours was dropped, which a binary attribute does not say otherwise; the
report is then asked for again, as it is when the platform is busy. A report that does not hold what was asked is never
handed on. For SEV-SNP `auxblob` is the host's certificate table (GHCB specification 2.03, 4.1.8.1), passed on as far as
it holds DER; it is not believed here, and a host may leave it empty.

Written from the documentation above and the kernel's source; it has not run in a trust domain yet.
"""

import errno
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from attestation.binding import KeyBinding
from attestation.bundle import Collateral, Evidence
from attestation.claims import TEEKind
from enclave.attesters.device import DeviceFailed, DeviceFiles, read_text
from enclave.attesters.interface import Quoted

REPORTS: Final = "sys/kernel/config/tsm/report"
MAX_BLOB_BYTES: Final = 64 << 10
ATTEMPTS: Final = 6
FIRST_WAIT: Final = 0.1
MAX_CERTIFICATES: Final = 16
_FORMATS: Final = {"tdx_guest": (TEEKind.TDX, "tdx-quote"), "sev_guest": (TEEKind.SNP, "snp-report")}
_AGAIN: Final = frozenset({errno.EBUSY, errno.EINTR, errno.EAGAIN, errno.ETIMEDOUT})
_ENTRY_BYTES: Final = 24
_DER: Final = b"\x30"
_CERTIFICATES: Final = {
    uuid.UUID("63da758d-e664-4564-adc5-f4b93be8accd").bytes: "amd-certificate",  # VCEK
    uuid.UUID("a8074bc2-a25a-483e-aae6-39c045a0b8a1").bytes: "amd-certificate",  # VLEK
    uuid.UUID("4ab7b379-bbac-4fe4-a02f-05aef327c782").bytes: "amd-certificate",  # ASK or ASVK
    uuid.UUID("c0b406a4-a803-4952-9743-3fb6014cd0ae").bytes: "amd-certificate",  # ARK
    uuid.UUID("92f81bc3-5811-4d3d-97ff-d19f88dc67ea").bytes: "amd-crl",
}
"""The kind of collateral by the table's GUID, whose bytes stand in the order in which it is written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TSMReport:
    """What the kernel gave for one asking."""

    provider: str
    outblob: bytes
    auxblob: bytes


class TSMQuoter:
    """Quotes of the trust domain or SNP guest this process runs in."""

    def __init__(self, *, files: DeviceFiles, entropy: Callable[[int], bytes], sleep: Callable[[float], None]) -> None:
        self._files = files
        self._entropy = entropy
        self._sleep = sleep

    def quote(self, binding: KeyBinding, *, now: datetime) -> Quoted:
        """The report over the binding's 64 bytes, with what certificates the host gave. Raises `DeviceFailed`."""
        report = self.report(binding.report_data())
        if report.provider not in _FORMATS:
            raise DeviceFailed(f"tsm provider is {report.provider[:32]!r}, want {' or '.join(_FORMATS)}")
        kind, form = _FORMATS[report.provider]
        collateral = certificate_table(report.auxblob) if kind is TEEKind.SNP else ()
        return Quoted(evidence=(Evidence(kind=kind, format=form, data=report.outblob),), collateral=tuple(collateral))

    def report(self, data: bytes) -> TSMReport:
        """The platform's report over `data` (64 bytes). Raises `DeviceFailed` after a few tries."""
        why = "nothing"
        for attempt in range(ATTEMPTS):
            if attempt:
                self._sleep(FIRST_WAIT * 2 ** (attempt - 1))
            try:
                report = self._ask(data)
            except OSError as error:
                why = errno.errorcode.get(error.errno or 0, "an error")
                if error.errno not in _AGAIN:
                    break
                continue
            if report is not None:
                return report
            why = "a report of other data or of another writer"
        raise DeviceFailed(f"tsm report is {why}, want one over the data asked for")

    def _ask(self, data: bytes) -> TSMReport | None:
        """One asking; None if the generation or the report shows that it is not ours."""
        entry = f"{REPORTS}/sealbid-{self._entropy(8).hex()}"
        self._files.make(entry)
        try:
            expected = self._generation(entry) + self._choose_level(entry) + 1
            self._files.write(f"{entry}/inblob", data)
            outblob = self._files.read(f"{entry}/outblob", MAX_BLOB_BYTES)
            auxblob = self._optional(f"{entry}/auxblob")
            provider = read_text(self._files, f"{entry}/provider")
            ours = self._generation(entry) == expected and data in outblob
        finally:
            with suppress(OSError):
                self._files.remove(entry)
        return TSMReport(provider=provider, outblob=outblob, auxblob=auxblob) if ours else None

    def _choose_level(self, entry: str) -> int:
        """Asks for the highest level this guest may, where 0 is not granted; how many writes that took."""
        floor = f"{entry}/privlevel_floor"
        if not self._files.exists(floor) or (least := read_text(self._files, floor)) in {"", "0"}:
            return 0
        self._files.write(f"{entry}/privlevel", least.encode())
        return 1

    def _generation(self, entry: str) -> int:
        text = read_text(self._files, f"{entry}/generation")
        if not text.isdecimal():
            raise DeviceFailed(f"tsm generation is {text[:32]!r}, want a number")
        return int(text)

    def _optional(self, path: str) -> bytes:
        return self._files.read(path, MAX_BLOB_BYTES) if self._files.exists(path) else b""


def certificate_table(table: bytes) -> Iterator[Collateral]:
    """The certificates and lists of a GHCB certificate table, up to 16; entries that lie about their place are skipped.

    Endorsements help a verifier and are worth nothing by themselves, so a table that is wrong is no reason to fail.
    """
    given = 0
    for start in range(0, len(table) - _ENTRY_BYTES + 1, _ENTRY_BYTES):
        guid = table[start : start + 16]
        if not any(guid) or given == MAX_CERTIFICATES:
            return
        offset = int.from_bytes(table[start + 16 : start + 20], "little")
        length = int.from_bytes(table[start + 20 : start + 24], "little")
        data = table[offset : offset + length]
        if guid in _CERTIFICATES and len(data) == length and data.startswith(_DER):
            given += 1
            yield Collateral(kind=_CERTIFICATES[guid], data=data)
