# SPDX-License-Identifier: Apache-2.0
"""A fake TPM maker: certificate authorities, TPMs whose keys lie in this process, and quotes of anything they are told.

`good()` is a whole world that verifies; `fake_tpm_wrong` names others by what is wrong with them. `open_credential`
does what a TPM does, written from the specification's other side than `attestation.tee.tpm.credential`.
"""

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.decrepit.ciphers.modes import CFB
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from cryptography.hazmat.primitives.serialization import Encoding

from attestation.bundle import Collateral, Evidence
from attestation.claims import TEEKind
from attestation.tee.tpm.credential import Credential
from attestation.tee.tpm.evidence import EVIDENCE_FORMAT, TPMEvidence
from attestation.tee.tpm.verifier import TPMVerifier

NOW: Final = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
EXTRA: Final = hashlib.sha256(b"what the quote is bound to").digest()
ENDORSEMENT, OWNER, PLATFORM, NULL = 0x4000000B, 0x40000001, 0x4000000C, 0x40000007
ATTRIBUTES: Final = 0x00050072
EK_USAGE: Final = x509.ObjectIdentifier("2.23.133.8.1")
DEVICE: Final = {"1": "id:53454C42", "2": "fake", "3": "id:00010002"}
PCRS: Final[Mapping[int, bytes]] = {index: hashlib.sha256(b"pcr %d" % index).digest() for index in range(24)}
_YEAR: Final = timedelta(days=365)

Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
HASHES: Final[dict[str, tuple[int, hashes.HashAlgorithm]]] = {
    "sha1": (0x0004, hashes.SHA1()),  # a TPM that still signs with it, to be refused
    "sha256": (0x000B, hashes.SHA256()),
    "sha384": (0x000C, hashes.SHA384()),
}
SCHEMES: Final = {"rsassa": 0x0014, "rsapss": 0x0016, "ecdsa": 0x0018}


@dataclass(frozen=True, slots=True, kw_only=True)
class AK:
    """An attestation key and what its public area says of it."""

    key: Key
    scheme: str = "ecdsa"
    algorithm: str = "sha256"
    attributes: int = ATTRIBUTES

    @property
    def public(self) -> bytes:
        """TPMT_PUBLIC."""
        number = HASHES[self.algorithm][0]
        scheme = _u16(SCHEMES[self.scheme]) + _u16(number)
        head = _u16(0x0001 if isinstance(self.key, rsa.RSAPrivateKey) else 0x0023) + _u16(0x000B)
        head += self.attributes.to_bytes(4, "big") + _u16(0) + _u16(0x0010) + scheme
        return head + public_tail(self.key)

    @property
    def name(self) -> bytes:
        """Its name."""
        return b"\0\x0b" + hashlib.sha256(self.public).digest()

    def qualified_name(self, hierarchy: int) -> bytes:
        """Its name as a primary key of a hierarchy."""
        return b"\0\x0b" + hashlib.sha256(hierarchy.to_bytes(4, "big") + self.name).digest()

    def sign(self, message: bytes) -> bytes:
        """TPMT_SIGNATURE."""
        number, algorithm = HASHES[self.algorithm]
        head = _u16(SCHEMES[self.scheme]) + _u16(number)
        if isinstance(self.key, ec.EllipticCurvePrivateKey):
            r, s = decode_dss_signature(self.key.sign(message, ec.ECDSA(algorithm)))
            width = (self.key.key_size + 7) // 8
            return head + b"".join(tpm2b(part.to_bytes(width, "big")) for part in (r, s))
        pss = padding.PSS(padding.MGF1(algorithm), algorithm.digest_size)
        chosen = padding.PKCS1v15() if self.scheme == "rsassa" else pss
        return head + tpm2b(self.key.sign(message, chosen, algorithm))


@dataclass(frozen=True, slots=True, kw_only=True)
class TPMWorld:
    """Evidence, its collateral, and what was put into them."""

    parts: TPMEvidence
    collateral: tuple[Collateral, ...]
    root: x509.Certificate

    @property
    def evidence(self) -> Evidence:
        """The evidence."""
        return Evidence(kind=TEEKind.TPM, format=EVIDENCE_FORMAT, data=self.parts.encode())

    @property
    def verifier(self) -> TPMVerifier:
        """A verifier that remembers nothing."""
        return TPMVerifier()

    def changed(self, **parts: Any) -> "TPMWorld":
        """With other parts in the evidence."""
        return replace(self, parts=replace(self.parts, **parts))

    def adding(self, *items: Collateral) -> "TPMWorld":
        """With more collateral."""
        return replace(self, collateral=(*self.collateral, *items))


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateWish:
    """What an EK certificate is to look like."""

    key: str = "ek"
    issuer_key: str = "issuer"
    device: Mapping[str, str] = field(default_factory=lambda: DEVICE)
    extended: Sequence[x509.ObjectIdentifier] | None = (EK_USAGE,)
    signing: bool = False
    ca: bool = False
    critical: bool = True
    begins: datetime = NOW - _YEAR
    ends: datetime = NOW + 9 * _YEAR


