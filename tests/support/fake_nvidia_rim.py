# SPDX-License-Identifier: Apache-2.0
"""A fake NVIDIA RIM authority: a root of its own, three certificates below it, and manifests it signs, right or wrong.

Manifests have the form of NVIDIA's own (SWID with an enveloped signature). `RIMMaker.rim` makes a good one; what else
may be wrong is an argument named for it, or a function of this module that spoils a good one.
"""

import base64
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256, SHA384
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from lxml import etree

MADE = datetime(2026, 1, 1, tzinfo=UTC)
SIGNER_LIFE = timedelta(days=730)
GOLDEN = {7: [b"\x07" * 48], 9: [b"\x09" * 48, b"\x19" * 48], 35: [b"\x35" * 48]}
DRIVER_VERSION = "999.10.01"
VBIOS_VERSION = "99.00.AA.00.01"
SWITCH_VERSION = "99.10.BB.00.01"
C14N11 = "http://www.w3.org/2006/12/xml-c14n11"
_LEVELS = ("Fake CoRIM signing Root CA", "Fake Reference Value CA", "Fake Reference Value L3", "Fake RIM L4 Signer")


@dataclass(frozen=True, kw_only=True)
class _Level:
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate


@dataclass(frozen=True, kw_only=True)
class RIMMaker:
    """One authority. `chain` is leaf first; every maker has keys of its own."""

    chain: tuple[_Level, ...] = field(default_factory=lambda: _levels(MADE))

    @property
    def roots(self) -> frozenset[bytes]:
        """What a verifier pins to trust this maker."""
        return frozenset({self.chain[-1].certificate.fingerprint(SHA256())})

    def rim(
        self,
        *,
        kind: str = "driver",
        product: str = "GH100",
        version: str | None = None,
        golden: Mapping[int, Sequence[bytes]] | None = None,
        revision: str = "r1",
        meta: Mapping[str, str] | None = None,
        resources: Sequence[str] | None = None,
        root: Mapping[str, str] | None = None,
    ) -> bytes:
        """A manifest; `meta`, `root` and `resources` replace parts of its text before it is signed."""
        versions = {"driver": DRIVER_VERSION, "vbios": VBIOS_VERSION, "switch": SWITCH_VERSION}
        attributes = {
            "colloquialVersion": versions[kind] if version is None else version,
            "edition": "SWITCH" if kind == "switch" else "GPU",
            "product": product,
            "revision": revision,
            "PayloadType": "direct",
            **(meta or {}),
        }
        lines = resources if resources is not None else list(resource_lines(GOLDEN if golden is None else golden))
        return self.sign(document(attributes, lines, root or {}))

    def sign(
        self,
        text: str,
        *,
        algorithms: Mapping[str, str] | None = None,
        uri: str = "",
        rearranged: Callable[[str], str] = lambda info: info,
        chain: Sequence[x509.Certificate] | None = None,
        by: ec.EllipticCurvePrivateKey | None = None,
    ) -> bytes:
        """`text`, a whole document, with the signature as the last child of its root.

        `rearranged` alters SignedInfo before it is signed.
        """
        digest = base64.b64encode(hashlib.sha384(_canonical(text)).digest()).decode()
        info = rearranged(_signed_info(digest, algorithms or {}, uri))
        key = by or self.chain[0].key
        shell = _wrapped(info, "", [])
        signed = _canonical_info(_appended(text, shell))
        value = _raw_signature(key, signed)
        certificates = [level.certificate for level in self.chain] if chain is None else list(chain)
        return _appended(text, _wrapped(info, value, certificates)).encode()

    def leaf_for(self, **wrong: object) -> tuple[ec.EllipticCurvePrivateKey, tuple[x509.Certificate, ...]]:
        """A key and its chain of four whose leaf is made with `wrong` arguments of `issue`."""
        key = ec.generate_private_key(ec.SECP384R1())
        above = self.chain[1]
        leaf = issue("Other signer", key, above.key, above.certificate.subject, **wrong)  # type: ignore[arg-type]
        return key, (leaf, *(level.certificate for level in self.chain[1:]))


