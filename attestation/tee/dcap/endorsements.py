# SPDX-License-Identifier: Apache-2.0
"""The collateral of one platform family: TCB info, quoting enclave identity, revocation lists and the chains that sign.

    intel-dcap-json = {"tcb_info": text, "tcb_info_signature": hex 64, "tcb_info_issuer_chain": PEM,
                       "qe_identity": text, "qe_identity_signature": hex 64, "qe_identity_issuer_chain": PEM,
                       "pck_crl": hex, "pck_crl_issuer_chain": PEM, "root_ca_crl": hex}

The JSON of Intel's QuoteVerification collateral version 3 with DER and signatures in hexadecimal. A PCK chain in it is
refused: the chain comes from the quote. `read_endorsements` checks every signature and revocation, nothing about the
time, so its result may be remembered; `check_time` asks for the time at every use. Source: Intel PCS API v4.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from attestation.claims import TEEKind
from attestation.errors import CollateralUnavailable, MalformedEvidence, NotGenuine, Reason
from attestation.tee.certificates import (
    MAX_CRL_BYTES,
    VerifiedChain,
    check_revocation,
    read_crl,
    read_pem_chain,
    verify_chain,
)
from attestation.tee.dcap.tcb import MAX_STATEMENT_BYTES, QEIdentity, TCBInfo, read_qe_identity, read_tcb_info
from attestation.tee.strict_json import JSONObject, read_json

COLLATERAL_KIND: Final = "intel-dcap-json"
INTEL_SGX_ROOT_CA: Final = frozenset(
    {bytes.fromhex("44a0196b2b99f889b8e149e95b807a350e7424964399e885a7cbb8ccfab674d3")}
)
"""SHA-256 of the DER of "Intel SGX Root CA" (P-256, valid 2018-05-21 to 2049-12-31), which Intel publishes at
https://certificates.trustedservices.intel.com/Intel_SGX_Provisioning_Certification_RootCA.cer. Every chain of every
recorded quote and collateral this was tested with ends in it, and the root that dcap-qvl embeds is the same."""

MAX_COLLATERAL_JSON: Final = 4 << 20
_MAX_PEM_TEXT: Final = 32 << 10
_SIGNING_CA: Final = "Intel SGX TCB Signing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Statements:
    """What one collateral says, unverified; enough to choose by."""

    fields: "CollateralFields"
    tcb_info: TCBInfo
    qe_identity: QEIdentity


@dataclass(frozen=True, slots=True, kw_only=True)
class CollateralFields:
    """The nine parts of the collateral's JSON as they are, bytes where the JSON has hexadecimal."""

    pck_crl_issuer_chain: str
    root_ca_crl: bytes
    pck_crl: bytes
    tcb_info_issuer_chain: str
    tcb_info: str
    tcb_info_signature: bytes
    qe_identity_issuer_chain: str
    qe_identity: str
    qe_identity_signature: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Endorsements:
    """Collateral whose signatures and chains hold up to a pinned root; `check_time` must be asked at every use."""

    statements: Statements
    chains: tuple[VerifiedChain, ...]
    root: x509.Certificate
    root_crl: x509.CertificateRevocationList
    pck_crl: x509.CertificateRevocationList
    valid_from: datetime
    valid_until: datetime

    def check_time(self, now: datetime) -> None:
        """Raises `CollateralUnavailable` (COLLATERAL_EXPIRED) unless all of it is valid at `now`."""
        if not self.valid_from <= now < self.valid_until:
            valid = f"{self.valid_from:%Y-%m-%d %H:%M} to {self.valid_until:%Y-%m-%d %H:%M}"
            message = f"intel collateral is valid {valid}, want valid at {now:%Y-%m-%d %H:%M}"
            raise CollateralUnavailable(Reason.COLLATERAL_EXPIRED, message)


