"""What one process of a deployment does at a time."""

from datetime import datetime

from sqlalchemy import Connection, delete, insert, select, update

from tatu.core.errors import Conflict
from tatu.ports import Leases
from tatu.store.database import Database
from tatu.store.tables import leases as table


class SqlLeases(Leases):
    """Keeps who has what until when."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def take(self, name: str, holder: str, *, now: datetime, until: datetime) -> bool:
        """Take a lease, or keep it for longer."""

        def work(connection: Connection) -> bool:
            this = table.c.name == name
            row = connection.execute(select(table).where(this).with_for_update()).one_or_none()
            if row is None:
                connection.execute(insert(table).values(name=name, holder=holder, until=until))
                return True
            if row.holder != holder and now < row.until:
                return False
            connection.execute(update(table).where(this).values(holder=holder, until=until))
            return True

        try:
            return self._database.write(work)
        except Conflict:  # another process was faster
            return False

    def release(self, name: str, holder: str) -> None:
        """Give a lease up."""
        mine = delete(table).where(table.c.name == name, table.c.holder == holder)
        self._database.write(lambda connection: connection.execute(mine))
