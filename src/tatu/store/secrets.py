"""Wrapped secrets: opaque bytes by name."""

from sqlalchemy import delete, insert, select, update

from tatu.core.errors import Conflict, NotFound
from tatu.ports import Secrets
from tatu.store.database import Database
from tatu.store.tables import secrets as table


class SqlSecrets(Secrets):
    """Keeps what a key store has wrapped."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, name: str, wrapped: bytes) -> None:
        """Keep a secret."""
        statement = insert(table).values(name=name, wrapped=wrapped)
        self._database.write(lambda connection: connection.execute(statement))

    def get(self, name: str) -> bytes:
        """Return a secret."""
        with self._database.read() as connection:
            wrapped = connection.scalar(select(table.c.wrapped).where(table.c.name == name))
        if wrapped is None:
            raise NotFound(f"there is no secret {name!r}")
        return bytes(wrapped)

    def replace(self, name: str, wrapped: bytes, *, old: bytes) -> None:
        """Replace a secret that still reads `old`."""
        statement = (
            update(table)
            .where(table.c.name == name, table.c.wrapped == old)
            .values(wrapped=wrapped)
        )
        if not self._database.write(lambda connection: connection.execute(statement).rowcount):
            raise Conflict(f"the secret {name!r} is not what it was")

    def delete(self, name: str) -> None:
        """Forget a secret."""
        statement = delete(table).where(table.c.name == name)
        self._database.write(lambda connection: connection.execute(statement))

    def names(self) -> tuple[str, ...]:
        """Return all names."""
        with self._database.read() as connection:
            return tuple(connection.scalars(select(table.c.name).order_by(table.c.name)))
