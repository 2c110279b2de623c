# SPDX-License-Identifier: Apache-2.0
"""The registry's state on SQLite through SQLModel (`store.RegistryStore`): write-ahead log, every commit synced.

    reg_challenge(nonce, provider_id, expires, spent)          reg_admission(keyset_id, .., expires, version)
    reg_claim(component, worker_id, provider_id, expires)      reg_revocation(keyset_id, .., until, logged)
    reg_gateway(gateway_id, ..)   reg_version(id = 1, value)   and the archive (`blobs`)

Every method is one `BEGIN IMMEDIATE` transaction, so the check and the change it decides cannot be parted.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from sqlalchemy import delete, func, insert, text, update
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import Field, Session, SQLModel, col, or_, select

from attestation.errors import Reason
from attestation.registry import blobs
from attestation.registry.blobs import RegBlob, RegPart
from attestation.registry.store import (
    ClaimResult,
    Moved,
    RegistryStoreError,
    Spent,
    StoredAdmission,
    StoredGateway,
    StoredRevocation,
    WantedComponent,
)
from attestation.sqlite import open_sqlite, writing

SCHEMA_VERSION: Final = 2
CHALLENGE_MEMORY_SECONDS: Final = 3600
"""How long a spent or expired challenge is remembered, so that reuse is named as such."""

CLAIM_MEMORY_SECONDS: Final = 365 * 86_400
"""How long the owner of hardware is remembered after its claim ended."""

SUPERSEDED: Final = "superseded by another worker of the same provider on the same hardware"


class RegChallenge(SQLModel, table=True):
    """A challenge issued and perhaps spent."""

    __tablename__ = "reg_challenge"

    nonce: bytes = Field(primary_key=True)
    provider_id: bytes
    expires: int = Field(index=True)
    spent: bool = False


class RegAdmission(SQLModel, table=True):
    """The newest admission of a keyset."""

    __tablename__ = "reg_admission"

    keyset_id: bytes = Field(primary_key=True)
    worker_id: bytes = Field(index=True)
    provider_id: bytes
    bundle: bytes
    lease: bytes
    verdict_index: int
    verdict_entry: bytes
    certificate_der: bytes
    endpoint: str
    expires: int = Field(index=True)
    version: int = Field(index=True)


class RegClaim(SQLModel, table=True):
    """One worker's hold on one hardware identity."""

    __tablename__ = "reg_claim"

    component: bytes = Field(primary_key=True)
    worker_id: bytes = Field(primary_key=True)
    provider_id: bytes
    expires: int = Field(index=True)


class RegRevocation(SQLModel, table=True):
    """A revoked keyset; never deleted."""

    __tablename__ = "reg_revocation"

    keyset_id: bytes = Field(primary_key=True)
    worker_id: bytes = Field(index=True)
    reason: str
    by: str
    until: int = Field(index=True)
    logged: int | None = None


class RegGateway(SQLModel, table=True):
    """An enrolled gateway."""

    __tablename__ = "reg_gateway"

    gateway_id: bytes = Field(primary_key=True)
    signing_key: bytes
    certificate_der: bytes
    key_index: int
    key_entry: bytes
    tls_index: int
    tls_entry: bytes


class RegVersion(SQLModel, table=True):
    """The counter that orders admissions."""

    __tablename__ = "reg_version"

    id: int = Field(primary_key=True)
    value: int


_TABLES: Final = (RegChallenge, RegAdmission, RegClaim, RegRevocation, RegGateway, RegBlob, RegPart, RegVersion)


