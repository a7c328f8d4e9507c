"""Real PostgreSQL and MariaDB servers from Debian's packages, for as long as tests run.

One server of a kind serves all workers of a test run: the first that needs it starts it, the last that
leaves stops it and removes its folder.  Each test has a database of its own.
"""

import contextlib
import fcntl
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import psycopg
import pymysql

START = 60.0
"""Seconds that a server may take until it answers."""


_CONNECTIONS = 200


class Server:
    """A running server; `database` makes an empty database and drops it afterwards."""

    def __init__(self, port: int, scheme: str, user: str) -> None:
        self.port = port
        self._scheme = scheme
        self._user = user

    def url(self, name: str) -> str:
        return f"{self._scheme}://{self._user}@127.0.0.1:{self.port}/{name}"

    @contextlib.contextmanager
    def database(self) -> Iterator[str]:
        name = f"t{uuid.uuid4().hex}"
        self.run(f"CREATE DATABASE {name}")
        try:
            yield self.url(name)
        finally:
            self.run(
                f"DROP DATABASE {name}" + (" WITH (FORCE)" if self._scheme == "postgresql" else "")
            )

    def run(self, statement: str) -> list[tuple]:
        if self._scheme == "postgresql":
            with psycopg.connect(
                self.url("postgres"), autocommit=True, connect_timeout=5
            ) as connection:
                cursor = connection.execute(statement)
                return cursor.fetchall() if cursor.description else []
        connection = pymysql.connect(
            host="127.0.0.1", port=self.port, user=self._user, connect_timeout=5
        )
        with contextlib.closing(connection), connection.cursor() as cursor:
            cursor.execute(statement)
            connection.commit()
            return list(cursor.fetchall())


def _programs(folder: Path) -> tuple[Path, Sequence[str]]:
    """Return where PostgreSQL's programs are, and what starts them as their user."""
    found = sorted(
        Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name)
    )
    if os.geteuid() != 0:
        return found[-1], []
    account = pwd.getpwnam("postgres")  # initdb refuses root
    os.chown(folder, account.pw_uid, account.pw_gid)
    return found[-1], [
        *("setpriv", "--reuid", "postgres", "--regid", "postgres", "--clear-groups")
    ]


@contextlib.contextmanager
def standby(primary: Server, name: str) -> Iterator[None]:
    """Keep a replica of a PostgreSQL server for as long as the block lasts."""
    with tempfile.TemporaryDirectory(prefix="tatu-lab-standby-") as made:
        folder = Path(made)
        programs, as_postgres = _programs(folder)
        source = f"host=127.0.0.1 port={primary.port} user=tatu application_name={name}"
        subprocess.run(
            [
                *as_postgres,
                *(programs / "pg_basebackup", "-D", folder / "data", "-d", source, "-R"),
                *("--checkpoint=fast", "--no-sync", "--wal-method=stream"),
            ],
            check=True,
            capture_output=True,
            cwd=folder,
        )
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [
                    *as_postgres,
                    *(programs / "postgres", "-D", folder / "data", "-c", "listen_addresses="),
                    *("-c", f"unix_socket_directories={folder}"),
                    *("-c", f"max_connections={_CONNECTIONS}"),  # a standby has no fewer
                ],
                stdout=log,
                stderr=log,
                cwd=folder,
            )
        try:
            yield
        finally:
            process.send_signal(signal.SIGQUIT)
            process.wait(START)


def _postgresql(folder: Path, port: int) -> Sequence[str]:
    programs, as_postgres = _programs(folder)
    data = folder / "data"
    subprocess.run(
        [
            *as_postgres,
            *(programs / "initdb", "-D", data, "-U", "tatu", "--auth=trust", "-E", "UTF8"),
            *("--locale=C.UTF-8", "--no-sync"),
        ],
        check=True,
        capture_output=True,
        cwd=folder,
    )
    settings = {
        "listen_addresses": "127.0.0.1",
        "port": port,
        "unix_socket_directories": folder,
        "max_connections": _CONNECTIONS,
        "fsync": "off",  # servers are killed here, machines are not
    }
    options = [option for name, value in settings.items() for option in ("-c", f"{name}={value}")]
    return [*as_postgres, str(programs / "postgres"), "-D", str(data), *options]


def _mariadb(folder: Path, port: int) -> Sequence[str]:
    install_mariadb(folder)
    return mariadb_command(folder, port)


def install_mariadb(folder: Path) -> None:
    """Make the first databases of a server in a folder."""
    subprocess.run(
        [
            "mariadb-install-db",
            "--no-defaults",
            f"--datadir={folder / 'data'}",
            f"--user={_account()}",
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
        ],
        check=True,
        capture_output=True,
    )


