"""Cut-offs: the marks of permissions that ended (S4)."""

from collections.abc import Sequence

from sqlalchemy import bindparam, select, update

from tatu.core.audit import Event
from tatu.core.losses import Sweep, Topic
from tatu.ports import CutOffs
from tatu.store.authorities import Snapshots
from tatu.store.database import Change, Database
from tatu.store.tables import chain
from tatu.store.tables import cut_offs as table


class SqlCutOffs(CutOffs):
    """Keeps the marks in the order of the chain."""

    def __init__(self, database: Database, snapshots: Snapshots) -> None:
        self._database = database
        self._snapshots = snapshots

    def mark(self) -> int:
        """Return the newest mark."""
        with self._database.read() as connection:
            return int(connection.execute(select(chain.c.mark)).scalar_one())

    def commit(self, topics: Sequence[Topic], reason: str, event: Event) -> int:
        """Commit a cut-off for each topic."""

        def work(change: Change) -> int:
            change.append(event, **change.cut_off(topics, reason, event.at))
            return change.mark

        try:
            return self._database.change(work)
        finally:
            self._snapshots.forget()

    def unswept(self) -> tuple[Sweep, ...]:
        """Return the cut-offs that are still to be swept, the oldest first."""
        query = (
            select(table.c.mark, table.c.topic, table.c.reason)
            .where(table.c.swept.is_(False))
            .order_by(table.c.mark)
        )
        with self._database.read() as connection:
            return tuple(Sweep(**row._asdict()) for row in connection.execute(query))

    def swept(self, *marks: int) -> None:
        """Note that cut-offs were swept."""
        statement = update(table).where(table.c.mark == bindparam("swept_mark")).values(swept=True)
        rows = [{"swept_mark": mark} for mark in marks]
        if rows:
            self._database.write(lambda connection: connection.execute(statement, rows))
