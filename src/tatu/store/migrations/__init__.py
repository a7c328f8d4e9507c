"""The revisions of the schema, and how a database is brought to the newest."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from tatu.store.database import make_engine, translated


def migrate(url: str, revision: str = "head") -> None:
    """Bring a database up to a revision; raises `Unavailable`. One that is there stays."""
    engine = make_engine(url, pool_size=1)
    try:
        with translated(), engine.execution_options(writes=True).begin() as connection:
            command.upgrade(_configuration(connection), revision)
    finally:
        engine.dispose()


def revisions() -> tuple[str, ...]:
    """Return all revisions, the oldest first."""
    scripts = ScriptDirectory.from_config(_configuration(None)).walk_revisions()
    return tuple(reversed([script.revision for script in scripts]))


def _configuration(connection: Connection | None) -> Config:
    configuration = Config()
    # a path with % in it would be read as interpolation
    configuration.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    configuration.set_main_option("path_separator", "os")
    configuration.attributes["connection"] = connection
    return configuration