def made_at(when: datetime) -> RIMMaker:
    """An authority whose signer's two years begin at `when`."""
    return RIMMaker(chain=_levels(when))


def document(meta: Mapping[str, str], resources: Sequence[str], root: Mapping[str, str]) -> str:
    """The unsigned text."""
    attributes = {"corpus": "false", "name": meta["product"], "patch": "false", "supplemental": "false", **root}
    body = "\n".join(resources)
    return (
        '<SoftwareIdentity xmlns="http://standards.iso.org/iso/19770/-2/2015/schema.xsd" '
        'xmlns:ns0="http://standards.iso.org/iso/19770/-2/2015/schema.xsd" '
        f'xmlns:ns2="http://www.w3.org/2001/04/xmlenc#sha384" {_text(attributes)}>\n'
        '    <ns0:Entity name="Fake Corporation" role="softwareCreator tagCreator"/>\n'
        f"    <ns0:Meta {_text(meta)}/>\n"
        '    <ns0:Payload xmlns:SHA384="http://www.w3.org/2001/04/xmlenc#sha384">\n'
        f"{body}\n    </ns0:Payload>\n</SoftwareIdentity>"
    )


def resource_lines(golden: Mapping[int, Sequence[bytes]], *, inactive: Sequence[int] = (0,)) -> list[str]:
    """Active entries of `golden`, and inactive ones of zeros."""
    lines = [resource(index, values) for index, values in golden.items()]
    return [resource(index, [bytes(48)], active="False") for index in inactive if index not in golden] + lines


def resource(index: object, values: Sequence[bytes], **replaced: str) -> str:
    """One entry; `replaced` overrides an attribute."""
    attributes = {
        "type": "Measurement",
        "index": str(index),
        "active": "True",
        "alternatives": str(len(values)),
        **{f"ns2:Hash{place}": value.hex() for place, value in enumerate(values)},
        "name": f"Measurement_{index}",
        "size": "48",
        **replaced,
    }
    return f"        <ns0:Resource {_text(attributes)}/>"


def with_another_version(rim: bytes) -> bytes:
    """The manifest altered after it was signed."""
    return rim.replace(b'edition="GPU"', b'edition="GPU" note="altered"')


def with_another_signature(rim: bytes) -> bytes:
    """The manifest with one bit of its signature value flipped."""
    start = rim.index(b"<ds:SignatureValue>") + len(b"<ds:SignatureValue>")
    raw = bytearray(base64.b64decode(rim[start : start + 128]))
    raw[50] ^= 1
    return rim[:start] + base64.b64encode(bytes(raw)) + rim[start + 128 :]


def wrapped(rim: bytes, evil: bytes) -> bytes:
    """The signed root hidden inside another root that repeats its signature: a signature-wrapping attempt."""
    start, end = rim.index(b"<ds:Signature "), rim.index(b"</SoftwareIdentity>")
    signature = rim[start:end]
    return evil[: evil.index(b"<ds:Signature ")] + rim[:start] + b"</SoftwareIdentity>" + signature + rim[end:]


def issue(
    subject: str,
    key: ec.EllipticCurvePrivateKey,
    signer: ec.EllipticCurvePrivateKey,
    issuer: x509.Name,
    *,
    ca: bool = False,
    signs: bool = True,
    begins: datetime = MADE,
    lasts: timedelta = SIGNER_LIFE,
    extra: Callable[[x509.CertificateBuilder], x509.CertificateBuilder] = lambda builder: builder,
) -> x509.Certificate:
    """One certificate; a leaf may sign content, an issuer certificates."""
    usage = dict.fromkeys(
        ["content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only"], False
    )
    builder = (
        x509.CertificateBuilder()
        .subject_name(_named(subject))
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(begins + lasts)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(
            x509.KeyUsage(digital_signature=signs, key_cert_sign=ca, crl_sign=ca, decipher_only=False, **usage),
            critical=True,
        )
    )
    return extra(builder).sign(signer, SHA384())


