# SPDX-License-Identifier: Apache-2.0
"""Intel's provisioning certification service (PCS API v4) or a caching service (PCCS) of the same paths.

    {pcs}/{sgx|tdx}/certification/v4/tcb?fmspc=          JSON {tcbInfo, signature}, TCB-Info-Issuer-Chain
    {pcs}/{sgx|tdx}/certification/v4/qe/identity         JSON {enclaveIdentity, signature}, ..Identity-Issuer-Chain
    {pcs}/sgx/certification/v4/pckcrl?ca=&encoding=der   DER (a PCCS: DER in hex), SGX-PCK-CRL-Issuer-Chain
    {root CRL address}                                   DER (a PCCS: DER in hex, at /sgx/certification/v4/rootcacrl)

The parts become one `intel-dcap-json` (`attestation.tee.dcap.endorsements`). What does not verify to Intel's root as a
whole, or is about another platform or authority, is refused here: a broken mirror must not fill the cache. Whether it
is current is the caller's and, for every verdict, the verifier's.
"""

import binascii
import json
from typing import Final
from urllib.parse import unquote

from attestation.bundle import Collateral
from attestation.claims import TEEKind
from attestation.collateral.answers import Answer, common_name, wrong
from attestation.collateral.requests import IntelCollateral, PCKAuthority
from attestation.collateral.service import Body, Service
from attestation.collateral.signed_text import member_text, read_object
from attestation.collateral.transport import Response
from attestation.tee.certificates import MAX_CRL_BYTES, MAX_PEM_BYTES
from attestation.tee.dcap.endorsements import COLLATERAL_KIND, read_statements, verify_endorsements

MAX_JSON: Final = 1 << 20
_UPDATE: Final = ("update", "standard")
_TCB_CHAIN: Final = ("tcb-info-issuer-chain", "sgx-tcb-info-issuer-chain")
"""A caching service may still use the name of API v3."""
_IDENTITY_CHAIN: Final = ("sgx-enclave-identity-issuer-chain",)
_CRL_CHAIN: Final = ("sgx-pck-crl-issuer-chain",)
_AUTHORITY: Final = {
    PCKAuthority.PLATFORM: "Intel SGX PCK Platform CA",
    PCKAuthority.PROCESSOR: "Intel SGX PCK Processor CA",
}
_PATHS: Final = {TEEKind.TDX: "tdx", TEEKind.SGX: "sgx"}


class IntelService:
    """Fetches `IntelCollateral`. `roots` are the pinned roots of the quote verifier."""

    def __init__(self, *, pcs: Service, root_crl: Service, roots: frozenset[bytes]) -> None:
        self._pcs = pcs
        self._root_crl = root_crl
        self._roots = roots

    def fetch(self, request: IntelCollateral) -> Answer:
        """The collateral of one platform model.

        Raises:
            TransportError: no usable answer.
            MalformedEvidence, NotGenuine: an answer that does not parse or verify, or is about something else.
        """
        base = f"/{_PATHS[request.tee]}/certification/v4"
        tcb = self._pcs.get(
            f"{base}/tcb", (("fmspc", request.fmspc.hex().upper()), _UPDATE), body=Body.JSON, limit=MAX_JSON
        )
        identity = self._pcs.get(f"{base}/qe/identity", (_UPDATE,), body=Body.JSON, limit=MAX_JSON)
        asked = (("ca", request.authority.value), ("encoding", "der"))
        pck_crl = self._pcs.get("/sgx/certification/v4/pckcrl", asked, body=Body.TEXT, limit=2 * MAX_CRL_BYTES)
        root_crl = self._root_crl.get("", body=Body.TEXT, limit=2 * MAX_CRL_BYTES)
        parts = {
            "pck_crl_issuer_chain": _header_chain(pck_crl, _CRL_CHAIN),
            "root_ca_crl": _der(root_crl.body).hex(),
            "pck_crl": _der(pck_crl.body).hex(),
            "tcb_info_issuer_chain": _header_chain(tcb, _TCB_CHAIN),
            "qe_identity_issuer_chain": _header_chain(identity, _IDENTITY_CHAIN),
            **_signed(tcb, "tcbInfo", "tcb_info"),
            **_signed(identity, "enclaveIdentity", "qe_identity"),
        }
        return self._checked(request, json.dumps(parts).encode())

    def _checked(self, request: IntelCollateral, data: bytes) -> Answer:
        verified = verify_endorsements(read_statements(data, request.tee), self._roots)
        got = verified.statements.tcb_info.fmspc
        if got != request.fmspc:
            raise wrong("tcb info fmspc", got.hex(), request.fmspc.hex())
        issuer, want = common_name(verified.pck_crl.issuer), _AUTHORITY[request.authority]
        if issuer != want:
            raise wrong("pck crl issuer", repr(issuer[:64]), want)
        return Answer(items=(Collateral(kind=COLLATERAL_KIND, data=data),), valid_until=verified.valid_until)


def _signed(response: Response, key: str, name: str) -> dict[str, str]:
    signature = read_object(response.body, name, MAX_JSON).octets("signature", 64, 64)
    text = member_text(response.body, key, name, MAX_JSON)
    return {name: text, f"{name}_signature": signature.hex()}


def _header_chain(response: Response, names: tuple[str, ...]) -> str:
    # The services send PEM percent-encoded in a header, leaf first.
    text = next((response.headers[name] for name in names if name in response.headers), "")
    if not 0 < len(text) <= 2 * MAX_PEM_BYTES:
        raise wrong(f"header {names[0]}", f"{len(text)} characters", "a PEM chain")
    return unquote(text)


def _der(body: bytes) -> bytes:
    """A revocation list as DER, also when a caching service sends it in hex."""
    if body[:1] == b"\x30" and body[1:2] >= b"\x80":
        return body
    try:
        return binascii.unhexlify(body.strip())
    except ValueError:
        raise wrong("revocation list", "neither der nor hex", "one of them") from None
