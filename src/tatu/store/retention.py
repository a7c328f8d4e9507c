"""What an operator may have removed: rows that no rule, KRL or statement can need any more.

Never events of the chain, and never hosts: a host's epoch that began anew would make old enrolment
tokens good again.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, Table, and_, delete, func, select

from tatu.core.audit import Event
from tatu.store.database import Change, Database
from tatu.store.tables import blocks, certificates, cut_offs, krls, logins, publications


def prune(
    database: Database, before: datetime, event: Event, *, expired: bool, dry_run: bool
) -> Mapping[str, int]:
    """Remove what ended before a time; return how many rows of each table (`Ledger.prune`)."""

    def work(change: Change) -> Mapping[str, int]:
        removed = _remove(change.connection, before, expired=expired)
        if dry_run:
            raise _Undo(removed)
        if any(removed.values()):
            change.append(replace(event, facts={**event.facts, "removed": removed}))
        return removed

    try:
        return database.change(work)
    except _Undo as counted:
        return counted.removed


class _Undo(Exception):
    """Rolls the transaction back."""

    def __init__(self, removed: Mapping[str, int]) -> None:
        self.removed = removed


def _remove(connection: Connection, before: datetime, *, expired: bool) -> dict[str, int]:
    removed = {"publications": 0, "krls": 0}
    versions = select(publications.c.authority, func.max(publications.c.version)).group_by(
        publications.c.authority
    )
    for authority, newest in connection.execute(versions).all():
        mine = publications.c.authority == authority
        removed["publications"] += connection.execute(
            delete(publications).where(
                mine, publications.c.version < newest, publications.c.expires_at < before
            )
        ).rowcount
        named = select(publications.c.krl_version).where(mine)
        removed["krls"] += connection.execute(
            delete(krls).where(krls.c.authority == authority, krls.c.version.not_in(named))
        ).rowcount
    ended: dict[Table, ColumnElement[bool]] = {
        cut_offs: and_(cut_offs.c.swept, cut_offs.c.at < before),
        blocks: blocks.c.cleared_at < before,
        logins: logins.c.received_at < before,
    }
    if expired:
        ended[certificates] = certificates.c.valid_before < before
    return removed | {
        table.name: connection.execute(delete(table).where(condition)).rowcount
        for table, condition in ended.items()
    }
