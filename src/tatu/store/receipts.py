"""The latest receipt of each host."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, case, exists, func, or_, select

from tatu.core.claims import Receipt
from tatu.core.errors import Malformed, TatuError
from tatu.ports import HostReceipt, Lag, Nonce, Page, Receipts
from tatu.store import columns, nonces
from tatu.store.claims import ENROLLED, keep_latest, latest, of_this_enrolment
from tatu.store.database import Database
from tatu.store.tables import authorities, certificates, hosts, krls
from tatu.store.tables import receipts as table
from tatu.store.together import Together

_KEPT = tuple(column for column in table.columns if column.name != "proof")
_MISSING, _DONE = 0, 1


@dataclass(frozen=True, kw_only=True)
class _Kept:
    """A receipt with its proof, and the nonce that it was sent with."""

    receipt: Receipt
    proof: str
    nonce: Nonce


class SqlReceipts(Receipts):
    """Joins hosts with what they told since they enrolled."""

    def __init__(self, database: Database, together: Together) -> None:
        self._database = database
        self._together = together

    def put(self, receipt: Receipt, proof: str, nonce: Nonce) -> None:
        """Keep a receipt."""
        self._together.write(_keep, _Kept(receipt=receipt, proof=proof, nonce=nonce))

    def get(self, authority_id: str, host_id: str) -> tuple[Receipt, str]:
        """Return a receipt with its proof."""
        row = latest(self._database, table, authority_id, host_id, what="receipt")
        return _receipt(row), row.proof

    def list(
        self, authority_id: str, *, now: datetime, at_least: int, limit: int, marker: str | None
    ) -> Page[HostReceipt]:
        """Return the hosts of an authority; the marker is whether it is done, and its id."""
        done = _done(at_least)
        some = (
            select(
                hosts.c.id,
                done.label("done"),
                table.c.host.label("told"),
                case((hosts.c.enrolled_at.is_(None), hosts.c.admitted_at)).label("since"),
            )
            .join(table, of_this_enrolment(table), isouter=True)
            .where(_lets_in(now), hosts.c.authority == authority_id)
            .order_by(done, hosts.c.id)
            .limit(limit + 1)
        )
        if marker is not None:
            place, after = _place(marker)
            some = some.where(or_(done > place, and_(done == place, hosts.c.id > after)))
        # sorted by what the index has: of those that are not shown no row is read
        first = some.subquery()
        query = (
            select(first.c.id, first.c.done, first.c.since, *_KEPT)
            .join(
                table,
                and_(table.c.authority == authority_id, table.c.host == first.c.told),
                isouter=True,
            )
            .order_by(first.c.done, first.c.id)
        )
        with self._database.read() as connection:
            rows = connection.execute(query).all()
        return Page(
            items=tuple(
                HostReceipt(
                    host=row.id,
                    receipt=None if row.host is None else _receipt(row),
                    not_enrolled_since=row.since,
                )
                for row in rows[:limit]
            ),
            marker=f"{rows[limit - 1].done}:{rows[limit - 1].id}" if len(rows) > limit else None,
        )

    def count(self, authority_id: str, *, now: datetime, at_least: int) -> tuple[int, int]:
        """Return how many hosts there are, and how many are done."""
        query = (
            select(func.count(), func.coalesce(func.sum(_done(at_least)), 0))
            .select_from(hosts)
            .join(table, of_this_enrolment(table), isouter=True)
            .where(_lets_in(now), hosts.c.authority == authority_id)
        )
        with self._database.read() as connection:
            found, done = connection.execute(query).one()
        return found, int(done)

    def lag(self) -> Lag:
        """Return how far all hosts are."""
        newest = (
            select(krls.c.authority, func.max(krls.c.version).label("version"))
            .group_by(krls.c.authority)
            .subquery()
        )
        behind = case((table.c.krl_version >= newest.c.version, 0), else_=1)
        query = (
            select(
                func.count(),
                func.coalesce(func.sum(behind), 0),
                func.min(table.c.received_at),
            )
            .select_from(hosts)
            .join(authorities, authorities.c.id == hosts.c.authority)
            .join(newest, newest.c.authority == hosts.c.authority, isouter=True)
            .join(table, of_this_enrolment(table), isouter=True)
            .where(ENROLLED, authorities.c.retired_at.is_(None))
        )
        with self._database.read() as connection:
            enrolled, late, oldest = connection.execute(query).one()
        return Lag(hosts=enrolled, behind=int(late), oldest=oldest)


def _keep(connection: Connection, told: Sequence[_Kept]) -> list[TatuError | None]:
    """Use the nonces, and keep the receipts whose nonces were unused."""
    outcomes: list[TatuError | None] = [*nonces.use(connection, [one.nonce for one in told])]
    places = [place for place, refused in enumerate(outcomes) if refused is None]
    kept = keep_latest(connection, table, [_row(told[place]) for place in places])
    for place, outcome in zip(places, kept, strict=True):
        outcomes[place] = outcome
    return outcomes


def _row(told: _Kept) -> dict[str, Any]:
    receipt = told.receipt
    return {
        **vars(receipt),
        "at": columns.micros(receipt.at),
        "received_at": columns.micros(receipt.received_at),
        "proof": told.proof,
    }


def _lets_in(now: datetime) -> ColumnElement[bool]:
    """Hold for hosts of this authority's: enrolled, or admitted again and not yet let go.

    The latter hears of no revocation, and goes on to let people in.
    """
    live = exists().where(
        certificates.c.host == hosts.c.id,
        certificates.c.authority == hosts.c.authority,
        certificates.c.revoked_at.is_(None),
        certificates.c.valid_before > now,
    )
    return and_(hosts.c.deleted_at.is_(None), or_(hosts.c.enrolled_at.is_not(None), live))


def _done(at_least: int) -> Any:
    return case((table.c.krl_version >= at_least, _DONE), else_=_MISSING)


def _place(marker: str) -> tuple[int, str]:
    place, _, after = marker.partition(":")
    if place not in (str(_MISSING), str(_DONE)):
        raise Malformed("the marker is none that a list gave")
    return int(place), after


def _receipt(row: Row[Any]) -> Receipt:
    return Receipt(**{column.name: getattr(row, column.name) for column in _KEPT})
