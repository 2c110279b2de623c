# SPDX-License-Identifier: Apache-2.0
"""A fake Intel: mints whole worlds of root, PCK, TCB statements, revocation lists and quotes, right or wrong by wish.

`mint(kind)` is a world in which everything is right. What is wrong is a wish by name, such as `mint(TDX, debug=True)`.
Nothing here is ever accepted under the pinned root. A world takes about 3 ms.
"""

import hashlib
import json
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from attestation.bundle import Collateral, Evidence
from attestation.claims import TEEKind
from tests.support.fake_intel_der import SGX_EXTENSION, sgx_extension
from tests.support.fake_intel_statements import enclave_body, enclave_report, qe_identity, tcb_info, td_body
from tests.support.fake_intel_wish import DAY, MIGRATABLE, NOW, SEPT_VE_DISABLE, Wish

__all__ = ["DAY", "MIGRATABLE", "NOW", "SEPT_VE_DISABLE", "Wish", "World", "mint", "pack"]

Key = ec.EllipticCurvePrivateKey


@dataclass(frozen=True, kw_only=True)
class World:
    """Evidence and collateral of one fake Intel, the root that makes them genuine, and the time they are meant for."""

    evidence: Evidence
    collateral: Collateral
    roots: frozenset[bytes]
    now: datetime
    wish: Wish = field(repr=False)
    statements: dict[str, Any] = field(repr=False)
    """The collateral's JSON, to be spoiled by a test and packed again."""

    def with_statements(self, **changed: object) -> "World":
        """The same world with members of the collateral's JSON changed."""
        statements = {**self.statements, **changed}
        return replace(self, statements=statements, collateral=pack(statements))

    def with_quote(self, data: bytes) -> "World":
        """The same world with another quote."""
        return replace(self, evidence=replace(self.evidence, data=data))


def mint(kind: TEEKind, **wishes: Any) -> World:
    """A world of `kind`, right but for what is wished otherwise."""
    return _Intel(Wish(kind=kind, **wishes)).world()


def pack(statements: dict[str, Any]) -> Collateral:
    """The collateral of this JSON."""
    return Collateral(kind="intel-dcap-json", data=json.dumps(statements).encode())


