"""The API is killed at random moments under load: what it answered stands, whatever it was doing."""

import base64
import os
import random
import signal
import time
from collections import Counter
from http.client import HTTPConnection, HTTPException

import pytest
from sqlalchemy import select

from tatu.bootstrap import now
from tatu.core import audit, krl
from tatu.core.authority import Purpose
from tatu.store import auditcopy, tables
from tatu.store.certificates import BLOCK
from tatu.store.ledger import SqlLedger
from tests.fakes.threads import Crowd
from tests.lab import databases
from tests.lab.server import Deployment, ask, wait_until

CLIENTS = 4
SUBJECT_KEYS = 8
WORKERS = 2
REVOKED = 4
"""One in so many certificates is revoked as soon as it is there."""


class Clients(Crowd):
    """Threads that ask for certificates and revoke some; they remember what they were answered."""

    def __init__(self, processes, caller):
        super().__init__(*range(CLIENTS))
        self.certificates = {}
        self.revoked = set()
        self.statuses = Counter()
        self.failures = []
        self._processes = processes
        self._caller = caller
        self._bodies = [caller.body() for _ in range(SUBJECT_KEYS)]

    def _run(self, number):
        process = self._processes[number % len(self._processes)]
        connection = HTTPConnection("127.0.0.1", process.port, timeout=30)
        turn = number
        while not self._stopped.is_set():
            try:
                turn += 1
                self._step(connection, turn)
            except (OSError, HTTPException):  # it was killed: what it did nobody was told
                connection.close()
                time.sleep(0.02)
            except Exception as error:  # noqa: BLE001 - the test must see it, not the thread
                self.failures.append(error)
                return
        connection.close()

    def _step(self, connection, turn):
        caller = self._caller
        body = self._bodies[turn % SUBJECT_KEYS]
        status, answer = ask(connection, "POST", caller.certificates, body, caller.token)
        self._count("issue", status)
        if status != 201:
            return
        blob = base64.b64decode(answer["certificate"].split()[1])
        serial = answer["serial"]
        with self._lock:
            assert serial not in self.certificates, f"serial {serial} was given twice"
            self.certificates[serial] = blob
        if serial % REVOKED == 0:
            wanted = {"serial": serial, "reason": "lost"}
            status, answer = ask(connection, "POST", caller.revocations, wanted, caller.token)
            self._count("revoke", status)
            if status == 200:
                with self._lock:
                    self.revoked.add(serial)

    def _count(self, what, status):
        with self._lock:
            self.statuses[what, status] += 1


class Checks:
    """Compares what clients were told with what is in the ledger."""

    def __init__(self, deployment, caller, clients):
        self._deployment = deployment
        self._caller = caller
        self._clients = clients
        self._krl_version = 0

    def holds(self, process, starts):
        """Everything that was answered before this call stands."""
        with self._clients._lock:
            received, revoked = dict(self._clients.certificates), set(self._clients.revoked)
        published = krl.decode(self._caller.krl(process))
        assert published.version >= self._krl_version
        self._krl_version = published.version
        ledger = SqlLedger.open(self._deployment.database, state_dir=None, clock=now)
        try:
            rows, signature_key, next_serial = self._read(ledger)
        finally:
            ledger.close()
        lost = {serial for serial, blob in received.items() if rows.get(serial) != blob}
        assert lost == set(), "certificates outside of the ledger"
        in_krl = published.serials.get(signature_key, ())
        assert {serial for serial in revoked if serial not in in_krl} == set(), "lost revocations"
        assert next_serial - 1 - len(rows) <= BLOCK * starts, "serials are not dense"

    def _read(self, ledger):
        table = tables.certificates
        with ledger._database.read(consistent=True) as connection:
            found = connection.execute(select(table.c.serial, table.c.blob)).all()
            next_serial = connection.execute(select(tables.authorities.c.next_serial)).scalar_one()
        authority = ledger.authorities.get(self._caller.authority)
        assert len({row.serial for row in found}) == len(found), "a serial twice"
        rows = {row.serial: row.blob for row in found}
        return rows, authority.active(Purpose.USER).public_key, next_serial

    def chain(self):
        """The chain is whole, and so is its copy outside of the database."""
        ledger = SqlLedger.open(self._deployment.database, state_dir=None, clock=now)
        try:
            head = audit.check(ledger._database.links(0))
        finally:
            ledger.close()
        assert head == audit.check(auditcopy.read(self._deployment.state / "audit.jsonl"))


