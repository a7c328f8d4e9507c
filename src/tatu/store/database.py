"""The database below the ledger: how it is opened, and how a change is committed.

Nothing of SQLAlchemy leaves this package: whatever it raises is turned into `core.errors` here.
"""

import contextlib
import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import (
    URL,
    Connection,
    Engine,
    Row,
    Select,
    and_,
    create_engine,
    event,
    insert,
    make_url,
    select,
    update,
)
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, SQLAlchemyError

from tatu.core import audit
from tatu.core.audit import Event, Link
from tatu.core.errors import Conflict, Malformed, Unavailable
from tatu.core.losses import Topic
from tatu.store import columns, tables
from tatu.store.auditcopy import AuditCopy, NoCopy
from tatu.store.bulk import insert_rows

ATTEMPTS = 8
"""How often a transaction is tried that the database itself gave up (deadlock, serialization)."""

_DRIVERS = {
    "sqlite": "sqlite+pysqlite",
    "postgresql": "postgresql+psycopg",
    "postgres": "postgresql+psycopg",
    "mysql": "mariadb+pymysql",
    "mariadb": "mariadb+pymysql",
    "mysql+pymysql": "mariadb+pymysql",
}
_CONNECT: dict[str, dict[str, Any]] = {
    "sqlite": {"timeout": 10},
    # a server that is gone must be noticed within seconds, not when TCP gives up
    "postgresql": {"connect_timeout": 5, "keepalives_idle": 10, "tcp_user_timeout": 15_000},
    "mariadb": {
        "connect_timeout": 5,
        "read_timeout": 60,
        "write_timeout": 60,
        "charset": "utf8mb4",
    },
}
_RETRIED = {"40001", "40P01", 1205, 1213}
_PAGE = 1000

_HEAD = (
    select(tables.chain.c.sequence, tables.chain.c.hash, tables.chain.c.mark)
    .where(tables.chain.c.id == 1)
    .with_for_update()
)
_MOVE_HEAD = update(tables.chain).where(tables.chain.c.id == 1)

T = TypeVar("T")


def parse_url(url: str) -> URL:
    """Return the address of a database; raises `Malformed`."""
    try:
        parsed = make_url(url)
    except SQLAlchemyError as error:
        raise Malformed(
            "the ledger's database is no URL (like sqlite:////path/tatu.db)"
        ) from error
    parsed = parsed.set(drivername=_DRIVERS.get(parsed.drivername, parsed.drivername))
    if parsed.get_backend_name() not in _CONNECT:
        raise Malformed(
            f"a ledger is kept in SQLite, PostgreSQL or MariaDB, not {parsed.drivername!r}"
        )
    if parsed.get_backend_name() == "sqlite" and parsed.database in (None, "", ":memory:"):
        raise Malformed("a ledger in memory remembers nothing: name a file")
    return parsed


