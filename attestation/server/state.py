# SPDX-License-Identifier: Apache-2.0
"""The registry's state directory (mode 0700): keys (0600), the log, the store and the trust file.

    log.key, lease.key   Ed25519 seeds, 32 bytes      identity.key   32 bytes, hides hardware identities in the log
    log.sqlite           the evidence log             registry.sqlite  leases, claims, archive
    signed-head          last signed head             trust.toml     what others must hold to believe any of this

`create` makes it once and refuses a directory that has any of it; `read_keys` never makes anything, so that a lost key
stops the process instead of starting another registry under the same name.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from attestation.errors import SettingsError
from attestation.files import read_file
from attestation.registry.registry import RegistryKeys
from attestation.tlog.note import NoteSigner

LOG_DATABASE: Final = "log.sqlite"
STORE_DATABASE: Final = "registry.sqlite"
_KEY_NAMES: Final = ("log.key", "lease.key", "identity.key")
_KEY_BYTES: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrySecrets:
    """The keys of the state directory."""

    log_signer: NoteSigner = field(repr=False)
    registry: RegistryKeys = field(repr=False)

    @property
    def lease_public(self) -> bytes:
        """The public half of the lease key."""
        return self.registry.lease_key.public_key().public_bytes_raw()


def create_keys(state_dir: Path, origin: str, *, entropy: Callable[[int], bytes]) -> RegistrySecrets:
    """Makes the directory and its keys. Raises `SettingsError` if any key or log is there already."""
    state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    _check_directory(state_dir)
    for name in (*_KEY_NAMES, LOG_DATABASE, STORE_DATABASE):
        if (state_dir / name).exists():
            raise SettingsError(f"state_dir has {name} already, want a directory without a registry")
    for name in _KEY_NAMES:
        _write_secret(state_dir / name, entropy(_KEY_BYTES))
    return read_keys(state_dir, origin)


def read_keys(state_dir: Path, origin: str) -> RegistrySecrets:
    """The keys of an existing directory. Raises `SettingsError` for one missing, of another size, or open to others."""
    _check_directory(state_dir)
    log_key, lease_key, identity_key = (_read_secret(state_dir / name) for name in _KEY_NAMES)
    return RegistrySecrets(
        log_signer=NoteSigner(name=origin, key=Ed25519PrivateKey.from_private_bytes(log_key)),
        registry=RegistryKeys(lease_key=Ed25519PrivateKey.from_private_bytes(lease_key), identity_key=identity_key),
    )


def _check_directory(state_dir: Path) -> None:
    if not state_dir.is_dir():
        raise SettingsError("state_dir is missing, want one made by registry init")
    if state_dir.stat().st_mode & 0o077:
        raise SettingsError("state_dir is open to other users, want mode 0700")


def _write_secret(path: Path, secret: bytes) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(secret)
        file.flush()
        os.fsync(file.fileno())


def _read_secret(path: Path) -> bytes:
    secret = read_file(path, f"state_dir {path.name}", _KEY_BYTES)
    if len(secret) != _KEY_BYTES:
        raise SettingsError(f"state_dir {path.name} has {len(secret)} bytes, want {_KEY_BYTES}")
    if path.stat().st_mode & 0o077:
        raise SettingsError(f"state_dir {path.name} is open to other users, want mode 0600")
    return secret
