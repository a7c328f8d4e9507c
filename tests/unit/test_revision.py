"""The revision that the program needs is the one that its migrations make."""

import subprocess
import sys

from tatu.store import migrations, revision
from tatu.store.database import make_engine


def test_the_newest_migration_is_the_revision_that_is_needed():
    assert migrations.revisions()[-1] == revision.NEWEST


def test_a_database_tells_its_revision(tmp_path):
    url = f"sqlite:///{tmp_path / 'tatu.db'}"
    engine = make_engine(url, pool_size=1)
    assert revision.current(engine) is None
    migrations.migrate(url)
    assert revision.current(engine) == revision.NEWEST
    engine.dispose()


def test_a_server_does_not_import_what_only_migrations_need():
    code = "import sys, tatu.bootstrap, tatu.api.app; sys.exit('alembic' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
