# SPDX-License-Identifier: Apache-2.0
"""Whether a quote is genuine, and where its platform stands at a time: the chain of trust, link by link.

    a  the PCK chain ends in a pinned root, valid at the time      g  it is valid at the time, the newest that fits
    b  the PCK signed the quoting enclave's report                 h  neither PCK nor any CA of the chain is revoked
    c  that report commits to the attestation key                  i  the quoting enclave is Intel's
    d  the attestation key signed header and report                j  the TCB level: the worst of all parts
    e  collateral for the platform's FMSPC and PCE is there        k  dcap-qvl says the same of all of it
    f  all signatures of that collateral hold (`endorsements`)

What is genuine but bad (debug, revoked or unknown TCB level, attributes) is not refused here; it is what claims say.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec

from attestation.bundle import Collateral
from attestation.claims import TCBStatus, TEEKind
from attestation.errors import CollateralUnavailable, NotGenuine, Reason
from attestation.tee.certificates import VerifiedChain, verify_chain
from attestation.tee.dcap.endorsements import (
    COLLATERAL_KIND,
    INTEL_SGX_ROOT_CA,
    Endorsements,
    Statements,
    check_key_signature,
    check_signature,
    check_unrevoked,
    choose,
    read_statements,
    verify_endorsements,
)
from attestation.tee.dcap.pck import Platform, read_platform
from attestation.tee.dcap.quote import Quote, read_quote
from attestation.tee.dcap.reports import EnclaveReport, TDReport, read_enclave_report, read_td_report
from attestation.tee.dcap.second_opinion import SecondOpinion
from attestation.tee.dcap.tcb import Standing, check_quoting_enclave, standing, worse
from attestation.tee.remembered import Remembered

MAX_OFFERED: Final = 8
"""Collateral of this kind in one presentation: one is enough, a few help across a TCB recovery."""

_REMEMBERED_CHAINS: Final = 1024
_REMEMBERED_COLLATERAL: Final = 64
_PCK_CAS: Final = frozenset({"Intel SGX PCK Platform CA", "Intel SGX PCK Processor CA"})


@dataclass(frozen=True, slots=True, kw_only=True)
class GenuineQuote:
    """A quote that is genuine at the time asked, the platform that made it, and where that platform stands."""

    quote: Quote
    report: TDReport | EnclaveReport
    platform: Platform
    standing: Standing
    statements: Statements
    expires: datetime


class QuoteVerifier:
    """Verifies quotes of both kinds; remembers verified chains and collateral. Safe to share between threads."""

    def __init__(self, *, roots: frozenset[bytes] = INTEL_SGX_ROOT_CA) -> None:
        self._roots = roots
        self._chains: Remembered[tuple[VerifiedChain, Platform]] = Remembered(_REMEMBERED_CHAINS)
        self._read: Remembered[Statements] = Remembered(_REMEMBERED_COLLATERAL)
        self._endorsed: Remembered[tuple[Endorsements, SecondOpinion]] = Remembered(_REMEMBERED_COLLATERAL)
        self._unrevoked: Remembered[None] = Remembered(_REMEMBERED_CHAINS)

    def verify(self, data: bytes, kind: TEEKind, collateral: Sequence[Collateral], *, now: datetime) -> GenuineQuote:
        """The quote of `kind` if it is genuine at `now`.

        Raises:
            MalformedEvidence: MALFORMED or UNSUPPORTED bytes, of quote or collateral.
            NotGenuine: ROOT_REFUSED, CHAIN_INVALID, CERTIFICATE_EXPIRED, CERTIFICATE_REVOKED, SIGNATURE_INVALID,
                TCB_MISMATCH.
            CollateralUnavailable: COLLATERAL_UNAVAILABLE, COLLATERAL_EXPIRED.
        """
        quote = read_quote(data, kind)
        chain, platform = self._chains.get(quote.chain_sha256, lambda: self._verify_chain(quote))  # a
        chain.check_time(now)
        enclave = check_signatures(quote, chain)  # b, c, d
        digest, statements = self._choose(kind, platform, collateral, now)  # e, g
        endorsements, opinion = self._endorsed.get(digest, lambda: self._endorse(statements))  # f
        pair = hashlib.sha256(quote.chain_sha256 + digest).digest()
        self._unrevoked.get(pair, lambda: check_chain_unrevoked(chain, endorsements))  # h
        endorsements.check_time(now)
        check_quoting_enclave(enclave, statements.qe_identity)  # i
        report = read_td_report(quote.body) if kind is TEEKind.TDX else read_enclave_report(quote.body)
        launch, stands = _stand(report, enclave, platform, statements)  # j
        if _fit_for_second_opinion(report, stands):
            opinion.check(quote, platform, launch, now)  # k
        return GenuineQuote(
            quote=quote,
            report=report,
            platform=platform,
            standing=stands,
            statements=statements,
            expires=min(endorsements.valid_until, chain.not_after),
        )

    def _verify_chain(self, quote: Quote) -> tuple[VerifiedChain, Platform]:
        chain = verify_chain(quote.pck_chain, roots=self._roots, name="pck")
        names = [str(attribute.value) for attribute in chain.certificates[1].subject]
        if not _PCK_CAS & set(names):
            message = f"pck issuer is none of {sorted(_PCK_CAS)}, want one of them"
            raise NotGenuine(Reason.CHAIN_INVALID, message)
        return chain, read_platform(quote.pck_pem)

    def _choose(
        self, kind: TEEKind, platform: Platform, collateral: Sequence[Collateral], now: datetime
    ) -> tuple[bytes, Statements]:
        offered = [item for item in collateral if item.kind == COLLATERAL_KIND]
        if not 0 < len(offered) <= MAX_OFFERED:
            message = f"{COLLATERAL_KIND} is there {len(offered)} times, want 1..{MAX_OFFERED}"
            raise CollateralUnavailable(Reason.COLLATERAL_UNAVAILABLE, message)
        read = {}
        for item in offered:
            digest = hashlib.sha256(kind.value.encode() + item.sha256).digest()
            read[digest] = self._read.get(digest, partial(read_statements, item.data, kind))
        chosen = choose(tuple(read.values()), fmspc=platform.fmspc, pce_id=platform.pce_id, now=now)
        return next(digest for digest, statements in read.items() if statements is chosen), chosen

    def _endorse(self, statements: Statements) -> tuple[Endorsements, SecondOpinion]:
        endorsements = verify_endorsements(statements, self._roots)
        return endorsements, SecondOpinion(endorsements)


def check_signatures(quote: Quote, chain: VerifiedChain) -> EnclaveReport:
    """The quoting enclave's report, if the PCK signed it and it commits to the attestation key that signed the quote.

    Raises `NotGenuine`: SIGNATURE_INVALID, CHAIN_INVALID.
    """
    check_signature(chain.leaf, quote.qe_signature, quote.qe_report, "qe report")
    enclave = read_enclave_report(quote.qe_report)
    commitment = hashlib.sha256(quote.attestation_key + quote.qe_auth).digest() + bytes(32)
    if enclave.report_data != commitment:
        message = "qe report commits to another attestation key, want the quote's"
        raise NotGenuine(Reason.CHAIN_INVALID, message)
    try:
        key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), b"\x04" + quote.attestation_key)
    except ValueError:
        raise NotGenuine(Reason.SIGNATURE_INVALID, "attestation key is no point of p-256, want one") from None
    check_key_signature(key, quote.signature, quote.signed, "quote")
    return enclave


def check_chain_unrevoked(chain: VerifiedChain, endorsements: Endorsements) -> None:
    """Raises `NotGenuine` if the PCK or its CA is revoked, `CollateralUnavailable` for the list of another CA."""
    leaf, issuer, root = chain.certificates
    if endorsements.pck_crl.issuer != issuer.subject:
        message = "pck crl is of another ca, want the list of the pck's issuer"
        raise CollateralUnavailable(Reason.COLLATERAL_UNAVAILABLE, message)
    check_unrevoked(issuer, endorsements.root_crl, root, "pck ca")
    check_unrevoked(leaf, endorsements.pck_crl, issuer, "pck")


def _stand(
    report: TDReport | EnclaveReport, enclave: EnclaveReport, platform: Platform, statements: Statements
) -> tuple[Standing, Standing]:
    """Where the platform stood when the guest was launched, and the worse of that and of now."""
    judge = partial(
        standing,
        statements.tcb_info,
        statements.qe_identity,
        cpu_svn=platform.cpu_svn,
        pce_svn=platform.pce_svn,
        qe_svn=enclave.isv_svn,
    )
    if isinstance(report, EnclaveReport):
        return (sgx := judge(report=None)), sgx
    launch = judge(report=report)
    return launch, worse(launch, judge(report=report.current)) if report.later else launch


def _fit_for_second_opinion(report: TDReport | EnclaveReport, stands: Standing) -> bool:
    if report.debug or not stands.known or stands.status is TCBStatus.REVOKED:
        return False
    if isinstance(report, EnclaveReport):
        return True
    return (
        report.sept_ve_disable
        and not report.reserved_attributes
        and not report.migratable
        and not any(report.mrservicetd)
    )
