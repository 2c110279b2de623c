# SPDX-License-Identifier: Apache-2.0
"""The two kinds of report a quote carries: of a trust domain, and of an SGX enclave.

    TDReport (584 bytes; 648 with the two last)          EnclaveReport (384 bytes)
      0 TEE_TCB_SVN 16      136 MRTD 48                     0 CPUSVN 16          192 CONFIGID 64
     16 MRSEAM 48           184 MRCONFIGID 48              16 MISCSELECT 4       256 ISVPRODID u16
     64 MRSIGNERSEAM 48     232 MROWNER 48                 20 reserved 12        258 ISVSVN u16
    112 SEAMATTRIBUTES 8    280 MROWNERCONFIG 48           32 ISVEXTPRODID 16    260 CONFIGSVN u16
    120 TDATTRIBUTES 8      328 RTMR0..3 4 x 48            48 ATTRIBUTES 16      262 reserved 42
    128 XFAM 8              520 REPORTDATA 64              64 MRENCLAVE 32       304 ISVFAMILYID 16
    584 TEE_TCB_SVN_2 16    600 MRSERVICETD 48             96 reserved 32        320 REPORTDATA 64
                                                          128 MRSIGNER 32, 160 reserved 32

Little-endian. Source: Intel TDX DCAP Quote Generation Library and Intel SDM volume 3D, 38.15. Verifies nothing.
"""

from dataclasses import dataclass, replace
from typing import Final

from attestation.tee.reader import Reader

TD10_BYTES: Final = 584
TD15_BYTES: Final = 648
ENCLAVE_BYTES: Final = 384

_TD_DEBUG: Final = 1 << 0
_SEPT_VE_DISABLE: Final = 1 << 28
_MIGRATABLE: Final = 1 << 29
_TD_KNOWN: Final = _TD_DEBUG | _SEPT_VE_DISABLE | _MIGRATABLE | 1 << 30 | 1 << 31 | 1 << 63
_SGX_DEBUG: Final = 1 << 1


@dataclass(frozen=True, slots=True, kw_only=True)
class TDReport:
    """What the TDX module reports of one trust domain; without `later` (format 1.5) the last two are zero."""

    tee_tcb_svn: bytes
    mrseam: bytes
    mrsignerseam: bytes
    seam_attributes: bytes
    td_attributes: bytes
    xfam: bytes
    mrtd: bytes
    mrconfigid: bytes
    mrowner: bytes
    mrownerconfig: bytes
    rtmrs: tuple[bytes, bytes, bytes, bytes]
    report_data: bytes
    later: bool
    tee_tcb_svn_2: bytes
    mrservicetd: bytes

    @property
    def attributes(self) -> int:
        """TDATTRIBUTES as a number, bit 0 the lowest."""
        return int.from_bytes(self.td_attributes, "little")

    @property
    def debug(self) -> bool:
        """True if the host can read and write the domain's memory."""
        return bool(self.attributes & _TD_DEBUG)

    @property
    def sept_ve_disable(self) -> bool:
        """True if the host cannot inject #VE on the domain's private memory."""
        return bool(self.attributes & _SEPT_VE_DISABLE)

    @property
    def migratable(self) -> bool:
        """True if the domain may move to another host."""
        return bool(self.attributes & _MIGRATABLE)

    @property
    def other_attributes(self) -> int:
        """TDATTRIBUTES without the three bits above."""
        return self.attributes & ~(_TD_DEBUG | _SEPT_VE_DISABLE | _MIGRATABLE)

    @property
    def reserved_attributes(self) -> int:
        """The TDATTRIBUTES bits whose meaning is not public; PKS, KL and PERFMON are known."""
        return self.attributes & ~_TD_KNOWN

    @property
    def current(self) -> "TDReport":
        """The report as if the domain had been launched by the TDX module that runs now; itself in format 1.0."""
        return replace(self, tee_tcb_svn=self.tee_tcb_svn_2) if self.later else self

    @property
    def module_version(self) -> int:
        """The major version of the TDX module, 0 for 1.0."""
        return self.tee_tcb_svn[1]

    @property
    def module_svn(self) -> int:
        """The security version of the TDX module."""
        return self.tee_tcb_svn[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class EnclaveReport:
    """What the processor reports of one SGX enclave."""

    cpu_svn: bytes
    misc_select: int
    attributes: bytes
    mrenclave: bytes
    mrsigner: bytes
    config_id: bytes
    isv_prod_id: int
    isv_svn: int
    config_svn: int
    report_data: bytes

    @property
    def debug(self) -> bool:
        """True if a debugger can read and write the enclave's memory."""
        return bool(self.attributes[0] & _SGX_DEBUG)

    @property
    def other_attributes(self) -> bytes:
        """ATTRIBUTES without the debug bit."""
        return bytes([self.attributes[0] & ~_SGX_DEBUG]) + self.attributes[1:]


def read_td_report(body: bytes) -> TDReport:
    """The report in a quote's body of 584 or 648 bytes. Raises `MalformedEvidence` for another size."""
    reader = Reader(body, "td report")
    fields = {
        "tee_tcb_svn": reader.take(16, "tee_tcb_svn"),
        "mrseam": reader.take(48, "mrseam"),
        "mrsignerseam": reader.take(48, "mrsignerseam"),
        "seam_attributes": reader.take(8, "seam_attributes"),
        "td_attributes": reader.take(8, "td_attributes"),
        "xfam": reader.take(8, "xfam"),
        "mrtd": reader.take(48, "mrtd"),
        "mrconfigid": reader.take(48, "mrconfigid"),
        "mrowner": reader.take(48, "mrowner"),
        "mrownerconfig": reader.take(48, "mrownerconfig"),
    }
    rtmrs = (reader.take(48, "rtmr0"), reader.take(48, "rtmr1"), reader.take(48, "rtmr2"), reader.take(48, "rtmr3"))
    fields["report_data"] = reader.take(64, "report_data")
    later = len(body) != TD10_BYTES
    fields["tee_tcb_svn_2"] = reader.take(16, "tee_tcb_svn_2") if later else bytes(16)
    fields["mrservicetd"] = reader.take(48, "mrservicetd") if later else bytes(48)
    reader.end()
    return TDReport(rtmrs=rtmrs, later=later, **fields)


def read_enclave_report(body: bytes) -> EnclaveReport:
    """The report in a quote's body of 384 bytes. Raises `MalformedEvidence` for another size."""
    reader = Reader(body, "enclave report")
    cpu_svn, misc_select = reader.take(16, "cpu_svn"), reader.little(4, "misc_select")
    reader.take(28, "reserved and isv_ext_prod_id")
    attributes, mrenclave = reader.take(16, "attributes"), reader.take(32, "mrenclave")
    reader.take(32, "reserved")
    mrsigner = reader.take(32, "mrsigner")
    reader.take(32, "reserved")
    report = EnclaveReport(
        cpu_svn=cpu_svn,
        misc_select=misc_select,
        attributes=attributes,
        mrenclave=mrenclave,
        mrsigner=mrsigner,
        config_id=reader.take(64, "config_id"),
        isv_prod_id=reader.little(2, "isv_prod_id"),
        isv_svn=reader.little(2, "isv_svn"),
        config_svn=reader.little(2, "config_svn"),
        report_data=reader.take(42 + 16 + 64, "report_data")[-64:],
    )
    reader.end()
    return report
