# SPDX-License-Identifier: Apache-2.0
"""How parties are named in signed bytes: digests of what identifies them (docs/spec.md, 3.5)."""

from attestation.codec.labels import labelled_sha256


def provider_id(name: str) -> bytes:
    """`H(L("provider") || name)`, 32 bytes: the account a worker's evidence is made for."""
    return labelled_sha256("provider", name.encode())


def gateway_id_of(signing_key: bytes) -> bytes:
    """`H(L("gateway") || Ed25519 key)`, 32 bytes: the gateway that signs grants and receipts with this key."""
    return labelled_sha256("gateway", signing_key)
