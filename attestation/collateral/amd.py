# SPDX-License-Identifier: Apache-2.0
"""AMD's key distribution service (AMD publication 57230).

    {kds}/vcek/v1/{product}/{hwID}?blSPL=&teeSPL=&snpSPL=&ucodeSPL=[&fmcSPL=]    DER, the chip's certificate
    {kds}/{vcek|vlek}/v1/{product}/cert_chain                                    PEM, intermediate then root
    {kds}/{vcek|vlek}/v1/{product}/crl                                           DER, signed by the root

Checked here: that a certificate names the chip and levels asked for, and that chain and list are the product's: a
mirror that answers with another chip's certificate would turn a good report into a refused one. A chain must lead to
a pinned root; the other signatures are the verifier's. A VLEK is a cloud's own and comes with the evidence; the service
gives only its chain.
"""

from collections.abc import Collection
from typing import Final

from attestation.bundle import Collateral
from attestation.collateral.answers import Answer, common_name, earliest, wrong
from attestation.collateral.requests import VCEK, AMDChain, AMDRevocations, AMDSigner
from attestation.collateral.service import Body, Service
from attestation.tee.certificates import (
    MAX_CERTIFICATE_BYTES,
    MAX_CRL_BYTES,
    MAX_PEM_BYTES,
    der_of,
    read_certificate,
    read_crl,
    read_pem_chain,
    verify_chain,
)
from attestation.tee.snp.endorsement import CERTIFICATE_KIND, CRL_KIND
from attestation.tee.snp.leaf import is_leaf, read_leaf
from attestation.tee.snp.product import CHIP_ID_BYTES, Product, levels

_LEVELS: Final = {"bootloader": "blSPL", "tee": "teeSPL", "snp": "snpSPL", "microcode": "ucodeSPL"}
_TURIN_LEVELS: Final = {"fmc": "fmcSPL", **_LEVELS}


class AMDService:
    """Fetches `VCEK`, `AMDChain` and `AMDRevocations`. Each raises as `IntelService.fetch`.

    `roots` are the pinned roots of the report verifier.
    """

    def __init__(self, kds: Service, *, roots: Collection[bytes]) -> None:
        self._kds = kds
        self._roots = roots

    def vcek(self, request: VCEK) -> Answer:
        """The certificate of one chip at the levels asked for."""
        found = levels(request.product, request.tcb)
        names = _TURIN_LEVELS if request.product is Product.TURIN else _LEVELS
        query = tuple((name, f"{found[part]:02}") for part, name in names.items())
        path = f"/vcek/v1/{request.product}/{request.chip.hex()}"
        der = self._kds.get(path, query, body=Body.BINARY, limit=MAX_CERTIFICATE_BYTES).body
        if not is_vcek_for(der, request):
            raise wrong("vcek", "of another chip or firmware", "the one asked for")
        ends = read_certificate(der, "vcek").not_valid_after_utc
        return Answer(items=(Collateral(kind=CERTIFICATE_KIND, data=der),), valid_until=ends)

    def chain(self, request: AMDChain) -> Answer:
        """Intermediate and root of a product, in this order."""
        path = f"/{request.signer}/v1/{request.product}/cert_chain"
        pem = self._kds.get(path, body=Body.TEXT, limit=MAX_PEM_BYTES).body
        chain = read_pem_chain(pem, "amd chain")
        got, want = [common_name(certificate.subject) for certificate in chain], chain_names(request)
        if got != want:
            raise wrong("amd chain", repr(got)[:128], repr(want))
        verify_chain(chain, roots=self._roots, name="amd")
        items = tuple(Collateral(kind=CERTIFICATE_KIND, data=der_of(certificate)) for certificate in chain)
        return Answer(items=items, valid_until=min(certificate.not_valid_after_utc for certificate in chain))

    def revocations(self, request: AMDRevocations) -> Answer:
        """The revocation list of a product's root."""
        path = f"/{request.signer}/v1/{request.product}/crl"
        der = self._kds.get(path, body=Body.BINARY, limit=MAX_CRL_BYTES).body
        crl = read_crl(der, "amd crl")
        got, want = common_name(crl.issuer), f"ARK-{request.product}"
        if got != want:
            raise wrong("amd crl issuer", repr(got[:64]), want)
        items = (Collateral(kind=CRL_KIND, data=der),)
        return Answer(items=items, valid_until=earliest([crl.next_update_utc], "amd crl"))


def chain_names(request: AMDChain) -> list[str]:
    """The common names of a product's intermediate and root."""
    vlek = request.signer is AMDSigner.VLEK
    return [f"SEV-VLEK-{request.product}" if vlek else f"SEV-{request.product}", f"ARK-{request.product}"]


def is_vcek_for(der: bytes, request: VCEK) -> bool:
    """Whether a certificate says it is the one asked for. Raises `MalformedEvidence` for what is no certificate."""
    certificate = read_certificate(der, "vcek")
    if not is_leaf(certificate):
        return False
    leaf = read_leaf(certificate)
    chip = leaf.chip_id[: CHIP_ID_BYTES[request.product]]
    return (leaf.product, chip, leaf.tcb) == (request.product, request.chip, request.tcb)
