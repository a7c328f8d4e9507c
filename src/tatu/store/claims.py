"""What the parts share that keep what hosts tell (S19)."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Table, and_, bindparam, select

from tatu.core.errors import NotFound
from tatu.store.bulk import insert_rows
from tatu.store.database import Database
from tatu.store.tables import hosts

# None of them is deleted before what it told is kept
_LIVE = (
    select(hosts.c.authority, hosts.c.id)
    .where(hosts.c.id.in_(bindparam("ids", expanding=True)), hosts.c.deleted_at.is_(None))
    .order_by(hosts.c.authority, hosts.c.id)
    .with_for_update(read=True)
)


def lock_host(connection: Connection, authority_id: str, host_id: str) -> None:
    """Let the host's claims be kept one after the other; raises `NotFound` when it is deleted."""
    query = select(hosts.c.id).where(of_host(hosts, authority_id, host_id, column="id"))
    if connection.scalar(query.where(hosts.c.deleted_at.is_(None)).with_for_update()) is None:
        raise absent(authority_id, host_id)


def absent(authority_id: str, host_id: str) -> NotFound:
    """Return what is said of a host that there is not."""
    return NotFound(f"authority {authority_id!r} has no host {host_id!r}")


def keep_latest(
    connection: Connection, table: Table, told: Sequence[Mapping[str, Any]]
) -> list[NotFound | None]:
    """Put rows in the place of their hosts' last ones; say of which the host is deleted.

    The values are as the database stores them. What comes last of a host is kept.
    """
    ids = sorted({row["host"] for row in told})
    live = {(row.authority, row.id) for row in connection.execute(_LIVE, {"ids": ids})}
    keys = [(row["authority"], row["host"]) for row in told]
    names = [column.name for column in table.columns]
    kept = {
        key: tuple(row[name] for name in names)
        for key, row in zip(keys, told, strict=True)
        if key in live
    }
    insert_rows(connection, table, [kept[key] for key in sorted(kept)], replacing=True)
    return [None if key in live else absent(*key) for key in keys]


def latest(
    database: Database, table: Table, authority_id: str, host_id: str, *, what: str
) -> Row[Any]:
    """Return what a host told last since it enrolled; raises `NotFound` when it told nothing."""
    query = (
        select(table)
        .join(hosts, of_this_enrolment(table))
        .where(ENROLLED, hosts.c.authority == authority_id, hosts.c.id == host_id)
    )
    with database.read() as connection:
        row = connection.execute(query).one_or_none()
    if row is None:
        raise NotFound(f"host {host_id!r} of authority {authority_id!r} gave no {what}")
    return row


def of_host(
    table: Table, authority_id: str, host_id: str, *, column: str = "host"
) -> ColumnElement[bool]:
    """Hold for a host's rows."""
    return and_(table.c.authority == authority_id, table.c[column] == host_id)


def of_this_enrolment(table: Table) -> ColumnElement[bool]:
    """Join a host with what it told since it enrolled: a machine before it told the rest."""
    return and_(
        table.c.authority == hosts.c.authority,
        table.c.host == hosts.c.id,
        table.c.received_at >= hosts.c.enrolled_at,
    )


ENROLLED = and_(hosts.c.deleted_at.is_(None), hosts.c.enrolled_at.is_not(None))
"""Holds for hosts that are there and have enrolled."""
