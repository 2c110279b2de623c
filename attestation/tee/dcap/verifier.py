# SPDX-License-Identifier: Apache-2.0
"""Verifiers of Intel TDX and SGX quotes: genuine or not, and what they say (docs/spec.md, 3.4 and 3.11).

Evidence formats `tdx-quote` (quote v4, v5) and `sgx-quote` (quote v3); collateral `intel-dcap-json`, and for TDX the
guest's event logs. Quotes of debug guests, of platforms with revoked or unknown TCB levels and of guests with unwanted
attributes are genuine all the same: their claims say so, and the policy refuses them. These, and these alone, rest on
one implementation; all others on two that must agree (`second_opinion`).
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from attestation.bundle import Collateral, Evidence
from attestation.claims import EvidenceClaims, Measurement, Scalar, TEEKind
from attestation.errors import MalformedEvidence, Reason
from attestation.tee.dcap.endorsements import INTEL_SGX_ROOT_CA
from attestation.tee.dcap.event_logs import ReplayedLogs, replay_logs
from attestation.tee.dcap.genuine import GenuineQuote, QuoteVerifier
from attestation.tee.dcap.reports import EnclaveReport, TDReport

TDX_FORMAT: Final = "tdx-quote"
SGX_FORMAT: Final = "sgx-quote"
UNKNOWN_AGE_DAYS: Final = 36_500
"""What `tcb_age_days` says when no TCB level is reached: older than any policy allows."""


class TDXVerifier:
    """A `Verifier` of Intel TDX quotes."""

    def __init__(self, *, roots: frozenset[bytes] = INTEL_SGX_ROOT_CA) -> None:
        self._quotes = QuoteVerifier(roots=roots)

    def verify(self, evidence: Evidence, collateral: Sequence[Collateral], *, now: datetime) -> EvidenceClaims:
        """What a genuine quote says at `now`. Raises as `attestation.tee.interface.Verifier` promises."""
        _check_format(evidence, TEEKind.TDX, TDX_FORMAT)
        genuine = self._quotes.verify(evidence.data, TEEKind.TDX, collateral, now=now)
        assert isinstance(genuine.report, TDReport)
        return tdx_claims(genuine, genuine.report, replay_logs(collateral, genuine.report.rtmrs), now)


class SGXVerifier:
    """A `Verifier` of Intel SGX quotes."""

    def __init__(self, *, roots: frozenset[bytes] = INTEL_SGX_ROOT_CA) -> None:
        self._quotes = QuoteVerifier(roots=roots)

    def verify(self, evidence: Evidence, collateral: Sequence[Collateral], *, now: datetime) -> EvidenceClaims:
        """What a genuine quote says at `now`. Raises as `attestation.tee.interface.Verifier` promises."""
        _check_format(evidence, TEEKind.SGX, SGX_FORMAT)
        genuine = self._quotes.verify(evidence.data, TEEKind.SGX, collateral, now=now)
        assert isinstance(genuine.report, EnclaveReport)
        return sgx_claims(genuine, genuine.report, now)


def tdx_claims(genuine: GenuineQuote, report: TDReport, logs: ReplayedLogs, now: datetime) -> EvidenceClaims:
    """The claims of a TDX quote."""
    registers = {
        "mrtd": report.mrtd,
        "mrseam": report.mrseam,
        "mrsignerseam": report.mrsignerseam,
        "mrconfigid": report.mrconfigid,
        "mrowner": report.mrowner,
        "mrownerconfig": report.mrownerconfig,
        "mrservicetd": report.mrservicetd,
        **{f"rtmr{index}": value for index, value in enumerate(report.rtmrs)},
    }
    if not report.later:  # format 1.0 does not say whether a service TD is bound: not stated is not none
        del registers["mrservicetd"]
    facts: dict[str, Scalar] = {
        "sept_ve_disable": report.sept_ve_disable,
        "migratable": report.migratable,
        "other_attributes": report.other_attributes.to_bytes(8, "little").hex(),
        "xfam": report.xfam.hex(),
        "event_log": "replayed" if logs.replayed else "absent",
        "app_compose": logs.app_compose.hex() if logs.app_compose else "absent",
    }
    measurements = tuple(
        Measurement(register=name, algorithm="sha384", digest=value) for name, value in registers.items()
    )
    return _claims(genuine, report, measurements, facts, now)


def sgx_claims(genuine: GenuineQuote, report: EnclaveReport, now: datetime) -> EvidenceClaims:
    """The claims of an SGX quote."""
    measurements = (
        Measurement(register="mrenclave", algorithm="sha256", digest=report.mrenclave),
        Measurement(register="mrsigner", algorithm="sha256", digest=report.mrsigner),
        Measurement(register="config_id", algorithm="raw", digest=report.config_id),
    )
    facts: dict[str, Scalar] = {
        "isv_prod_id": report.isv_prod_id,
        "isv_svn": report.isv_svn,
        "attributes": report.other_attributes.hex(),
    }
    return _claims(genuine, report, measurements, facts, now)


def _claims(
    genuine: GenuineQuote,
    report: TDReport | EnclaveReport,
    measurements: tuple[Measurement, ...],
    facts: Mapping[str, Scalar],
    now: datetime,
) -> EvidenceClaims:
    stands = genuine.standing
    return EvidenceClaims(
        kind=genuine.quote.kind,
        measurements=measurements,
        debug=report.debug,
        tcb_status=stands.status,
        advisories=stands.advisories,
        platform_ids=genuine.platform.ids,
        slot=report.report_data,
        collateral_expires=genuine.expires,
        facts={**_platform_facts(genuine, now), **facts},
    )


def _platform_facts(genuine: GenuineQuote, now: datetime) -> dict[str, Scalar]:
    platform, statements, date = genuine.platform, genuine.statements, genuine.standing.date
    return {
        "tcb_level": "known" if genuine.standing.known else "unknown",
        "tcb_evaluation_number": statements.tcb_info.evaluation_number,
        "qe_tcb_evaluation_number": statements.qe_identity.evaluation_number,
        "tcb_age_days": UNKNOWN_AGE_DAYS if date is None else max(0, (now - date).days),
        "sgx_type": platform.sgx_type,
        "dynamic_platform": platform.dynamic_platform,
        "cached_keys": platform.cached_keys,
        "smt_enabled": platform.smt_enabled,
    }


def _check_format(evidence: Evidence, kind: TEEKind, form: str) -> None:
    if evidence.kind is not kind or evidence.format != form:
        got = f"{evidence.kind.value} {evidence.format[:32]!r}"
        raise MalformedEvidence(Reason.UNSUPPORTED, f"evidence format is {got}, want {kind.value} {form!r}")
