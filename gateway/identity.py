# SPDX-License-Identifier: Apache-2.0
"""The gateway's own keys, made on first start and kept in its state directory (mode 0700, files 0600).

    signing.key   Ed25519 seed, 32 bytes    signs grants and gateway halves
    memo.key      32 bytes                  opens the memos a restarted gateway gets back from its workers
    link.pem      P-256 key and self-signed certificate for links to workers

Losing `memo.key` loses unjournaled receipts of a crash; losing `signing.key` makes this another gateway.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from attestation.errors import Malformed, NotGenuine, SettingsError
from attestation.identity import gateway_id_of
from attestation.rpc.pinning import GATEWAY_NAME, TLSIdentity, make_identity
from attestation.rpc.pinning import load_identity as load_tls_identity

_KEY_BYTES = 32
_FILES = ("signing.key", "memo.key", "link.pem")


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayIdentity:
    """Who this gateway is."""

    signing_key: Ed25519PrivateKey = field(repr=False)
    memo_key: bytes = field(repr=False)
    tls: TLSIdentity = field(repr=False)

    @property
    def signing_public(self) -> bytes:
        """The Ed25519 public key, 32 bytes."""
        return self.signing_key.public_key().public_bytes_raw()

    @property
    def gateway_id(self) -> bytes:
        """The id this gateway is known by, 32 bytes (docs/spec.md, 3.5)."""
        return gateway_id_of(self.signing_public)


def load_identity(state_dir: Path, *, entropy: Callable[[int], bytes]) -> GatewayIdentity:
    """Reads the keys of `state_dir`, making those that are missing.

    Raises:
        SettingsError: the directory cannot be used, it or a key is readable by others, or a key is none.
    """
    try:
        return _load(state_dir, entropy)
    except OSError as error:
        raise SettingsError(f"state_dir cannot be used: {os.strerror(error.errno or 0).lower()}") from None
    except (Malformed, NotGenuine) as error:
        raise SettingsError(f"link.pem in state_dir: {error.message}") from None


def find_identity(state_dir: Path) -> GatewayIdentity | None:
    """The keys of `state_dir`, or None where one is still to be made; writes nothing. Raises `SettingsError`."""
    try:
        if not all((state_dir / name).exists() for name in _FILES):
            if state_dir.exists() and not state_dir.is_dir():
                raise SettingsError("state_dir is a file, want a directory")
            return None
    except OSError as error:
        raise SettingsError(f"state_dir cannot be used: {os.strerror(error.errno or 0).lower()}") from None
    return load_identity(state_dir, entropy=os.urandom)


def _load(state_dir: Path, entropy: Callable[[int], bytes]) -> GatewayIdentity:
    state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    if state_dir.stat().st_mode & 0o077:
        raise SettingsError("state_dir is open to other users, want mode 0700")
    seed = _secret(state_dir / "signing.key", lambda: entropy(_KEY_BYTES), _KEY_BYTES)
    memo = _secret(state_dir / "memo.key", lambda: entropy(_KEY_BYTES), _KEY_BYTES)
    signing_key = Ed25519PrivateKey.from_private_bytes(seed)
    name = gateway_id_of(signing_key.public_key().public_bytes_raw()).hex()[:16]
    pem = _secret(state_dir / "link.pem", lambda: _link_pem(name))
    return GatewayIdentity(signing_key=signing_key, memo_key=memo, tls=load_tls_identity(pem, pem))


def _link_pem(name: str) -> bytes:
    identity = make_identity(name, GATEWAY_NAME)
    return identity.key_pem + identity.certificate_pem


def _secret(path: Path, make: Callable[[], bytes], size: int | None = None) -> bytes:
    if not path.exists():
        _write_once(path, make())
    if path.stat().st_mode & 0o077:
        raise SettingsError(f"{path.name} is open to other users, want mode 0600")
    data = path.read_bytes()
    if size is not None and len(data) != size:
        raise SettingsError(f"{path.name} has {len(data)} bytes, want {size}")
    return data


def _write_once(path: Path, data: bytes) -> None:
    """A crash leaves either no file or the whole one: written beside it, synced, then linked into place."""
    partial = path.with_suffix(".partial")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    partial.rename(path)
