"""Which revision of the schema this program needs, and which one a database has.

Alembic, which makes the revisions, is a fifth of what a server would import; it asks for nothing
of it.
"""

from sqlalchemy import Engine, column, inspect, select, table

from tatu.store.database import translated

NEWEST = "0004"

_VERSION = table("alembic_version", column("version_num"))


def current(engine: Engine) -> str | None:
    """Return the revision that a database is at, None for an empty one. Raises `Unavailable`."""
    with translated(), engine.connect() as connection:
        if not inspect(connection).has_table(_VERSION.name):
            return None
        found: str | None = connection.scalar(select(_VERSION.c.version_num))
        return found
