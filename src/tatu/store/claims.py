"""What the parts share that keep what hosts tell (S19)."""

from functools import lru_cache
from typing import Any

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Connection,
    Row,
    Table,
    Update,
    and_,
    bindparam,
    exists,
    insert,
    select,
    update,
)

from tatu.core.errors import NotFound
from tatu.store.database import Database
from tatu.store.tables import hosts

_KEY = ("authority", "host")


def lock_host(connection: Connection, authority_id: str, host_id: str) -> None:
    """Let the host's claims be kept one after the other; raises `NotFound` when it is deleted."""
    query = select(hosts.c.id).where(of_host(hosts, authority_id, host_id, column="id"))
    if connection.scalar(query.where(hosts.c.deleted_at.is_(None)).with_for_update()) is None:
        raise NotFound(f"authority {authority_id!r} has no host {host_id!r}")


def keep_latest(connection: Connection, table: Table, values: dict[str, Any]) -> None:
    """Put a row in the place of the host's last one; raises `NotFound` when it is deleted."""
    changed = {name: values[name] for name in values if name not in _KEY}
    replacing = {**changed, "its_authority": values["authority"], "its_host": values["host"]}
    if connection.execute(_replace(table), replacing).rowcount:
        return
    lock_host(connection, values["authority"], values["host"])
    if not connection.execute(_replace(table), replacing).rowcount:
        connection.execute(insert(table).values(values))


@lru_cache
def _replace(table: Table) -> Update:
    """Return what replaces the row of a host that is there: made once, for a whole fleet."""
    its_authority: BindParameter[str] = bindparam("its_authority")
    its_host: BindParameter[str] = bindparam("its_host")
    live = select(hosts.c.id).where(
        hosts.c.authority == its_authority, hosts.c.id == its_host, hosts.c.deleted_at.is_(None)
    )
    mine = and_(table.c.authority == its_authority, table.c.host == its_host)
    return update(table).where(mine, exists(live))


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
