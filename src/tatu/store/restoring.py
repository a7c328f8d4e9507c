"""After a restore: what the audit copy knows and the database does not is done again (S3).

The copy's events are appended to the chain anew. If the restored database is simply older, they
get their old places and hashes back, and the chain goes on as if nothing had happened.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, func, insert, select, update

from tatu.core import audit
from tatu.core.audit import SYSTEM, Event, Link
from tatu.core.errors import Malformed
from tatu.store import columns, highwater
from tatu.store.auditcopy import rolled_back
from tatu.store.database import Change, Database
from tatu.store.revocations import redo
from tatu.store.tables import audit as audit_table
from tatu.store.tables import authorities, certificates, publications
from tatu.store.told import Told, batches

MARGIN = 1024
"""Serials that are skipped where only the copy tells of the last: blocks that were reserved."""


def check_marks(database: Database, marks: Mapping[str, int]) -> None:
    """Raise `RolledBack` when a mark, read before, is above what the database has."""
    newest = (
        select(publications.c.authority, func.max(publications.c.version).label("version"))
        .group_by(publications.c.authority)
        .subquery()
    )
    query = select(
        authorities.c.id,
        authorities.c.next_serial,
        authorities.c.version_floor,
        func.coalesce(newest.c.version, 0).label("newest"),
    ).join(newest, newest.c.authority == authorities.c.id, isouter=True)
    with database.read() as connection:
        rows = connection.execute(query).all()
    for row in rows:
        version = max(row.newest, row.version_floor)
        for what, value, mark in (
            ("serial", row.next_serial, marks.get(row.id, 0)),
            ("version", version, marks.get(highwater.publication(row.id), 0)),
        ):
            if value < mark:
                raise rolled_back(f"{row.id!r} stands at {what} {value}, not {mark}")


def restore(
    database: Database, marks: Mapping[str, int], links: Iterable[Link], now: datetime
) -> None:
    """Do the lost events again, then go past every mark; after an interruption, do it again."""
    lost: Counter[str] = Counter()
    touched: set[str] = set()
    for batch in batches(links):

        def again(change: Change, batch: Sequence[Link] = batch) -> tuple[Counter[str], set[str]]:
            return _again(change, batch)

        not_redone, issuing = database.change(again, restoring=True)
        lost += not_redone
        touched |= issuing

    def finish(change: Change) -> None:
        _skip(change.connection, marks, touched)
        change.append(
            Event(
                action="ledger.restored",
                actor=SYSTEM,
                authority=None,
                subject="ledger",
                at=now,
                facts={"to_be_done_by_hand": dict(lost)},
            )
        )

    database.change(finish, restoring=True)


def _again(change: Change, batch: Sequence[Link]) -> tuple[Counter[str], set[str]]:
    """Append and do what the database lacks of a batch.

    Return the actions that cannot be done from what their events tell, and which authorities
    had issued.
    """
    lost: Counter[str] = Counter()
    issued = []
    ended = []
    for link in _missing(change.connection, batch):
        told = Told.of(link.body)
        sequence = change.append_body(told.authority, link.body).sequence
        change.mark = max(change.mark, told.mark)
        if told.certificate is not None:
            issued.append((sequence, told))
        elif told.redoable:
            ended.append(told)
        else:
            lost[told.action] += 1
    authorities_of = _insert_missing(change.connection, issued)
    for told in ended:
        redo(change.connection, told)
    return lost, authorities_of


def _missing(connection: Connection, batch: Sequence[Link]) -> list[Link]:
    """Return the links of a batch that the chain has not at their place."""
    for link in batch:
        if link != audit.link(link.previous, link.sequence, link.body):
            raise Malformed(f"event {link.sequence} of the audit copy is not what was written")
    known = connection.execute(
        select(audit_table.c.sequence, audit_table.c.hash).where(
            audit_table.c.sequence.between(batch[0].sequence, batch[-1].sequence)
        )
    )
    hashes = {row.sequence: row.hash for row in known}
    return [link for link in batch if hashes.get(link.sequence) != link.hash]


def _insert_missing(connection: Connection, issued: Sequence[tuple[int, Told]]) -> set[str]:
    """Make rows of certificates again, but for the certificates themselves."""
    known = set(connection.scalars(select(authorities.c.id)))
    rows: dict[tuple[str, int], dict[str, Any]] = {}
    for sequence, told in issued:
        facts = told.certificate
        if told.authority is not None and told.authority in known and facts is not None:
            serial = int(facts["serial"])
            # an event that is older than the columns tells of no origin, and all was proven
            values = {"origin": None, "proven": True} | {
                name: facts[name] for name in facts if name in certificates.c
            }
            for name in ("valid_after", "valid_before", "issued_at"):
                values[name] = columns.moment(facts[name])
            rows[told.authority, serial] = {
                **values,
                "sequence": sequence,
                "authority": told.authority,
                "blob": b"",
            }
    for authority in {authority for authority, _ in rows}:
        serials = [serial for held, serial in rows if held == authority]
        there = select(certificates.c.serial).where(
            certificates.c.authority == authority, certificates.c.serial.in_(serials)
        )
        for serial in connection.scalars(there).all():
            del rows[authority, serial]
    if rows:
        connection.execute(insert(certificates), list(rows.values()))
    return {authority for authority, _ in rows}


def _skip(connection: Connection, marks: Mapping[str, int], touched: set[str]) -> None:
    """Go past every mark, and let every statement be signed anew."""
    for row in connection.execute(select(authorities.c.id, authorities.c.next_serial)).all():
        mine = authorities.c.id == row.id
        serial = max(row.next_serial, marks.get(row.id, 0))
        if row.id in touched:
            last = select(func.max(certificates.c.serial)).where(
                certificates.c.authority == row.id
            )
            serial = max(serial, int(connection.execute(last).scalar_one()) + 1 + MARGIN)
        connection.execute(
            update(authorities)
            .where(mine)
            .values(
                next_serial=serial,
                version_floor=marks.get(highwater.publication(row.id), 0),
                revision=authorities.c.revision + 1,
            )
        )
