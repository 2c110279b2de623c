# SPDX-License-Identifier: Apache-2.0
"""The enveloped signature of NVIDIA's reference integrity manifests (XML Signature 1.1, one fixed form of it).

    SoftwareIdentity ( ..., Signature )                              the signature is the last child, and the only one
    Signature  = SignedInfo SignatureValue KeyInfo(X509Data(X509Certificate{4}))
    SignedInfo = C14N 1.1, ecdsa-sha384, Reference URI="" (enveloped-signature, C14N 1.1, sha384, DigestValue)

Algorithms, transforms and references other than these are refused, so nothing in the document chooses how it is read.
What is returned is the very octets that were digested: whoever reads values parses those, never the document given.
Validity in time and revocation of the chain are not checked here.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Collection
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA384
from lxml import etree

from attestation.errors import MalformedEvidence, NotGenuine, Reason
from attestation.tee.certificates import VerifiedChain, read_certificate, verify_chain
from attestation.tee.nvidia.rim_xml import canonical, malformed

CHAIN_LENGTH: Final = 4
_WIDTH: Final = 48
_NAME: Final = "rim"
_DS: Final = "{http://www.w3.org/2000/09/xmldsig#}"
_C14N: Final = "http://www.w3.org/2006/12/xml-c14n11"
_SIGNED_INFO: Final[tuple[tuple[str, dict[str, str]], ...]] = (
    ("SignedInfo", {}),
    ("CanonicalizationMethod", {"Algorithm": _C14N}),
    ("SignatureMethod", {"Algorithm": "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha384"}),
    ("Reference", {"URI": ""}),
    ("Transforms", {}),
    ("Transform", {"Algorithm": "http://www.w3.org/2000/09/xmldsig#enveloped-signature"}),
    ("Transform", {"Algorithm": _C14N}),
    ("DigestMethod", {"Algorithm": "http://www.w3.org/2001/04/xmldsig-more#sha384"}),
    ("DigestValue", {}),
)
_PARENTS: Final = (None, 0, 0, 0, 3, 4, 4, 3, 3)
"""For each element of `_SIGNED_INFO` the place of its parent there."""


def verify_enveloped(root: etree._Element, *, roots: Collection[bytes]) -> tuple[bytes, VerifiedChain]:
    """The octets that the signature inside `root` covers, and the chain of who signed. Takes the signature out of it.

    Raises:
        MalformedEvidence: there is not exactly one signature of the form above (UNSUPPORTED for other algorithms).
        NotGenuine: RIM_INVALID if digest or signature does not hold; CHAIN_INVALID or ROOT_REFUSED for the chain.
    """
    signature = _only_signature(root)
    info, value, key_info = _children(signature, "SignedInfo", "SignatureValue", "KeyInfo")
    digest = _signed_digest(info)
    signed_info = canonical(info, _NAME)
    certificates = _certificates(key_info)
    root.remove(signature)
    content = canonical(root, _NAME)
    if not hmac.compare_digest(hashlib.sha384(content).digest(), digest):
        raise _invalid("digest is not that of the content, want equal")
    if len(certificates) != CHAIN_LENGTH:
        _pin(certificates, roots)
        message = f"{_NAME} chain is {len(certificates)} long, want {CHAIN_LENGTH}"
        raise NotGenuine(Reason.CHAIN_INVALID, message)
    chain = verify_chain(certificates, roots=roots, name=_NAME)
    _check_signature(chain.leaf, _base64(value, 2 * _WIDTH), signed_info)
    return content, chain


def _only_signature(root: etree._Element) -> etree._Element:
    found = list(root.iter(f"{_DS}Signature"))
    if len(found) != 1 or len(root) == 0 or root[-1] is not found[0]:
        raise malformed(f"{_NAME} signatures", f"{len(found)} or misplaced", "one, the root's last child")
    if found[0].tail:
        raise malformed(f"{_NAME} signature", "followed by text", "the end of the root")
    return found[0]


def _children(parent: etree._Element, *names: str) -> list[etree._Element]:
    children = list(parent)
    if [child.tag for child in children] != [_DS + name for name in names]:
        raise malformed(f"{_NAME} signature part", "of other elements", " ".join(names))
    return children


def _signed_digest(info: etree._Element) -> bytes:
    """The digest that SignedInfo states, once its shape is exactly the one known."""
    parts = list(info.iter())
    shape = tuple((str(part.tag), dict(part.attrib)) for part in parts)
    parents = (None, *(parts.index(parent) for part in parts[1:] if (parent := part.getparent()) is not None))
    if shape != tuple((_DS + name, attributes) for name, attributes in _SIGNED_INFO) or parents != _PARENTS:
        message = f"{_NAME} signature is of another form, want ecdsa-sha384 over C14N 1.1 of the whole document"
        raise MalformedEvidence(Reason.UNSUPPORTED, message)
    return _base64(parts[-1], _WIDTH)


def _certificates(key_info: etree._Element) -> tuple[x509.Certificate, ...]:
    (data,) = _children(key_info, "X509Data")
    if not 0 < len(data) <= CHAIN_LENGTH * 2 or any(item.tag != f"{_DS}X509Certificate" for item in data):
        raise malformed(f"{_NAME} certificates", f"{len(data)} elements", f"{CHAIN_LENGTH} certificates")
    return tuple(read_certificate(_base64(item, None), f"{_NAME} certificate") for item in data)


def _pin(certificates: tuple[x509.Certificate, ...], roots: Collection[bytes]) -> None:
    """A chain of another length to another root is refused for the root, as one of the right length would be."""
    if len(certificates) > 1:
        verify_chain(certificates, roots=roots, name=_NAME)


def _check_signature(leaf: x509.Certificate, value: bytes, signed: bytes) -> None:
    key = leaf.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP384R1):
        raise NotGenuine(Reason.CHAIN_INVALID, f"{_NAME} signer's key is of another type, want P-384")
    if not _may_sign(leaf):
        raise NotGenuine(Reason.CHAIN_INVALID, f"{_NAME} signer's certificate is for another use, want signatures")
    numbers = (int.from_bytes(value[:_WIDTH], "big"), int.from_bytes(value[_WIDTH:], "big"))
    try:
        key.verify(encode_dss_signature(*numbers), signed, ec.ECDSA(SHA384()))
    except InvalidSignature:
        raise _invalid("signature does not hold, want one by the chain's leaf") from None


def _may_sign(leaf: x509.Certificate) -> bool:
    """Whether the certificate is for signing content: no issuer, no OCSP responder."""
    values = {type(extension.value): extension.value for extension in leaf.extensions}
    usage, constraints = values.get(x509.KeyUsage), values.get(x509.BasicConstraints)
    if not isinstance(usage, x509.KeyUsage) or not usage.digital_signature or x509.ExtendedKeyUsage in values:
        return False
    return not (isinstance(constraints, x509.BasicConstraints) and constraints.ca)


def _base64(element: etree._Element, size: int | None) -> bytes:
    """The octets of an element's text: the one Base64 form of them, line feeds between lines allowed."""
    name = f"{_NAME} {str(element.tag).removeprefix(_DS)}"
    text = (element.text or "").replace("\n", "")
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise malformed(name, "not Base64", "Base64") from None
    if len(element) or base64.b64encode(data).decode() != text or size not in (None, len(data)):
        raise malformed(name, f"{len(data)} bytes or not plainly encoded", f"{size or 'some'} bytes of Base64")
    return data


def _invalid(text: str) -> NotGenuine:
    return NotGenuine(Reason.RIM_INVALID, f"{_NAME} {text}")
