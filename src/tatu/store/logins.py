"""What hosts told of logins."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, delete, insert, select

from tatu.core.audit import Event
from tatu.core.claims import ClaimedCertificate, Login, LoginKind
from tatu.core.errors import Malformed
from tatu.ports import LedgerLogin, LoginFilter, Logins, Page
from tatu.store.claims import lock_host, of_host
from tatu.store.database import Change, Database
from tatu.store.tables import logins as table

KEPT = 10_000
"""Logins of a host: one that makes them up fills no more than its own place."""


class SqlLogins(Logins):
    """Keeps the newest of each host, each once."""

    def __init__(self, database: Database, *, kept: int = KEPT) -> None:
        self._database = database
        self._kept = kept

    def append(
        self, told: Sequence[LedgerLogin], alarms: Mapping[str, Event]
    ) -> tuple[LedgerLogin, ...]:
        """Keep what is new, and of that what alarms in the chain too."""
        if not told:
            return ()

        def work(change: Change) -> tuple[LedgerLogin, ...]:
            new = self._insert_new(change.connection, told)
            for one in new:
                if one.login.id in alarms:
                    change.append(alarms[one.login.id])
            return new

        if alarms:
            return self._database.change(work)
        return self._database.write(partial(self._insert_new, told=told))

    def list(self, wanted: LoginFilter, *, limit: int, marker: str | None) -> Page[LedgerLogin]:
        """Return logins; the marker is a place."""
        query = (
            select(table)
            .where(*_conditions(wanted))
            .order_by(table.c.sequence.desc())
            .limit(limit + 1)
        )
        if marker is not None:
            query = query.where(table.c.sequence < _place(marker))
        with self._database.read() as connection:
            rows = connection.execute(query).all()
        items = tuple(map(_login, rows[:limit]))
        return Page(items=items, marker=str(items[-1].sequence) if len(rows) > limit else None)

    def _insert_new(
        self, connection: Connection, told: Sequence[LedgerLogin]
    ) -> tuple[LedgerLogin, ...]:
        authority_id, host_id = told[0].authority, told[0].host
        mine = of_host(table, authority_id, host_id)
        lock_host(connection, authority_id, host_id)
        ids = {one.login.id: one for one in told}
        known = select(table.c.id).where(mine, table.c.id.in_(list(ids)))
        for old in connection.scalars(known).all():
            del ids[old]
        if ids:
            connection.execute(insert(table), [_row(one) for one in ids.values()])
            beyond = (
                select(table.c.sequence)
                .where(mine)
                .order_by(table.c.sequence.desc())
                .limit(1)
                .offset(self._kept)
            )
            last = connection.scalar(beyond)
            if last is not None:
                connection.execute(delete(table).where(mine, table.c.sequence <= last))
        return tuple(ids.values())


def _conditions(wanted: LoginFilter) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if wanted.authorities is not None:
        conditions.append(table.c.authority.in_(wanted.authorities))
    for column, value in (
        (table.c.subject, wanted.subject),
        (table.c.host, wanted.host),
        (table.c.account, wanted.account),
        (table.c.serial, None if wanted.serial is None else str(wanted.serial)),
        (table.c.kind, wanted.kind),
    ):
        if value is not None:
            conditions.append(column == str(value))
    if wanted.after is not None:
        conditions.append(table.c.at > wanted.after)
    if wanted.alarming is not None:
        conditions.append(table.c.alarm != "" if wanted.alarming else table.c.alarm == "")
    return conditions


def _place(marker: str) -> int:
    if not (marker.isascii() and marker.isdigit() and len(marker) < 19):  # noqa: PLR2004 (63 bits)
        raise Malformed("the marker is none that a list gave")
    return int(marker)


def _row(told: LedgerLogin) -> dict[str, Any]:
    login, certificate = told.login, told.login.certificate
    return {
        "authority": told.authority,
        "host": told.host,
        "id": login.id,
        "received_at": told.received_at,
        "at": login.at,
        "kind": str(login.kind),
        "account": login.account,
        "serial": None if certificate is None else str(certificate.serial),
        "key_id": None if certificate is None else certificate.key_id,
        "subject_key": None if certificate is None else certificate.subject_key,
        "signature_key": None if certificate is None else certificate.signature_key,
        "source": login.source,
        "detail": login.detail,
        "subject": told.subject,
        "user_name": told.user_name,
        "alarm": told.alarm,
    }


def _login(row: Row[Any]) -> LedgerLogin:
    return LedgerLogin(
        sequence=row.sequence,
        authority=row.authority,
        host=row.host,
        received_at=row.received_at,
        subject=row.subject,
        user_name=row.user_name,
        alarm=row.alarm,
        login=Login(
            id=row.id,
            at=row.at,
            kind=LoginKind(row.kind),
            account=row.account,
            source=row.source,
            detail=row.detail,
            certificate=None
            if row.serial is None
            else ClaimedCertificate(
                serial=int(row.serial),
                key_id=row.key_id,
                subject_key=row.subject_key,
                signature_key=row.signature_key,
            ),
        ),
    )