class SQLiteRegistryStore:
    """The registry's state in the SQLite file at `path`, made if it is not there. Close it when done."""

    def __init__(self, path: Path) -> None:
        self._engine = writing(open_sqlite(path))
        try:
            with self._session() as session:
                _prepare(session)
        except RegistryStoreError:
            self.close()
            raise

    def close(self) -> None:
        """Closes every connection."""
        self._engine.dispose()

    def issue_challenge(self, *, nonce: bytes, provider_id: bytes, expires: int) -> None:
        """Remembers a challenge."""
        with self._session() as session:
            session.add(RegChallenge(nonce=nonce, provider_id=provider_id, expires=expires))

    def spend_challenge(self, *, nonce: bytes, provider_id: bytes) -> Spent:
        """Spends a challenge once."""
        with self._session() as session:
            row = session.get(RegChallenge, nonce)
            if row is None or row.provider_id != provider_id:
                return Spent.NEVER_ISSUED
            if row.spent:
                return Spent.BEFORE
            row.spent = True
            session.add(row)
            return Spent.NOW

    def claim(
        self,
        wanted: Sequence[WantedComponent],
        *,
        worker_id: bytes,
        keyset_id: bytes,
        provider_id: bytes,
        expires: int,
        now: int,
    ) -> ClaimResult:
        """Claims all components or none."""
        with self._session() as session:
            conflicts, rivals, moved = [], set(), []
            for want in wanted:
                others = _holders(session, want.component, worker_id, now)
                if want.capacity > 1:
                    taken = len(others) >= want.capacity
                else:
                    taken = any(other.provider_id != provider_id for other in others)
                    rivals |= {other.worker_id for other in others if other.provider_id == provider_id}
                if taken:
                    conflicts.append(want.component)
                owner = _last_owner(session, want.component) if want.capacity == 1 else provider_id
                if owner not in (None, provider_id):
                    moved.append(Moved(component=want.component, from_provider=owner))
            if conflicts:
                return ClaimResult(conflicts=tuple(conflicts), superseded=())
            superseded = tuple(key for rival in sorted(rivals) for key in _supersede(session, rival, now))
            for want in wanted:
                session.merge(
                    RegClaim(component=want.component, worker_id=worker_id, provider_id=provider_id, expires=expires)
                )
            return ClaimResult(conflicts=(), superseded=superseded, moved=tuple(moved))

    def admit(self, admission: StoredAdmission, *, now: int) -> bool:
        """Stores an admission unless it is revoked."""
        with self._session() as session:
            if _is_revoked(session, admission.worker_id, admission.keyset_id):
                return False
            version = session.exec(select(RegVersion.value)).one() + 1
            session.connection().execute(update(RegVersion).values(value=version))
            session.merge(RegAdmission(**_fields(admission, version)))
            return True

    def admissions(self, *, after: int, now: int) -> Sequence[StoredAdmission]:
        """Live admissions above a version."""
        with self._session() as session:
            gone = select(RegRevocation.keyset_id)
            rows = (
                select(RegAdmission)
                .where(col(RegAdmission.version) > after, col(RegAdmission.expires) > now)
                .where(col(RegAdmission.keyset_id).not_in(gone))
                .order_by(col(RegAdmission.version))
            )
            return [_admission(row) for row in session.exec(rows)]

    def admission(self, keyset_id: bytes) -> StoredAdmission | None:
        """The newest admission of a keyset."""
        with self._session() as session:
            row = session.get(RegAdmission, keyset_id)
            return None if row is None else _admission(row)

    def revoke(self, keyset_id: bytes, *, reason: str, by: str, now: int) -> StoredRevocation | None:
        """Revokes a keyset."""
        with self._session() as session:
            found = session.get(RegRevocation, keyset_id)
            if found is not None:
                return _revocation(found)
            admission = session.get(RegAdmission, keyset_id)
            if admission is None:
                return None
            row = RegRevocation(
                keyset_id=keyset_id, worker_id=admission.worker_id, reason=reason, by=by, until=admission.expires
            )
            session.add(row)
            _end_claims(session, admission.worker_id, now)
            return _revocation(row)

    def revoked(self, *, now: int) -> tuple[bytes, ...]:
        """Revoked keysets with a lease not over."""
        with self._session() as session:
            rows = select(RegRevocation.keyset_id).where(col(RegRevocation.until) > now)
            return tuple(sorted(session.exec(rows)))

    def is_revoked(self, *, worker_id: bytes, keyset_id: bytes) -> bool:
        """Whether worker or keyset was revoked."""
        with self._session() as session:
            return _is_revoked(session, worker_id, keyset_id)

    def unlogged(self) -> Sequence[StoredRevocation]:
        """Revocations not in the log."""
        with self._session() as session:
            rows = (
                select(RegRevocation).where(col(RegRevocation.logged).is_(None)).order_by(col(RegRevocation.keyset_id))
            )
            return [_revocation(row) for row in session.exec(rows)]

    def mark_logged(self, keyset_id: bytes, index: int) -> None:
        """Notes the entry of a revocation."""
        with self._session() as session:
            session.connection().execute(
                update(RegRevocation).where(col(RegRevocation.keyset_id) == keyset_id).values(logged=index)
            )

    def put_gateway(self, gateway: StoredGateway) -> None:
        """Stores a gateway."""
        with self._session() as session:
            session.merge(RegGateway(**{name: getattr(gateway, name) for name in StoredGateway.__slots__}))

    def gateways(self) -> Sequence[StoredGateway]:
        """Every gateway."""
        with self._session() as session:
            rows = session.exec(select(RegGateway).order_by(col(RegGateway.gateway_id)))
            return [StoredGateway(**{name: getattr(row, name) for name in StoredGateway.__slots__}) for row in rows]

    def archive(self, *, sha256: bytes, data: bytes, parts: Sequence[bytes] = ()) -> None:
        """Keeps bytes under their digest."""
        with self._session() as session:
            blobs.keep(session, sha256, data, parts)

    def archived(self, sha256: bytes) -> bytes | None:
        """The bytes of a digest."""
        with self._session() as session:
            return blobs.find(session, sha256)

    def purge(self, *, now: int) -> None:
        """Forgets what is over."""
        with self._session() as session:
            connection = session.connection()
            connection.execute(delete(RegChallenge).where(col(RegChallenge.expires) < now - CHALLENGE_MEMORY_SECONDS))
            connection.execute(delete(RegClaim).where(col(RegClaim.expires) <= now - CLAIM_MEMORY_SECONDS))
            connection.execute(delete(RegAdmission).where(col(RegAdmission.expires) <= now))

    @contextmanager
    def _session(self) -> Iterator[Session]:
        try:
            with Session(self._engine, expire_on_commit=False) as session, session.begin():
                yield session
        except SQLAlchemyError as error:
            # The driver's text holds parameters, platform HMACs among them; its type is enough.
            raise RegistryStoreError(f"registry store failed: {type(error).__name__.lower()}") from error