_CURVES: Final[Mapping[str, ec.EllipticCurve]] = {
    "p256": ec.SECP256R1(),
    "p384": ec.SECP384R1(),
    "p521": ec.SECP521R1(),
}
_RSA_BITS: Final = {"rsa1024": 1024, "rsa3072": 3072}


@cache
def private(name: str) -> Any:
    """The key of this name: RSA of 2048 bits, or what the name begins with (`p256-`, `rsa3072-`, `ed25519-`, ...)."""
    kind = name.partition("-")[0]
    if kind == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    if kind in _CURVES:
        return ec.generate_private_key(_CURVES[kind])
    return rsa.generate_private_key(65537, _RSA_BITS.get(kind, 2048))


@cache
def authority(name: str, issuer: str, *, key: str = "") -> x509.Certificate:
    """The CA called `name`, certified by `issuer` (itself, for a root)."""
    builder = (
        x509.CertificateBuilder()
        .subject_name(_common(name))
        .issuer_name(_common(issuer))
        .public_key(private(key or name).public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - 10 * _YEAR)
        .not_valid_after(NOW + 10 * _YEAR)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(_usage(key_cert_sign=True, crl_sign=True), critical=True)
    )
    return builder.sign(private(issuer), hashes.SHA256())


def ek_certificate(wish: CertificateWish | None = None) -> x509.Certificate:
    """An EK certificate of the authority "issuer"."""
    wish = wish or CertificateWish()
    key = private(wish.key)
    usage = {"key_encipherment": True} if isinstance(key, rsa.RSAPrivateKey) else {"key_agreement": True}
    names = [x509.NameAttribute(x509.ObjectIdentifier(f"2.23.133.2.{n}"), text) for n, text in wish.device.items()]
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(_common("issuer"))
        .public_key(key.public_key())
        .serial_number(4711)
        .not_valid_before(wish.begins)
        .not_valid_after(wish.ends)
        .add_extension(x509.BasicConstraints(ca=wish.ca, path_length=None), critical=True)
        .add_extension(_usage(digital_signature=wish.signing, **usage), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DirectoryName(x509.Name(names))]), critical=wish.critical)
    )
    if wish.extended is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage(wish.extended), critical=False)
    return builder.sign(private(wish.issuer_key), hashes.SHA256())


def crl(issuer: str = "issuer", *, revoked: Sequence[int] = (), ends: datetime = NOW + timedelta(days=7)) -> Collateral:
    """A revocation list of an authority."""
    builder = x509.CertificateRevocationListBuilder().issuer_name(_common(issuer))
    builder = builder.last_update(min(NOW, ends) - timedelta(days=1)).next_update(ends)
    for serial in revoked:
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(NOW - timedelta(days=1))
        builder = builder.add_revoked_certificate(entry.build())
    return Collateral(kind="x509-crl", data=builder.sign(private(issuer), hashes.SHA256()).public_bytes(Encoding.DER))


def attest(ak: AK, pcrs: Mapping[int, bytes] = PCRS, **changes: Any) -> bytes:
    """TPMS_ATTEST of a quote. Changes: magic, kind, hierarchy, signer, extra, safe, banks, digest."""
    wish = {"magic": 0xFF544347, "kind": 0x8018, "hierarchy": ENDORSEMENT, "extra": EXTRA, "safe": 1, **changes}
    bitmap = sum(1 << index for index in pcrs).to_bytes(3, "little")
    banks = wish.get("banks", [(0x000B, bitmap)])
    hashed = HASHES[ak.algorithm][1]
    value = hashlib.new(hashed.name, b"".join(pcrs[index] for index in sorted(pcrs))).digest()
    return b"".join(
        (
            wish["magic"].to_bytes(4, "big"),
            _u16(wish["kind"]),
            tpm2b(wish.get("signer", ak.qualified_name(wish["hierarchy"]))),
            tpm2b(wish["extra"]),
            bytes.fromhex("0000000000001000 00000007 00000002"),
            bytes((wish["safe"],)),
            bytes.fromhex("2020031200120003"),
            len(banks).to_bytes(4, "big"),
            *(_u16(number) + bytes((len(bits),)) + bits for number, bits in banks),
            tpm2b(wish.get("digest", value)),
        )
    )


