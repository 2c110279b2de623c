# SPDX-License-Identifier: Apache-2.0
"""A witness's state directory (mode 0700): keys (0600) and what it remembers.

    witness.key          Ed25519 seed, 32 bytes       cosignature/v1, which every log and verifier of today reads
    witness-ml-dsa.key   ML-DSA-44 seed, 32 bytes     the cosignature that a quantum computer cannot forge
    logs/                the last note of every log

`create` makes it once; `read_signers` and `open_store` never make anything, so that a lost key or a lost memory stops
the process instead of starting another witness under the same name.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

from attestation.errors import SettingsError
from attestation.files import read_file
from attestation.tlog.cosignature import CosignatureSigner
from attestation.witness.config import WitnessSettings
from attestation.witness.store import FileWitnessStore

KEYS: Final = ("witness.key", "witness-ml-dsa.key")
NOTES: Final = "logs"
_SEED_BYTES: Final = 32


def create(settings: WitnessSettings, *, entropy: Callable[[int], bytes]) -> tuple[CosignatureSigner, ...]:
    """Makes the directories and the keys. Raises `SettingsError` if a key or a guard is there already."""
    notes = settings.state_dir / NOTES
    for folder in (settings.state_dir, settings.guard):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if any((settings.state_dir / name).exists() for name in (*KEYS, NOTES)) or any(settings.guard.iterdir()):
        raise SettingsError("state_dir or guard_dir has a witness already, want directories without one")
    notes.mkdir(mode=0o700)
    for name in KEYS:
        _write_seed(settings.state_dir / name, entropy(_SEED_BYTES))
    return read_signers(settings)


def read_signers(settings: WitnessSettings) -> tuple[CosignatureSigner, ...]:
    """The keys of an existing directory. Raises `SettingsError` for one missing, of another size, or open to others."""
    classical, lattice = (_read_seed(settings.state_dir / name) for name in KEYS)
    return (
        CosignatureSigner(name=settings.name, key=Ed25519PrivateKey.from_private_bytes(classical)),
        CosignatureSigner(name=settings.name, key=MLDSA44PrivateKey.from_seed_bytes(lattice)),
    )


def open_store(settings: WitnessSettings) -> FileWitnessStore:
    """The memory of an existing directory. Raises `SettingsError` if a part of it is missing or open to others."""
    notes = settings.state_dir / NOTES
    for name, folder in (
        ("state_dir", settings.state_dir),
        (f"state_dir {NOTES}", notes),
        ("guard_dir", settings.guard),
    ):
        if not folder.is_dir():
            raise SettingsError(f"{name} is missing, want one made by witness init")
        if folder.stat().st_mode & 0o077:
            raise SettingsError(f"{name} is open to other users, want mode 0700")
    return FileWitnessStore(notes, settings.guard)


def _write_seed(path: Path, seed: bytes) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(seed)
        file.flush()
        os.fsync(file.fileno())


def _read_seed(path: Path) -> bytes:
    name = f"state_dir {path.name}"
    seed = read_file(path, name, _SEED_BYTES)
    if len(seed) != _SEED_BYTES:
        raise SettingsError(f"{name} has {len(seed)} bytes, want {_SEED_BYTES}")
    if path.stat().st_mode & 0o077:
        raise SettingsError(f"{name} is open to other users, want mode 0600")
    return seed
