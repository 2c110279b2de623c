# SPDX-License-Identifier: Apache-2.0
"""The endorsement of a report's key: which of the certificates offered it is, and its chain to AMD's root.

    VCEK <- ASK (SEV-<product>) <- ARK        VLEK <- ASVK (SEV-VLEK-<product>) <- ARK        RSA-PSS with SHA-384

Certificates come in any order and number up to a limit, also those of other machines: they are picked by their names
and by what the report asks for, never by position. AMD's revocation lists are signed by the ARK and name intermediates;
they are no condition, and whether one was read is a fact for the policy. Every VCEK and VLEK has serial number 0, so
that no list can name a single one.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from types import MappingProxyType
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256, SHA384
from cryptography.x509.oid import SignatureAlgorithmOID

from attestation.bundle import Collateral
from attestation.errors import CollateralUnavailable, MalformedEvidence, NotGenuine, Reason
from attestation.tee.certificates import VerifiedChain, check_revocation, read_certificate, read_crl, verify_chain
from attestation.tee.remembered import Remembered
from attestation.tee.snp.leaf import Leaf, common_name, is_leaf, read_leaf
from attestation.tee.snp.product import Product
from attestation.tee.snp.report import SigningKey, SNPReport

CERTIFICATE_KIND: Final = "amd-certificate"
CRL_KIND: Final = "amd-crl"
MAX_CERTIFICATES: Final = 32
MAX_CRLS: Final = 4
ROOTS: Final[Mapping[bytes, Product]] = MappingProxyType(
    {
        bytes.fromhex("69d063b45344d26a2e94e1f4210de49ef555308287d4c174445c95639a540bcd"): Product.MILAN,
        bytes.fromhex("4c6598d19c18719c5dfd4a7d335f674e5bfe1d8f800cea2cf270c10d103db2f1"): Product.GENOA,
        bytes.fromhex("1f084161a44bb6d93778a904877d4819cafa5d05ef4193b2ded9dd9c73dd3f6a"): Product.TURIN,
    }
)
"""AMD's root keys (ARK) by the SHA-256 of their certificates, each for one processor line."""

