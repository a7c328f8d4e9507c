"""The chain of events."""

from collections.abc import Sequence

from sqlalchemy import select

from tatu.core.audit import Event, Link
from tatu.ports import Audit
from tatu.store import tables
from tatu.store.database import Database


class SqlAudit(Audit):
    """Reads the chain, and appends what changed nothing else."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def append(self, event: Event) -> Link:
        """Append an event."""
        return self._database.change(lambda change: change.append(event))

    def read(
        self, *, after: int, limit: int, authorities: Sequence[str] | None = None
    ) -> tuple[Link, ...]:
        """Return links in order."""
        table = tables.audit
        query = (
            select(table.c.sequence, table.c.previous, table.c.body, table.c.hash)
            .where(table.c.sequence > after)
            .order_by(table.c.sequence)
            .limit(limit)
        )
        if authorities is not None:
            query = query.where(table.c.authority.in_(authorities))
        with self._database.read() as connection:
            rows = connection.execute(query).all()
        return tuple(
            Link(sequence=row.sequence, previous=row.previous, body=row.body, hash=row.hash)
            for row in rows
        )

    def head(self) -> tuple[int, str]:
        """Return the last sequence and hash."""
        return self._database.head()
