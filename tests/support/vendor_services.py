# SPDX-License-Identifier: Apache-2.0
"""Services that answer like the vendors' own, with paths and headers as documented, from collateral a test holds."""

import base64
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from urllib.parse import parse_qs, quote, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from attestation.bundle import Collateral
from attestation.collateral.amd import AMDService
from attestation.collateral.intel import IntelService
from attestation.collateral.nvidia import NVIDIAService
from attestation.collateral.service import Service
from attestation.collateral.source import Services
from attestation.collateral.transport import Response, TransportError
from tests.support.vendor_server import Scripted, response

Change = Callable[[Response], Response]
NOT_FOUND = response(b"{}", status=404)


@dataclass(kw_only=True)
class Vendors:
    """What every vendor would answer. `change` maps a part of a path to what is wrong with the answers under it."""

    intel: Mapping[str, str] = field(default_factory=dict)
    vcek: bytes = b""
    amd_chain: Sequence[bytes] = ()
    amd_crl: bytes = b""
    manifests: Mapping[str, bytes] = field(default_factory=dict)
    statuses: Sequence[Collateral] = ()
    change: dict[str, Change] = field(default_factory=dict)
    down: bool = False
    in_hex: bool = False
    """As a PCCS sends revocation lists."""

    def __post_init__(self) -> None:
        self.transport = Scripted(answer=self._answer)

    @property
    def asked(self) -> list[str]:
        """The addresses asked so far."""
        return self.transport.asked

    def services(
        self,
        *,
        intel_roots: frozenset[bytes] = frozenset(),
        amd_roots: Sequence[bytes] = (),
        rim_roots: frozenset[bytes] = frozenset(),
    ) -> Services:
        """The services of a process that trusts these roots."""

        def service(name: str) -> Service:
            return Service(
                transport=self.transport, base=f"https://{name}.example", pause=lambda _: None, jitter=lambda: 0.0
            )

        return Services(
            intel=IntelService(pcs=service("pcs"), root_crl=service("rootcrl"), roots=intel_roots),
            amd=AMDService(service("kds"), roots=amd_roots),
            nvidia=NVIDIAService(rim=service("rim"), ocsp=service("ocsp"), rim_roots=rim_roots),
        )

    def _answer(self, url: str, body: bytes | None) -> Response | TransportError:
        if self.down:
            return TransportError("vendor answer is timeouterror, want a whole one in time", passing=True)
        parts = urlsplit(url)
        host, path = str(parts.hostname).partition(".")[0], parts.path
        makers: dict[str, Callable[[], Response]] = {
            "pcs": lambda: self._pcs(path, parse_qs(parts.query)),
            "rootcrl": lambda: self._list(self.intel["root_ca_crl"]),
            "kds": lambda: self._kds(path),
            "rim": lambda: self._rim(path.rpartition("/")[2]),
            "ocsp": lambda: self._ocsp(body or b""),
        }
        made = makers[host]()
        for part, change in self.change.items():
            if part in url:
                made = change(made)
        return made

    def _pcs(self, path: str, query: dict[str, list[str]]) -> Response:
        if path.endswith("/pckcrl"):
            chain = quote(self.intel["pck_crl_issuer_chain"])
            return replace_header(self._list(self.intel["pck_crl"]), "sgx-pck-crl-issuer-chain", chain)
        name, key, header = (
            ("tcb_info", "tcbInfo", "tcb-info-issuer-chain")
            if path.endswith("/tcb")
            else ("qe_identity", "enclaveIdentity", "sgx-enclave-identity-issuer-chain")
        )
        text = f'{{"{key}":{self.intel[name]},"signature":"{self.intel[f"{name}_signature"]}"}}'
        return replace_header(response(text.encode()), header, quote(self.intel[f"{name}_issuer_chain"]))

    def _list(self, crl: str) -> Response:
        if self.in_hex:
            return response(crl.encode(), "text/html")
        return response(bytes.fromhex(crl), "application/pkix-crl")

    def _kds(self, path: str) -> Response:
        if path.endswith("/cert_chain"):
            pem = [x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM) for der in self.amd_chain]
            return response(b"".join(pem), "application/x-pem-file")
        if path.endswith("/crl"):
            return response(self.amd_crl, "application/pkix-crl")
        return response(self.vcek, "application/pkix-cert") if self.vcek else NOT_FOUND

    def _rim(self, name: str) -> Response:
        data = self.manifests.get(name)
        return NOT_FOUND if data is None else manifest_answer(name, data)

    def _ocsp(self, request: bytes) -> Response:
        asked = ocsp.load_der_ocsp_request(request)
        for item in self.statuses:
            found = ocsp.load_der_ocsp_response(item.data)
            if (found.serial_number, found.issuer_key_hash) == (asked.serial_number, asked.issuer_key_hash):
                return response(item.data, "application/ocsp-response")
        refused = ocsp.OCSPResponseBuilder.build_unsuccessful(ocsp.OCSPResponseStatus.UNAUTHORIZED)
        return response(refused.public_bytes(Encoding.DER), "application/ocsp-response")


def manifest_answer(name: str, data: bytes, **changed: str) -> Response:
    """What the manifest service sends, with fields replaced."""
    fields = {
        "id": name,
        "rim": base64.b64encode(data).decode(),
        "sha256": hashlib.sha256(data).hexdigest(),
        "last_updated": "2025-03-14T15:09:03.011000",
        "rim_format": "TCG",
        "request_id": "00000000-0000-0000-0000-000000000000",
    }
    return response(json.dumps(fields | changed).encode())


def replace_header(answer: Response, name: str, value: str) -> Response:
    """The answer with one header set."""
    return replace(answer, headers={**answer.headers, name: value})


def replace_body(answer: Response, body: bytes) -> Response:
    """The answer with another body."""
    return replace(answer, body=body)
