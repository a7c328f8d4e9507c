"""KRLs and statements, as they were signed."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, and_, func, insert, select

from tatu.core.errors import Conflict, NotFound
from tatu.ports import NewestVersion, Publication, Publications
from tatu.store import highwater
from tatu.store.auditcopy import rolled_back
from tatu.store.authorities import Snapshots, absent
from tatu.store.database import Database
from tatu.store.highwater import HighWater, NoHighWater
from tatu.store.tables import authorities as rows
from tatu.store.tables import krls
from tatu.store.tables import publications as table

_AT_ONCE = 500  # names in a query: SQLite has room for 999 where it is old


class SqlPublications(Publications):
    """Keeps every version; the newest is what is served."""

    def __init__(
        self, database: Database, snapshots: Snapshots, high_water: HighWater | NoHighWater
    ) -> None:
        self._database = database
        self._snapshots = snapshots
        self._high_water = high_water

    def newest(self, authority_id: str) -> Publication | None:
        """Return the newest publication."""
        query = (
            select(table)
            .where(table.c.authority == authority_id)
            .order_by(table.c.version.desc())
            .limit(1)
        )
        with self._database.read() as connection:
            row = connection.execute(query).one_or_none()
            if row is None:
                _revision(connection, authority_id)
                return None
        return _publication(row)

    def issued_since(
        self, authority_id: str, at: datetime, *, limit: int
    ) -> tuple[Publication, ...]:
        """Return the first publications since a time."""
        query = (
            select(table)
            .where(table.c.authority == authority_id, table.c.issued_at >= at)
            .order_by(table.c.version)
            .limit(limit)
        )
        with self._database.read() as connection:
            return tuple(map(_publication, connection.execute(query)))

    def revision(self, authority_id: str) -> int:
        """Return the authority's revision."""
        with self._database.read() as connection:
            return _revision(connection, authority_id)

    def versions(self, authorities: Sequence[str]) -> Mapping[str, NewestVersion]:
        """Return how far each is: two seeks in an index for each."""
        newest = (
            select(func.max(table.c.version))
            .where(table.c.authority == rows.c.id)
            .correlate(rows)
            .scalar_subquery()
        )
        query = select(rows.c.id, rows.c.revision, table.c.version, table.c.revision).join(
            table, and_(table.c.authority == rows.c.id, table.c.version == newest), isouter=True
        )
        found = {}
        with self._database.read() as connection:
            for start in range(0, len(authorities), _AT_ONCE):
                some = query.where(rows.c.id.in_(authorities[start : start + _AT_ONCE]))
                for authority, revision, version, published in connection.execute(some):
                    found[authority] = NewestVersion(
                        version=version or 0, published=published or 0, revision=revision
                    )
        return found

    def get(self, authority_id: str, version: int) -> Publication:
        """Return a version."""
        query = select(table).where(table.c.authority == authority_id, table.c.version == version)
        with self._database.read() as connection:
            row = connection.execute(query).one_or_none()
        if row is None:
            raise NotFound(f"there is no statement {version} of authority {authority_id!r}")
        return _publication(row)

    def is_lost(self, authority_id: str, version: int) -> bool:
        """Look for a version among those that are kept."""
        mine = table.c.authority == authority_id
        with self._database.read() as connection:
            floor, oldest, found = connection.execute(
                select(
                    select(rows.c.version_floor)
                    .where(rows.c.id == authority_id)
                    .scalar_subquery(),
                    select(func.min(table.c.version)).where(mine).scalar_subquery(),
                    select(table.c.version)
                    .where(mine, table.c.version == version)
                    .scalar_subquery(),
                )
            ).one()
        return found is None and version > max(floor or 0, oldest or 0)

    def prove_lost(self, authority_id: str, version: int) -> None:
        """Raise the mark above all that the database has, as if it had been published."""
        newest = self.newest(authority_id)
        beyond = max(version, newest.version + 1 if newest else 0)
        self._high_water.raise_to(highwater.publication(authority_id), beyond)
        self._snapshots.forget()

    def krl(self, authority_id: str, version: int) -> bytes:
        """Return a stored KRL."""
        query = select(krls.c.krl).where(
            krls.c.authority == authority_id, krls.c.version == version
        )
        with self._database.read() as connection:
            krl = connection.scalar(query)
        if krl is None:
            raise NotFound(f"there is no KRL {version} of authority {authority_id!r}")
        return bytes(krl)

    def store(self, publication: Publication, krl: bytes | None, *, after: int) -> None:
        """Store the successor; the authority's row is the lock that processes queue at."""

        def work(connection: Connection) -> None:
            floor = connection.scalar(
                select(rows.c.version_floor)
                .where(rows.c.id == publication.authority)
                .with_for_update()
            )
            if floor is None:
                raise absent(publication.authority)
            newest = connection.execute(
                select(func.coalesce(func.max(table.c.version), 0)).where(
                    table.c.authority == publication.authority
                )
            ).scalar_one()
            self._high_water.check(key, max(newest, floor))
            if newest != after or publication.version <= newest:
                raise Conflict("another process published meanwhile")
            if publication.version <= floor:
                raise rolled_back(
                    f"version {publication.version} is not above {floor}; is the clock right?"
                )
            if krl is not None:
                connection.execute(
                    insert(krls).values(
                        authority=publication.authority, version=publication.krl_version, krl=krl
                    )
                )
            connection.execute(insert(table).values(vars(publication)))

        key = highwater.publication(publication.authority)
        self._database.write(work)
        self._high_water.raise_to(key, publication.version)


def _publication(row: Row[Any]) -> Publication:
    return Publication(**{**row._asdict(), "statement": bytes(row.statement)})


def _revision(connection: Connection, authority_id: str) -> int:
    revision = connection.scalar(select(rows.c.revision).where(rows.c.id == authority_id))
    if revision is None:
        raise absent(authority_id)
    return int(revision)
