# SPDX-License-Identifier: Apache-2.0
"""What an operator does by command: make a registry, and revoke a keyset."""

import asyncio
import os
from datetime import datetime
from pathlib import Path
from typing import Final

from attestation.appraisal.policy import MAX_POLICY_BYTES, read_policy
from attestation.errors import SettingsError
from attestation.files import read_file, read_token
from attestation.rpc.auth import MAX_KEY_CHARACTERS
from attestation.server.config import RegistrySettings
from attestation.server.state import LOG_DATABASE, create_keys
from attestation.server.witnessing import read_witness_policy
from attestation.tlog.entry import genesis
from attestation.tlog.evidence_log import EvidenceLog
from attestation.tlog.head_file import FileHeadStore
from attestation.tlog.sqlmodel_store import SQLLogs
from attestation.trust import TrustRoot
from attestation.wire.client import RegistryClient

_MAX_CA_BYTES: Final = 1 << 20


def initialise(settings: RegistrySettings, *, now: datetime) -> Path:
    """Makes keys, the log with its genesis entry, and the trust file, whose path it returns.

    Raises:
        SettingsError: a registry or a signed head is there already, or the policy does not read.
    """
    policy = read_policy(read_file(settings.policy_file, "policy_file", MAX_POLICY_BYTES))
    witness_policy = read_witness_policy(settings)
    if settings.head.exists():
        raise SettingsError("head_file exists already, want none: it belongs to a log that has signed")
    secrets = create_keys(settings.state_dir, settings.origin, entropy=os.urandom)
    trust = TrustRoot(
        origin=settings.origin,
        log_key=secrets.log_signer.verifier,
        lease_key=secrets.lease_public,
        witness_policy=witness_policy,
        profile=policy.profile,
    )
    logs = SQLLogs.sqlite(settings.state_dir / LOG_DATABASE)
    try:
        log = EvidenceLog(
            origin=settings.origin,
            signer=secrets.log_signer,
            store=logs.store(settings.origin),
            heads=FileHeadStore(settings.head),
            inception=True,
        )
        first = genesis(origin=settings.origin, log_key=trust.log_key.vkey, lease_key=secrets.lease_public, at=now)
        log.append([first])
        log.publish(now)
    finally:
        logs.close()
    settings.trust_file.write_bytes(trust.to_toml())
    return settings.trust_file


def revoke(address: str, *, api_key_file: Path, ca_file: Path | None, keyset_id: bytes, reason: str) -> int:
    """Revokes a keyset at the registry at `address`; the index of its log entry. Raises the registry's error."""
    api_key = read_token(api_key_file, "api key file", MAX_KEY_CHARACTERS + 2)
    ca_pem = None if ca_file is None else read_file(ca_file, "ca file", _MAX_CA_BYTES)

    async def call() -> int:
        async with RegistryClient.connect(address, api_key=api_key, ca_pem=ca_pem) as client:
            return await client.revoke(keyset_id, reason)

    return asyncio.run(call())
