"""Serials and certificates."""

import base64
import threading
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, func, or_, select, update

from tatu.core import audit, wire
from tatu.core.audit import Event
from tatu.core.certificate import CertificateType
from tatu.core.errors import Malformed, NotFound, PermissionEnded
from tatu.core.keys import PublicKey
from tatu.ports import CertificateFilter, Certificates, IssuedCertificate, LedgerCertificate, Page
from tatu.store import columns
from tatu.store.authorities import Snapshots, absent
from tatu.store.database import Database
from tatu.store.highwater import HighWater, NoHighWater
from tatu.store.purposes import Certified
from tatu.store.standing import Same
from tatu.store.tables import authorities, authority_keys
from tatu.store.tables import certificates as table
from tatu.store.writer import GroupWriter, Item

BLOCK = 128
"""Serials that a process reserves at a time: a crash loses at most the rest of a block."""

WITH_KEY = "signature key revoked"
"""The reason of whatever a revoked key signed; its KRL names the key, and the rows stay."""

_COLUMNS = tuple(column for column in table.columns if column.name != "sequence")
_TOLD = (
    "serial",
    "type",
    "key_id",
    "principals",
    "subject_key",
    "signature_key",
    "valid_after",
    "valid_before",
    "issued_at",
    "issuer",
    "subject",
    "user_name",
    "roles",
    "host",
    "origin",
    "proven",
)
"""What an event tells of its certificate, so that the row can be made again after a restore."""


class SqlCertificates(Certificates):
    """Hands serials out and remembers what was made of them."""

    def __init__(
        self,
        database: Database,
        writer: GroupWriter,
        snapshots: Snapshots,
        high_water: HighWater | NoHighWater,
    ) -> None:
        self._database = database
        self._writer = writer
        self._snapshots = snapshots
        self._high_water = high_water
        self._lock = threading.Lock()
        self._reserved: dict[str, range] = {}

    def reserve(self, authority_id: str) -> int:
        """Return a serial of this process's block; a new block is marked before it is used."""
        with self._lock:
            block = self._reserved.get(authority_id) or self._reserve(authority_id)
            self._reserved[authority_id] = block[1:]
            return block[0]

    def record(self, issued: IssuedCertificate, event: Event) -> None:
        """Commit a certificate."""
        row = _row(issued)
        told = {name: row[name] for name in _TOLD}
        facts = {**event.facts, "certificate": told}
        item = Item(
            authority=issued.authority,
            row=tuple(row[column.name] for column in _COLUMNS),
            event=audit.body(replace(event, authority=issued.authority, facts=facts)),
            mark=issued.mark,
            topics=issued.topics,
            certified=Certified(row["subject_key"], issued.authority, issued.host, issued.proven),
            issued_at=issued.issued_at,
            serial=row["serial"],
            once=_same(row) if issued.subject and not issued.proven else None,
        )
        try:
            self._writer.record(item)
        except PermissionEnded:
            self._snapshots.forget()  # else its old mark would refuse the next attempt too
            raise

    def get(
        self, authority_id: str, serial: int, *, scope: Sequence[str] | None
    ) -> LedgerCertificate:
        """Return a certificate."""
        query = _select().where(table.c.authority == authority_id, table.c.serial == serial)
        if scope is not None:
            query = query.where(table.c.authority.in_(scope))
        with self._database.read() as connection:
            row = connection.execute(query).one_or_none()
        if row is None:
            raise NotFound(f"there is no certificate {serial} of authority {authority_id!r}")
        return _certificate(row)

    def list(
        self, wanted: CertificateFilter, *, limit: int, marker: str | None
    ) -> Page[LedgerCertificate]:
        """Return certificates, newest first; the marker is a place in the chain."""
        query = select_of(wanted).limit(limit + 1)
        if marker is not None:
            query = query.where(table.c.sequence < _place(marker))
        with self._database.read() as connection:
            rows = connection.execute(query).all()
        items = tuple(map(_certificate, rows[:limit]))
        return Page(
            items=items, marker=str(rows[limit - 1].sequence) if len(rows) > limit else None
        )

    def _reserve(self, authority_id: str) -> range:
        def work(connection: Connection) -> range:
            mine = authorities.c.id == authority_id
            first = connection.scalar(
                select(authorities.c.next_serial).where(mine).with_for_update()
            )
            if first is None:
                raise absent(authority_id)
            self._high_water.check(authority_id, first)
            block = range(first, first + BLOCK)
            connection.execute(update(authorities).where(mine).values(next_serial=block.stop))
            return block

        block = self._database.write(work)
        self._high_water.raise_to(authority_id, block.stop)
        return block


