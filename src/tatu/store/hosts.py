"""Hosts and their admissions."""

from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from typing import Any, TypeVar

from sqlalchemy import (
    Connection,
    Row,
    Select,
    and_,
    bindparam,
    delete,
    insert,
    select,
    tuple_,
    update,
)

from tatu.core import losses
from tatu.core.audit import Event
from tatu.core.authority import RETIRED
from tatu.core.errors import Conflict, Gone, Malformed, PermissionEnded, Taken
from tatu.core.host import Host
from tatu.core.losses import Topic
from tatu.ports import Hosts, Page
from tatu.store import columns
from tatu.store.authorities import Snapshots
from tatu.store.claims import absent
from tatu.store.database import Change, Database
from tatu.store.revocations import revoke_listed
from tatu.store.tables import authorities, certificates, cut_offs, host_principals
from tatu.store.tables import hosts as table
from tatu.store.told import by, ranges

# Made once: each request of a fleet asks this
_LIVE = select(table).where(
    table.c.authority == bindparam("its_authority"),
    table.c.id == bindparam("its_id"),
    table.c.deleted_at.is_(None),
)

T = TypeVar("T")


class SqlHosts(Hosts):
    """Knows every host that was ever admitted; a deleted one only keeps its epoch."""

    def __init__(self, database: Database, snapshots: Snapshots) -> None:
        self._database = database
        self._snapshots = snapshots

    def admit(
        self,
        host: Host,
        event: Event,
        *,
        mark: int = 0,
        topics: frozenset[Topic] = frozenset(),
        stands: Callable[[Host], bool] | None = None,
    ) -> Host:
        """Add a host, or open the next epoch of a known one."""
        stored = {"admitted_topics": columns.dump(sorted(topics))}

        def work(change: Change) -> Host:
            newer = select(cut_offs.c.topic).where(cut_offs.c.mark > mark)
            if topics and topics.intersection(change.connection.scalars(newer)):
                raise PermissionEnded("a permission ended while the host was being admitted")
            _check_authority(change.connection, host.authority)
            known = _find(change.connection, host.authority, host.id)
            if known and stands and known.deleted_at is None and stands(known):
                return _kept(change, known, host, event)
            epoch = 1 if known is None else known.epoch + 1
            admitted = replace(
                host,
                epoch=epoch,
                created_at=host.created_at if known is None else known.created_at,
                host_keys=(),
                enrolled_at=None,
                deleted_at=None,
                refused_at=None,
                admitted_at=event.at,
                renewal_due_at=None,
            )
            _take_id(change, admitted, event)
            _hold_principals(change.connection, admitted)
            if known is None:
                change.connection.execute(insert(table).values({**_values(admitted), **stored}))
                change.append(event)
            else:
                _update(change.connection, admitted, **stored)
                # what is being made for the epoch before must not be recorded; what was, stays
                # until the token is redeemed, unless it names what another host may get now
                mine = [losses.host(host.authority, host.id)]
                facts: dict[str, object] = {
                    **change.cut_off(mine, event.action, event.at, swept=True),
                    **_revoke_beyond(change.connection, admitted.principals, admitted, event),
                }
                change.append(event, **facts)
            return admitted

        return self._change(work)

    def get(self, authority_id: str, host_id: str, *, scope: Sequence[str] | None) -> Host:
        """Return a host that is not deleted."""
        query = _LIVE if scope is None else _LIVE.where(table.c.authority.in_(scope))
        row = self._database.row(query, {"its_authority": authority_id, "its_id": host_id})
        if row is None:
            raise absent(authority_id, host_id)
        return _host(row)

    def list(
        self,
        *,
        authorities: Sequence[str] | None,
        ids: Sequence[str] | None = None,
        holding: str | None = None,
        limit: int,
        marker: str | None,
    ) -> Page[Host]:
        """Return hosts by authority and id; the marker is both."""
        query = select_of(authorities=authorities, ids=ids, holding=holding)
        if marker is not None:
            query = query.where(tuple_(table.c.authority, table.c.id) > _place(marker))
        query = query.order_by(table.c.authority, table.c.id).limit(limit + 1)
        with self._database.read() as connection:
            rows = connection.execute(query).all()
        items = tuple(map(_host, rows[:limit]))
        last = columns.dump([items[-1].authority, items[-1].id]) if len(rows) > limit else None
        return Page(items=items, marker=last)

    def enrol(
        self, authority_id: str, host_id: str, epoch: int, keys: Sequence[str], event: Event
    ) -> Host:
        """Bind host keys to this epoch."""

        def work(change: Change) -> Host:
            host = _live(change.connection, authority_id, host_id)
            if host.epoch != epoch:
                raise Gone(f"host {host_id!r} was admitted again: its token is no more")
            if host.host_keys:
                if set(host.host_keys) == set(keys) and host.renewal_due_at is None:
                    return host
                if set(host.host_keys) == set(keys):
                    renewed = replace(host, renewal_due_at=None)
                    _update(change.connection, renewed)
                    change.append(event)
                    return renewed
                raise Conflict(f"host {host_id!r} is enrolled with other keys")
            if event.at >= host.admitted_until:
                raise Gone(f"the admission of host {host_id!r} ended")
            enrolled = replace(host, host_keys=tuple(keys), enrolled_at=event.at)
            _update(change.connection, enrolled)
            change.append(event)
            return enrolled

        return self._change(work)

    def rebind(
        self,
        authority_id: str,
        host_id: str,
        *,
        names: Sequence[str],
        addresses: Sequence[str],
        event: Event,
    ) -> Host:
        """Give a host what it is called now."""

        def work(change: Change) -> Host:
            host = _live(change.connection, authority_id, host_id)
            bound = replace(host, names=tuple(names), addresses=tuple(addresses))
            if set(bound.principals) == set(host.principals):
                return host
            return _bind(change, host, bound, event)

        return self._change(work)

    def renewed(
        self, authority_id: str, host_id: str, *, principals: Sequence[str], event: Event
    ) -> None:
        """Note that a host got certificates for these principals."""

        def work(change: Change) -> None:
            host = _live(change.connection, authority_id, host_id)
            if host.principals == tuple(principals):
                _update(change.connection, replace(host, renewal_due_at=None))
            change.append(event)

        self._change(work)

    def refused(self, authority_id: str, host_id: str, event: Event) -> None:
        """Note that a second key was refused."""

        def work(change: Change) -> None:
            host = _live(change.connection, authority_id, host_id)
            _update(change.connection, replace(host, refused_at=event.at))
            change.append(event)

        self._change(work)

    def delete(self, authority_id: str, host_id: str, event: Event) -> None:
        """End a host."""

        def work(change: Change) -> None:
            host = _live(change.connection, authority_id, host_id)
            _update(change.connection, replace(host, deleted_at=event.at))
            change.connection.execute(delete(host_principals).where(_holder(host)))
            topics = [losses.host(authority_id, host_id)]
            facts: dict[str, object] = {
                **change.cut_off(topics, event.action, event.at),
                **_revoke_beyond(change.connection, (), host, event),
            }
            change.append(event, **facts)

        self._change(work)

    def _change(self, work: Callable[[Change], T]) -> T:
        try:
            return self._database.change(work)
        finally:
            self._snapshots.forget()