def read_statements(data: bytes, kind: TEEKind) -> Statements:
    """One collateral, read within bounds and not verified. Raises `MalformedEvidence`."""
    item = JSONObject(read_json(data, COLLATERAL_KIND, MAX_COLLATERAL_JSON), COLLATERAL_KIND)
    if "pck_certificate_chain" in item:
        message = f"{COLLATERAL_KIND} has a pck certificate chain, want it in the quote only"
        raise MalformedEvidence(Reason.UNSUPPORTED, message)
    fields = CollateralFields(
        pck_crl_issuer_chain=item.text("pck_crl_issuer_chain", _MAX_PEM_TEXT),
        root_ca_crl=item.octets("root_ca_crl", 1, MAX_CRL_BYTES),
        pck_crl=item.octets("pck_crl", 1, MAX_CRL_BYTES),
        tcb_info_issuer_chain=item.text("tcb_info_issuer_chain", _MAX_PEM_TEXT),
        tcb_info=item.text("tcb_info", MAX_STATEMENT_BYTES),
        tcb_info_signature=item.octets("tcb_info_signature", 64, 64),
        qe_identity_issuer_chain=item.text("qe_identity_issuer_chain", _MAX_PEM_TEXT),
        qe_identity=item.text("qe_identity", MAX_STATEMENT_BYTES),
        qe_identity_signature=item.octets("qe_identity_signature", 64, 64),
    )
    return Statements(
        fields=fields,
        tcb_info=read_tcb_info(fields.tcb_info, kind),
        qe_identity=read_qe_identity(fields.qe_identity, kind),
    )


def choose(offered: Sequence[Statements], *, fmspc: bytes, pce_id: bytes, now: datetime) -> Statements:
    """The statements for this platform that are current at `now` and of the highest evaluation number, then the newest.

    Raises `CollateralUnavailable`: COLLATERAL_UNAVAILABLE if none is for the platform, COLLATERAL_EXPIRED if none is
    current.
    """
    fitting = [one for one in offered if (one.tcb_info.fmspc, one.tcb_info.pce_id) == (fmspc, pce_id)]
    if not fitting:
        message = f"{COLLATERAL_KIND} for fmspc {fmspc.hex()} is missing, want one"
        raise CollateralUnavailable(Reason.COLLATERAL_UNAVAILABLE, message)
    current = [one for one in fitting if _current(one.tcb_info, now) and _current(one.qe_identity, now)]
    if not current:
        message = f"{COLLATERAL_KIND} for fmspc {fmspc.hex()} is outside its dates, want one valid at {now:%Y-%m-%d}"
        raise CollateralUnavailable(Reason.COLLATERAL_EXPIRED, message)
    return max(current, key=lambda one: (one.tcb_info.evaluation_number, one.tcb_info.issued, one.tcb_info.next_update))


def verify_endorsements(statements: Statements, roots: frozenset[bytes]) -> Endorsements:
    """The same statements if every signature, chain and revocation list holds; the time is not judged.

    Raises:
        MalformedEvidence: a certificate or revocation list does not parse.
        NotGenuine: CHAIN_INVALID, ROOT_REFUSED, CERTIFICATE_REVOKED, SIGNATURE_INVALID.
    """
    fields = statements.fields
    tcb_chain = _chain(fields.tcb_info_issuer_chain, "tcb info", roots)
    qe_chain = _chain(fields.qe_identity_issuer_chain, "qe identity", roots)
    crl_chain = _chain(fields.pck_crl_issuer_chain, "pck crl", roots)
    root = tcb_chain.certificates[-1]
    if {chain.root_sha256 for chain in (qe_chain, crl_chain)} != {tcb_chain.root_sha256}:
        raise NotGenuine(Reason.CHAIN_INVALID, "intel collateral has several roots, want one")
    root_crl, pck_crl = read_crl(fields.root_ca_crl, "root crl"), read_crl(fields.pck_crl, "pck crl")
    for certificate in (tcb_chain.leaf, qe_chain.leaf, crl_chain.leaf, root):
        check_unrevoked(certificate, root_crl, root, "collateral signer")
    check_unrevoked(crl_chain.leaf, pck_crl, crl_chain.leaf, "pck crl signer")
    _check_signer(tcb_chain.leaf)
    _check_signer(qe_chain.leaf)
    check_signature(tcb_chain.leaf, fields.tcb_info_signature, fields.tcb_info.encode(), "tcb info")
    check_signature(qe_chain.leaf, fields.qe_identity_signature, fields.qe_identity.encode(), "qe identity")
    return _dated(statements, (tcb_chain, qe_chain, crl_chain), root_crl, pck_crl)


