"""Cut-offs: the marks of permissions that ended (S4)."""

import time
from collections.abc import Collection, Sequence

from sqlalchemy import bindparam, select, update

from tatu.core.audit import Event
from tatu.core.errors import PermissionEnded
from tatu.core.losses import Sweep, Topic
from tatu.ports import CutOffs
from tatu.store.authorities import Snapshots
from tatu.store.database import Change, Database
from tatu.store.tables import chain
from tatu.store.tables import cut_offs as table

MARK_AGE = 1.0
"""Seconds for which `check` takes the newest mark that this process has seen for the newest."""


class SqlCutOffs(CutOffs):
    """Keeps the marks in the order of the chain."""

    def __init__(self, database: Database, snapshots: Snapshots) -> None:
        self._database = database
        self._snapshots = snapshots

    def mark(self) -> int:
        """Return the newest mark."""
        begun = time.monotonic()
        with self._database.read() as connection:
            mark = int(connection.execute(select(chain.c.mark)).scalar_one())
        self._database.see_mark(mark, begun)
        return mark

    def check(self, topics: Collection[Topic], since: int) -> int:
        """Compare with what is newer than a mark, if this process knows that anything is."""
        newest = self._database.seen_mark(MARK_AGE)
        if newest is None:
            newest = self.mark()
        if newest <= since:
            return since
        matching = (
            select(table.c.mark).where(table.c.mark > since, table.c.topic.in_(topics)).limit(1)
        )
        with self._database.read() as connection:
            if connection.execute(matching).first() is not None:
                raise PermissionEnded("a permission ended after it was looked up")
        return newest

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
            select(table.c.mark, table.c.topic, table.c.reason, table.c.at)
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