def select_of(
    *, authorities: Sequence[str] | None, ids: Sequence[str] | None, holding: str | None
) -> Select[Any]:
    """Return the query for live hosts; what whoever is `holding` has leads to them."""
    query = select(table).where(table.c.deleted_at.is_(None))
    if ids is not None:
        query = query.where(table.c.id.in_(ids))
    if holding is not None:
        query = query.join(
            host_principals,
            and_(
                host_principals.c.authority == table.c.authority,
                host_principals.c.host == table.c.id,
            ),
        ).where(host_principals.c.principal == holding)
    if authorities is not None:
        query = query.where(table.c.authority.in_(authorities))
    return query


def _kept(change: Change, known: Host, wanted: Host, event: Event) -> Host:
    """Return a host that stands; until it enrols it may be opened to the original's wire."""
    if known.legacy or known.host_keys or not wanted.legacy:
        return known
    opened = replace(known, legacy=True)
    _update(change.connection, opened)
    change.append(event)
    return opened


def _check_authority(connection: Connection, authority_id: str) -> None:
    query = select(authorities.c.retired_at).where(authorities.c.id == authority_id)
    if connection.scalar(query) is not None:
        raise Gone(RETIRED)


def _take_id(change: Change, host: Host, event: Event) -> None:
    """Take a host's id from another that is called so: an id is nobody's to choose, a name is."""
    query = select(host_principals.c.host).where(
        host_principals.c.authority == host.authority,
        host_principals.c.principal == host.id,
        host_principals.c.host != host.id,
    )
    holder = change.connection.scalar(query)
    if holder is None:
        return
    known = _live(change.connection, host.authority, holder)
    names = tuple(name for name in known.names if name.split(".")[0] != host.id)
    told = replace(
        event,
        action="host.rebound",
        authority=host.authority,
        subject=holder,
        facts={"refused": [{"name": host.id, "reason": "it is the id of a host"}]},
    )
    _bind(change, known, replace(known, names=names), told)


