# SPDX-License-Identifier: Apache-2.0
"""NVIDIA's reference integrity manifests and certificate status.

    {rim}/v1/rim/{id}     JSON {id, rim: base64, sha256: hex of the decoded bytes, ..}
    POST {ocsp}/          application/ocsp-request (RFC 6960), answered by application/ocsp-response

A status is asked without a nonce, since the answer is kept and judged by the times in it. A manifest states no end,
and NVIDIA revises manifests under their names, so one is asked for again after `MANIFEST_AGE`. Checked here: that the
answer is for what was asked, whole and genuine: a broken mirror must not fill the cache. Whether a certificate is
revoked, or a manifest's signer still current, is the verifier's.
"""

import base64
import re
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Final

from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from attestation.bundle import Collateral
from attestation.codec.labels import sha256
from attestation.collateral.answers import Answer, wrong
from attestation.collateral.requests import CertificateStatus, ReferenceManifest
from attestation.collateral.service import Body, Service
from attestation.collateral.signed_text import read_object
from attestation.tee.certificates import read_certificate
from attestation.tee.nvidia.ocsp import MAX_RESPONSE_BYTES, StoredResponse
from attestation.tee.nvidia.rim import read_rim

CHAIN_KIND: Final = "nvidia-chain"
MANIFEST_KIND: Final = "nvidia-rim"
STATUS_KIND: Final = "nvidia-ocsp"
MAX_MANIFEST: Final = 2 << 20
MANIFEST_AGE: Final = timedelta(days=7)
_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


class NVIDIAService:
    """Fetches `ReferenceManifest` and `CertificateStatus`. Each raises as `IntelService.fetch`.

    `rim_roots` are the pinned roots of the manifests' verifier.
    """

    def __init__(self, *, rim: Service, ocsp: Service, rim_roots: Collection[bytes]) -> None:
        self._rim = rim
        self._ocsp = ocsp
        self._rim_roots = rim_roots

    def manifest(self, request: ReferenceManifest, now: datetime) -> Answer:
        """The manifest of an id."""
        if not _ID.fullmatch(request.id):
            raise wrong("rim id", "no plain name", "letters, digits, dots, dashes")
        body = self._rim.get(f"/v1/rim/{request.id}", body=Body.JSON, limit=MAX_MANIFEST).body
        fields = read_object(body, "rim answer", MAX_MANIFEST)
        if fields.text("id", 128) != request.id:
            raise wrong("rim id", "another", "the one asked for")
        try:
            data = base64.b64decode(fields.text("rim", MAX_MANIFEST), validate=True)
        except ValueError:
            raise wrong("rim", "no base64", "base64") from None
        if sha256(data) != fields.octets("sha256", 32, 32):
            raise wrong("rim digest", "another than stated", "the sha256 stated")
        read_rim(data, roots=self._rim_roots)
        return Answer(items=(Collateral(kind=MANIFEST_KIND, data=data),), valid_until=now + MANIFEST_AGE)

    def status(self, request: CertificateStatus) -> Answer:
        """The status of a certificate, whatever it says."""
        certificate = read_certificate(request.certificate, "certificate")
        issuer = read_certificate(request.issuer, "issuer")
        asked = ocsp.OCSPRequestBuilder().add_certificate(certificate, issuer, SHA384()).build()
        body = self._ocsp.post(
            asked.public_bytes(Encoding.DER),
            media_type="application/ocsp-request",
            body=Body.BINARY,
            limit=MAX_RESPONSE_BYTES,
        ).body
        answer = StoredResponse.read(body)
        if not answer.concerns(certificate, issuer):
            raise wrong("ocsp answer", "about another certificate", "one about the certificate asked for")
        answer.verify(issuer)
        return Answer(items=(Collateral(kind=STATUS_KIND, data=body),), valid_until=answer.next_update)
