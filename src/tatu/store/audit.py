"""The chain of events."""

from collections.abc import Sequence

from tatu.core.audit import Event, Link
from tatu.ports import Audit
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
        return self._database.links_page(after=after, limit=limit, authorities=authorities)

    def head(self) -> tuple[int, str]:
        """Return the last sequence and hash."""
        return self._database.head()
