# SPDX-License-Identifier: Apache-2.0
"""An endorsement handed over by itself: NVIDIA's manifests and OCSP responses are judged, anything else only named.

An endorsement says nothing about a machine, so it is never accepted; whether it is genuine and still in force at the
time asked about can be said all the same. A response needs the certificate it is about and its issuer beside it.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import pairwise

from cryptography import x509
from cryptography.x509 import ocsp

from attestation.audit.judgement import Answer, Part, Remark, of_error
from attestation.bundle import Collateral
from attestation.errors import AttestationError, CollateralUnavailable, MalformedEvidence, Reason
from attestation.tee.certificates import read_pem_chain
from attestation.tee.nvidia.ocsp import StoredResponse
from attestation.tee.nvidia.rim import read_rim


def judge_endorsement(name: str, item: Collateral, beside: Sequence[Collateral], now: datetime) -> Part:
    """What one endorsement is worth at `now`; `beside` may hold the certificates it is about."""
    try:
        remarks = tuple(_judge(item, beside, now))
    except AttestationError as error:
        remarks = (of_error(error),)
    return Part(
        name=name,
        kind=item.kind,
        format=item.kind,
        sha256=item.sha256,
        claims=None,
        remarks=remarks,
        endorsement=True,
    )


def _judge(item: Collateral, beside: Sequence[Collateral], now: datetime) -> Iterator[Remark]:
    if item.kind == "nvidia-rim":
        rim = read_rim(item.data)
        if not rim.valid_at(now):
            yield _over(Reason.RIM_EXPIRED, "manifest signer", rim.valid_from, rim.valid_until, now)
    elif item.kind == "nvidia-ocsp":
        stored = StoredResponse.read(item.data)
        stored.verify(_issuer(stored, beside))
        if not stored.this_update <= now <= stored.next_update:
            yield _over(Reason.COLLATERAL_EXPIRED, "ocsp response", stored.this_update, stored.next_update, now)
        status = stored.response.certificate_status
        if status is not ocsp.OCSPCertStatus.GOOD:
            yield _told(Reason.CERTIFICATE_REVOKED, f"certificate status is {status.name.lower()}, want good")
    else:
        message = f"{item.kind} stands alone, want evidence that it endorses"
        raise MalformedEvidence(Reason.UNSUPPORTED, message)


def _issuer(stored: StoredResponse, beside: Sequence[Collateral]) -> x509.Certificate:
    for chain in _chains(beside):
        for certificate, issuer in pairwise(chain):
            if stored.concerns(certificate, issuer):
                return issuer
    message = "certificate the response is about is missing, want its chain beside it"
    raise CollateralUnavailable(Reason.ENDORSEMENT_MISSING, message)


def _chains(beside: Sequence[Collateral]) -> Iterator[Sequence[x509.Certificate]]:
    for item in beside:
        if item.kind == "nvidia-chain":
            yield read_pem_chain(item.data, "chain")
        elif item.kind == "nvidia-rim":
            yield read_rim(item.data).chain.certificates


def _over(reason: Reason, what: str, start: datetime, end: datetime, now: datetime) -> Remark:
    return _told(reason, f"{what} is valid {start:%Y-%m-%d} to {end:%Y-%m-%d}, want valid at {now:%Y-%m-%d}")


def _told(reason: Reason, text: str) -> Remark:
    """A remark on an endorsement that is genuine and cannot serve."""
    remedy = "ask about a time when it was good, or give a newer one"
    return Remark(reason=reason, text=text, remedy=remedy, genuine=Answer.YES, acceptable=Answer.NOT_ASKED)
