"""The schema: every revision runs up on every database, from empty and with data in it."""

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import inspect, text

from tatu.store import migrations, revision
from tatu.store.database import make_engine
from tatu.store.tables import metadata
from tests.contract.ledger.material import MARIADB, authority, event, user_certificate


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


def test_each_revision_runs_with_data_from_the_one_before(url, open_ledger, engine):
    """The newest schema takes data; whoever adds a revision fills the one before it here."""
    for each in migrations.revisions():
        migrations.migrate(url, each)
    ledger = open_ledger()
    ledger.authorities.create(authority(), event())
    ledger.certificates.record(user_certificate(1), event())
    migrations.migrate(url)
    assert ledger.certificates.get("blue", 1, scope=None).subject == "u1"


@MARIADB
def test_every_text_is_compared_byte_for_byte(engine):
    query = "SELECT COUNT(*) FROM information_schema.columns WHERE table_schema = DATABASE() AND collation_name {} 'utf8mb4_nopad_bin' AND table_name <> 'alembic_version'"
    with engine.connect() as connection:
        assert connection.scalar(text(query.format("="))) > 50
        assert connection.scalar(text(query.format("<>"))) == 0


def test_every_table_is_known_to_the_code(engine):
    assert {*metadata.tables, "alembic_version"} == set(inspect(engine).get_table_names())
