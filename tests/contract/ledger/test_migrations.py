"""The schema: every revision runs up on every database, from empty and with data in it."""

import contextlib

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import MetaData, Table, inspect, text

from tatu.ports import LoginFilter, RevocationSelector
from tatu.store import migrations, revision
from tatu.store.database import make_engine
from tatu.store.ledger import SqlLedger
from tatu.store.tables import metadata
from tests.contract.ledger.material import (
    MARIADB,
    NOW,
    authority,
    event,
    slow,
    user_certificate,
)
from tests.contract.ledger.shared import SharedDatabase


@pytest.fixture
def engine(url):
    made = make_engine(url, pool_size=1)
    yield made
    made.dispose()


def test_what_the_revisions_make_is_what_the_code_expects(engine):
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
    assert revision.NEWEST == migrations.revisions()[-1] == revision.current(engine)


def test_migrating_twice_changes_nothing(url, ledger):
    deployment = ledger.deployment()
    migrations.migrate(url)
    assert deployment == ledger.deployment()
    ledger.check()


def test_every_database_is_another_deployment(ledger, tmp_path):
    migrations.migrate(f"sqlite:///{tmp_path}/other 100%.db")
    other = make_engine(f"sqlite:///{tmp_path}/other 100%.db", pool_size=1)
    with other.connect() as connection:
        assert ledger.deployment() != connection.scalar(text("SELECT deployment FROM chain"))
    other.dispose()


# What a ledger may hold at each revision, in columns of that revision: the code's tables are the
# newest one's. Whoever adds a revision adds its rows here, and says below how they read.
ROWS = {
    "0001": (
        ("projects", {"id": "blue", "name": "Blue", "enabled": True}),
        ("users", {"id": "u1", "name": "ann", "enabled": True}),
        (
            "authorities",
            {"id": "blue", "name": "Blue", "profile": "{}", "created_at": 1, "revision": 0},
        ),
        (
            "certificates",
            {
                "sequence": 1,
                "authority": "blue",
                "serial": 7,
                "type": 1,
                "key_id": "ann_7",
                "principals": '["member"]',
                "subject_key": "SHA256:s",
                "signature_key": "SHA256:c",
                "valid_after": 1,
                "valid_before": 2,
                "issued_at": 1,
                "issuer": "local",
                "subject": "u1",
                "user_name": "ann",
                "roles": '["r1"]',
                "blob": b"",
                "revoked_at": 1,
                "revoked_reason": "lost",
                "revoked_by": "u1",
            },
        ),
        (
            "cut_offs",
            {"mark": 1, "topic": "user:u1", "reason": "gone", "at": 1, "swept": False},
        ),
        (
            "publications",
            {
                "authority": "blue",
                "version": 9,
                "revision": 0,
                "statement": b"s",
                "signature": "g",
                "krl_version": 9,
                "issued_at": 1,
                "expires_at": 2,
            },
        ),
        (
            "hosts",
            {
                "authority": "blue",
                "id": "db",
                "names": '["db"]',
                "addresses": "[]",
                "epoch": 1,
                "admitted_until": 2,
                "created_at": 1,
                "host_keys": "[]",
            },
        ),
    ),
    "0002": (
        ("holds", {"authority": "blue", "kind": "user", "value": "u1", "since": 1}),
        ("leases", {"name": "reconcile", "holder": "one", "until": 2}),
    ),
    "0003": (("nonces", {"nonce": "0" * 64, "until": 2}),),
    "0004": (
        (
            "receipts",
            {
                "authority": "blue",
                "host": "db",
                "statement_version": 9,
                "krl_version": 9,
                "krl_digest": "sha256:0",
                "at": 1,
                "received_at": 1,
                "proof": "{}",
            },
        ),
        (
            "reports",
            {
                "authority": "blue",
                "host": "db",
                "received_at": 1,
                "agent_version": "1",
                "openssh": "9.2",
                "os": "debian",
                "findings": "[]",
                "sessions": "[]",
            },
        ),
        (
            "logins",
            {
                "authority": "blue",
                "host": "db",
                "id": "1",
                "received_at": 1,
                "at": 1,
                "kind": "accepted",
                "account": "member",
                "source": "",
                "detail": "",
                "subject": "u1",
                "user_name": "ann",
                "alarm": "",
            },
        ),
    ),
}


