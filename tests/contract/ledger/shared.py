"""A migrated database that many tests use, one after the other."""

import contextlib
import time
from collections.abc import Iterator

from sqlalchemy import Connection, text

from tatu.store import migrations
from tatu.store.database import make_engine
from tatu.store.tables import metadata

PATIENCE = 20.0
"""Seconds that a server may take to end the connections of a process that was killed."""

_OTHERS = {
    "postgresql": "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database()"
    " AND backend_type = 'client backend' AND pid <> pg_backend_pid()",
    "mariadb": "SELECT COUNT(*) FROM information_schema.processlist WHERE db = DATABASE()"
    " AND id <> CONNECTION_ID()",
}
_RESTART = {
    "postgresql": "SELECT setval(pg_get_serial_sequence('{table}', '{column}'), 1, false)",
    "mariadb": "ALTER TABLE {table} AUTO_INCREMENT = 1",
}


class SharedDatabase:
    """Migrating takes a server much longer than deleting what one test has stored."""

    def __init__(self, url: str) -> None:
        self.url = url
        migrations.migrate(url)
        with self._connected() as connection:
            rows = {
                table: connection.execute(table.select()) for table in metadata.tables.values()
            }
            self._seed = {table: [row._asdict() for row in rows[table]] for table in rows}

    def reset(self) -> None:
        """Leave in every table what the migrations leave there, once nobody else is connected."""
        with self._connected() as connection:
            _wait_for_others(connection)
            for table in reversed(metadata.sorted_tables):
                deleted = connection.execute(table.delete()).rowcount
                counted = table.autoincrement_column
                if deleted and counted is not None:
                    restart = _RESTART[connection.dialect.name]
                    connection.execute(text(restart.format(table=table.name, column=counted.name)))
            for table in metadata.sorted_tables:
                if self._seed[table]:
                    connection.execute(table.insert(), self._seed[table])

    @contextlib.contextmanager
    def _connected(self) -> Iterator[Connection]:
        # a connection of its own each time: tests kill those that they find
        engine = make_engine(self.url, pool_size=1)
        try:
            with engine.begin() as connection:
                yield connection
        finally:
            engine.dispose()


def _wait_for_others(connection: Connection) -> None:
    until = time.monotonic() + PATIENCE
    while others := connection.scalar(text(_OTHERS[connection.dialect.name])):
        if time.monotonic() > until:
            raise RuntimeError(f"the test left {others} connections open")
        time.sleep(0.01)