def make_engine(url: str, *, pool_size: int) -> Engine:
    """Open a database lazily: nothing is asked of it yet."""
    parsed = parse_url(url)
    backend = parsed.get_backend_name()
    options: dict[str, Any] = {}
    if backend != "sqlite":
        options = {"pool_pre_ping": True, "isolation_level": "READ COMMITTED"}
    engine = create_engine(
        parsed,
        connect_args=_CONNECT[backend],
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=30,
        hide_parameters=True,  # an error's text must not show what was to be stored
        **options,
    )
    if backend == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, record: object) -> None:
    connection.isolation_level = (
        None  # BEGIN is said in `_begin_sqlite`, not guessed by the driver
    )
    for pragma in (
        "busy_timeout = 10000",
        "journal_mode = WAL",
        "synchronous = FULL",
        "foreign_keys = ON",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    options = connection.get_execution_options()
    if options.get("reads"):  # one by one, as other databases do: nothing need be begun or ended
        return
    # a deferred transaction that reads and then writes fails at once when another has written
    connection.exec_driver_sql("BEGIN IMMEDIATE" if options.get("writes") else "BEGIN")


def _code(error: DBAPIError) -> str | int:
    """Return the database's own code of an error, which tells and betrays nothing."""
    cause: Any = error.orig
    name = getattr(cause, "sqlite_errorname", None) or getattr(cause, "sqlstate", None)
    if name:
        return str(name)
    arguments = getattr(cause, "args", ())
    if arguments and isinstance(arguments[0], int):
        return arguments[0]
    return type(cause).__name__


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Raise errors of `core.errors` instead of the database's."""
    try:
        yield
    except IntegrityError as error:
        raise Conflict("there is such a thing already, or what it names is gone") from error
    except DataError as error:
        raise Malformed(
            "a value is too long or has a character that the ledger cannot hold"
        ) from error
    except DBAPIError as error:
        raise Unavailable(f"the ledger's database fails ({_code(error)})") from error
    except SQLAlchemyError as error:
        raise Unavailable(f"the ledger's database fails ({type(error).__name__})") from error
    except UnicodeEncodeError as error:
        raise Malformed("a text has characters that are none") from error


class Change:
    """A transaction that holds the chain's head: what it appends and does is committed as one."""

    def __init__(self, connection: Connection) -> None:
        head = connection.execute(_HEAD).one_or_none()
        if head is None:
            raise Unavailable("the ledger's database is empty: run `tatu-manage db sync`")
        self.connection = connection
        self.sequence: int = head.sequence
        self.hash: str = head.hash
        self.mark: int = head.mark
        self.links: list[Link] = []
        self._rows: list[tuple[Any, ...]] = []
        self._start = head.mark

    def append(self, event: Event, **facts: object) -> Link:
        """Append an event to the chain, with facts that only the ledger knows."""
        whole = replace(event, facts={**event.facts, **facts}) if facts else event
        return self.append_body(event.authority, audit.body(whole))

    def append_body(self, authority: str | None, body: str) -> Link:
        """Append an event that is written already."""
        link = audit.link(self.hash, self.sequence + 1, body)
        self.sequence, self.hash = link.sequence, link.hash
        self.links.append(link)
        self._rows.append((link.sequence, authority, link.previous, body, link.hash))
        return link

    def cut_off(
        self, topics: Sequence[Topic], reason: str, at: datetime, *, swept: bool = False
    ) -> dict[str, int]:
        """Add a cut-off for each topic; return the newest mark as a fact of the event.

        `swept`: no certificate is to be revoked for it, or all are in this very transaction.
        """
        rows = [
            {"mark": mark, "topic": topic, "reason": reason, "at": at, "swept": swept}
            for mark, topic in enumerate(topics, start=self.mark + 1)
        ]
        if rows:
            self.connection.execute(insert(tables.cut_offs), rows)
            self.mark += len(rows)
            self._end_admissions(frozenset(topics), at)
        return {"mark": self.mark}

    def _end_admissions(self, ended: frozenset[Topic], at: datetime) -> None:
        """Make worthless the enrolment tokens of those whose permission ends."""
        hosts = tables.hosts
        admitted = select(hosts.c.authority, hosts.c.id, hosts.c.admitted_topics).where(
            hosts.c.admitted_until > at, hosts.c.admitted_topics.is_not(None)
        )
        for row in self.connection.execute(admitted).all():
            if ended.intersection(columns.texts(row.admitted_topics)):
                this = and_(hosts.c.authority == row.authority, hosts.c.id == row.id)
                self.connection.execute(update(hosts).where(this).values(admitted_until=at))

    def finish(self) -> None:
        """Write the chain down."""
        if self._rows:
            insert_rows(self.connection, tables.audit, self._rows)
        if self._rows or self.mark != self._start:
            self.connection.execute(
                _MOVE_HEAD, {"sequence": self.sequence, "hash": self.hash, "mark": self.mark}
            )


class Database:
    """Transactions of three kinds: `read`, `write` (no fact changes) and `change`."""

    def __init__(self, engine: Engine, copy: AuditCopy | NoCopy) -> None:
        self.engine = engine
        self.copy = copy
        self._writing = engine.execution_options(writes=True)
        # SQLite lets waiting writers poll; a lock wakes them in turn
        self._turn: contextlib.AbstractContextManager[Any] = (
            threading.Lock() if engine.dialect.name == "sqlite" else contextlib.nullcontext()
        )
        self._seen = (0, -math.inf)
        self._seeing = threading.Lock()

    def see_mark(self, mark: int, at: float) -> None:
        """Keep the newest cut-off mark that was read or committed, and when (monotonic)."""
        with self._seeing:
            self._seen = max(self._seen, (mark, at))

    def seen_mark(self, age: float) -> int | None:
        """Return the newest mark that was seen, if that is at most so many seconds ago."""
        mark, at = self._seen
        return mark if time.monotonic() - at < age else None

    @contextlib.contextmanager
    def read(self, *, consistent: bool = False) -> Iterator[Connection]:
        """Read; with `consistent` every statement sees the same moment."""
        with translated(), self.engine.connect() as connection:
            if not consistent:
                connection.execution_options(reads=True)
            elif self.engine.dialect.name != "sqlite":  # where every transaction is
                connection.execution_options(isolation_level="REPEATABLE READ")
            yield connection

    def row(self, query: Select[Any], values: Mapping[str, Any]) -> Row[Any] | None:
        """Return the one row that a query finds, if there is one."""
        with self.read() as connection:
            return connection.execute(query, values).one_or_none()

    def write(self, work: Callable[[Connection], T]) -> T:
        """Commit what is no fact of the chain; `work` may be called again after a deadlock."""
        return self._tried(lambda: self._write(work))

    def change(self, work: Callable[[Change], T], *, restoring: bool = False) -> T:
        """Commit what `work` does with its events; it may be called again after a deadlock.

        On return the audit copy has the events too. Raises `RolledBack` when the copy
        knows of events that the database has not, `Unavailable`, `Conflict`, `Malformed`.
        """
        result, links = self._tried(lambda: self._change(work, restoring=restoring))
        if links and not restoring:
            self.copy.extend(links, self.links)
        return result

    def links(self, after: int) -> Iterator[Link]:
        """Yield the links after a sequence."""
        while page := self.links_page(after=after, limit=_PAGE):
            yield from page
            after = page[-1].sequence

    def links_page(
        self, *, after: int, limit: int, authorities: Sequence[str] | None = None
    ) -> tuple[Link, ...]:
        """Return the first links after a sequence; confined to events of these authorities."""
        table = tables.audit
        query = (
            select(table.c.sequence, table.c.previous, table.c.body, table.c.hash)
            .where(table.c.sequence > after)
            .order_by(table.c.sequence)
            .limit(limit)
        )
        if authorities is not None:
            query = query.where(table.c.authority.in_(authorities))
        with self.read() as connection:
            return tuple(Link(**row._asdict()) for row in connection.execute(query))

    def head(self) -> tuple[int, str]:
        """Return the last sequence and hash."""
        with self.read() as connection:
            row = connection.execute(
                select(tables.chain.c.sequence, tables.chain.c.hash)
            ).one_or_none()
        if row is None:
            raise Unavailable("the ledger's database is empty: run `tatu-manage db sync`")
        return row.sequence, row.hash

    def _write(self, work: Callable[[Connection], T]) -> T:
        with self._turn, self._writing.begin() as connection:
            return work(connection)

    def _change(self, work: Callable[[Change], T], *, restoring: bool) -> tuple[T, list[Link]]:
        begun = time.monotonic()
        with self._turn, self._writing.begin() as connection:
            change = Change(connection)
            if not restoring:
                self.copy.check(change.sequence, change.hash)
            result = work(change)
            change.finish()
        self.see_mark(change.mark, begun)
        return result, change.links

    def _tried(self, transaction: Callable[[], T]) -> T:
        with translated():
            for _ in range(ATTEMPTS - 1):
                try:
                    return transaction()
                except DBAPIError as error:
                    if _code(error) not in _RETRIED:
                        raise
            return transaction()
