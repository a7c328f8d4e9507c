"""What the API does while something that it needs is gone, full or wrong, and that it recovers."""

import contextlib
import os
import resource
import subprocess
from collections import Counter
from http.client import HTTPConnection, HTTPException

import pytest

from tatu.core import krl
from tests.api.deployment import deployed, template
from tests.fakes.threads import Crowd
from tests.lab import databases
from tests.lab.server import Deployment, ask, wait_until

CLIENTS = 3


class Load(Crowd):
    """Threads that ask for certificates without a pause; they remember every answer."""

    def __init__(self, process, caller):
        super().__init__(*range(CLIENTS))
        self.certificates = {}
        self.problems = Counter()
        self.failures = []
        self._process = process
        self._caller = caller

    def _run(self, number):
        connection = HTTPConnection("127.0.0.1", self._process.port, timeout=60)
        body = self._caller.body()
        try:
            while not self._stopped.is_set():
                status, answer = ask(
                    connection, "POST", self._caller.certificates, body, self._caller.token
                )
                with self._lock:
                    self._remember(status, answer)
        except (OSError, HTTPException, AssertionError) as error:  # the test must see it
            self.failures.append(error)
        finally:
            connection.close()

    def _remember(self, status, answer):
        if status == 201:
            assert answer["serial"] not in self.certificates
            self.certificates[answer["serial"]] = answer["certificate"]
        else:
            self.problems[status, answer["type"], answer["detail"]] += 1

    def more(self):
        """Wait until certificates are issued that were not yet."""
        seen = len(self.certificates)
        wait_until(lambda: self.failures or len(self.certificates) > seen + CLIENTS)
        assert self.failures == []

    def refused(self):
        """Wait until a request is refused that was not yet."""
        seen = self.problems.total()
        wait_until(lambda: self.failures or self.problems.total() > seen + CLIENTS)
        assert self.failures == []


def readiness(process):
    status, answer = process.ask("GET", "/readyz")
    return status, answer["checks"]["ledger"]


def all_there(process, caller, load):
    """Every certificate that was answered is in the ledger."""
    for serial, line in load.certificates.items():
        status, found = process.ask("GET", f"{caller.certificates}/{serial}", token=caller.token)
        assert (status, found["certificate"]) == (200, line)


def only_unavailable(load, *reasons):
    """Nothing but 503 was answered, and its text says why."""
    for status, slug, detail in load.problems:
        assert (status, slug) == (503, "urn:tatu:problem:unavailable")
        assert any(reason in detail for reason in reasons), detail


@pytest.fixture
def postgresql():
    with databases.own_postgresql() as server:
        yield server


@pytest.mark.slow
def test_a_database_that_goes_and_comes_back_costs_503s_and_nothing_else(postgresql, tmp_path):
    deployment = Deployment(tmp_path, postgresql.url)
    (process,) = deployment.processes
    try:
        process.start()
        caller = process.sign_in(deployment)
        with Load(process, caller) as load:
            for _ in range(2):
                load.more()
                postgresql.stop()
                load.refused()
                wait_until(lambda: readiness(process)[0] == 503)  # asked once a second
                assert "the ledger's database fails" in readiness(process)[1]
                assert process.ask("GET", "/healthz")[0] == 200
                postgresql.start()
            load.more()
        assert load.failures == []
        only_unavailable(load, "the ledger's database fails")
        wait_until(lambda: readiness(process) == (200, "ok"))
        all_there(process, caller, load)
        process.stop()
        deployment.manage("audit", "verify", "--copy", deployment.state / "audit.jsonl")
    finally:
        deployment.stop()
        postgresql.start()  # wherever the test ended


@pytest.mark.slow
def test_an_older_dump_under_a_running_api_stops_all_signing(postgresql, tmp_path):
    deployment = Deployment(tmp_path, postgresql.url)
    (process,) = deployment.processes
    dump = tmp_path / "dump"
    try:
        process.start()
        caller = process.sign_in(deployment)
        assert caller.issue(process)[0] == 201
        subprocess.run(["pg_dump", "-Fc", "-f", dump, postgresql.url], check=True)
        later = [caller.issue(process)[1]["serial"] for _ in range(3)]
        assert caller.revoke(process, later[0])[0] == 200
        version = krl.decode(caller.krl(process)).version
        subprocess.run(
            ["pg_restore", "--clean", "--exit-on-error", "-d", postgresql.url, dump], check=True
        )
        for _ in range(2):
            status, answer = caller.issue(process)
            assert (status, answer["type"]) == (503, "urn:tatu:problem:unavailable")
            assert "ledger rolled back" in answer["detail"]
            assert "tatu-manage db restored" in answer["detail"]
        wait_until(lambda: readiness(process)[0] == 503)  # asked once a second
        assert "ledger rolled back" in readiness(process)[1]
        process.stop()
        assert "ledger rolled back" in process.refuses_to_start()
        deployment.manage("db", "restored")
        process.start()
        caller = process.sign_in(deployment)
        status, answer = caller.issue(process)
        assert status == 201
        assert answer["serial"] > max(later)
        published = krl.decode(caller.krl(process))
        assert published.version > version
        assert any(later[0] in serials for serials in published.serials.values())
    finally:
        deployment.stop()


