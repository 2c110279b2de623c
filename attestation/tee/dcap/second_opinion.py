# SPDX-License-Identifier: Apache-2.0
"""What dcap-qvl makes of the same quote and collateral: it must accept, and read what we read.

dcap-qvl is an independent implementation of the whole check, in Rust. It refuses on its own account what we leave to
the policy (debug, SEPT_VE_DISABLE off, a service TD, a TCB level revoked or unknown): it is not asked about those.
"""

import json
from datetime import datetime
from typing import Any

import dcap_qvl  # type: ignore[import-untyped]  # has stubs of its native part only

from attestation.claims import TEEKind
from attestation.errors import NotGenuine, Reason
from attestation.tee.certificates import der_of
from attestation.tee.dcap.endorsements import Endorsements
from attestation.tee.dcap.pck import Platform
from attestation.tee.dcap.quote import Quote
from attestation.tee.dcap.tcb import Standing


class SecondOpinion:
    """dcap-qvl with one collateral, its root pinned to the one that collateral was verified with."""

    def __init__(self, endorsements: Endorsements) -> None:
        fields = endorsements.statements.fields
        self._info = endorsements.statements
        self._collateral = dcap_qvl.QuoteCollateralV3(
            fields.pck_crl_issuer_chain,
            fields.root_ca_crl,
            fields.pck_crl,
            fields.tcb_info_issuer_chain,
            fields.tcb_info,
            fields.tcb_info_signature,
            fields.qe_identity_issuer_chain,
            fields.qe_identity,
            fields.qe_identity_signature,
        )
        self._verifier = dcap_qvl.QuoteVerifier(der_of(endorsements.root))

    def check(self, quote: Quote, platform: Platform, standing: Standing, now: datetime) -> None:
        """Raises `NotGenuine` unless dcap-qvl accepts the quote at `now` and reads the same from it."""
        seconds = int(now.timestamp())
        policy = dcap_qvl.QuotePolicy.claims_only(seconds)
        try:
            claims = self._verifier.verify_with_policy(quote.data, self._collateral, seconds, policy).to_json()
        except ValueError as error:
            refusal = str(error).partition("\n")[0][:120]
            raise NotGenuine(Reason.CHAIN_INVALID, f"quote is refused by dcap-qvl ({refusal}), want accepted") from None
        read = json.loads(claims)
        ours = self._ours(quote, platform, standing)
        theirs = _theirs(read, quote.kind)
        differing = sorted(name for name, value in ours.items() if theirs[name] != value)
        if differing:
            raise NotGenuine(Reason.TCB_MISMATCH, f"quote {differing} is read otherwise by dcap-qvl, want the same")

    def _ours(self, quote: Quote, platform: Platform, standing: Standing) -> dict[str, object]:
        date = standing.date
        return {
            "status": standing.status.value,
            "advisories": set(standing.advisories),
            "evaluation number": self._info.tcb_info.evaluation_number,
            "qe evaluation number": self._info.qe_identity.evaluation_number,
            "tcb date": int(date.timestamp()) if date else None,
            "platform": (platform.ppid, platform.fmspc, platform.cpu_svn, platform.pce_svn),
            "report": quote.body,
            "qe report": quote.qe_report,
        }


def _theirs(read: Any, kind: TEEKind) -> dict[str, object]:
    pck = read["platform"]["pck"]
    return {
        "status": read["tcb"]["status"],
        "advisories": set(read["tcb"]["advisory_ids"]),
        "evaluation number": read["tcb"]["eval_data_number"],
        "qe evaluation number": read["qe"]["tcb_eval_data_number"],
        "tcb date": read["platform"]["tcb_date_tag"],
        "platform": (bytes(pck["ppid"]), bytes(pck["fmspc"]), bytes(pck["cpu_svn"]), pck["pce_svn"]),
        "report": _body(read["report"], kind),
        "qe report": _enclave(read["qe"]["report"]),
    }


_TD: tuple[str, ...] = (
    "tee_tcb_svn",
    "mr_seam",
    "mr_signer_seam",
    "seam_attributes",
    "td_attributes",
    "xfam",
    "mr_td",
    "mr_config_id",
    "mr_owner",
    "mr_owner_config",
    "rt_mr0",
    "rt_mr1",
    "rt_mr2",
    "rt_mr3",
    "report_data",
)


def _body(report: Any, kind: TEEKind) -> bytes:
    """The report's bytes, put together again from what dcap-qvl read."""
    if kind is TEEKind.SGX:
        return _enclave(report["SgxEnclave"])
    if "TD10" in report:
        return bytes.fromhex("".join(report["TD10"][name] for name in _TD))
    later = report["TD15"]
    base = "".join(later["base"][name] for name in _TD)
    return bytes.fromhex(base + later["tee_tcb_svn2"] + later["mr_service_td"])


def _enclave(report: Any) -> bytes:
    number = {name: int(report[name]) for name in ("misc_select", "isv_prod_id", "isv_svn")}
    return b"".join(
        (
            bytes.fromhex(report["cpu_svn"]),
            number["misc_select"].to_bytes(4, "little"),
            bytes.fromhex(report["reserved1"] + report["attributes"] + report["mr_enclave"]),
            bytes.fromhex(report["reserved2"] + report["mr_signer"] + report["reserved3"]),
            number["isv_prod_id"].to_bytes(2, "little"),
            number["isv_svn"].to_bytes(2, "little"),
            bytes.fromhex(report["reserved4"] + report["report_data"]),
        )
    )
