# SPDX-License-Identifier: Apache-2.0
"""Who is calling: API keys of which only hashes are stored, and the roles they carry.

    keys file (TOML)
    [[key]]
    name = "provider-a"                       the account: a provider's name, a tenant, an operator's pseudonym
    sha256 = "<64 hex digits>"                SHA-256 of the whole key text
    roles = ["provider"]                      caller, provider, operator, auditor, gateway

A key text is `sbk_` and 43 base64url characters (256 random bits), sent as metadata `authorization: Bearer <key>`. With
that much entropy a plain hash is enough; comparison looks up a digest, so its time says nothing about the stored ones.
Refused: plaintext listeners and channels on anything but loopback, since a bearer key must not cross a network in the
clear.
"""

import base64
import hashlib
import ipaddress
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import grpc
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import load_pem_x509_certificates

from attestation.errors import Reason, SealbidError, SettingsError

HEADER: Final = "authorization"
MAX_KEYS_BYTES: Final = 4 << 20
MAX_KEY_CHARACTERS: Final = 128
_PREFIX, _SCHEME = "sbk_", "Bearer "
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


class Role(StrEnum):
    """What a credential may do; each RPC names the roles it is for."""

    CALLER = "caller"
    PROVIDER = "provider"
    OPERATOR = "operator"
    AUDITOR = "auditor"
    GATEWAY = "gateway"


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """An authenticated account and its roles."""

    name: str
    roles: frozenset[Role]

    def require(self, allowed: Iterable[Role]) -> None:
        """Raises `SealbidError` (PERMISSION_DENIED) unless one of the roles is allowed."""
        wanted = sorted(role.value for role in allowed)
        if not self.roles & set(wanted):
            got = ", ".join(sorted(self.roles)) or "none"
            message = f"role of the credential is {got}, want one of {', '.join(wanted)}"
            raise SealbidError(Reason.PERMISSION_DENIED, message)


class APIKeys:
    """The accounts of a process by the SHA-256 of their keys. Immutable; a changed file makes a new one."""

    def __init__(self, by_sha256: Mapping[bytes, Credential]) -> None:
        self._by_sha256 = dict(by_sha256)

    @classmethod
    def from_toml(cls, data: bytes) -> "APIKeys":
        """The accounts of a keys file. Raises `SettingsError` naming the key by its place, never by its text."""
        found: dict[bytes, Credential] = {}
        for place, item in enumerate(_entries(data), start=1):
            digest, credential = _credential(item, f"keys file key {place}")
            if digest in found:
                raise SettingsError(f"keys file key {place} has the sha256 of another, want distinct keys")
            found[digest] = credential
        return cls(found)

    def __len__(self) -> int:
        return len(self._by_sha256)

    def credentials(self) -> tuple[Credential, ...]:
        """Every account, by name."""
        return tuple(sorted(self._by_sha256.values(), key=lambda credential: credential.name))

    def find(self, key: str) -> Credential | None:
        """The account of this key text, or None."""
        if len(key) > MAX_KEY_CHARACTERS:
            return None
        return self._by_sha256.get(hashlib.sha256(key.encode()).digest())

    def authenticate(self, metadata: Iterable[tuple[str, object]]) -> Credential:
        """The account behind a call's metadata. Raises `SealbidError` (UNAUTHENTICATED)."""
        sent = [value for key, value in metadata if key == HEADER]
        if len(sent) != 1 or not isinstance(sent[0], str) or not sent[0].startswith(_SCHEME):
            raise _unauthenticated(f"{len(sent)} credentials sent, want one bearer key")
        credential = self.find(sent[0].removeprefix(_SCHEME))
        if credential is None:
            raise _unauthenticated("credential is unknown, want a key of this service")
        return credential


def new_api_key(entropy: Callable[[int], bytes]) -> tuple[str, str]:
    """A new key text, shown once, and the SHA-256 (hex) that the keys file holds."""
    key = _PREFIX + base64.urlsafe_b64encode(entropy(32)).decode().rstrip("=")
    return key, hashlib.sha256(key.encode()).hexdigest()