def mariadb_command(folder: Path, port: int) -> Sequence[str]:
    """Return what starts a server on a folder's databases."""
    return [
        shutil.which("mariadbd") or "/usr/sbin/mariadbd",
        "--no-defaults",
        f"--datadir={folder / 'data'}",
        f"--user={_account()}",
        f"--port={port}",
        "--bind-address=127.0.0.1",
        f"--socket={folder / 'socket'}",
        f"--pid-file={folder / 'data' / 'server.pid'}",
        "--max-connections=300",
        "--innodb-flush-log-at-trx-commit=2",  # the same
    ]


def _account() -> str:
    return pwd.getpwuid(os.geteuid()).pw_name


@contextlib.contextmanager
def postgresql(run: str) -> Iterator[Server]:
    """Share the PostgreSQL server of a test run, which workers know by its name."""
    with _shared(
        f"postgresql-{run}", _postgresql, lambda port: Server(port, "postgresql", "tatu")
    ) as server:
        yield server


class OwnPostgresql:
    """A PostgreSQL server of one test, with an empty database at `url`: it may be stopped."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self._folder = folder

    def stop(self) -> None:
        """Stop it as a machine that loses power would."""
        self._control("-m", "immediate", "stop")

    def start(self) -> None:
        """Start it again; one that runs is stopped first."""
        # "restart" alone takes the options with which it ran, and starts what does not run
        self._control("-l", str(self._folder / "data/log"), "restart")

    def _control(self, *words: str) -> None:
        programs, as_postgres = _programs(self._folder)
        subprocess.run(
            [*as_postgres, programs / "pg_ctl", "-D", self._folder / "data", "-w", *words],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd=self._folder,
        )


@contextlib.contextmanager
def own_postgresql() -> Iterator[OwnPostgresql]:
    """Keep a server for one test alone; it must run when the block ends."""
    run = f"postgresql-{uuid.uuid4().hex}"
    start = _shared(run, _postgresql, lambda port: Server(port, "postgresql", "tatu"))
    with start as server, server.database() as url:
        yield OwnPostgresql(url, _folder_of(run))


@contextlib.contextmanager
def mariadb(run: str) -> Iterator[Server]:
    """Share the MariaDB server of a test run."""
    with _shared(
        f"mariadb-{run}", _mariadb, lambda port: Server(port, "mariadb", "root")
    ) as server:
        yield server


@contextlib.contextmanager
def _shared(
    name: str, prepare: Callable[[Path, int], Sequence[str]], connect: Callable[[int], Server]
) -> Iterator[Server]:
    folder = _folder_of(name)
    lock = folder.with_suffix(".lock")
    users = folder.with_suffix(".users")
    use = f"{os.getpid()}:{uuid.uuid4().hex}"  # a worker may use the server in several places
    with _alone(lock):
        if not _living(users):
            _stop(folder)
            folder.mkdir(mode=0o755)
            _start(folder, prepare, connect)
        users.write_text("\n".join([*_living(users), use]))
        server = connect(int((folder / "port").read_text()))
    try:
        yield server
    finally:
        with _alone(lock):
            others = [user for user in _living(users) if user != use]
            users.write_text("\n".join(others))
            if not others:
                _stop(folder)
                users.unlink()
                lock.unlink()


def _folder_of(name: str) -> Path:
    return Path(tempfile.gettempdir()) / f"tatu-lab-{name}"


def _start(
    folder: Path, prepare: Callable[[Path, int], Sequence[str]], connect: Callable[[int], Server]
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = prepare(folder, port)
    with (folder / "log").open("wb") as log:
        # forked off, in a session of its own: it outlives this worker, and no interrupt reaches it
        subprocess.run(
            ["setsid", "--fork", *command], check=True, stdout=log, stderr=log, cwd=folder
        )
    (folder / "port").write_text(str(port))
    server, end = connect(port), time.monotonic() + START
    while True:
        try:
            server.run("SELECT 1")
        except (psycopg.OperationalError, pymysql.err.OperationalError):
            if time.monotonic() > end:
                raise RuntimeError((folder / "log").read_text()) from None
            time.sleep(0.05)
        else:
            return


def _stop(folder: Path) -> None:
    """Stop the server at once: nobody will want its data."""
    for file in folder.glob("data/*.pid"):
        pid = int(file.read_text().split()[0])
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGQUIT if file.name == "postmaster.pid" else signal.SIGKILL)
        while _runs(pid):
            time.sleep(0.02)
    shutil.rmtree(folder, ignore_errors=True)


def _living(users: Path) -> list[str]:
    if not users.exists():
        return []
    return [use for use in users.read_text().split() if _runs(use.partition(":")[0])]


def _runs(pid: int | str) -> bool:
    """Whether a process runs; one that nobody has waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@contextlib.contextmanager
def _alone(lock: Path) -> Iterator[None]:
    while True:
        with lock.open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            # whoever was here before may have removed the file that we waited for
            if lock.exists() and os.fstat(file.fileno()).st_ino == lock.stat().st_ino:
                yield
                return