def _bind(change: Change, known: Host, bound: Host, event: Event) -> Host:
    """Give a host other names and addresses, and revoke what names any that it has no more."""
    if known.host_keys:
        bound = replace(bound, renewal_due_at=known.renewal_due_at or event.at)
    _hold_principals(change.connection, bound)
    _update(change.connection, bound)
    # what is being made by the old names must not be recorded
    mine = [losses.host(bound.authority, bound.id)]
    facts: dict[str, object] = {
        **change.cut_off(mine, event.action, event.at, swept=True),
        **_revoke_beyond(change.connection, bound.principals, bound, event),
    }
    change.append(event, **facts)
    return bound


def _hold_principals(connection: Connection, host: Host) -> None:
    """Take the principals for this host alone; raises `Conflict` when another has one."""
    connection.execute(delete(host_principals).where(_holder(host)))
    taken = connection.execute(
        select(host_principals.c.principal, host_principals.c.host)
        .where(
            host_principals.c.authority == host.authority,
            host_principals.c.principal.in_(host.principals),
        )
        .order_by(host_principals.c.principal)
        .limit(1)
    ).one_or_none()
    if taken is not None:
        raise Taken(taken.principal, holder=taken.host)
    rows = [
        {"authority": host.authority, "principal": principal, "host": host.id}
        for principal in host.principals
    ]
    connection.execute(insert(host_principals), rows)


def _revoke_beyond(
    connection: Connection, held: Sequence[str], host: Host, event: Event
) -> dict[str, object]:
    """Revoke what the host has that names more than it holds now (S8); return the facts of it."""
    live = select(certificates.c.serial, certificates.c.principals).where(
        certificates.c.authority == host.authority,
        certificates.c.host == host.id,
        certificates.c.revoked_at.is_(None),
        certificates.c.valid_before > event.at,
    )
    serials = [
        row.serial
        for row in connection.execute(live)
        if not set(columns.texts(row.principals)) <= set(held)
    ]
    if not serials:
        return {}
    revoked = {
        "revoked_at": event.at,
        "revoked_reason": event.action,
        "revoked_by": by(event.actor),
    }
    revoke_listed(connection, host.authority, serials, revoked)
    return {"revoked": {host.authority: ranges(serials)}, "reason": event.action}


def _holder(host: Host) -> Any:
    return and_(host_principals.c.authority == host.authority, host_principals.c.host == host.id)


def _is(authority_id: str, host_id: str) -> Any:
    return and_(table.c.authority == authority_id, table.c.id == host_id)


def _find(connection: Connection, authority_id: str, host_id: str) -> Host | None:
    row = connection.execute(select(table).where(_is(authority_id, host_id))).one_or_none()
    return None if row is None else _host(row)


def _live(connection: Connection, authority_id: str, host_id: str) -> Host:
    host = _find(connection, authority_id, host_id)
    if host is None or host.deleted_at is not None:
        raise absent(authority_id, host_id)
    return host


def _update(connection: Connection, host: Host, **stored: str) -> None:
    values = {**_values(host), **stored}
    connection.execute(update(table).where(_is(host.authority, host.id)).values(values))


def _values(host: Host) -> dict[str, Any]:
    listed = {
        name: columns.dump(getattr(host, name)) for name in ("names", "addresses", "host_keys")
    }
    return {**vars(host), **listed}


def _host(row: Row[Any]) -> Host:
    listed = {
        name: columns.texts(getattr(row, name)) for name in ("names", "addresses", "host_keys")
    }
    told = {field.name: getattr(row, field.name) for field in fields(Host)}
    return Host(**{**told, **listed})


def _place(marker: str) -> tuple[str, str]:
    try:
        authority_id, host_id = columns.texts(marker)
    except (ValueError, TypeError) as error:
        raise Malformed("the marker is none that a list gave") from error
    if not (isinstance(authority_id, str) and isinstance(host_id, str)):
        raise Malformed("the marker is none that a list gave")
    return authority_id, host_id