def _holders(session: Session, component: bytes, worker_id: bytes, now: int) -> Sequence[RegClaim]:
    rows = select(RegClaim).where(
        col(RegClaim.component) == component, col(RegClaim.worker_id) != worker_id, col(RegClaim.expires) > now
    )
    return session.exec(rows).all()


def _supersede(session: Session, worker_id: bytes, now: int) -> list[bytes]:
    rows = select(RegAdmission).where(col(RegAdmission.worker_id) == worker_id, col(RegAdmission.expires) > now)
    ended = []
    for admission in session.exec(rows.order_by(col(RegAdmission.keyset_id))).all():
        if session.get(RegRevocation, admission.keyset_id) is None:
            session.add(
                RegRevocation(
                    keyset_id=admission.keyset_id,
                    worker_id=worker_id,
                    reason=SUPERSEDED,
                    by="registry",
                    until=admission.expires,
                )
            )
            ended.append(admission.keyset_id)
    _end_claims(session, worker_id, now)
    return ended


def _end_claims(session: Session, worker_id: bytes, now: int) -> None:
    ending = update(RegClaim).where(col(RegClaim.worker_id) == worker_id, col(RegClaim.expires) > now)
    session.connection().execute(ending.values(expires=now))


def _last_owner(session: Session, component: bytes) -> bytes | None:
    rows = select(RegClaim.provider_id).where(col(RegClaim.component) == component)
    return session.exec(rows.order_by(col(RegClaim.expires).desc()).limit(1)).first()


def _is_revoked(session: Session, worker_id: bytes, keyset_id: bytes) -> bool:
    rows = select(func.count()).where(
        or_(col(RegRevocation.worker_id) == worker_id, col(RegRevocation.keyset_id) == keyset_id)
    )
    return session.exec(rows).one() > 0


def _fields(admission: StoredAdmission, version: int) -> dict[str, Any]:
    return {name: getattr(admission, name) for name in StoredAdmission.__slots__} | {"version": version}


def _admission(row: RegAdmission) -> StoredAdmission:
    return StoredAdmission(**{name: getattr(row, name) for name in StoredAdmission.__slots__})


def _revocation(row: RegRevocation) -> StoredRevocation:
    return StoredRevocation(**{name: getattr(row, name) for name in StoredRevocation.__slots__})


def _prepare(session: Session) -> None:
    connection = session.connection()
    version = connection.execute(text("PRAGMA user_version")).scalar_one()
    if version not in (0, SCHEMA_VERSION):
        raise RegistryStoreError(f"registry store has schema {version}, want {SCHEMA_VERSION}", Reason.UNSUPPORTED)
    tables = [SQLModel.metadata.tables[str(table.__tablename__)] for table in _TABLES]
    SQLModel.metadata.create_all(connection, tables=tables)
    if session.exec(select(RegVersion.id)).first() is None:
        connection.execute(insert(RegVersion).values(id=1, value=0))
    connection.execute(text(f"PRAGMA user_version = {SCHEMA_VERSION}"))
