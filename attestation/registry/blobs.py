# SPDX-License-Identifier: Apache-2.0
"""The archive: bytes kept by their SHA-256, so that a verdict can be reached again years later.

    reg_blob(sha256, data)                     bundles and findings, each once
    reg_part(sha256, blob, start, size)        pieces of evidence and collateral: where in a bundle they stand

A bundle's pieces are contiguous in its encoding, so they cost a row and not their bytes again. Refused: data above
16 MiB, and data whose digest is another (MALFORMED). What is read is hashed anew; storage that changed it is named
(TAMPERED) and its bytes are not handed out.
"""

from collections.abc import Sequence
from hashlib import sha256
from typing import Final

from sqlalchemy import insert
from sqlmodel import Field, Session, SQLModel

from attestation.bundle import MAX_BUNDLE_BYTES
from attestation.errors import Reason
from attestation.registry.store import RegistryStoreError

MAX_BLOB_BYTES: Final = MAX_BUNDLE_BYTES + (64 << 10)
"""A bundle's contents and what its encoding adds."""


class RegBlob(SQLModel, table=True):
    """Archived bytes by digest."""

    __tablename__ = "reg_blob"

    sha256: bytes = Field(primary_key=True)
    data: bytes


class RegPart(SQLModel, table=True):
    """A piece of archived bytes by its own digest."""

    __tablename__ = "reg_part"

    sha256: bytes = Field(primary_key=True)
    blob: bytes
    start: int
    size: int


def check_blob(digest: bytes, data: bytes) -> None:
    """Refuses what the archive does not take. Raises `RegistryStoreError`, MALFORMED."""
    if len(data) > MAX_BLOB_BYTES:
        message = f"archived data has {len(data)} bytes, want at most {MAX_BLOB_BYTES}"
        raise RegistryStoreError(message, Reason.MALFORMED)
    if sha256(data).digest() != digest:
        raise RegistryStoreError("archived data has another digest, want its own", Reason.MALFORMED)


def check_archived(digest: bytes, data: bytes) -> bytes:
    """The data, if storage did not change it. Raises `RegistryStoreError`, TAMPERED."""
    if sha256(data).digest() != digest:
        raise RegistryStoreError(f"archived data of {digest.hex()} has changed, want it restored", Reason.TAMPERED)
    return data


def keep(session: Session, digest: bytes, data: bytes, parts: Sequence[bytes]) -> None:
    """Keeps data and where its parts are, each once."""
    check_blob(digest, data)
    connection = session.connection()
    if session.get(RegBlob, digest) is not None:
        return
    connection.execute(insert(RegBlob).values(sha256=digest, data=data))
    for part in parts:
        own, start = sha256(part).digest(), data.find(part)
        if start >= 0 and session.get(RegPart, own) is None:
            connection.execute(insert(RegPart).values(sha256=own, blob=digest, start=start, size=len(part)))


def find(session: Session, digest: bytes) -> bytes | None:
    """Data, or a part of some, with this digest, hashed anew."""
    blob = session.get(RegBlob, digest)
    if blob is not None:
        return check_archived(digest, blob.data)
    part = session.get(RegPart, digest)
    if part is None:
        return None
    whole = session.get(RegBlob, part.blob)
    data = b"" if whole is None else whole.data[part.start : part.start + part.size]
    return check_archived(digest, data)
