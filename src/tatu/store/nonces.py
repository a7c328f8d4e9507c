"""Nonces of signed requests: each is good once (security.md S12)."""

import hashlib
from datetime import datetime

from sqlalchemy import delete, insert, select

from tatu.ports import Nonces
from tatu.store.database import Database
from tatu.store.tables import nonces as table
from tatu.store.together import Together


class SqlNonces(Nonces):
    """Keeps the hash of each nonce as long as its request could be sent again."""

    def __init__(self, database: Database, together: Together) -> None:
        self._database = database
        self._together = together

    def used(self, nonce: str) -> bool:
        """Whether a nonce was used."""
        query = select(table.c.nonce).where(table.c.nonce == _hash(nonce))
        with self._database.read() as connection:
            return connection.scalar(query) is not None

    def use(self, nonce: str, *, until: datetime) -> None:
        """Use a nonce: of many who come with it at a time, one inserts the row."""
        statement = insert(table).values(nonce=_hash(nonce), until=until)
        self._together.write(lambda connection: connection.execute(statement))

    def expire(self, now: datetime) -> int:
        """Forget what nobody could send again."""
        statement = delete(table).where(table.c.until < now)
        return self._database.write(lambda connection: connection.execute(statement).rowcount)


def _hash(nonce: str) -> str:
    return hashlib.sha256(nonce.encode()).hexdigest()
