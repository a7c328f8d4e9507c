"""Replicas of PostgreSQL: one that lags may, after a failover, forget a revocation (S23)."""

from collections.abc import Sequence

from sqlalchemy import text

from tatu.core.errors import Malformed, Unavailable
from tatu.store.database import make_engine, translated

_SYNCHRONOUS = ("sync", "quorum")
_ENOUGH = ("on", "remote_apply")


def check(url: str, names: Sequence[str]) -> None:
    """Raise `Unavailable` unless each named standby confirms a commit before it returns.

    Raises `Malformed` for another database than PostgreSQL.
    """
    engine = make_engine(url, pool_size=1)
    try:
        if engine.dialect.name != "postgresql":
            raise Malformed("[database] synchronous_standbys is for PostgreSQL alone")
        with translated(), engine.connect() as connection:
            level = connection.scalar(text("SHOW synchronous_commit"))
            rows = connection.execute(
                text("SELECT application_name, sync_state FROM pg_stat_replication")
            ).all()
    finally:
        engine.dispose()
    if level not in _ENOUGH:
        raise Unavailable(f"synchronous_commit is {level}: commits do not wait for a standby")
    states = {row.application_name: row.sync_state for row in rows}
    for name in names:
        if (state := states.get(name, "not connected")) not in _SYNCHRONOUS:
            raise Unavailable(f"the standby {name!r} is not synchronous: {state}")
