"""`tatu-api` as it is run: its own process on loopback."""

import contextlib
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tatu import serve
from tatu.drivers.keystore import kek
from tatu.manage.main import main
from tests.e2e.cli_lab import DEADLINE, free_port, wait_until

CONF = """\
[DEFAULT]
api_endpoint = http://127.0.0.1:{port}
[api]
bind_port = {port}
[database]
connection = sqlite:///{folder}/tatu.db
[state]
directory = {folder}/state
[keystore_local]
kek_file = {folder}/kek
"""


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    folder = tmp_path_factory.mktemp("template")
    config = folder / "tatu.conf"
    config.write_text(CONF.format(folder=folder, port=1))
    (folder / "kek").touch(mode=0o600)
    (folder / "kek").write_text(kek.new_line(os.urandom))
    assert main(["--config-file", str(config), "db", "sync"]) == 0
    return folder


class Api:
    """A configuration, and the processes that were started with it."""

    def __init__(self, folder, port):
        self.folder = folder
        self.port = port
        self.config = folder / "tatu.conf"
        self.config.write_text(CONF.format(folder=folder, port=self.port))
        self.started = []

    def start(self, **environment):
        with (self.folder / "log").open("w") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "tatu.serve", "--config-file", str(self.config)],
                stdout=log,
                stderr=log,
                env={**os.environ, **environment},
                start_new_session=True,
            )
        self.started.append(process)
        return process

    def serve(self, **environment):
        process = self.start(**environment)
        wait_until(self.answers, process)
        return process

    def get(self, path):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
            return answer.read()

    def answers(self):
        try:
            return bool(self.get("/healthz"))
        except (urllib.error.URLError, ConnectionError):
            return False

    def stop(self, process):
        """Stop a server; return its exit code and what it logged."""
        process.send_signal(signal.SIGTERM)
        code = process.wait(timeout=30)
        return code, [json.loads(line) for line in self.log().splitlines()]

    def refused(self):
        """Start a server that cannot serve; return its exit code and what it said."""
        code = self.start().wait(timeout=30)
        assert "Traceback" not in self.log()
        return code, self.log()

    def log(self):
        return (self.folder / "log").read_text()

    def end(self):
        for process in self.started:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(timeout=30)


@pytest.fixture
def made(template, tmp_path):
    """Make deployments, each in its folder; all of them are ended with the test."""
    apis = []

    def make(name="deployment", *, port=None):
        folder = tmp_path / name
        if not folder.exists():
            shutil.copytree(template, folder)
        apis.append(Api(folder, port or free_port()))
        return apis[-1]

    yield make
    for api in apis:
        api.end()


@pytest.fixture
def api(made):
    return made()


