# SPDX-License-Identifier: Apache-2.0
"""A gateway's keys as the log holds them, and how a worker checks them before it listens (docs/spec.md, 3.6)."""

from dataclasses import dataclass

from attestation.certificate import pinnable_spki_sha256
from attestation.errors import NotGenuine, Reason
from attestation.identity import gateway_id_of
from attestation.tlog.entry import Kind, parse_entry
from attestation.tlog.proof import verify_tlog_proof
from attestation.trust import TrustRoot

SIGNING_USE, TLS_USE = "gateway-sign", "gateway-tls"


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedGateway:
    """A gateway with the `key.add` entries of its two keys and their tlog-proofs; unverified."""

    gateway_id: bytes
    signing_key: bytes
    certificate_der: bytes
    key_entry: bytes
    key_proof: bytes
    tls_entry: bytes
    tls_proof: bytes


def verify_gateway(gateway: LoggedGateway, *, trust: TrustRoot) -> None:
    """Checks that both keys are this gateway's by the log. Does not check how old the checkpoint is.

    Raises:
        MalformedEvidence: an entry or proof does not parse, or the certificate is not fit to be pinned.
        NotGenuine: the certificate is not signed by its own key (SIGNATURE_INVALID), a proof does not hold, or an entry
            is about another key or gateway (PROOF_INVALID).
    """
    if gateway_id_of(gateway.signing_key) != gateway.gateway_id:
        raise NotGenuine(Reason.KEYSET_MISMATCH, "gateway_id is not that of the signing key")
    tls_key = pinnable_spki_sha256(gateway.certificate_der)
    _check(gateway.key_entry, gateway.key_proof, SIGNING_USE, gateway.signing_key, gateway.gateway_id, trust)
    _check(gateway.tls_entry, gateway.tls_proof, TLS_USE, tls_key, gateway.gateway_id, trust)


def _check(data: bytes, proof: bytes, use: str, key: bytes, subject: bytes, trust: TrustRoot) -> None:
    verify_tlog_proof(proof, data, origin=trust.origin, log_key=trust.log_key, policy=trust.witness_policy)
    entry = parse_entry(data)
    wanted = {"use": use, "key": key.hex(), "subject": subject.hex()}
    got = {field: entry.body.get(field) for field in wanted}
    if entry.kind is not Kind.KEY_ADD or got != wanted:
        raise NotGenuine(Reason.PROOF_INVALID, f"logged entry is not the key.add of this gateway's {use} key")