def test_each_revision_runs_with_data_from_the_one_before(new_url):
    for each in migrations.revisions():
        migrations.migrate(new_url, each)
        assert each in ROWS, f"revision {each} has no rows to be carried on to the next one"
        engine = make_engine(new_url, pool_size=1)
        with engine.execution_options(writes=True).begin() as connection:
            for name, row in ROWS[each]:
                table = Table(name, MetaData(), autoload_with=connection)
                connection.execute(table.insert(), row)
        engine.dispose()
    assert list(migrations.revisions()) == list(ROWS)
    ledger = SqlLedger.open(new_url, state_dir=None, clock=lambda: NOW)
    with contextlib.closing(ledger):
        found = ledger.certificates.get("blue", 7, scope=None)
        assert (found.principals, found.roles, found.revoked_reason) == (
            ("member",),
            ("r1",),
            "lost",
        )
        assert (found.origin, found.proven) == ("", True)
        old = ledger.hosts.get("blue", "db", scope=None)
        assert (old.instance, old.legacy, old.admitted_at, old.renewal_due_at) == (
            False,
            False,
            None,
            None,
        )
        assert ledger.authorities.get("blue").retired_at is None
        assert [held.value for held in ledger.holds.standing()] == ["u1"]
        assert ledger.directory.user("ann").id == "u1"
        assert ledger.publications.newest("blue").version == 9
        told = ledger.logins.list(LoginFilter(authorities=None), limit=9, marker=None)
        assert [one.user_name for one in told.items] == ["ann"]
        assert [sweep.topic for sweep in ledger.cut_offs.unswept()] == ["user:u1"]
        ledger.authorities.touch()
        ledger.check()


@pytest.mark.parametrize("new_url", [slow("postgresql"), slow("mariadb")], indirect=True)
def test_a_shared_database_is_left_as_the_migrations_leave_it(new_url):
    """What the tests of this folder rely on: on a server they use one after the other."""
    database = SharedDatabase(new_url)
    before = content(new_url)
    for _ in range(2):
        ledger = SqlLedger.open(new_url, state_dir=None, clock=lambda: NOW)
        with contextlib.closing(ledger):
            ledger.authorities.create(authority(), event())
            ledger.certificates.record(user_certificate(1), event())
            lost = RevocationSelector(authority="blue", subject="u1", block=True)
            ledger.revocations.revoke(lost, "lost", event(authority="blue"))
            assert [block.id for block in ledger.revocations.blocks("blue")] == [1]
        assert content(new_url) != before
        database.reset()
        assert content(new_url) == before


def content(url):
    """Return all rows of all tables."""
    engine = make_engine(url, pool_size=1)
    with contextlib.closing(engine.connect()) as connection:
        found = {
            name: connection.execute(table.select()).all()
            for name, table in metadata.tables.items()
        }
    engine.dispose()
    return found


@MARIADB
def test_every_text_is_compared_byte_for_byte(engine):
    query = "SELECT COUNT(*) FROM information_schema.columns WHERE table_schema = DATABASE() AND collation_name {} 'utf8mb4_nopad_bin' AND table_name <> 'alembic_version'"
    with engine.connect() as connection:
        assert connection.scalar(text(query.format("="))) > 50
        assert connection.scalar(text(query.format("<>"))) == 0


def test_every_table_is_known_to_the_code(engine):
    assert {*metadata.tables, "alembic_version"} == set(inspect(engine).get_table_names())
