"""A ledger in each database, as the migrations leave it, for every test."""

import contextlib
import shutil
import uuid

import pytest

from tatu.store import migrations
from tatu.store.ledger import SqlLedger
from tests.contract.ledger.material import NOW, authority, event, slow
from tests.contract.ledger.shared import SharedDatabase
from tests.lab import databases


@pytest.fixture(scope="session")
def testrun(request):
    """Name the whole run: under xdist all workers have the same."""
    worker = getattr(request.config, "workerinput", None)
    return worker["testrunuid"] if worker else uuid.uuid4().hex


@pytest.fixture(scope="session")
def server(testrun):
    """Return a server of a kind; it is started when it is first asked for."""
    with contextlib.ExitStack() as stack:
        started = {}

        def get(kind):
            if kind not in started:
                started[kind] = stack.enter_context(getattr(databases, kind)(testrun))
            return started[kind]

        yield get


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory):
    """Migrate one SQLite file; tests take copies."""
    path = tmp_path_factory.mktemp("ledger") / "migrated.db"
    migrations.migrate(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def shared(server):
    """Return a worker's migrated database on a server of a kind."""
    with contextlib.ExitStack() as stack:
        made = {}

        def get(kind):
            if kind not in made:
                made[kind] = SharedDatabase(stack.enter_context(server(kind).database()))
            return made[kind]

        yield get


@pytest.fixture(params=["sqlite", slow("postgresql"), slow("mariadb")])
def url(request, tmp_path):
    """Return the address of a migrated database that holds nothing yet."""
    if request.param == "sqlite":
        path = tmp_path / "tatu.db"
        shutil.copy(request.getfixturevalue("migrated_file"), path)
        yield f"sqlite:///{path}"
        return
    database = request.getfixturevalue("shared")(request.param)
    yield database.url
    database.reset()


@pytest.fixture(params=["sqlite", slow("postgresql"), slow("mariadb")])
def new_url(request, tmp_path):
    """Return the address of a database that no revision has run on."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/new.db"
        return
    with request.getfixturevalue("server")(request.param).database() as empty:
        yield empty


@pytest.fixture
def open_ledger(url):
    """Open ledgers on the database, as processes would; all are closed in the end."""
    opened = []

    def open_one(state_dir=None, **options):
        opened.append(SqlLedger.open(url, state_dir=state_dir, clock=lambda: NOW, **options))
        return opened[-1]

    yield open_one
    for ledger in opened:
        ledger.close()


@pytest.fixture
def ledger(open_ledger):
    """Open a ledger without state beside the database."""
    return open_ledger()


@pytest.fixture
def blue(ledger):
    """Return a ledger with the authority `blue`."""
    ledger.authorities.create(authority(), event(authority="blue"))
    return ledger