def _levels(signer_begins: datetime) -> tuple[_Level, ...]:
    keys = [ec.generate_private_key(ec.SECP384R1()) for _ in _LEVELS]
    long = {"begins": datetime(2023, 1, 1, tzinfo=UTC), "lasts": timedelta(days=10_000)}
    root = issue(_LEVELS[0], keys[0], keys[0], _named(_LEVELS[0]), ca=True, signs=False, **long)  # type: ignore[arg-type]
    certificates = [root]
    for place, (above, below) in enumerate(pairwise(keys)):
        leaf = place == len(_LEVELS) - 2
        times = {"begins": signer_begins, "lasts": SIGNER_LIFE} if leaf else long
        subject, issuer = _LEVELS[place + 1], certificates[-1].subject
        certificates.append(issue(subject, below, above, issuer, ca=not leaf, signs=leaf, **times))  # type: ignore[arg-type]
    levels = [_Level(key=key, certificate=item) for key, item in zip(keys, certificates, strict=True)]
    return tuple(reversed(levels))


def _named(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _text(attributes: Mapping[str, str]) -> str:
    return " ".join(f'{name}="{value}"' for name, value in attributes.items())


def _appended(text: str, child: str) -> str:
    end = text.rindex("</")
    return text[:end] + child + text[end:]


def _signed_info(digest: str, algorithms: Mapping[str, str], uri: str) -> str:
    names = {
        "canonicalization": C14N11,
        "signature": "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha384",
        "enveloped": "http://www.w3.org/2000/09/xmldsig#enveloped-signature",
        "transform": C14N11,
        "digest": "http://www.w3.org/2001/04/xmldsig-more#sha384",
        **algorithms,
    }
    return (
        f'<ds:SignedInfo><ds:CanonicalizationMethod Algorithm="{names["canonicalization"]}"/>'
        f'<ds:SignatureMethod Algorithm="{names["signature"]}"/><ds:Reference URI="{uri}"><ds:Transforms>'
        f'<ds:Transform Algorithm="{names["enveloped"]}"/><ds:Transform Algorithm="{names["transform"]}"/>'
        f'</ds:Transforms><ds:DigestMethod Algorithm="{names["digest"]}"/><ds:DigestValue>{digest}</ds:DigestValue>'
        "</ds:Reference></ds:SignedInfo>"
    )


def _wrapped(info: str, value: str, chain: Sequence[x509.Certificate]) -> str:
    encoded = (base64.encodebytes(item.public_bytes(Encoding.DER)).decode() for item in chain)
    certificates = "".join(f"<ds:X509Certificate>{text}</ds:X509Certificate>" for text in encoded)
    return (
        f'<ds:Signature xmlns:ds="http://www.w3.org/2000/09/xmldsig#">{info}'
        f"<ds:SignatureValue>{value}</ds:SignatureValue>"
        f"<ds:KeyInfo><ds:X509Data>{certificates}</ds:X509Data></ds:KeyInfo></ds:Signature>"
    )


def _canonical(text: str) -> bytes:
    return etree.tostring(etree.fromstring(text.encode()), method="c14n")


def _canonical_info(text: str) -> bytes:
    info = next(etree.fromstring(text.encode()).iter("{http://www.w3.org/2000/09/xmldsig#}SignedInfo"))
    return etree.tostring(info, method="c14n")


def _raw_signature(key: ec.EllipticCurvePrivateKey, signed: bytes) -> str:
    numbers = decode_dss_signature(key.sign(signed, ec.ECDSA(SHA384())))
    return base64.b64encode(b"".join(number.to_bytes(48, "big") for number in numbers)).decode()