def check_unrevoked(
    certificate: x509.Certificate, crl: x509.CertificateRevocationList, issuer: x509.Certificate, name: str
) -> None:
    """Raises `NotGenuine` unless `crl` is the issuer's and does not hold the certificate; its dates are not judged."""
    check_revocation(certificate, crl, issuer, now=crl.last_update_utc, name=name)


def check_signature(signer: x509.Certificate, signature: bytes, data: bytes, name: str) -> None:
    """Raises `NotGenuine` (SIGNATURE_INVALID) unless `signature`, r and s of 32 bytes, over `data` is the signer's."""
    key = signer.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise NotGenuine(Reason.SIGNATURE_INVALID, f"{name} signer has no elliptic curve key, want p-256")
    check_key_signature(key, signature, data, name)


def check_key_signature(key: ec.EllipticCurvePublicKey, signature: bytes, data: bytes, name: str) -> None:
    """As `check_signature`, for a bare key. Any curve but P-256 fails."""
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    if not isinstance(key.curve, ec.SECP256R1):
        raise NotGenuine(Reason.SIGNATURE_INVALID, f"{name} signer has a key on {key.curve.name}, want p-256")
    try:
        key.verify(encode_dss_signature(r, s), data, ec.ECDSA(SHA256()))
    except InvalidSignature:
        raise NotGenuine(Reason.SIGNATURE_INVALID, f"{name} signature does not verify, want one that does") from None


def _chain(pem: str, name: str, roots: frozenset[bytes]) -> VerifiedChain:
    if not pem.isascii():
        raise MalformedEvidence(Reason.MALFORMED, f"{name} chain is not ascii, want pem")
    return verify_chain(read_pem_chain(pem.encode(), f"{name} chain"), roots=roots, name=name)


def _check_signer(leaf: x509.Certificate) -> None:
    # A PCK leads to the same root; only the signer of TCB statements may sign them.
    names = leaf.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    if [name.value for name in names] != [_SIGNING_CA]:
        raise NotGenuine(Reason.CHAIN_INVALID, f"collateral signer is not called {_SIGNING_CA!r}, want that one")


def _dated(
    statements: Statements,
    chains: tuple[VerifiedChain, ...],
    root_crl: x509.CertificateRevocationList,
    pck_crl: x509.CertificateRevocationList,
) -> Endorsements:
    crls = (root_crl, pck_crl)
    ends = [end for crl in crls if (end := crl.next_update_utc) is not None]
    if len(ends) != len(crls):
        raise MalformedEvidence(Reason.MALFORMED, "revocation list has no next update, want one")
    info, identity = statements.tcb_info, statements.qe_identity
    starts = [crl.last_update_utc for crl in crls]
    return Endorsements(
        statements=statements,
        chains=chains,
        root=chains[0].certificates[-1],
        root_crl=root_crl,
        pck_crl=pck_crl,
        valid_from=max(info.issued, identity.issued, *starts, *(chain.not_before for chain in chains)),
        valid_until=min(info.next_update, identity.next_update, *ends, *(chain.not_after for chain in chains)),
    )


def _current(statement: TCBInfo | QEIdentity, now: datetime) -> bool:
    return statement.issued <= now < statement.next_update
