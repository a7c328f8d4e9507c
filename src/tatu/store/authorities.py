"""The authorities, and the states of their keys."""

import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields, replace
from datetime import datetime, timedelta
from typing import Any, TypeVar

from sqlalchemy import Connection, Row, and_, func, insert, select, update

from tatu.core import losses
from tatu.core.audit import Event
from tatu.core.authority import SKEW, Authority, AuthorityKey, KeyState, Profile, Purpose
from tatu.core.errors import Conflict, NotFound
from tatu.ports import Authorities, Page, Snapshot
from tatu.store import columns, highwater
from tatu.store.auditcopy import rolled_back
from tatu.store.database import Change, Database
from tatu.store.highwater import HighWater, NoHighWater
from tatu.store.retiring import retire
from tatu.store.tables import (
    authorities,
    authority_keys,
    blocks,
    certificates,
    chain,
    holds,
    publications,
)
from tatu.store.told import by, ranges

SNAPSHOT_AGE = 5.0
"""Seconds that a snapshot is used; its mark makes an old one harmless (security.md S4)."""

T = TypeVar("T")

_ORDER = {KeyState.NEXT: 0, KeyState.ACTIVE: 1, KeyState.RETIRED: 2}


class Snapshots:
    """Each authority as this process read it last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: dict[str, tuple[float, Snapshot]] = {}
        self._generation = 0

    def get(self, authority_id: str, read: Callable[[str], Snapshot]) -> Snapshot:
        """Return a young one, or read it now."""
        kept, generation = self._kept.get(authority_id), self._generation
        if kept is not None and time.monotonic() - kept[0] < SNAPSHOT_AGE:
            return kept[1]
        begun = time.monotonic()
        snapshot = read(authority_id)
        with self._lock:
            if generation == self._generation:
                self._kept[authority_id] = (begun, snapshot)
        return snapshot

    def forget(self) -> None:
        """Forget all: something changed, or a mark proved too old."""
        with self._lock:
            self._generation += 1
            self._kept.clear()


class SqlAuthorities(Authorities):
    """Keeps authorities, their keys and profiles."""

    def __init__(
        self, database: Database, snapshots: Snapshots, high_water: HighWater | NoHighWater
    ) -> None:
        self._database = database
        self._snapshots = snapshots
        self._high_water = high_water

    def create(self, authority: Authority, event: Event) -> None:
        """Add an authority."""

        def work(change: Change) -> None:
            if _exists(change.connection, authority.id):
                raise Conflict(f"there is an authority {authority.id!r} already")
            change.connection.execute(
                insert(authorities).values(
                    id=authority.id,
                    name=authority.name,
                    profile=_dump_profile(authority.profile),
                    created_at=authority.created_at,
                    revision=authority.revision,
                )
            )
            for position, key in enumerate(authority.keys):
                _insert_key(change.connection, authority.id, position, key)
            change.append(event)

        self._change(work)

    def get(self, authority_id: str) -> Authority:
        """Return an authority."""
        with self._database.read() as connection:
            return read(connection, authority_id)

    def snapshot(self, authority_id: str) -> Snapshot:
        """Return an authority with its blocks."""
        return self._snapshots.get(authority_id, self._read_snapshot)

    def list(
        self, *, only: Sequence[str] | None, limit: int, marker: str | None
    ) -> Page[Authority]:
        """Return authorities by id."""
        query = select(authorities).order_by(authorities.c.id).limit(limit + 1)
        if only is not None:
            query = query.where(authorities.c.id.in_(only))
        if marker is not None:
            query = query.where(authorities.c.id > marker)
        with self._database.read() as connection:
            rows = connection.execute(query).all()
            keys = _keys(connection, [row.id for row in rows])
        found = tuple(_authority(row, keys.get(row.id, ())) for row in rows[:limit])
        return Page(items=found, marker=found[-1].id if len(rows) > limit else None)

    def suffixes(self) -> Mapping[str, str]:
        """Return who speaks for which names."""
        query = select(authorities.c.id, authorities.c.profile).where(
            authorities.c.retired_at.is_(None)
        )
        with self._database.read() as connection:
            rows = connection.execute(query).all()
        found = {row.id: json.loads(row.profile).get("dns_suffix", "") for row in rows}
        return {authority: suffix for authority, suffix in found.items() if suffix}

    def change_profile(self, authority_id: str, profile: Profile, event: Event) -> Authority:
        """Replace the profile."""

        def work(change: Change) -> Authority:
            grow(change.connection, authority_id, profile=_dump_profile(profile))
            change.append(event)
            return read(change.connection, authority_id)

        return self._change(work)

    def add_key(self, authority_id: str, key: AuthorityKey, event: Event) -> Authority:
        """Add a key that is to be the next."""
        if key.state is not KeyState.NEXT:
            raise Conflict("a key begins its life as the next one")

        def work(change: Change) -> Authority:
            held = read(change.connection, authority_id).keys
            for other in held:
                if (
                    other.purpose is key.purpose
                    and other.state is KeyState.NEXT
                    and not other.revoked_at
                ):
                    raise Conflict(
                        f"authority {authority_id!r} has a next {key.purpose} key already"
                    )
            _insert_key(change.connection, authority_id, len(held), key)
            grow(change.connection, authority_id)
            change.append(event)
            return read(change.connection, authority_id)

        return self._change(work)

    def set_key_state(
        self,
        authority_id: str,
        reference: str,
        state: KeyState,
        event: Event,
        *,
        revoked: bool = False,
    ) -> Authority:
        """Move a key forwards."""

        def work(change: Change) -> Authority:
            held = read(change.connection, authority_id).keys
            key = next((key for key in held if key.reference == reference), None)
            if key is None:
                raise NotFound(f"authority {authority_id!r} has no such key")
            moved = _moved(held, key, state, event.at, revoked=revoked)
            for _, new in moved:
                _update_key(change.connection, authority_id, new)
            if moved:
                grow(change.connection, authority_id)
                # nothing to sweep: a retired key's certificates stay, a revoked key is in the KRL
                topics = [
                    losses.signature_key(old.public_key.fingerprint)
                    for old, _ in moved
                    if old.state is KeyState.ACTIVE
                ]
                change.append(event, **change.cut_off(topics, event.action, event.at, swept=True))
            return read(change.connection, authority_id)

        return self._change(work)

    def retire(self, authority_id: str, event: Event) -> Authority:
        """End an authority, with all that it certified and admitted."""

        def work(change: Change) -> Authority:
            found = read(change.connection, authority_id)
            if found.retired_at is not None:
                return found
            live = and_(
                certificates.c.authority == authority_id,
                certificates.c.revoked_at.is_(None),
                # a slow clock takes what has expired for live (S18)
                certificates.c.valid_before > event.at - SKEW,
            )
            serials = change.connection.scalars(select(certificates.c.serial).where(live)).all()
            change.connection.execute(
                update(certificates)
                .where(live)
                .values(
                    revoked_at=event.at,
                    revoked_reason=event.action,
                    revoked_by=by(event.actor),
                )
            )
            retire(change.connection, authority_id, event.at)
            facts: dict[str, object] = {
                "retired": True,
                "revoked": {authority_id: ranges(serials)},
                "reason": event.action,
                **change.cut_off(
                    [losses.project(authority_id)], event.action, event.at, swept=True
                ),
            }
            change.append(event, **facts)
            return read(change.connection, authority_id)

        return self._change(work)

    def touch(self) -> None:
        """Grow every revision."""
        self._change(
            lambda change: change.connection.execute(
                update(authorities).values(revision=authorities.c.revision + 1)
            )
        )

    def _change(self, work: Callable[[Change], T]) -> T:
        try:
            return self._database.change(work)
        finally:
            self._snapshots.forget()

    def _read_snapshot(self, authority_id: str) -> Snapshot:
        blocked: dict[str, set[str]] = {"user": set(), "subject-key": set(), "host": set()}
        # before the versions: a mark is raised to what was committed, or to what a host proved
        versions = self._high_water.marks().get(highwater.publication(authority_id), 0)
        with self._database.read() as connection:
            _check_versions(connection, authority_id, versions)
            # first the mark: what changes while the rest is read, changes after it
            mark = connection.execute(select(chain.c.mark)).scalar_one()
            authority = read(connection, authority_id)
            query = select(blocks.c.kind, blocks.c.value).where(
                blocks.c.authority == authority_id, blocks.c.cleared_at.is_(None)
            )
            for kind, value in connection.execute(query):
                blocked[kind].add(value)
            held: dict[str, set[str]] = {"user": set(), "host": set(), "origin": set()}
            query = select(holds.c.kind, holds.c.value).where(holds.c.authority == authority_id)
            for kind, value in connection.execute(query):
                held[kind].add(value)
        return Snapshot(
            authority=authority,
            blocked_users=frozenset(blocked["user"]),
            blocked_keys=frozenset(blocked["subject-key"]),
            blocked_hosts=frozenset(blocked["host"]),
            held_users=frozenset(held["user"]),
            held_hosts=frozenset(held["host"]),
            held_origins=frozenset(held["origin"]),
            mark=mark,
        )


def _check_versions(connection: Connection, authority_id: str, mark: int) -> None:
    """Raise `RolledBack` when a version was published that the database does not have (S3)."""
    floor = select(authorities.c.version_floor).where(authorities.c.id == authority_id)
    newest = select(func.max(publications.c.version)).where(
        publications.c.authority == authority_id
    )
    stands = max(connection.scalar(floor) or 0, connection.scalar(newest) or 0)
    if stands < mark:
        raise rolled_back(f"{authority_id!r} stands at version {stands}, not {mark}")


def read(connection: Connection, authority_id: str) -> Authority:
    """Return an authority; raises `NotFound`."""
    row = connection.execute(
        select(authorities).where(authorities.c.id == authority_id)
    ).one_or_none()
    if row is None:
        raise absent(authority_id)
    return _authority(row, _keys(connection, [authority_id]).get(authority_id, ()))


def absent(authority_id: str) -> NotFound:
    """Return the error for an authority that there is not."""
    return NotFound(f"there is no authority {authority_id!r}")


def grow(connection: Connection, authority_id: str, **values: object) -> None:
    """Grow a revision: hosts must learn of what changed. Raises `NotFound`."""
    statement = update(authorities).where(authorities.c.id == authority_id)
    grown = connection.execute(statement.values(revision=authorities.c.revision + 1, **values))
    if not grown.rowcount:
        raise absent(authority_id)


def _exists(connection: Connection, authority_id: str) -> bool:
    query = select(authorities.c.id).where(authorities.c.id == authority_id)
    return connection.scalar(query) is not None


def _insert_key(
    connection: Connection, authority_id: str, position: int, key: AuthorityKey
) -> None:
    connection.execute(
        insert(authority_keys).values(
            authority=authority_id,
            position=position,
            reference=key.reference,
            purpose=str(key.purpose),
            state=str(key.state),
            public_key=key.public_key.blob,
            fingerprint=key.public_key.fingerprint,
            created_at=key.created_at,
            retired_at=key.retired_at,
            revoked_at=key.revoked_at,
        )
    )


def _moved(
    held: Sequence[AuthorityKey],
    key: AuthorityKey,
    state: KeyState,
    at: datetime,
    *,
    revoked: bool,
) -> list[tuple[AuthorityKey, AuthorityKey]]:
    """Return the keys that change, before and after; raises `Conflict` for a step backwards."""
    if _ORDER[state] < _ORDER[key.state]:
        raise Conflict(f"the key is {key.state} already")
    if key.revoked_at and state is KeyState.ACTIVE:
        raise Conflict("the key is revoked")
    new = replace(key, revoked_at=at) if revoked and not key.revoked_at else key
    if state is not key.state:
        new = _put(new, state, at)
    moved = [(key, new)] if new != key else []
    if state is KeyState.ACTIVE and key.state is KeyState.NEXT:
        moved += [
            (old, _put(old, KeyState.RETIRED, at))
            for old in held
            if old.purpose is key.purpose and old.state is KeyState.ACTIVE
        ]
    return moved


def _put(key: AuthorityKey, state: KeyState, at: datetime) -> AuthorityKey:
    return replace(key, state=state, retired_at=at if state is KeyState.RETIRED else None)


def _update_key(connection: Connection, authority_id: str, key: AuthorityKey) -> None:
    connection.execute(
        update(authority_keys)
        .where(
            authority_keys.c.authority == authority_id,
            authority_keys.c.reference == key.reference,
        )
        .values(state=str(key.state), retired_at=key.retired_at, revoked_at=key.revoked_at)
    )


def _keys(connection: Connection, ids: Sequence[str]) -> dict[str, tuple[AuthorityKey, ...]]:
    query = (
        select(authority_keys)
        .where(authority_keys.c.authority.in_(ids))
        .order_by(authority_keys.c.authority, authority_keys.c.position)
    )
    found: dict[str, tuple[AuthorityKey, ...]] = {}
    for row in connection.execute(query):
        key = AuthorityKey(
            reference=row.reference,
            purpose=Purpose(row.purpose),
            state=KeyState(row.state),
            public_key=columns.public_key(row.public_key),
            created_at=row.created_at,
            retired_at=row.retired_at,
            revoked_at=row.revoked_at,
        )
        found[row.authority] = (*found.get(row.authority, ()), key)
    return found


def _authority(row: Row[Any], keys: tuple[AuthorityKey, ...]) -> Authority:
    return Authority(
        id=row.id,
        name=row.name,
        profile=_load_profile(row.profile),
        keys=keys,
        created_at=row.created_at,
        revision=row.revision,
        retired_at=row.retired_at,
    )


def _dump_profile(profile: Profile) -> str:
    facts = asdict(profile)
    for name, value in facts.items():
        if isinstance(value, timedelta):
            facts[name] = value // timedelta(seconds=1)
        elif isinstance(value, frozenset):
            facts[name] = sorted(value)
    return columns.dump(facts)


def _load_profile(stored: str) -> Profile:
    """Read a profile; a field that is younger than the row has its default."""
    facts = json.loads(stored)
    default = Profile()
    values: dict[str, Any] = {}
    for field in fields(Profile):
        if field.name in facts:
            value, like = facts[field.name], getattr(default, field.name)
            if isinstance(like, timedelta):
                value = timedelta(seconds=value)
            elif isinstance(like, frozenset | tuple):
                value = type(like)(value)
            values[field.name] = value
    return Profile(**values)
