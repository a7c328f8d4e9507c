"""The end of an authority: what follows from it in the tables that it owns rows of."""

from datetime import datetime

from sqlalchemy import Connection, delete, update

from tatu.store.tables import authorities, holds, host_principals, hosts


def retire(connection: Connection, authority: str, at: datetime) -> None:
    """Mark an authority as retired, delete its hosts, free their names, let go of its holds.

    Its certificates are revoked by whoever calls, or by the serials that an event tells.
    """
    connection.execute(
        update(authorities)
        .where(authorities.c.id == authority)
        .values(retired_at=at, revision=authorities.c.revision + 1)
    )
    connection.execute(
        update(hosts)
        .where(hosts.c.authority == authority, hosts.c.deleted_at.is_(None))
        .values(deleted_at=at)
    )
    for table in (host_principals, holds):
        connection.execute(delete(table).where(table.c.authority == authority))