class Disk:
    """A small file system, or, without the right to mount one, a limit on the size of files."""

    def __init__(self, folder):
        self.folder = folder
        folder.mkdir()
        self._mounted = os.geteuid() == 0
        if self._mounted:
            mount = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", folder]
            subprocess.run(mount, check=True)

    def fill(self, process):
        if self._mounted:
            with (
                (self.folder / "filler").open("wb", buffering=0) as file,
                contextlib.suppress(OSError),
            ):
                while True:
                    file.write(bytes(4096))
            return
        # files that are there may not grow at all; SIGXFSZ is ignored by Python
        for pid in process.workers():
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))

    def make_room(self, process):
        if self._mounted:
            (self.folder / "filler").unlink()
            return
        for pid in process.workers():
            unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
            resource.prlimit(pid, resource.RLIMIT_FSIZE, unlimited)

    def close(self):
        if self._mounted:
            subprocess.run(["umount", self.folder], check=True)


@pytest.mark.slow
@pytest.mark.parametrize("full", ["ledger", "state"])
def test_a_full_disk_costs_503s_and_nothing_else(tmp_path, full):
    disk = Disk(tmp_path / "disk")
    database = f"sqlite:///{disk.folder}/tatu.db" if full == "ledger" else None
    state = disk.folder / "state" if full == "state" else None
    deployment = Deployment(tmp_path / "deployment", database, state)
    (process,) = deployment.processes
    try:
        process.start()
        caller = process.sign_in(deployment)
        with Load(process, caller) as load:
            for _ in range(2):
                load.more()
                disk.fill(process)
                load.refused()
                if full == "state":  # SQLite may still have room for small changes in its log
                    wait_until(lambda: readiness(process)[0] == 503)
                disk.make_room(process)
            load.more()
        assert load.failures == []
        only_unavailable(load, "the ledger's database fails", "audit copy", "high-water marks")
        wait_until(lambda: readiness(process) == (200, "ok"))
        all_there(process, caller, load)
        process.stop()
        deployment.manage("audit", "verify", "--copy", deployment.state / "audit.jsonl")
        deployment.manage("check")
    finally:
        deployment.stop()
        disk.close()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return template(tmp_path_factory.mktemp("template"))


@pytest.mark.parametrize("days", [-400, -1, 1, 400])
def test_a_clock_that_steps_gives_no_number_twice_and_loses_no_revocation(made, tmp_path, days):
    with deployed(made, tmp_path) as deployment:
        path = "/v2/authorities/blue"

        def published():
            stated = deployment.call("GET", f"{path}/statement")
            listed = krl.decode(deployment.call("GET", f"{path}/krl").content)
            (serials,) = listed.serials.values()
            return int(stated.headers["etag"].strip('"')), listed.version, set(serials.runs)

        def revoke(serial):
            body = {"serial": serial, "reason": "lost"}
            answer = deployment.call("POST", f"{path}/revocations", "blue-manager", json=body)
            assert answer.status_code == 200, answer.text

        first = deployment.issue(validity=3600)["serial"]
        revoke(first)
        before = published()
        deployment.clock.move(days=days)
        if days > 0:  # tokens ended: the answer is 401, and signing in anew helps
            assert deployment.call("GET", "/v2/whoami", "blue-member").status_code == 401
            deployment.forget_tokens()
        second = deployment.issue()
        assert second["serial"] == first + 1
        assert second["valid_after"] < deployment.clock().strftime("%Y-%m-%dT%H:%M:%SZ")
        revoke(second["serial"])
        after = published()
        assert after[0] > before[0]
        assert after[1] > before[1]
        # what has ended long ago leaves the list (S18), and only that
        ended = days > 2
        expected = second["serial"] if ended else first
        assert after[2] == {(expected, second["serial"])}
        deployment.clock.move(days=-days)
        deployment.forget_tokens()
        assert deployment.issue()["serial"] == first + 2
        assert published()[0] > after[0]
