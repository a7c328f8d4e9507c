"""What columns are made of, so that three databases hold and compare the same values."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import BigInteger, Dialect, Integer, LargeBinary, String, Text, TypeDecorator
from sqlalchemy.dialects import mysql
from sqlalchemy.types import TypeEngine

from tatu.core import canonical, wire
from tatu.core.identity import MAX_ID
from tatu.core.keys import PublicKey

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

TABLE = {
    "mariadb_engine": "InnoDB",
    "mariadb_charset": "utf8mb4",
    "mariadb_collate": "utf8mb4_nopad_bin",
}
"""By default MariaDB reads 'admin' = 'Admin' = 'ádmin '."""


def micros(moment: datetime) -> int:
    """Return microseconds since 1970."""
    return (moment - _EPOCH) // _MICROSECOND


def moment(stored: int) -> datetime:
    """Return the aware time of that many microseconds since 1970."""
    return _EPOCH + timedelta(microseconds=stored)


class Moment(TypeDecorator[datetime]):
    """An aware time, kept as microseconds since 1970: no database has a say in time zones."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        """Go to the database."""
        return None if value is None else micros(value)

    def process_result_value(self, value: Any | None, dialect: Dialect) -> datetime | None:
        """Come from the database."""
        return None if value is None else moment(value)


def text(length: int) -> TypeEngine[str]:
    """Return the type of short text that is compared byte for byte; `length` in characters."""
    return String(length).with_variant(String(length, collation="C"), "postgresql")


# MariaDB's indexes hold 3,072 bytes, and a character may take four: three ids and some numbers
ID = text(MAX_ID)
NAME = text(255)
DIGEST = text(64)
FINGERPRINT = text(64)
WORD = text(16)
LONG_TEXT = (
    Text()
    .with_variant(Text(collation="C"), "postgresql")
    .with_variant(mysql.LONGTEXT(), "mysql", "mariadb")
)
BYTES = LargeBinary().with_variant(mysql.LONGBLOB(), "mysql", "mariadb")
NUMBER = BigInteger().with_variant(Integer(), "sqlite")  # only INTEGER is SQLite's own row number


def dump(value: object) -> str:
    """Return a list or mapping as JSON text."""
    return canonical.text(value)


def texts(stored: str) -> tuple[str, ...]:
    """Read a list of texts."""
    return tuple(json.loads(stored))


def public_key(blob: bytes) -> PublicKey:
    """Read a key that was checked before it was stored."""
    return PublicKey(wire.Reader(blob, "the stored key").text(), blob)