class _Intel:
    """One root with its CAs, platform and signing keys."""

    def __init__(self, wish: Wish) -> None:
        self.wish = wish
        self.keys = {name: _key() for name in ("root", "ca", "signing", "pck", "attestation", "stranger")}
        long = (wish.now - 900 * DAY, wish.now + 9000 * DAY)
        self.root = self._certificate("Intel SGX Root CA", "root", "root", None, long, ca=True)
        self.ca = self._certificate(wish.pck_ca_name, "ca", "root", self.root, long, ca=True)
        signing = (wish.now - 900 * DAY, wish.signing_until)
        self.signing = self._certificate(wish.signing_name, "signing", "root", self.root, signing, ca=False)
        issuer_key = "stranger" if wish.wrong_pck_issuer else "ca"
        self.pck = self._certificate(
            "Intel SGX PCK Certificate", "pck", issuer_key, self.ca, wish.pck_valid, ca=False, platform=True
        )

    def world(self) -> World:
        kind, statements = self.wish.kind, self.statements()
        return World(
            evidence=Evidence(kind=kind, format=f"{kind.value}-quote", data=self.quote()),
            collateral=pack(statements),
            roots=frozenset({self.root.fingerprint(SHA256())}),
            now=self.wish.now,
            wish=self.wish,
            statements=statements,
        )

    def quote(self) -> bytes:
        wish = self.wish
        sgx = wish.kind is TEEKind.SGX
        version = wish.version or (3 if sgx else 4)
        header = version.to_bytes(2, "little") + (2).to_bytes(2, "little") + (0 if sgx else 0x81).to_bytes(4, "little")
        header += bytes(4) + bytes.fromhex("939a7233f79c4ca9940a0db3957f0607") + bytes(20)
        body = enclave_body(wish) if sgx else td_body(wish, later=version == 5 and wish.body_type == 3)
        frame = wish.body_type.to_bytes(2, "little") + len(body).to_bytes(4, "little") if version == 5 else b""
        signed = header + frame + body
        key = _point(self.keys["attestation"])
        auth_data = bytes(range(32))
        committed = hashlib.sha256((_point(_key()) if wish.wrong_commitment else key) + auth_data).digest()
        qe_report = enclave_report(
            cpu_svn=wish.cpu_svn,
            attributes=wish.qe_attributes,
            mrenclave=b"\x51" * 32,
            mrsigner=wish.qe_signer,
            isv_prod_id=1 if sgx else 2,
            isv_svn=wish.qe_svn,
            report_data=committed + bytes(32),
        )
        chain = _pem(self.pck, self.ca, self.root)
        qe = qe_report + self._sign("stranger" if wish.wrong_qe_key else "pck", qe_report)
        qe += len(auth_data).to_bytes(2, "little") + auth_data
        qe += (5).to_bytes(2, "little") + len(chain).to_bytes(4, "little") + chain
        certified = qe if version == 3 else (6).to_bytes(2, "little") + len(qe).to_bytes(4, "little") + qe
        auth = self._sign("stranger" if wish.wrong_quote_key else "attestation", signed) + key + certified
        return signed + len(auth).to_bytes(4, "little") + auth

    def statements(self) -> dict[str, Any]:
        wish = self.wish
        info, identity = json.dumps(tcb_info(wish)), json.dumps(qe_identity(wish))
        signer = _pem(self.signing, self.root).decode()
        root_revoked = [one for one, revoked in self._revocable() if revoked]
        pck_ca = self.ca
        if wish.foreign_crl:
            self.keys["other"] = _key()
            long = (wish.now - 900 * DAY, wish.now + 9000 * DAY)
            pck_ca = self._certificate("Intel SGX PCK Processor CA", "other", "root", self.root, long, ca=True)
        pck_crl = self._crl(pck_ca, "other" if wish.foreign_crl else "ca", [self.pck] if wish.pck_revoked else [])
        return {
            "pck_crl_issuer_chain": _pem(pck_ca, self.root).decode(),
            "root_ca_crl": self._crl(self.root, "root", root_revoked),
            "pck_crl": pck_crl,
            "tcb_info_issuer_chain": signer,
            "tcb_info": info,
            "tcb_info_signature": self._sign(self._signer(wish.wrong_statement_key), info.encode()).hex(),
            "qe_identity_issuer_chain": signer,
            "qe_identity": identity,
            "qe_identity_signature": self._sign(self._signer(wish.wrong_identity_key), identity.encode()).hex(),
        }

    def _revocable(self) -> list[tuple[x509.Certificate, bool]]:
        wish = self.wish
        return [(self.ca, wish.ca_revoked), (self.signing, wish.signer_revoked), (self.root, wish.root_revoked)]

    def _signer(self, wrong: bool) -> str:
        return "stranger" if wrong else "signing"

    def _sign(self, name: str, data: bytes) -> bytes:
        r, s = decode_dss_signature(self.keys[name].sign(data, ec.ECDSA(SHA256())))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")

    def _certificate(
        self,
        name: str,
        key: str,
        signer: str,
        issuer: x509.Certificate | None,
        valid: tuple[datetime, datetime],
        *,
        ca: bool,
        platform: bool = False,
    ) -> x509.Certificate:
        public = self.keys[key].public_key()
        issuer_key = issuer.public_key() if issuer else public
        assert isinstance(issuer_key, ec.EllipticCurvePublicKey)
        builder = (
            x509.CertificateBuilder()
            .subject_name(_name(name))
            .issuer_name(issuer.subject if issuer else _name(name))
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(valid[0])
            .not_valid_after(valid[1])
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key), critical=False)
            .add_extension(_usage(ca=ca), critical=True)
        )
        if platform:
            extension = x509.UnrecognizedExtension(SGX_EXTENSION, self._platform())
            builder = builder.add_extension(extension, critical=False)
        return builder.sign(self.keys[signer], SHA256())

    def _platform(self) -> bytes:
        wish = self.wish
        return sgx_extension(
            ppid=wish.ppid,
            cpu_svn=wish.cpu_svn,
            pce_svn=wish.pce_svn,
            pce_id=wish.pce_id,
            fmspc=wish.fmspc,
            sgx_type=wish.sgx_type,
            instance_id=wish.instance_id,
            configuration=wish.configuration,
        )

    def _crl(self, issuer: x509.Certificate, key: str, revoked: list[x509.Certificate]) -> str:
        issuer_key = issuer.public_key()
        assert isinstance(issuer_key, ec.EllipticCurvePublicKey)
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(issuer.subject)
            .last_update(self.wish.issued)
            .next_update(max(self.wish.crl_next_update, self.wish.issued + DAY))
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key), critical=False)
            .add_extension(x509.CRLNumber(1), critical=False)
        )
        for certificate in revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(certificate.serial_number)
            builder = builder.add_revoked_certificate(entry.revocation_date(self.wish.issued).build())
        return builder.sign(self.keys[key], SHA256()).public_bytes(Encoding.DER).hex()


def _usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )


def _key() -> Key:
    return ec.generate_private_key(ec.SECP256R1())


def _point(key: Key) -> bytes:
    return key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)[1:]


def _name(common: str) -> x509.Name:
    return x509.Name(
        [x509.NameAttribute(NameOID.COMMON_NAME, common), x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Fake Intel")]
    )


def _pem(*certificates: x509.Certificate) -> bytes:
    return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates)
