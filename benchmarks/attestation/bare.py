# SPDX-License-Identifier: Apache-2.0
"""Named baselines: the least that can be called verifying the same bytes, with the library that does it.

They parse and check signatures from the evidence up to the root. They read no claims, compare no names, pin no root,
check no time, form, status or golden value. What Sealbid costs above them is what it checks above them.
"""

import base64
from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise

import dcap_qvl  # type: ignore[import-untyped]  # has stubs of its native part only
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, HashAlgorithm
from cryptography.x509 import ocsp
from lxml import etree

SNP_SIGNED, SNP_HALF = 0x2A0, 72
P384 = 48
_DS = "{http://www.w3.org/2000/09/xmldsig#}"


def dcap(quote: bytes, collateral: bytes, now: datetime, root_der: bytes | None) -> None:
    """`dcap_qvl`: JSON of the collateral, then the verdict. `root_der` is None for Intel's own root."""
    parsed, at = dcap_qvl.QuoteCollateralV3.from_json(collateral.decode()), int(now.timestamp())
    if root_der is None:
        dcap_qvl.verify(quote, parsed, at)
    else:
        dcap_qvl.verify_with_root_ca(quote, parsed, root_der, at)


def chain(certificates: Sequence[x509.Certificate]) -> x509.Certificate:
    """`cryptography`: every certificate signed by the next, the last by itself; returns the leaf."""
    for certificate, issuer in pairwise((*certificates, certificates[-1])):
        certificate.verify_directly_issued_by(issuer)
    return certificates[0]


def snp(report: bytes, certificates: Sequence[bytes]) -> None:
    """`cryptography`: VCEK, ASK, ARK in DER, and the report's signature; four signatures."""
    leaf = chain([x509.load_der_x509_certificate(der) for der in certificates])
    ends = SNP_SIGNED + SNP_HALF, SNP_SIGNED + 2 * SNP_HALF
    r, s = report[SNP_SIGNED : ends[0]], report[ends[0] : ends[1]]
    _ecdsa(leaf, int.from_bytes(r, "little"), int.from_bytes(s, "little"), report[:SNP_SIGNED], SHA384())


def gpu(report: bytes, pem: bytes) -> None:
    """`cryptography`: five certificates in PEM, and the report's signature; six signatures."""
    leaf = chain(x509.load_pem_x509_certificates(pem))
    signature, signed = report[-2 * P384 :], report[: -2 * P384]
    r, s = signature[:P384], signature[P384:]
    _ecdsa(leaf, int.from_bytes(r, "big"), int.from_bytes(s, "big"), signed, SHA384())


def rim(xml: bytes) -> None:
    """`lxml` and `cryptography`: parse, canonical form of the whole and of SignedInfo, four certificates, signature."""
    root = etree.fromstring(xml)
    info = root.find(f".//{_DS}SignedInfo")
    value = root.find(f".//{_DS}SignatureValue")
    assert info is not None
    assert value is not None
    assert value.text
    etree.tostring(root, method="c14n")
    signed = etree.tostring(info, method="c14n")
    found = root.iter(f"{_DS}X509Certificate")
    leaf = chain([x509.load_der_x509_certificate(base64.b64decode(item.text or "")) for item in found])
    raw = base64.b64decode(value.text)
    _ecdsa(leaf, int.from_bytes(raw[:P384], "big"), int.from_bytes(raw[P384:], "big"), signed, SHA384())


def ocsp_answer(der: bytes, issuer: x509.Certificate) -> None:
    """`cryptography`: the response, its responder's certificate, and its signature; two signatures."""
    response = ocsp.load_der_ocsp_response(der)
    (responder,) = response.certificates or [issuer]
    responder.verify_directly_issued_by(issuer)
    key, algorithm = responder.public_key(), response.signature_hash_algorithm
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert algorithm is not None
    key.verify(response.signature, response.tbs_response_bytes, ec.ECDSA(algorithm))


def tpm(attest: bytes, key: ec.EllipticCurvePublicKey, r: int, s: int, certificates: Sequence[bytes]) -> None:
    """`cryptography`: the quote's signature and the EK certificate's chain."""
    key.verify(encode_dss_signature(r, s), attest, ec.ECDSA(SHA256()))
    chain([x509.load_der_x509_certificate(der) for der in certificates])


def rsa_quote(attest: bytes, key: rsa.RSAPublicKey, signature: bytes) -> None:
    """`cryptography`: a quote signed with RSASSA, by a key the caller already trusts."""
    key.verify(signature, attest, padding.PKCS1v15(), SHA256())


def _ecdsa(certificate: x509.Certificate, r: int, s: int, signed: bytes, algorithm: HashAlgorithm) -> None:
    key = certificate.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    key.verify(encode_dss_signature(r, s), signed, ec.ECDSA(algorithm))
