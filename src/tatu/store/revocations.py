"""What has ended: revoked certificates, and the users, keys and hosts that get no new ones.

Each event tells in its facts which serials it revoked, so that an audit copy can do it again.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Connection, and_, insert, select, update

from tatu.core import losses
from tatu.core.audit import Event
from tatu.core.authority import SKEW, Purpose
from tatu.core.errors import NotFound
from tatu.core.losses import Topic
from tatu.ports import Block, RevocationFacts, Revocations, RevocationSelector
from tatu.store import authorities as stored_authorities
from tatu.store.authorities import Snapshots, absent, grow
from tatu.store.database import Change, Database
from tatu.store.retiring import retire
from tatu.store.tables import authorities, blocks
from tatu.store.tables import certificates as table
from tatu.store.told import Told, batches, by, listed, ranges

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class _Revoked:
    """What a revocation writes on a certificate."""

    at: datetime
    reason: str
    by: str

    @property
    def values(self) -> dict[str, Any]:
        return {"revoked_at": self.at, "revoked_reason": self.reason, "revoked_by": self.by}


class SqlRevocations(Revocations):
    """Revokes, blocks, and tells a KRL what to say."""

    def __init__(self, database: Database, snapshots: Snapshots) -> None:
        self._database = database
        self._snapshots = snapshots

    def revoke(self, selector: RevocationSelector, reason: str, event: Event) -> tuple[int, ...]:
        """Revoke what matches."""
        matching, named = _selection(selector)
        revoked = _Revoked(at=event.at, reason=reason, by=by(event.actor))

        def work(change: Change) -> tuple[int, ...]:
            authority = selector.authority
            if (
                change.connection.scalar(
                    select(authorities.c.id).where(authorities.c.id == authority)
                )
                is None
            ):
                raise absent(authority)
            live = and_(matching, table.c.revoked_at.is_(None))
            serials = tuple(
                change.connection.scalars(
                    select(table.c.serial).where(live).order_by(table.c.sequence)
                )
            )
            blocked = selector.block and _block(change, selector, reason, event)
            any_known = serials or (selector.block and not selector.known)
            if not (any_known or _had_any(change.connection, matching, named)):
                raise NotFound(f"authority {authority!r} never issued a certificate of {selector}")
            if serials:
                change.connection.execute(update(table).where(live).values(revoked.values))
            if serials or blocked:
                grow(change.connection, authority)
                facts: dict[str, object] = {
                    "revoked": {authority: ranges(serials)},
                    "reason": reason,
                }
                if blocked:
                    facts |= {"blocked": _blocked(selector), "mark": change.mark}
                change.append(event, **facts)
            return serials

        return self._change(work)

    def revoke_serials(
        self, serials: Mapping[str, Sequence[int]], reason: str, event: Event
    ) -> int:
        """Revoke serials by authority."""
        revoked = _Revoked(at=event.at, reason=reason, by=by(event.actor))

        def work(change: Change) -> int:
            found = {
                authority: revoke_listed(change.connection, authority, wanted, revoked.values)
                for authority, wanted in sorted(serials.items())
            }
            if any(found.values()):
                told = {authority: ranges(some) for authority, some in found.items() if some}
                change.append(event, revoked=told, reason=reason)
            return sum(map(len, found.values()))

        return self._change(work)

    def blocks(self, authority_id: str) -> tuple[Block, ...]:
        """Return the blocks that stand, the oldest first."""
        query = select(blocks).where(_standing(authority_id)).order_by(blocks.c.id)
        with self._database.read() as connection:
            return tuple(Block(**row._asdict()) for row in connection.execute(query))

    def clear_block(self, authority_id: str, block_id: int, event: Event) -> None:
        """Lift a block."""

        def work(change: Change) -> None:
            this = and_(_standing(authority_id), blocks.c.id == block_id)
            row = change.connection.execute(select(blocks).where(this)).one_or_none()
            if row is None:
                raise NotFound(f"authority {authority_id!r} has no block {block_id}")
            change.connection.execute(update(blocks).where(this).values(cleared_at=event.at))
            grow(change.connection, authority_id)
            change.append(event, cleared=[row.kind, row.value])

        self._change(work)

    def facts(self, authority_id: str, now: datetime) -> RevocationFacts:
        """Return what the KRL must say."""
        with self._database.read(consistent=True) as connection:
            authority = stored_authorities.read(connection, authority_id)
            keys = [key for key in authority.keys if key.purpose is not Purpose.STATEMENT]
            serials = {
                key.public_key: _revoked_serials(
                    connection, authority_id, key.public_key.fingerprint, now
                )
                for key in keys
            }
            blocked = connection.scalars(
                select(blocks.c.value).where(
                    _standing(authority_id), blocks.c.kind == "subject-key"
                )
            ).all()
        return RevocationFacts(
            revision=authority.revision,
            serials={key: some for key, some in serials.items() if some},
            blocked_keys=frozenset(blocked),
            revoked_authorities=frozenset(key.public_key for key in keys if key.revoked_at),
        )

    def _change(self, work: Callable[[Change], T]) -> T:
        try:
            return self._database.change(work)
        finally:
            self._snapshots.forget()


def revoke_listed(
    connection: Connection, authority: str, serials: Iterable[int], values: Mapping[str, Any]
) -> list[int]:
    """Revoke those of the serials that are not; return them, and grow the revision if any."""
    revoked: list[int] = []
    for some in batches(serials):
        live = and_(
            table.c.authority == authority, table.c.serial.in_(some), table.c.revoked_at.is_(None)
        )
        found = connection.scalars(select(table.c.serial).where(live)).all()
        if found:
            connection.execute(update(table).where(live).values(values))
            revoked += found
    if revoked:
        grow(connection, authority)
    return revoked


def redo(connection: Connection, told: Told) -> None:
    """Do again what an event revoked, retired and blocked."""
    revoked = _Revoked(at=told.at, reason=told.reason, by=told.by)
    for authority, written in told.revoked.items():
        revoke_listed(connection, authority, listed(written), revoked.values)
    if told.authority is not None and told.retired:
        retire(connection, told.authority, told.at)
    if told.authority is not None and told.blocked is not None:
        _insert_block(connection, told.authority, told.blocked, told)
    if told.authority is not None and told.cleared is not None:
        kind, value = told.cleared
        connection.execute(
            update(blocks)
            .where(_standing(told.authority), blocks.c.kind == kind, blocks.c.value == value)
            .values(cleared_at=told.at)
        )


def _selection(selector: RevocationSelector) -> tuple[ColumnElement[bool], bool]:
    """Return what matches a selector, and whether it names what must have been certified."""
    chosen = [
        table.c[name] == value
        for name in ("serial", "subject_key", "subject", "host")
        if (value := getattr(selector, name)) is not None
    ]
    if len(chosen) + selector.everything != 1:
        raise ValueError("exactly one part of a selector is set")
    if selector.subjects_only is not None:
        if selector.block:
            raise ValueError("who may revoke their own only blocks nobody")
        chosen.append(table.c.subject == selector.subjects_only)
    named = selector.host is None and not selector.everything
    return and_(table.c.authority == selector.authority, *chosen), named


def _had_any(connection: Connection, matching: ColumnElement[bool], named: bool) -> bool:  # noqa: FBT001
    return (
        not named
        or connection.execute(select(table.c.serial).where(matching).limit(1)).first() is not None
    )


def _standing(authority_id: str) -> ColumnElement[bool]:
    return and_(blocks.c.authority == authority_id, blocks.c.cleared_at.is_(None))


def _blocked(selector: RevocationSelector) -> tuple[str, str]:
    """Return the kind and the value that a selector blocks."""
    if selector.subject is not None:
        return "user", selector.subject
    if selector.subject_key is not None:
        return "subject-key", selector.subject_key
    if selector.host is not None:
        return "host", selector.host
    raise ValueError("a user, a subject key or a host can be blocked")


def _topic(authority: str, kind: str, value: str) -> Topic:
    if kind == "user":
        return losses.user_in_project(value, authority)
    return (losses.host if kind == "host" else losses.subject_key)(authority, value)


def _block(change: Change, selector: RevocationSelector, reason: str, event: Event) -> bool:
    """Block, and cut off what is being made; the certificates are revoked in this very commit."""
    kind, value = _blocked(selector)
    revoked = _Revoked(at=event.at, reason=reason, by=by(event.actor))
    if not _insert_block(change.connection, selector.authority, (kind, value), revoked):
        return False
    change.cut_off([_topic(selector.authority, kind, value)], reason, event.at, swept=True)
    return True


def _insert_block(
    connection: Connection, authority: str, blocked: tuple[str, str], why: "_Revoked | Told"
) -> bool:
    kind, value = blocked
    same = and_(_standing(authority), blocks.c.kind == kind, blocks.c.value == value)
    if connection.scalar(select(blocks.c.id).where(same)) is not None:
        return False
    connection.execute(
        insert(blocks).values(
            authority=authority, kind=kind, value=value, reason=why.reason, by=why.by, at=why.at
        )
    )
    return True


def _revoked_serials(
    connection: Connection, authority: str, signature_key: str, now: datetime
) -> Sequence[int]:
    """Return what a KRL names; the index holds all that is asked for."""
    query = select(table.c.serial).where(
        table.c.authority == authority,
        table.c.signature_key == signature_key,
        table.c.revoked_at.is_not(None),
        table.c.valid_before > now - SKEW,
    )
    return sorted(connection.scalars(query))
