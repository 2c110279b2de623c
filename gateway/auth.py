# SPDX-License-Identifier: Apache-2.0
"""Who is calling the gateway: an API key, or a client certificate the configuration pins to a tenant.

Both lead to a `Credential` whose name is the tenant. A certificate carries the role `caller` only. When a call brings
both, the key counts: it is the more specific statement.
"""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from attestation.errors import NotGenuine, Reason
from attestation.rpc.auth import HEADER, APIKeys, Credential, Role, check_account, new_api_key
from attestation.rpc.pinning import AuthContext, peer_spki
from gateway.config import Tenant
from gateway.errors import Denied, Unauthenticated


class Caller(AuthContext, Protocol):
    """The part of a servicer context that says who calls."""

    def invocation_metadata(self) -> Iterable[tuple[str, str | bytes]] | None: ...


class Authenticator:
    """Maps calls to credentials, in memory."""

    def __init__(self, *, keys: APIKeys, tenants: Mapping[str, Tenant]) -> None:
        self._keys = keys
        self._by_spki = {
            bytes.fromhex(spki): Credential(name=name, roles=frozenset({Role.CALLER}))
            for name, tenant in tenants.items()
            for spki in tenant.certificate_sha256
        }

    def require(self, context: Caller, *roles: Role) -> Credential:
        """The caller's credential, if it has one of `roles`.

        Raises:
            Unauthenticated: no credential, or none this gateway knows.
            Denied: PERMISSION_DENIED, another role.
        """
        credential = self._authenticate(context)
        if credential.roles.isdisjoint(roles):
            got, want = ", ".join(sorted(credential.roles)), ", ".join(sorted(roles))
            message = f"role of the credential is {got}, want one of {want}"
            raise Denied(Reason.PERMISSION_DENIED, message, {"field": "role", "got": got, "want": want})
        return credential

    def _authenticate(self, context: Caller) -> Credential:
        sent = [value for key, value in context.invocation_metadata() or () if key == HEADER]
        if not sent:
            return self._by_certificate(context)
        scheme, _, secret = str(sent[0]).partition(" ")
        credential = self._keys.find(secret) if len(sent) == 1 and scheme == "Bearer" else None
        if credential is None:
            raise Unauthenticated("credential", "unknown", "one bearer key of this gateway")
        return credential

    def _by_certificate(self, context: Caller) -> Credential:
        try:
            return self._by_spki[peer_spki(context)]
        except (NotGenuine, KeyError):
            want = "authorization: Bearer <key> or a known certificate"
            raise Unauthenticated("credential", "missing", want) from None


def new_key(tenant: str, roles: Sequence[str], *, entropy: Callable[[int], bytes] = os.urandom) -> tuple[str, str]:
    """A new key, shown once, and the TOML table for the keys file, which holds only its hash.

    Raises:
        SettingsError: no account can have this name.
    """
    check_account(tenant, "tenant")
    key, digest = new_api_key(entropy)
    listed = ", ".join(f'"{Role(role).value}"' for role in roles)
    return key, f'[[key]]\nname = "{tenant}"\nsha256 = "{digest}"\nroles = [{listed}]\n'