_ISSUERS: Final = {SigningKey.VCEK: "SEV-", SigningKey.VLEK: "SEV-VLEK-"}
_REMEMBERED: Final = 256
"""Certificates and chains kept; a fleet has three roots, six intermediates, and a leaf per machine and firmware."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endorsement:
    """A report key whose chain holds at the time asked for; `crl` says whether a revocation list was checked."""

    leaf: Leaf
    product: Product
    crl: bool
    expires: datetime


class Endorsements:
    """Reads certificates and verifies endorsements, and remembers both. Threads may share it."""

    def __init__(self, roots: Mapping[bytes, Product]) -> None:
        self._roots = roots
        self._certificates: Remembered[x509.Certificate] = Remembered(_REMEMBERED)
        self._chains: Remembered[VerifiedChain] = Remembered(_REMEMBERED)

    def read(self, collateral: Sequence[Collateral]) -> list[x509.Certificate]:
        """The certificates offered, each once. Raises `MalformedEvidence` for too many, or one that does not parse."""
        items = {item.sha256: item.data for item in collateral if item.kind == CERTIFICATE_KIND}
        if len(items) > MAX_CERTIFICATES:
            message = f"{CERTIFICATE_KIND} count is {len(items)}, want at most {MAX_CERTIFICATES}"
            raise MalformedEvidence(Reason.MALFORMED, message)
        return [
            self._certificates.get(digest, partial(read_certificate, data, CERTIFICATE_KIND))
            for digest, data in items.items()
        ]

    def endorse(
        self, leaf: Leaf, certificates: list[x509.Certificate], collateral: Sequence[Collateral], now: datetime
    ) -> Endorsement:
        """The endorsement of `leaf`'s key at `now`; whether the key signed anything is for the caller.

        Raises:
            MalformedEvidence: a revocation list offered does not parse, or there are too many.
            CollateralUnavailable: ENDORSEMENT_MISSING without the key's intermediate or root; COLLATERAL_EXPIRED for a
                revocation list that is not current.
            NotGenuine: CHAIN_INVALID, ROOT_REFUSED, CERTIFICATE_EXPIRED, CERTIFICATE_REVOKED.
        """
        chain = self._chain(leaf, certificates)
        chain.check_time(now)
        lists = _revocation(chain, collateral, now)
        return Endorsement(
            leaf=leaf,
            product=self._roots[chain.root_sha256],
            crl=bool(lists),
            expires=min(chain.not_after, *lists) if lists else chain.not_after,
        )

    def _chain(self, leaf: Leaf, certificates: list[x509.Certificate]) -> VerifiedChain:
        refused: NotGenuine | None = None
        for issuer in _named(leaf.certificate.issuer, certificates):
            for root in _named(issuer.issuer, certificates):
                try:
                    return self._verified(leaf, issuer, root)
                except NotGenuine as error:
                    refused = error
        if refused is not None:
            raise refused
        raise _missing("intermediate and root certificates of its key are", "those of the processor line")

    def _verified(self, leaf: Leaf, issuer: x509.Certificate, root: x509.Certificate) -> VerifiedChain:
        chain = (leaf.certificate, issuer, root)
        digest = hashlib.sha256(b"".join(certificate.fingerprint(SHA256()) for certificate in chain)).digest()
        return self._chains.get(digest, lambda: self._verify(leaf, chain))

    def _verify(self, leaf: Leaf, chain: tuple[x509.Certificate, ...]) -> VerifiedChain:
        for certificate in chain:
            algorithm, digest = certificate.signature_algorithm_oid, certificate.signature_hash_algorithm
            if algorithm != SignatureAlgorithmOID.RSASSA_PSS or not isinstance(digest, SHA384):
                raise _invalid("signature algorithm", "another", "rsa-pss with sha-384")
        verified = verify_chain(chain, roots=self._roots, name="snp")
        product = self._roots[verified.root_sha256]
        want = _ISSUERS[leaf.kind] + product
        if common_name(chain[1].subject) != want:
            raise _invalid("intermediate", repr(common_name(chain[1].subject)[:64]), repr(want))
        if leaf.product is not product:
            raise _invalid("product", leaf.product, f"{product}, as the root's")
        return verified


def closest(certificates: list[x509.Certificate], report: SNPReport) -> list[Leaf]:
    """The key certificates that fit the report best: of its kind, then of its chip, then of its firmware levels.

    There may be several: AMD issues certificates of one key anew, and a masked chip id tells keys of chips not apart.

    Raises:
        CollateralUnavailable: ENDORSEMENT_MISSING without any of the kind.
        MalformedEvidence: a certificate that calls itself such a key's does not say what it must.
    """
    leaves = [read_leaf(certificate) for certificate in certificates if is_leaf(certificate)]
    fits = [(_fit(leaf, report), leaf) for leaf in leaves if leaf.kind is report.signing_key]
    if not fits:
        kind = report.signing_key.name.lower()
        raise _missing(f"{kind} certificate is", "the one of the chip or provider at the reported firmware levels")
    best = max(fit for fit, _ in fits)
    return [leaf for fit, leaf in fits if fit == best]


def _fit(leaf: Leaf, report: SNPReport) -> tuple[bool, bool]:
    return leaf.chip_id == report.chip_id, leaf.tcb == report.reported_tcb


def _named(name: x509.Name, certificates: list[x509.Certificate]) -> list[x509.Certificate]:
    return [certificate for certificate in certificates if certificate.subject == name]


def _revocation(chain: VerifiedChain, collateral: Sequence[Collateral], now: datetime) -> list[datetime]:
    """Until when the root's newest revocation list holds, as a list of one, or of none without such a list."""
    lists = [item.data for item in collateral if item.kind == CRL_KIND]
    if len(lists) > MAX_CRLS:
        raise MalformedEvidence(Reason.MALFORMED, f"{CRL_KIND} count is {len(lists)}, want at most {MAX_CRLS}")
    _, issuer, root = chain.certificates
    own = [crl for crl in (read_crl(data, CRL_KIND) for data in lists) if crl.issuer == root.subject]
    if not own:
        return []
    newest = max(own, key=lambda crl: crl.last_update_utc)
    return [check_revocation(issuer, newest, root, now=now, name="snp intermediate")]


def _missing(what: str, want: str) -> CollateralUnavailable:
    return CollateralUnavailable(Reason.ENDORSEMENT_MISSING, f"snp {what} missing, want {want}")


def _invalid(field: str, got: str, want: str) -> NotGenuine:
    return NotGenuine(Reason.CHAIN_INVALID, f"snp endorsement {field} is {got}, want {want}")
