# SPDX-License-Identifier: Apache-2.0
"""What a world of the fake Intel may be."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from attestation.claims import TEEKind

NOW: Final = datetime(2026, 6, 1, 12, tzinfo=UTC)
DAY: Final = timedelta(days=1)
SEPT_VE_DISABLE: Final = 1 << 28
MIGRATABLE: Final = 1 << 29
QE_SIGNER: Final = bytes.fromhex("aa" * 32)


@dataclass(frozen=True, kw_only=True)
class Wish:
    """All that a world may be; the defaults are an up-to-date production platform."""

    kind: TEEKind = TEEKind.TDX
    version: int = 0
    """0 for the usual one: 4 for TDX, 3 for SGX."""
    body_type: int = 3
    now: datetime = NOW

    # the guest or enclave
    debug: bool = False
    td_attributes: int = SEPT_VE_DISABLE
    xfam: int = 0x0006_02E7
    report_data: bytes = bytes(range(64))
    mrtd: bytes = b"\x11" * 48
    mrsignerseam: bytes = bytes(48)
    seam_attributes: bytes = bytes(8)
    mrservicetd: bytes = bytes(48)
    rtmrs: tuple[bytes, ...] = (b"\x21" * 48, b"\x22" * 48, b"\x23" * 48, bytes(48))
    tee_tcb_svn: bytes = bytes([5, 1, 2]) + bytes(13)
    tee_tcb_svn_2: bytes | None = None
    """None for the same as at launch."""
    mrenclave: bytes = b"\x31" * 32
    mrsigner: bytes = b"\x32" * 32
    config_id: bytes = bytes(64)
    isv_svn: int = 7

    # the platform
    fmspc: bytes = bytes.fromhex("90c06f000000")
    pce_id: bytes = bytes(2)
    cpu_svn: bytes = bytes([4] * 8) + bytes(8)
    pce_svn: int = 13
    ppid: bytes = b"\x41" * 16
    instance_id: bytes | None = b"\x42" * 16
    sgx_type: int = 1
    configuration: tuple[bool, bool, bool] | None = (True, True, True)
    """Dynamic platform, cached keys, SMT enabled; None for a certificate that does not say."""
    pck_ca_name: str = "Intel SGX PCK Platform CA"
    pck_valid: tuple[datetime, datetime] = (NOW - 400 * DAY, NOW + 2000 * DAY)

    # the quoting enclave
    qe_svn: int = 8
    qe_signer: bytes = QE_SIGNER
    qe_attributes: bytes = bytes([0x15]) + bytes(7) + bytes([0xE7]) + bytes(7)

    # the statements
    status: str = "UpToDate"
    advisories: tuple[str, ...] = ()
    module_status: str = "UpToDate"
    module_advisories: tuple[str, ...] = ()
    module_name: str = "TDX_01"
    qe_status: str = "UpToDate"
    qe_advisories: tuple[str, ...] = ()
    level_svn: int = 4
    level_date: datetime = NOW - 100 * DAY
    evaluation_number: int = 20
    issued: datetime = NOW - DAY
    next_update: datetime = NOW + 29 * DAY
    crl_next_update: datetime = NOW + 29 * DAY
    statement_fmspc: bytes | None = None
    tcb_version: int = 3
    signing_name: str = "Intel SGX TCB Signing"
    signing_until: datetime = NOW + 900 * DAY
    pck_revoked: bool = False
    ca_revoked: bool = False
    signer_revoked: bool = False
    root_revoked: bool = False
    foreign_crl: bool = False
    """The PCK revocation list is of the other CA."""

    # the signatures: whose key signs instead of the right one
    wrong_quote_key: bool = False
    wrong_qe_key: bool = False
    wrong_statement_key: bool = False
    wrong_identity_key: bool = False
    wrong_commitment: bool = False
    wrong_pck_issuer: bool = False