def children(pid):
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def running(pid):
    """Whether a process runs; one that nobody has waited for yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def rss(pid):
    """Resident MiB of a process."""
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) / 1024


def test_it_serves_logs_json_and_stops_with_0(api):
    process = api.serve()
    ready = json.loads(api.get("/readyz"))
    assert ready["checks"] == dict.fromkeys(("ledger", "keystore", "identity", "inventory"), "ok")
    code, logged = api.stop(process)
    assert code == 0
    requests = [entry for entry in logged if entry["event"] == "request"]
    assert "/readyz" in {entry["route"] for entry in requests}
    assert all({"level", "timestamp"} <= set(entry) for entry in logged)
    events = [entry["event"] for entry in logged]
    assert "Shutting down granian" in events
    assert not [said for said in events if "quite high" in said or "see ya" in said]


def test_each_process_stays_small(api):
    process = api.serve()
    for _ in range(50):
        api.get("/readyz")
    sizes = [rss(pid) for pid in (process.pid, *children(process.pid))]
    assert len(sizes) == 2
    assert max(sizes) < 120


def test_killing_the_main_process_ends_its_worker_too(api):
    process = api.serve()
    (worker,) = children(process.pid)
    process.kill()
    process.wait(timeout=30)
    until = time.monotonic() + DEADLINE
    while running(worker):
        assert time.monotonic() < until
        time.sleep(0.02)
    api.serve()


def test_a_reload_changes_the_log_level_in_place(api):
    process = api.serve()
    before = children(process.pid)
    api.config.write_text(api.config.read_text().replace("[api]", "log_level = error\n[api]"))
    process.send_signal(signal.SIGHUP)

    def quiet():
        logged = api.log().count("\n")
        api.get("/v2")
        return api.log().count("\n") == logged

    wait_until(quiet, process)
    assert before == children(process.pid)
    code, _ = api.stop(process)
    assert code == 0


def test_a_reload_of_a_wrong_configuration_changes_nothing(api):
    process = api.serve()
    api.config.write_text(api.config.read_text() + "[roles]\naccounts = x:root\n")
    process.send_signal(signal.SIGHUP)
    wait_until(lambda: "is reserved" in api.log(), process)
    assert api.answers()
    code, _ = api.stop(process)
    assert code == 0


def test_a_stop_in_the_middle_of_a_reload_is_a_stop(api):
    process = api.serve()
    for _ in range(5):
        process.send_signal(signal.SIGHUP)
    code, _ = api.stop(process)
    assert code == 0


def test_what_is_being_answered_is_answered_before_it_stops(api):
    process = api.serve()
    body = json.dumps({"user": "ann", "project": "blue", "public_key": "x", "purpose": "login"})
    head = f"POST /v2/challenges HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
    head += "Content-Type: application/json\r\nExpect: 100-continue\r\n\r\n"
    with socket.create_connection(("127.0.0.1", api.port), DEADLINE) as connection:
        connection.sendall(head.encode())
        assert connection.recv(4096).startswith(b"HTTP/1.1 100 ")  # it waits for the body now
        process.send_signal(signal.SIGTERM)
        threading.Timer(0.5, lambda: connection.sendall(body.encode())).start()
        assert connection.recv(4096).startswith(b"HTTP/1.1 400 ")
    assert process.wait(timeout=30) == 0


def test_a_second_process_on_sqlite_is_refused(made):
    made().serve()
    code, told = made().refused()
    assert code == 1
    assert "another tatu-api has this ledger open" in told


def test_a_port_that_is_taken_is_refused(made):
    first = made()
    first.serve()
    code, _ = made("other", port=first.port).refused()
    assert code == 1


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (("tatu.db", "other.db"), "tatu-manage db sync"),
        (("/kek", "/no-kek"), "no-kek cannot be opened"),
    ],
)
def test_what_cannot_be_served_is_refused_with_the_reason(api, change, why):
    api.config.write_text(api.config.read_text().replace(*change))
    code, told = api.refused()
    assert code == 1
    assert why in told


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (("[api]", "[api]\nworkers = 2"), "workers must be 1 on SQLite"),
        (("[api]", "[api]\nbind_prot = 2"), "no option 'bind_prot'"),
        (("http://127.0.0.1", "http://tatu.example"), "must be https"),
    ],
)
def test_a_wrong_configuration_is_refused_with_the_reason(api, change, why, capsys):
    api.config.write_text(api.config.read_text().replace(*change))
    assert serve.main(["--config-file", str(api.config)]) == 2
    assert why in capsys.readouterr().err


def test_whoever_listens_beyond_the_machine_in_clear_is_warned(api):
    api.config.write_text(
        api.config.read_text().replace("[api]", "[api]\nbind_host = 192.0.2.1")  # nobody's
    )
    code, told = api.refused()
    assert code == 1
    warning = json.loads(told.splitlines()[0])
    assert (warning["level"], warning["event"]) == ("warning", "insecure")
    assert "without TLS" in warning["why"]


def test_a_kek_from_the_environment_is_in_no_log(api):
    key = (api.folder / "kek").read_text().strip()
    api.config.write_text(
        api.config.read_text().replace(f"kek_file = {api.folder}/kek", "kek_env = TATU_KEK")
    )
    process = api.serve(TATU_KEK=key)
    assert json.loads(api.get("/readyz"))["status"] == "ready"
    _, logged = api.stop(process)
    assert key not in json.dumps(logged)


@pytest.mark.parametrize(("word", "found"), [("--version", "0."), ("--help", "--config-file")])
def test_version_and_help(word, found, capsys):
    with pytest.raises(SystemExit) as ended:
        serve.main([word])
    assert ended.value.code == 0
    assert found in capsys.readouterr().out


def stalled(stack, api, address):
    """Open a request whose body does not come."""
    connection = socket.create_connection(("127.0.0.1", api.port), 5, (address, 0))
    stack.callback(connection.close)
    head = "POST /v2/challenges HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n"
    connection.sendall(f"{head}Content-Type: application/json\r\n\r\n{{".encode())
    return connection


def test_bodies_that_never_arrive_do_not_stop_what_others_are_told(api):
    api.serve()
    with contextlib.ExitStack() as stack:
        held = [stalled(stack, api, f"127.0.0.{2 + n % 20}") for n in range(160)]
        for _ in range(20):
            assert json.loads(api.get("/healthz")) == {"status": "ok"}
        with pytest.raises(urllib.error.HTTPError) as none:
            api.get("/v2/authorities/none/statement")
        with none.value:
            assert none.value.code == 404
        answers, _, _ = select.select(held, [], [], DEADLINE)
        answer = answers[0].recv(4096)
        assert b" 503 " in answer.partition(b"\r\n")[0]
        assert b"retry-after" in answer.lower()
    wait_until(lambda: post(api, "/v2/challenges", b"{}") == 400, api.started[0])


def test_one_address_does_not_take_the_places_of_all(api):
    api.serve()
    with contextlib.ExitStack() as stack:
        held = [stalled(stack, api, "127.0.0.2") for _ in range(80)]
        select.select(held, [], [], DEADLINE)
        wait_until(lambda: post(api, "/v2/challenges", b"{}") == 400, api.started[0])
        assert json.loads(api.get("/healthz")) == {"status": "ok"}


def post(api, path, body):
    asked = urllib.request.Request(
        f"http://127.0.0.1:{api.port}{path}", body, {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(asked, timeout=5) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        with error:
            return error.code
