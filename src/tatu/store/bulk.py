"""Inserting many rows at once.

A statement of many rows is one call into the database's library: with `executemany` SQLite gives
the interpreter's lock away at every row, and a busy server gets it back only in its turn.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, Dialect, Table

_MOST = 64
"""Rows in one statement: a power of two, so that few statements are prepared and kept."""


def insert_rows(
    connection: Connection,
    table: Table,
    rows: Sequence[tuple[Any, ...]],
    *,
    replacing: bool = False,
) -> None:
    """Insert rows that have a value, as the database stores it, for each column in order.

    `replacing`: in place of those of the same key, if there are. No two have the same.
    """
    place, size = 0, _MOST
    while place < len(rows):
        while size > len(rows) - place:
            size //= 2
        values = tuple(value for row in rows[place : place + size] for value in row)
        connection.exec_driver_sql(
            _statement(connection.dialect, table, size, replacing=replacing), values
        )
        place += size


@lru_cache(maxsize=64)
def _statement(dialect: Dialect, table: Table, size: int, *, replacing: bool) -> str:
    quote = dialect.identifier_preparer.quote
    names = ", ".join(quote(column.name) for column in table.columns)
    mark = "?" if dialect.paramstyle == "qmark" else "%s"
    row = f"({', '.join([mark] * len(table.columns))})"
    told = f"INSERT INTO {quote(table.name)} ({names}) VALUES {', '.join([row] * size)}"  # noqa: S608
    return told + _in_place(dialect, table) if replacing else told


def _in_place(dialect: Dialect, table: Table) -> str:
    quote = dialect.identifier_preparer.quote
    keys = [quote(column.name) for column in table.primary_key]
    others = [quote(column.name) for column in table.columns if not column.primary_key]
    if dialect.name in ("mysql", "mariadb"):
        new = ", ".join(f"{name} = VALUES({name})" for name in others)
        return f" ON DUPLICATE KEY UPDATE {new}"
    new = ", ".join(f"{name} = excluded.{name}" for name in others)
    return f" ON CONFLICT ({', '.join(keys)}) DO UPDATE SET {new}"
