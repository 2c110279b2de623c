# SPDX-License-Identifier: Apache-2.0
"""A fake Intel: mints whole worlds of root, PCK, TCB statements, revocation lists and quotes, right or wrong by wish.

`mint(kind)` is a world in which everything is right. What is wrong is a wish by name, such as `mint(TDX, debug=True)`.
Nothing here is ever accepted under the pinned root. A world takes about 3 ms.
"""

import hashlib
import json
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from attestation.bundle import Collateral, Evidence
from attestation.claims import TEEKind
from tests.support.fake_intel_der import SGX_EXTENSION, sgx_extension

NOW: Final = datetime(2026, 6, 1, 12, tzinfo=UTC)
DAY: Final = timedelta(days=1)
SEPT_VE_DISABLE: Final = 1 << 28
MIGRATABLE: Final = 1 << 29
QE_SIGNER: Final = bytes.fromhex("aa" * 32)

Key = ec.EllipticCurvePrivateKey


@dataclass(frozen=True, kw_only=True)
class Wish:
    """All that a world may be; the defaults are an up-to-date production platform."""

    kind: TEEKind = TEEKind.TDX
    version: int = 0
    """0 for the usual one: 4 for TDX, 3 for SGX."""
    body_type: int = 3
    now: datetime = NOW

    # the guest or enclave
    debug: bool = False
    td_attributes: int = SEPT_VE_DISABLE
    xfam: int = 0x0006_02E7
    report_data: bytes = bytes(range(64))
    mrtd: bytes = b"\x11" * 48
    mrsignerseam: bytes = bytes(48)
    seam_attributes: bytes = bytes(8)
    mrservicetd: bytes = bytes(48)
    rtmrs: tuple[bytes, ...] = (b"\x21" * 48, b"\x22" * 48, b"\x23" * 48, bytes(48))
    tee_tcb_svn: bytes = bytes([5, 1, 2]) + bytes(13)
    tee_tcb_svn_2: bytes | None = None
    """None for the same as at launch."""
    mrenclave: bytes = b"\x31" * 32
    mrsigner: bytes = b"\x32" * 32
    config_id: bytes = bytes(64)
    isv_svn: int = 7

    # the platform
    fmspc: bytes = bytes.fromhex("90c06f000000")
    pce_id: bytes = bytes(2)
    cpu_svn: bytes = bytes([4] * 8) + bytes(8)
    pce_svn: int = 13
    ppid: bytes = b"\x41" * 16
    instance_id: bytes | None = b"\x42" * 16
    sgx_type: int = 1
    configuration: tuple[bool, bool, bool] | None = (True, True, True)
    """Dynamic platform, cached keys, SMT enabled; None for a certificate that does not say."""
    pck_ca_name: str = "Intel SGX PCK Platform CA"
    pck_valid: tuple[datetime, datetime] = (NOW - 400 * DAY, NOW + 2000 * DAY)

    # the quoting enclave
    qe_svn: int = 8
    qe_signer: bytes = QE_SIGNER
    qe_attributes: bytes = bytes([0x15]) + bytes(7) + bytes([0xE7]) + bytes(7)

    # the statements
    status: str = "UpToDate"
    advisories: tuple[str, ...] = ()
    module_status: str = "UpToDate"
    module_advisories: tuple[str, ...] = ()
    module_name: str = "TDX_01"
    qe_status: str = "UpToDate"
    qe_advisories: tuple[str, ...] = ()
    level_svn: int = 4
    level_date: datetime = NOW - 100 * DAY
    evaluation_number: int = 20
    issued: datetime = NOW - DAY
    next_update: datetime = NOW + 29 * DAY
    crl_next_update: datetime = NOW + 29 * DAY
    statement_fmspc: bytes | None = None
    tcb_version: int = 3
    signing_name: str = "Intel SGX TCB Signing"
    signing_until: datetime = NOW + 900 * DAY
    pck_revoked: bool = False
    ca_revoked: bool = False
    signer_revoked: bool = False
    root_revoked: bool = False
    foreign_crl: bool = False
    """The PCK revocation list is of the other CA."""

    # the signatures: whose key signs instead of the right one
    wrong_quote_key: bool = False
    wrong_qe_key: bool = False
    wrong_statement_key: bool = False
    wrong_identity_key: bool = False
    wrong_commitment: bool = False
    wrong_pck_issuer: bool = False


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
        body = self._enclave_body() if sgx else self._td_body(later=version == 5 and wish.body_type == 3)
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
        info, identity = json.dumps(self._tcb_info()), json.dumps(self._qe_identity())
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

    def _td_body(self, *, later: bool) -> bytes:
        wish = self.wish
        attributes = wish.td_attributes | (1 if wish.debug else 0)
        body = wish.tee_tcb_svn + b"\x12" * 48 + wish.mrsignerseam + wish.seam_attributes
        body += attributes.to_bytes(8, "little") + wish.xfam.to_bytes(8, "little")
        body += wish.mrtd + b"\x13" * 48 + b"\x14" * 48 + b"\x15" * 48 + b"".join(wish.rtmrs) + wish.report_data
        current = wish.tee_tcb_svn if wish.tee_tcb_svn_2 is None else wish.tee_tcb_svn_2
        return body + (current + wish.mrservicetd if later else b"")

    def _enclave_body(self) -> bytes:
        wish = self.wish
        return enclave_report(
            cpu_svn=wish.cpu_svn,
            attributes=bytes([0x07 if wish.debug else 0x05]) + bytes(7) + bytes([0xE7]) + bytes(7),
            mrenclave=wish.mrenclave,
            mrsigner=wish.mrsigner,
            isv_prod_id=3,
            isv_svn=wish.isv_svn,
            report_data=wish.report_data,
            config_id=wish.config_id,
        )

    def _tcb_info(self) -> dict[str, Any]:
        wish = self.wish
        tdx = wish.kind is TEEKind.TDX
        tcb: dict[str, Any] = {
            "sgxtcbcomponents": [{"svn": wish.level_svn if index < 8 else 0} for index in range(16)],
            "pcesvn": 11,
        }
        module = {"mrsigner": "00" * 48, "attributes": "00" * 8, "attributesMask": "FF" * 8}
        info: dict[str, Any] = {
            "id": "TDX" if tdx else "SGX",
            "version": wish.tcb_version,
            **self._dates(),
            "fmspc": (wish.statement_fmspc or wish.fmspc).hex(),
            "pceId": "0000",
            "tcbType": 0,
            "tcbLevels": [{"tcb": tcb, **self._level(wish.status, wish.advisories)}],
        }
        if tdx:
            tcb["tdxtcbcomponents"] = [{"svn": svn} for svn in (5, 0, 2, *[0] * 13)]
            info["tdxModule"] = module
            level = {"tcb": {"isvsvn": 4}, **self._level(wish.module_status, wish.module_advisories)}
            info["tdxModuleIdentities"] = [{"id": wish.module_name, **module, "tcbLevels": [level]}]
        return info

    def _qe_identity(self) -> dict[str, Any]:
        tdx = self.wish.kind is TEEKind.TDX
        return {
            "id": "TD_QE" if tdx else "QE",
            "version": 2,
            **self._dates(),
            "miscselect": "00000000",
            "miscselectMask": "FFFFFFFF",
            "attributes": "11" + "00" * 15,
            "attributesMask": "FB" + "FF" * 7 + "00" * 8,
            "mrsigner": QE_SIGNER.hex(),
            "isvprodid": 2 if tdx else 1,
            "tcbLevels": [{"tcb": {"isvsvn": 8}, **self._level(self.wish.qe_status, self.wish.qe_advisories)}],
        }

    def _dates(self) -> dict[str, Any]:
        return {
            "issueDate": _time(self.wish.issued),
            "nextUpdate": _time(self.wish.next_update),
            "tcbEvaluationDataNumber": self.wish.evaluation_number,
        }

    def _level(self, status: str, advisories: tuple[str, ...]) -> dict[str, Any]:
        level: dict[str, Any] = {"tcbDate": _time(self.wish.level_date), "tcbStatus": status}
        return {**level, "advisoryIDs": list(advisories)} if advisories else level

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


def enclave_report(
    *,
    cpu_svn: bytes,
    attributes: bytes,
    mrenclave: bytes,
    mrsigner: bytes,
    isv_prod_id: int,
    isv_svn: int,
    report_data: bytes,
    config_id: bytes = bytes(64),
) -> bytes:
    """The 384 bytes of an enclave report."""
    body = cpu_svn + bytes(4) + bytes(28) + attributes + mrenclave + bytes(32) + mrsigner + bytes(32) + config_id
    return body + isv_prod_id.to_bytes(2, "little") + isv_svn.to_bytes(2, "little") + bytes(2 + 42 + 16) + report_data


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


def _time(when: datetime) -> str:
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")
