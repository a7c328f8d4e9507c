"""Nonces of signed requests: each is good once (security.md S12)."""

import hashlib
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, bindparam, delete, select

from tatu.core.errors import Conflict
from tatu.ports import Nonce, Nonces
from tatu.store import columns
from tatu.store.bulk import insert_rows
from tatu.store.database import Database
from tatu.store.tables import nonces as table
from tatu.store.together import Together

# Made once: each request of a fleet asks this
_USED = select(table.c.nonce).where(table.c.nonce == bindparam("digest"))
_OF_THESE = select(table.c.nonce).where(table.c.nonce.in_(bindparam("digests", expanding=True)))


class SqlNonces(Nonces):
    """Keeps the hash of each nonce as long as its request could be sent again."""

    def __init__(self, database: Database, together: Together) -> None:
        self._database = database
        self._together = together

    def used(self, nonce: Nonce) -> bool:
        """Whether a nonce was used."""
        return self._database.row(_USED, {"digest": _hash(nonce)}) is not None

    def use(self, nonce: Nonce) -> None:
        """Use a nonce: of many who come with it at a time, one inserts the row."""
        self._together.write(use, nonce)

    def expire(self, now: datetime) -> int:
        """Forget what nobody could send again."""
        statement = delete(table).where(table.c.until < now)
        return self._database.write(lambda connection: connection.execute(statement).rowcount)


def use(connection: Connection, wanted: Sequence[Nonce]) -> list[Conflict | None]:
    """Use nonces, each once; say of which it was too late.

    Raises `Conflict` when another process uses one meanwhile: its row is not seen, and in the way.
    """
    digests = [_hash(nonce) for nonce in wanted]
    used = set(connection.scalars(_OF_THESE, {"digests": digests}))
    outcomes: list[Conflict | None] = []
    rows = []
    for digest, nonce in zip(digests, wanted, strict=True):
        if digest in used:
            outcomes.append(Conflict("the nonce was used"))
            continue
        used.add(digest)
        outcomes.append(None)
        rows.append((digest, columns.micros(nonce.until)))
    insert_rows(connection, table, rows)
    return outcomes


def _hash(nonce: Nonce) -> str:
    return hashlib.sha256(nonce.text.encode()).hexdigest()
