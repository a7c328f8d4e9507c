"""What the brake holds (S22)."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Row, and_, delete, insert, select

from tatu.core import losses
from tatu.core.audit import Event
from tatu.ports import Held, Holds
from tatu.store.authorities import Snapshots
from tatu.store.database import Change, Database
from tatu.store.tables import holds as table


class SqlHolds(Holds):
    """Keeps inferred losses until they prove to be one, or none."""

    def __init__(self, database: Database, snapshots: Snapshots) -> None:
        self._database = database
        self._snapshots = snapshots

    def hold(self, held: Sequence[Held], event: Event) -> None:
        """Keep losses, and cut off what is being made for whom they concern."""

        def work(change: Change) -> None:
            known = {_key(row) for row in change.connection.execute(select(table))}
            new = {_key(one): one for one in held if _key(one) not in known}
            if new:
                change.connection.execute(insert(table), [vars(one) for one in new.values()])
                topics = [_topic(one) for one in new.values()]
                cut_off = change.cut_off(topics, event.action, event.at, swept=True)
                change.append(event, held=_told(new.values()), **cut_off)

        self._change(work)

    def standing(self) -> tuple[Held, ...]:
        """Return what is held, the oldest first."""
        query = select(table).order_by(
            table.c.since, table.c.authority, table.c.kind, table.c.value
        )
        with self._database.read() as connection:
            return tuple(Held(**row._asdict()) for row in connection.execute(query))

    def release(self, held: Sequence[Held], event: Event) -> None:
        """Let losses go."""

        def work(change: Change) -> None:
            released = [
                one
                for one in held
                if change.connection.execute(delete(table).where(_is(one))).rowcount
            ]
            if released:
                change.append(event, released=_told(released))

        self._change(work)

    def _change(self, work: Callable[[Change], None]) -> None:
        try:
            self._database.change(work)
        finally:
            self._snapshots.forget()


def _topic(one: Held) -> losses.Topic:
    match one.kind:
        case "user":
            return losses.user_in_project(one.value, one.authority)
        case "origin":
            return losses.origin(one.value)
        case _:
            return losses.host(one.authority, one.value)


def _key(one: Held | Row[Any]) -> tuple[str, str, str]:
    return one.authority, one.kind, one.value


def _is(one: Held) -> ColumnElement[bool]:
    return and_(
        table.c.authority == one.authority,
        table.c.kind == one.kind,
        table.c.value == one.value,
    )


def _told(held: Iterable[Held]) -> dict[str, list[str]]:
    """Tell by authority what is held, as `user id`, say."""
    told: dict[str, list[str]] = {}
    for one in held:
        told.setdefault(one.authority, []).append(f"{one.kind} {one.value}")
    return told
