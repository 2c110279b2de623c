# SPDX-License-Identifier: Apache-2.0
"""Everything a gateway reads from disk before it starts, but its own keys: accounts, trust root, policy, TLS files.

Read once, whole and bounded; what is wrong is named and nothing starts. Nothing is written.
"""

from dataclasses import dataclass, field
from importlib.metadata import version

from attestation.appraisal.policy import MAX_POLICY_BYTES, AppraisalPolicy, read_policy
from attestation.errors import SettingsError
from attestation.files import read_file, read_token
from attestation.rpc.auth import MAX_KEY_CHARACTERS, MAX_KEYS_BYTES, APIKeys, channel_tls
from attestation.trust import TrustRoot, load_trust
from gateway.config import GatewaySettings
from gateway.front import front_credentials

_MAX_CA_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """The contents of a gateway's files."""

    keys: APIKeys = field(repr=False)
    trust: TrustRoot
    policy: AppraisalPolicy
    registry_key: str = field(repr=False)
    registry_ca_pem: bytes | None = field(repr=False)
    version: str


def read_inputs(settings: GatewaySettings) -> Inputs:
    """Reads the files the settings name.

    Raises:
        SettingsError: a file is missing, too long or not what it should be, or policy and trust root are of different
            profiles: a production policy never runs under a development trust root, nor the other way round.
    """
    trust = load_trust(settings.trust_file, "trust_file")
    policy = read_policy(read_file(settings.policy_file, "policy_file", MAX_POLICY_BYTES))
    if trust.profile is not policy.profile:
        raise SettingsError(f"trust_file profile is {trust.profile.value}, want {policy.profile.value} as the policy")
    ca_file = settings.registry.ca_file
    ca_pem = None if ca_file is None else read_file(ca_file, "registry.ca_file", _MAX_CA_BYTES)
    channel_tls(settings.registry.address, ca_pem=ca_pem)
    front_credentials(settings)
    return Inputs(
        keys=APIKeys.from_toml(read_file(settings.keys_file, "keys_file", MAX_KEYS_BYTES)),
        trust=trust,
        policy=policy,
        registry_key=read_token(settings.registry.api_key_file, "registry.api_key_file", MAX_KEY_CHARACTERS + 2),
        registry_ca_pem=ca_pem,
        version=version("sealbid"),
    )
