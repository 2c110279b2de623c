# SPDX-License-Identifier: Apache-2.0
"""What a fake Intel writes before it signs: reports, TCB info, the quoting enclave's identity."""

from datetime import datetime
from typing import Any

from attestation.claims import TEEKind
from tests.support.fake_intel_wish import QE_SIGNER, Wish


def enclave_report(
    *,
    cpu_svn: bytes,
    attributes: bytes,
    mrenclave: bytes,
    mrsigner: bytes,
    isv_prod_id: int,
    isv_svn: int,
    report_data: bytes,
    config_id: bytes = bytes(64),
) -> bytes:
    """The 384 bytes of an enclave report."""
    body = cpu_svn + bytes(4) + bytes(28) + attributes + mrenclave + bytes(32) + mrsigner + bytes(32) + config_id
    return body + isv_prod_id.to_bytes(2, "little") + isv_svn.to_bytes(2, "little") + bytes(2 + 42 + 16) + report_data


def td_body(wish: Wish, *, later: bool) -> bytes:
    """The body of a TDX quote."""
    attributes = wish.td_attributes | (1 if wish.debug else 0)
    body = wish.tee_tcb_svn + b"\x12" * 48 + wish.mrsignerseam + wish.seam_attributes
    body += attributes.to_bytes(8, "little") + wish.xfam.to_bytes(8, "little")
    body += wish.mrtd + b"\x13" * 48 + b"\x14" * 48 + b"\x15" * 48 + b"".join(wish.rtmrs) + wish.report_data
    current = wish.tee_tcb_svn if wish.tee_tcb_svn_2 is None else wish.tee_tcb_svn_2
    return body + (current + wish.mrservicetd if later else b"")


def enclave_body(wish: Wish) -> bytes:
    """The body of an SGX quote."""
    return enclave_report(
        cpu_svn=wish.cpu_svn,
        attributes=bytes([0x07 if wish.debug else 0x05]) + bytes(7) + bytes([0xE7]) + bytes(7),
        mrenclave=wish.mrenclave,
        mrsigner=wish.mrsigner,
        isv_prod_id=3,
        isv_svn=wish.isv_svn,
        report_data=wish.report_data,
        config_id=wish.config_id,
    )


def tcb_info(wish: Wish) -> dict[str, Any]:
    """The TCB info of the platform."""
    tdx = wish.kind is TEEKind.TDX
    tcb: dict[str, Any] = {
        "sgxtcbcomponents": [{"svn": wish.level_svn if index < 8 else 0} for index in range(16)],
        "pcesvn": 11,
    }
    module = {"mrsigner": "00" * 48, "attributes": "00" * 8, "attributesMask": "FF" * 8}
    info: dict[str, Any] = {
        "id": "TDX" if tdx else "SGX",
        "version": wish.tcb_version,
        **_dates(wish),
        "fmspc": (wish.statement_fmspc or wish.fmspc).hex(),
        "pceId": "0000",
        "tcbType": 0,
        "tcbLevels": [{"tcb": tcb, **_level(wish, wish.status, wish.advisories)}],
    }
    if tdx:
        tcb["tdxtcbcomponents"] = [{"svn": svn} for svn in (5, 0, 2, *[0] * 13)]
        info["tdxModule"] = module
        level = {"tcb": {"isvsvn": 4}, **_level(wish, wish.module_status, wish.module_advisories)}
        info["tdxModuleIdentities"] = [{"id": wish.module_name, **module, "tcbLevels": [level]}]
    return info


def qe_identity(wish: Wish) -> dict[str, Any]:
    """The identity of the quoting enclave."""
    tdx = wish.kind is TEEKind.TDX
    return {
        "id": "TD_QE" if tdx else "QE",
        "version": 2,
        **_dates(wish),
        "miscselect": "00000000",
        "miscselectMask": "FFFFFFFF",
        "attributes": "11" + "00" * 15,
        "attributesMask": "FB" + "FF" * 7 + "00" * 8,
        "mrsigner": QE_SIGNER.hex(),
        "isvprodid": 2 if tdx else 1,
        "tcbLevels": [{"tcb": {"isvsvn": 8}, **_level(wish, wish.qe_status, wish.qe_advisories)}],
    }


def _dates(wish: Wish) -> dict[str, Any]:
    return {
        "issueDate": _time(wish.issued),
        "nextUpdate": _time(wish.next_update),
        "tcbEvaluationDataNumber": wish.evaluation_number,
    }


def _level(wish: Wish, status: str, advisories: tuple[str, ...]) -> dict[str, Any]:
    level: dict[str, Any] = {"tcbDate": _time(wish.level_date), "tcbStatus": status}
    return {**level, "advisoryIDs": list(advisories)} if advisories else level


def _time(when: datetime) -> str:
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")
