"""Answers that a repeated request gets again."""

import hashlib
import json
from datetime import datetime, timedelta

from sqlalchemy import Connection, delete, insert, select, update

from tatu.core.errors import Conflict
from tatu.ports import Idempotency, StoredAnswer
from tatu.store import columns
from tatu.store.database import Database
from tatu.store.tables import idempotency as table

KEPT = timedelta(days=1)
WORK = timedelta(minutes=1)


class SqlIdempotency(Idempotency):
    """Keeps each answer for a day, under the hash of its key."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def begin(self, key: str, digest: str, now: datetime) -> StoredAnswer | None:
        """Claim a key, or return its answer."""

        def work(connection: Connection) -> StoredAnswer | None:
            mine = table.c.key == _hash(key)
            row = connection.execute(select(table).where(mine).with_for_update()).one_or_none()
            if row is not None and now - row.claimed_at > (WORK if row.status is None else KEPT):
                connection.execute(delete(table).where(mine))
                row = None
            if row is None:
                claim = insert(table).values(key=_hash(key), digest=digest, claimed_at=now)
                connection.execute(claim)
                return None
            if row.digest != digest:
                raise Conflict("this Idempotency-Key was used for another request")
            if row.status is None:
                raise Conflict("the request with this Idempotency-Key is being worked on")
            carried = tuple(
                (authority, serial) for authority, serial in json.loads(row.certificates)
            )
            return StoredAnswer(status=row.status, body=bytes(row.body), certificates=carried)

        return self._database.write(work)

    def finish(self, key: str, answer: StoredAnswer) -> None:
        """Keep the answer."""
        statement = (
            update(table)
            .where(table.c.key == _hash(key), table.c.status.is_(None))
            .values(
                status=answer.status,
                body=answer.body,
                certificates=columns.dump(answer.certificates),
            )
        )
        self._database.write(lambda connection: connection.execute(statement))

    def abandon(self, key: str) -> None:
        """Give the claim up."""
        statement = delete(table).where(table.c.key == _hash(key), table.c.status.is_(None))
        self._database.write(lambda connection: connection.execute(statement))


def _hash(key: str) -> str:
    """Return a key's hash: callers choose keys, and how long they are."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