def _row(issued: IssuedCertificate) -> dict[str, Any]:
    """Return the row as the database stores it, but for its place in the chain."""
    contents = issued.certificate.contents
    return {
        "authority": issued.authority,
        "serial": contents.serial,
        "type": int(contents.type),
        "key_id": contents.key_id,
        "principals": columns.dump(contents.principals),
        "subject_key": contents.subject_key.fingerprint,
        "signature_key": _fingerprint(contents.signature_key),
        "valid_after": columns.micros(contents.valid_after),
        "valid_before": columns.micros(contents.valid_before),
        "issued_at": columns.micros(issued.issued_at),
        "issuer": issued.issuer,
        "subject": issued.subject or None,
        "user_name": issued.user_name,
        "roles": columns.dump(issued.roles),
        "host": issued.host or None,
        "origin": issued.origin or None,
        "proven": issued.proven,
        "blob": issued.certificate.blob,
        "revoked_at": None,
        "revoked_reason": None,
        "revoked_by": None,
    }


def _same(row: dict[str, Any]) -> Same:
    return Same(**{name: row[name] or "" for name in Same._fields})


@lru_cache(maxsize=256)
def _fingerprint(signature_key: PublicKey) -> str:
    return signature_key.fingerprint


def _select() -> Select[Any]:
    """Select certificates, each with when the key that signed it was revoked."""
    key_revoked_at = (
        select(func.min(authority_keys.c.revoked_at))
        .where(
            authority_keys.c.authority == table.c.authority,
            authority_keys.c.fingerprint == table.c.signature_key,
        )
        .scalar_subquery()
    )
    return select(table, key_revoked_at.label("key_revoked_at"))


def select_of(wanted: CertificateFilter) -> Select[Any]:
    """Select the certificates that match, newest first."""
    return _select().where(*_conditions(wanted)).order_by(table.c.sequence.desc())


def _is_revoked() -> ColumnElement[bool]:
    """Hold for what was revoked itself, or with the key that signed it."""
    ended = select(authority_keys.c.fingerprint).where(authority_keys.c.revoked_at.is_not(None))
    return or_(table.c.revoked_at.is_not(None), table.c.signature_key.in_(ended))


def _conditions(wanted: CertificateFilter) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if wanted.authorities is not None:
        few = (
            wanted.subject,
            wanted.subject_key,
            wanted.host,
            wanted.origin,
            wanted.origin_begins,
        )
        # Where an index finds few rows, no other may be used: SQLite, which counts nothing, takes
        # that of the authority's live certificates to be the better one.
        named = few == (None,) * len(few)
        authority = table.c.authority if named else func.coalesce(table.c.authority, "")
        conditions.append(authority.in_(wanted.authorities))
    for column, value in (
        (table.c.type, None if wanted.type is None else int(wanted.type)),
        (table.c.subject, wanted.subject),
        (table.c.subject_key, wanted.subject_key),
        (table.c.host, wanted.host),
        (table.c.serial, wanted.serial),
        (table.c.origin, wanted.origin),
    ):
        if value is not None:
            conditions.append(column == value)
    if (first := wanted.origin_begins) is not None:  # not LIKE: no index of SQLite serves it
        conditions += [table.c.origin >= first, table.c.origin < _next(first)]
    if wanted.role is not None:  # as it stands in the list; SQLite's LIKE knows no case
        without = func.replace(table.c.roles, columns.dump(wanted.role), "")
        conditions.append(table.c.roles != without)
    if wanted.live_at is not None:
        conditions += [
            table.c.valid_after <= wanted.live_at,
            table.c.valid_before > wanted.live_at,
            ~_is_revoked(),
        ]
    if wanted.revoked is not None:
        conditions.append(_is_revoked() if wanted.revoked else ~_is_revoked())
    return conditions


def _next(beginning: str) -> str:
    """Return the first text after all that begin so, as they are compared byte by byte."""
    return beginning[:-1] + chr(ord(beginning[-1]) + 1)


def _place(marker: str) -> int:
    if not (marker.isascii() and marker.isdigit() and len(marker) < 19):  # noqa: PLR2004 (63 bits)
        raise Malformed("the marker is none that a list gave")
    return int(marker)


def _certificate(row: Row[Any]) -> LedgerCertificate:
    with_key = row.revoked_at is None and row.key_revoked_at is not None
    return LedgerCertificate(
        authority=row.authority,
        serial=row.serial,
        type=CertificateType(row.type),
        key_id=row.key_id,
        principals=columns.texts(row.principals),
        subject_key=row.subject_key,
        signature_key=row.signature_key,
        valid_after=row.valid_after,
        valid_before=row.valid_before,
        issued_at=row.issued_at,
        issuer=row.issuer,
        subject=row.subject or "",
        user_name=row.user_name,
        roles=columns.texts(row.roles),
        host=row.host or "",
        line=_line(row.blob),
        revoked_at=row.key_revoked_at if with_key else row.revoked_at,
        revoked_reason=WITH_KEY if with_key else row.revoked_reason,
        revoked_by=row.revoked_by,
        origin=row.origin or "",
        proven=row.proven,
    )


def _line(blob: bytes) -> str:
    """Return the certificate as text; a row made again from the audit copy has none."""
    if not blob:
        return ""
    algorithm = wire.Reader(blob, "the stored certificate").text()
    return f"{algorithm} {base64.b64encode(blob).decode()}"