def quoted(ak: AK, pcrs: Mapping[int, bytes] = PCRS, wish: CertificateWish | None = None, **changes: Any) -> TPMWorld:
    """A world of one quote; `changes` as in `attest`."""
    statement = attest(ak, pcrs, **changes)
    issuers = authority("issuer", "root"), authority("root", "root")
    return TPMWorld(
        parts=TPMEvidence(
            attest=statement,
            signature=ak.sign(statement),
            ak=ak.public,
            ek_certificate=ek_certificate(wish).public_bytes(Encoding.DER),
            pcrs=pcrs,
            activation=bytes(32),
        ),
        collateral=tuple(issuer_collateral(issuer) for issuer in issuers),
        root=issuers[-1],
    )


def issuer_collateral(certificate: x509.Certificate) -> Collateral:
    """A certificate as collateral."""
    return Collateral(kind="tpm-certificate", data=certificate.public_bytes(Encoding.DER))


def an_ak(**changes: Any) -> AK:
    """An attestation key on P-256, changed."""
    return AK(**{"key": private("p256-ak"), **changes})


def good() -> TPMWorld:
    """A world that verifies."""
    return quoted(an_ak())


def open_credential(ek: Key, ak_name: bytes, credential: Credential) -> bytes:
    """What the TPM of `ek` makes of a credential for the key of this name. Raises `ValueError` if it is not for it."""
    small = ek.key_size in {2048, 256}
    algorithm, size = (hashes.SHA256(), 16) if small else (hashes.SHA384(), 32)
    seed = _open_seed(ek, credential.encrypted_secret, algorithm)
    length = int.from_bytes(credential.blob[:2], "big")
    tag, sealed = credential.blob[2 : 2 + length], credential.blob[2 + length :]
    integrity = _derive(algorithm.name, seed, b"INTEGRITY\0", algorithm.digest_size)
    if not hmac.compare_digest(hmac.digest(integrity, sealed + ak_name, algorithm.name), tag):
        raise ValueError("integrity")
    storage = _derive(algorithm.name, seed, b"STORAGE\0" + ak_name, size)
    decryptor = Cipher(algorithms.AES(storage), CFB(bytes(16))).decryptor()
    opened = decryptor.update(sealed) + decryptor.finalize()
    return opened[2 : 2 + int.from_bytes(opened[:2], "big")]


def tpm2b(data: bytes) -> bytes:
    """A sized buffer."""
    return _u16(len(data)) + data


def public_tail(key: Key) -> bytes:
    """The key's own part of a public area."""
    if isinstance(key, rsa.RSAPrivateKey):
        modulus = key.public_key().public_numbers().n.to_bytes(key.key_size // 8, "big")
        return _u16(key.key_size) + bytes(4) + tpm2b(modulus)
    point, width = key.public_key().public_numbers(), (key.key_size + 7) // 8
    curve = {256: 0x0003, 384: 0x0004}[key.key_size]
    return _u16(curve) + _u16(0x0010) + b"".join(tpm2b(n.to_bytes(width, "big")) for n in (point.x, point.y))


def _open_seed(ek: Key, encrypted: bytes, algorithm: hashes.HashAlgorithm) -> bytes:
    if isinstance(ek, rsa.RSAPrivateKey):
        return ek.decrypt(encrypted, padding.OAEP(padding.MGF1(algorithm), algorithm, b"IDENTITY\0"))
    width = (ek.key_size + 7) // 8
    x, y = encrypted[2 : 2 + width], encrypted[4 + width :]
    point = ec.EllipticCurvePublicNumbers(int.from_bytes(x, "big"), int.from_bytes(y, "big"), ek.curve)
    shared = ek.exchange(ec.ECDH(), point.public_key())
    own = ek.public_key().public_numbers().x.to_bytes(width, "big")
    counter = (1).to_bytes(4, "big")
    return hashlib.new(algorithm.name, counter + shared + b"IDENTITY\0" + x + own).digest()


def _derive(name: str, seed: bytes, context: bytes, size: int) -> bytes:
    bits = (8 * size).to_bytes(4, "big")
    return hmac.digest(seed, (1).to_bytes(4, "big") + context + bits, name)[:size]


def _u16(value: int) -> bytes:
    return value.to_bytes(2, "big")


def _common(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, f"Fake TPM {name}")])


def _usage(**uses: bool) -> x509.KeyUsage:
    names = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
    rest = ("key_cert_sign", "crl_sign", "encipher_only", "decipher_only")
    return x509.KeyUsage(**{name: uses.get(name, False) for name in (*names, *rest)})