def end(process, chance):
    """End a process without a word: master and worker, or the worker alone."""
    if chance.random() < 0.9:
        process.kill()
        return
    for pid in process.workers():
        os.kill(pid, signal.SIGKILL)
    process.process.wait(30)  # its master does not go on without it
    process.kill()


def ordeal(deployment, kills, seed, every=1):
    """Kill one process after the other, at random moments, and look after each restart."""
    chance = random.Random(seed)
    processes = deployment.processes
    for process in processes:
        process.start()
    caller = processes[0].sign_in(deployment)
    starts = len(processes)
    with Clients(processes, caller) as clients:
        checks = Checks(deployment, caller, clients)
        for number in range(kills):
            process = chance.choice(processes)
            time.sleep(chance.uniform(0, 0.2))  # the random moment
            end(process, chance)
            process.start()
            starts += 1
            if number % every == 0:
                checks.holds(process, starts)
    assert clients.failures == [], f"seed {seed}"
    assert {status for _, status in clients.statuses} <= {200, 201, 503}, clients.statuses
    checks.holds(processes[0], starts)
    for process in processes:
        process.stop()
    checks.chain()
    deployment.manage("audit", "verify")
    deployment.manage("check")
    assert len(clients.certificates) > kills
    assert len(clients.revoked) > kills // 10


@pytest.fixture
def deployment(tmp_path):
    made = Deployment(tmp_path)
    yield made
    made.stop()


@pytest.fixture
def on_postgresql(request, tmp_path):
    """One API over PostgreSQL."""
    run = getattr(request.config, "workerinput", {}).get("testrunuid", str(os.getpid()))
    with databases.postgresql(run) as server, server.database() as url:
        made = Deployment(tmp_path, url)
        try:
            yield made
        finally:
            made.stop()


@pytest.fixture
def shared_deployment(on_postgresql):
    """Two API processes over one PostgreSQL."""
    on_postgresql.add_process()
    return on_postgresql


@pytest.mark.slow
def test_fifty_kills_lose_nothing_that_was_answered(deployment):
    ordeal(deployment, kills=50, seed=1)


@pytest.mark.slow
def test_two_processes_on_one_postgresql_lose_nothing_either(shared_deployment):
    ordeal(shared_deployment, kills=12, seed=2)


@pytest.mark.slow
@pytest.mark.matrix
def test_two_workers_that_reload_and_stop_under_load_lose_nothing_either(on_postgresql):
    (process,) = on_postgresql.processes
    process.config.write_text(process.config.read_text().replace("[api]", "[api]\nworkers = 2"))
    process.start()
    before = sorted(process.workers())
    assert len(before) == WORKERS
    caller = process.sign_in(on_postgresql)
    with Clients([process], caller) as clients:
        checks = Checks(on_postgresql, caller, clients)
        for number in range(1, 11):
            process.process.send_signal(signal.SIGHUP)
            wait_until(lambda most=number * 10: len(clients.certificates) > most)
        assert sorted(process.workers()) == before, "a reload is in place"
        assert {status for _, status in clients.statuses} == {200, 201}
        checks.holds(process, starts=WORKERS)
        process.stop()  # in the middle of what clients ask
        answered = len(clients.certificates)
        process.start()
        wait_until(lambda: len(clients.certificates) > answered)
    assert clients.failures == []
    assert {status for _, status in clients.statuses} <= {200, 201, 503}, clients.statuses
    checks.holds(process, starts=2 * WORKERS)
    process.stop()
    checks.chain()
    on_postgresql.manage("audit", "verify")


@pytest.mark.soak
def test_a_thousand_kills_lose_nothing_that_was_answered(deployment):
    ordeal(deployment, kills=1000, seed=random.SystemRandom().randrange(2**32), every=20)


@pytest.mark.soak
def test_two_hundred_kills_of_two_processes_lose_nothing(shared_deployment):
    ordeal(shared_deployment, kills=200, seed=random.SystemRandom().randrange(2**32), every=10)