def bearer(key: str) -> tuple[tuple[str, str], ...]:
    """The metadata that carries `key`."""
    return ((HEADER, _SCHEME + key),)


def is_loopback(address: str) -> bool:
    """Whether `host:port` (or a unix socket) can only be reached from this machine."""
    if address.startswith(("unix:", "unix-abstract:")):
        return True
    host = address.rpartition(":")[0].strip("[]")
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def server_tls(address: str, *, key_pem: bytes | None, certificate_pem: bytes | None) -> grpc.ServerCredentials | None:
    """Credentials for a listener at `address`; None means plaintext, which only loopback gets.

    Raises:
        SettingsError: half a key pair, one that is none, or neither on an address others can reach.
    """
    if key_pem is not None and certificate_pem is not None:
        check_pair(key_pem, certificate_pem)
        return grpc.ssl_server_credentials([(key_pem, certificate_pem)])
    if key_pem is not None or certificate_pem is not None:
        raise SettingsError("tls has a key or a certificate, want both or neither")
    if not is_loopback(address):
        raise SettingsError(f"listener {address} is plaintext, want tls on an address beyond loopback")
    return None


def channel_tls(target: str, *, ca_pem: bytes | None) -> grpc.ChannelCredentials | None:
    """Credentials for a channel to `target`; None means plaintext, which only loopback gets. Raises `SettingsError`."""
    if ca_pem is not None:
        check_roots(ca_pem, "ca_file")
        return grpc.ssl_channel_credentials(root_certificates=ca_pem)
    if not is_loopback(target):
        raise SettingsError(f"channel to {target} is plaintext, want a ca file for an address beyond loopback")
    return None


def check_pair(key_pem: bytes, certificate_pem: bytes) -> None:
    """Raises `SettingsError` unless these are a private key and, first of the certificates, one of that key."""
    try:
        key = load_pem_private_key(key_pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise SettingsError("tls.key is not an unencrypted private key in PEM") from None
    check_roots(certificate_pem, "tls.certificate")
    certificate = load_pem_x509_certificates(certificate_pem)[0]
    if certificate.public_key() != key.public_key():
        raise SettingsError("tls.certificate is of another key than tls.key")


def check_roots(pem: bytes, name: str) -> None:
    """Raises `SettingsError` calling it `name` unless these are certificates. Does not check whose, or their dates."""
    try:
        load_pem_x509_certificates(pem)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise SettingsError(f"{name} is not certificates in PEM") from None


def check_account(name: str, where: str) -> None:
    """Raises `SettingsError` unless `name` can be an account's."""
    if not _NAME.fullmatch(name):
        raise SettingsError(f"{where} is not lower-case letters, digits, dot, dash and underscore, at most 64")


def _entries(data: bytes) -> list[object]:
    if len(data) > MAX_KEYS_BYTES:
        raise SettingsError(f"keys file has {len(data)} bytes, want at most {MAX_KEYS_BYTES}")
    try:
        items = tomllib.loads(data.decode())
    except (ValueError, RecursionError):
        raise SettingsError("keys file is not toml in utf-8") from None
    entries = items.get("key", [])
    if set(items) - {"key"} or not isinstance(entries, list):
        raise SettingsError("keys file has other tables, want only [[key]]")
    return entries


def _credential(item: object, where: str) -> tuple[bytes, Credential]:
    if not isinstance(item, dict) or set(item) != {"name", "sha256", "roles"}:
        raise SettingsError(f"{where} has other fields, want name, sha256 and roles")
    name, digest, roles = item["name"], item["sha256"], item["roles"]
    check_account(name if isinstance(name, str) else "", f"{where} name")
    if not isinstance(digest, str) or not _SHA256.fullmatch(digest):
        raise SettingsError(f"{where} sha256 is not 64 lower-case hex digits")
    if not isinstance(roles, list) or not roles or any(role not in list(Role) for role in roles):
        raise SettingsError(f"{where} roles are not a list among {', '.join(Role)}")
    return bytes.fromhex(digest), Credential(name=name, roles=frozenset(Role(role) for role in roles))


def _unauthenticated(message: str) -> SealbidError:
    return SealbidError(Reason.UNAUTHENTICATED, message)
