"""Replicas of PostgreSQL, with a real one: only a commit that waits for it outlives a failover."""

import contextlib
import os
import time

import pytest

from tatu.core.errors import Malformed, Unavailable
from tatu.store import standbys
from tests.lab import databases

pytestmark = pytest.mark.slow

NAME = "second"


@pytest.fixture(scope="module")
def primary(request):
    """Return a server of this file's own: what waits for replicas is a setting of all of it."""
    run = getattr(request.config, "workerinput", {}).get("testrunuid", str(os.getpid()))
    with databases.postgresql(f"{run}-standbys") as server:
        yield server


@contextlib.contextmanager
def settings(primary, **values):
    """Change settings of the server for as long as the block lasts."""
    for name, value in values.items():
        primary.run(f"ALTER SYSTEM SET {name} = '{value}'")
    primary.run("SELECT pg_reload_conf()")
    wait_until(lambda: all(shown(primary, name) == values[name] for name in values))
    try:
        yield
    finally:
        for name in values:
            primary.run(f"ALTER SYSTEM RESET {name}")
        primary.run("SELECT pg_reload_conf()")


def shown(primary, name):
    ((value,),) = primary.run(f"SHOW {name}")
    return value


def wait_until(holds):
    until = time.monotonic() + databases.START
    while not holds():
        assert time.monotonic() < until, "it took too long"
        time.sleep(0.05)


def test_another_database_has_no_standbys_to_check(tmp_path):
    with pytest.raises(Malformed, match="for PostgreSQL alone"):
        standbys.check(f"sqlite:///{tmp_path}/x.db", [NAME])


def test_a_standby_that_is_not_connected_is_named(primary):
    with pytest.raises(Unavailable, match=f"'{NAME}' is not synchronous: not connected"):
        standbys.check(primary.url("postgres"), [NAME])


def test_a_standby_counts_only_while_commits_wait_for_it(primary, tmp_path):
    url = primary.url("postgres")
    with databases.standby(primary, NAME):
        wait_until(lambda: primary.run("SELECT 1 FROM pg_stat_replication"))
        with pytest.raises(Unavailable, match="is not synchronous: async"):
            standbys.check(url, [NAME])
        with settings(primary, synchronous_standby_names=NAME):
            wait_until(
                lambda: primary.run("SELECT sync_state FROM pg_stat_replication") == [("sync",)]
            )
            standbys.check(url, [NAME])
            with pytest.raises(Unavailable, match="'third' is not synchronous: not connected"):
                standbys.check(url, [NAME, "third"])
            for level in ("off", "local", "remote_write"):
                with (
                    settings(primary, synchronous_commit=level),
                    pytest.raises(Unavailable, match=f"synchronous_commit is {level}"),
                ):
                    standbys.check(url, [NAME])
    with pytest.raises(Unavailable, match="not connected"):
        standbys.check(url, [NAME])
