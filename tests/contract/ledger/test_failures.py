"""Databases that fail: full, locked, gone and back; processes that are killed."""

import sqlite3
import subprocess
import sys
import threading

import pytest
from sqlalchemy import create_engine, text

from tatu.core import audit
from tatu.core.errors import Conflict, Malformed, NotFound, Unavailable
from tatu.ports import CertificateFilter, User
from tatu.store import database
from tatu.store.ledger import SqlLedger
from tests.contract.ledger.material import NOW, SERVERS, SQLITE, event, user_certificate


@SQLITE
def test_a_full_disk_is_said_and_survived(blue, url):
    engine = blue._database.engine

    def room(connection, record, proxy):
        pages = connection.execute("PRAGMA page_count").fetchone()[0] + extra
        connection.execute(f"PRAGMA max_page_count = {pages}")

    extra = 0
    database.event.listen(engine, "checkout", room)
    stored = 0
    with pytest.raises(Unavailable, match="SQLITE_FULL"):  # noqa: PT012 (at which, is not known)
        for serial in range(1, 1000):
            blue.certificates.record(user_certificate(serial), event())
            stored = serial
    extra = 10_000
    blue.certificates.record(user_certificate(stored + 1), event())
    found = blue.certificates.list(
        CertificateFilter(authorities=None), limit=1000, marker=None
    ).items
    assert list(range(stored + 1, 0, -1)) == [one.serial for one in found]
    audit.check(blue.audit.read(after=0, limit=2000))


@SQLITE
def test_a_locked_database_is_unavailable_and_comes_back(blue, url, monkeypatch):
    other = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
    with blue._database.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA busy_timeout = 50")
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Unavailable, match="SQLITE_BUSY"):
        blue.certificates.record(user_certificate(1), event())
    other.execute("ROLLBACK")
    other.close()
    blue.certificates.record(user_certificate(1), event())


@SERVERS
def test_killed_connections_are_replaced(blue, url):
    """A commit may be lost with its connection, and says so; what follows works."""
    blue.audit.append(event())
    killer = create_engine(database.parse_url(url), isolation_level="AUTOCOMMIT")
    with killer.connect() as connection:
        if url.startswith("postgresql"):
            kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
            connection.execute(text(kill)).all()
        else:
            mine = text(
                "SELECT id FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()"
            )
            for (number,) in connection.execute(mine).all():
                connection.execute(text(f"KILL {number}"))
    killer.dispose()
    blue.certificates.record(user_certificate(1), event())
    blue.check()
    assert blue.certificates.get("blue", 1, scope=None).serial == 1


@SERVERS
def test_connections_that_are_killed_under_load_lose_nothing_that_was_promised(blue, url):
    promised, refused, over = [], [], threading.Event()

    def issue(start):
        for serial in range(start, start + 100):
            try:
                blue.certificates.record(user_certificate(serial), event())
                promised.append(serial)
            except Unavailable:
                refused.append(serial)

    def kill():
        killer = create_engine(database.parse_url(url), isolation_level="AUTOCOMMIT")
        with killer.connect() as connection:
            while not over.is_set():
                if url.startswith("postgresql"):
                    sessions = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
                    connection.execute(text(sessions)).all()
                else:
                    sessions = "SELECT id FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()"
                    for (number,) in connection.execute(text(sessions)).all():
                        try:
                            connection.execute(text(f"KILL {number}"))
                        except database.DBAPIError:
                            continue  # it has gone by itself
                over.wait(0.05)
        killer.dispose()

    threads = [threading.Thread(target=issue, args=(1 + 100 * n,)) for n in range(4)]
    killing = threading.Thread(target=kill)
    for thread in (killing, *threads):
        thread.start()
    for thread in threads:
        thread.join()
    over.set()
    killing.join()
    found = blue.certificates.list(
        CertificateFilter(authorities=None), limit=1000, marker=None
    ).items
    assert set(promised) <= {one.serial for one in found}
    assert len(promised) + len(refused) == 400
    audit.check(blue.audit.read(after=0, limit=2000))


def test_a_server_that_is_not_there_is_unavailable():
    ledger = SqlLedger.open(
        "postgresql://tatu@127.0.0.1:1/tatu", state_dir=None, clock=lambda: NOW
    )
    for ask in (
        ledger.deployment,
        ledger.check,
        ledger.audit.head,
        lambda: ledger.audit.append(event()),
    ):
        with pytest.raises(Unavailable):
            ask()
    ledger.close()


def test_a_database_that_was_never_migrated_is_unavailable(tmp_path):
    ledger = SqlLedger.open(
        f"sqlite:///{tmp_path}/new.db", state_dir=tmp_path / "state", clock=lambda: NOW
    )
    with pytest.raises(Unavailable, match="tatu-manage db sync"):
        ledger.check()
    with pytest.raises(Unavailable):
        ledger.audit.append(event())
    ledger.close()


@pytest.mark.parametrize("url", ["", "no url", "oracle://x/y", "sqlite://", "sqlite:///:memory:"])
def test_a_url_that_names_no_ledger_is_malformed(url):
    with pytest.raises(Malformed):
        SqlLedger.open(url, state_dir=None, clock=lambda: NOW)


def test_sqlite_has_room_for_one_api_process(url, open_ledger):
    first = open_ledger(exclusive=True)
    if url.startswith("sqlite"):
        with pytest.raises(Conflict, match="another tatu-api"):
            open_ledger(exclusive=True)
        first.close()
    open_ledger(exclusive=True).check()


@pytest.mark.parametrize("value", ["x" * 300, "nul \0", "half \udc80"])
def test_texts_that_a_database_cannot_hold_never_break_it(ledger, value):
    try:
        ledger.directory.create_user(User(id=value, name="alice"), event())
    except Malformed:
        with pytest.raises((NotFound, Malformed)):
            ledger.directory.user(value)
    else:
        assert value == ledger.directory.user(value).id
    ledger.check()


_ISSUE_FOR_EVER = """
import sys, threading
from pathlib import Path
from tatu.store.ledger import SqlLedger
from tests.contract.ledger.material import NOW, SERVERS, SQLITE, event, user_certificate

ledger = SqlLedger.open(sys.argv[1], state_dir=Path(sys.argv[2]), clock=lambda: NOW)

def issue():
    while True:
        serial = ledger.certificates.reserve("blue")
        ledger.certificates.record(user_certificate(serial), event(authority="blue"))
        sys.stdout.write(f"{serial}\\n")
        sys.stdout.flush()

for _ in range(8):
    threading.Thread(target=issue).start()
"""


def test_a_killed_process_loses_nothing_that_it_promised(blue, url, tmp_path):
    """Killed at five moments: every serial that left is in the ledger, and none left twice."""
    told = []
    for moment in range(5):
        command = [sys.executable, "-c", _ISSUE_FOR_EVER, url, tmp_path / "state"]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            told += [int(process.stdout.readline()) for _ in range(20 + 7 * moment)]
            process.kill()
            told += [int(line) for line in process.stdout if line.endswith(b"\n")]
    found = blue.certificates.list(
        CertificateFilter(authorities=None), limit=100_000, marker=None
    ).items
    assert len(told) == len(set(told))
    assert set(told) <= {one.serial for one in found}
    audit.check(blue.audit.read(after=0, limit=100_000))
