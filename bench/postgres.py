"""A PostgreSQL of its own: Debian's program, its durable defaults, on the loopback."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from demo.machine import free_port

from bench.processes import running


class NoPostgres(Exception):
    """PostgreSQL is not installed."""


def programs() -> Path:
    """Return the folder of the newest PostgreSQL's programs; raises `NoPostgres`."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        raise NoPostgres("PostgreSQL is not installed")
    return found[-1].parent


def version() -> str:
    """Return PostgreSQL's version."""
    told = subprocess.run(
        [programs() / "postgres", "--version"], capture_output=True, text=True, check=True
    )
    return told.stdout.split()[-1].rstrip(")") if told.stdout.split() else ""


class Postgres:
    """A running server."""

    def __init__(self, port: int, programs: Path) -> None:
        self.port = port
        self._programs = programs

    def database(self, name: str) -> str:
        """Make a database, and return its URL."""
        subprocess.run(
            [self._programs / "createdb", *self._where, "--template=template0", name],
            check=True,
            capture_output=True,
        )
        return f"postgresql://postgres@127.0.0.1:{self.port}/{name}"

    def ready(self) -> bool:
        """Say whether it takes connections."""
        command = [self._programs / "pg_isready", *self._where]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    @property
    def _where(self) -> tuple[str, ...]:
        return "-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres"


@contextmanager
def serving() -> Iterator[Postgres]:
    """Keep a fresh PostgreSQL running inside of the block; as `postgres` when we are root."""
    folder = Path(tempfile.mkdtemp(prefix="tatu-bench-postgres-"))
    user: tuple[str, ...] = ()
    if os.geteuid() == 0:
        account = pwd.getpwnam("postgres")
        os.chown(folder, account.pw_uid, account.pw_gid)
        user = ("setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups")
    server = Postgres(free_port(), programs())
    data = folder / "data"
    try:
        subprocess.run(
            [*user, programs() / "initdb", "-D", data, "-U", "postgres", "-A", "trust"],
            check=True,
            capture_output=True,
            cwd=folder,
        )
        options = ("-h", "127.0.0.1", "-p", str(server.port), "-k", str(folder))
        with running(
            [*user, str(programs() / "postgres"), "-D", str(data), *options],
            log=folder / "log",
            ready=server.ready,
        ):
            yield server
    finally:
        shutil.rmtree(folder, ignore_errors=True)
