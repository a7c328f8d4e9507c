"""The watch door as it is run: beside the API, and by itself."""

import json
import os
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

from tatu.bootstrap import open_ledger
from tatu.config import load
from tatu.drivers.keystore import kek
from tatu.manage.main import main
from tests.e2e.cli_lab import DEADLINE, free_port, make_key, wait_until
from tests.e2e.test_serve import running

CONF = """\
[DEFAULT]
api_endpoint = http://127.0.0.1:{api}
[api]
bind_port = {api}
[watch]
endpoint = /watch
with_api = {with_api}
bind_port = {door}
max_connections = {most}
hold = {hold}
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
    deployment = Deployment(folder)
    (folder / "kek").touch(mode=0o600)
    (folder / "kek").write_text(kek.new_line(os.urandom))
    key = make_key(folder / "key")
    assert deployment.manage("db", "sync") == 0
    words = ("--admin", "admin", "--project", "blue", "--key", f"{key}.pub")
    assert deployment.manage("bootstrap", *words) == 0
    return folder


def children(pid):
    """Return what all threads of a process started."""
    listed = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for path in listed for child in path.read_text().split()]


def is_door(pid):
    """Return whether a process is a door beside an API."""
    return b"serve.beside" in Path(f"/proc/{pid}/cmdline").read_bytes()


class Deployment:
    """A configuration, and the processes that were started with it."""

    def __init__(self, folder, *, with_api=False, most=128, hold=55):
        self.folder = folder
        self.api_port, self.port = free_port(), free_port()
        self.config = folder / "tatu.conf"
        self.config.write_text(
            CONF.format(
                folder=folder,
                api=self.api_port,
                door=self.port,
                with_api=with_api,
                most=most,
                hold=hold,
            )
        )
        self.started = []

    @property
    def arguments(self):
        return ["--config-file", str(self.config)]

    def manage(self, *words):
        return main([*self.arguments, *words])

    def start(self, module, *more, port=None):
        with (self.folder / "log").open("a") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", module, *self.arguments, *more], stdout=log, stderr=log
            )
        self.started.append(process)
        wait_until(lambda: self.is_ready(port), process)
        return process

    def start_apart(self):
        """Start the API, and the door where there is no key-encryption key; return the door."""
        self.start("tatu.serve", port=self.api_port)
        without = self.folder / "without.conf"
        without.write_text("[keystore_local]\nkek_file = /nonexistent\n")
        return self.start("tatu.watch", "--config-file", str(without))

    def is_ready(self, port=None):
        try:
            return bool(self.get("/readyz", port))
        except OSError:
            return False

    def get(self, path, port=None):
        url = f"http://127.0.0.1:{port or self.port}{path}"
        with urllib.request.urlopen(url, timeout=DEADLINE) as answer:
            return json.loads(answer.read() or "null")

    def watch(self, after, authority=None):
        return self.get(f"/watch/v2/authorities/{authority or self.authority}?after={after}")

    @property
    def ledger(self):
        return open_ledger(load(self.arguments))

    @property
    def authority(self):
        ledger = self.ledger
        (found,) = ledger.authorities.list(only=None, limit=2, marker=None).items
        ledger.close()
        return found.id

    def lose_a_role(self):
        """Grow every authority's revision, as another process does that publishes nothing."""
        ledger = self.ledger
        ledger.authorities.touch()
        ledger.close()

    def end(self):
        for process in self.started:
            process.send_signal(signal.SIGTERM)
            process.wait(DEADLINE)


@pytest.fixture
def made(template, tmp_path):
    deployments = []

    def make(**options):
        folder = tmp_path / "deployment"
        shutil.copytree(template, folder)
        deployments.append(Deployment(folder, **options))
        return deployments[-1]

    yield make
    for deployment in deployments:
        deployment.end()


def test_who_waits_is_told_within_a_second_of_what_nobody_published(made):
    door = made()
    door.start_apart()
    version = door.watch(0)["version"]
    told = []
    waiting = threading.Thread(target=lambda: told.append((door.watch(version), time.monotonic())))
    waiting.start()
    until = time.monotonic() + DEADLINE
    while door.get("/readyz")["watching"] == 0:
        assert time.monotonic() < until
    lost = time.monotonic()
    door.lose_a_role()
    waiting.join(DEADLINE)
    ((answer, at),) = told
    assert answer["version"] > version
    assert at - lost < 2
    ledger = door.ledger
    newest = ledger.publications.newest(door.authority)
    assert (answer["version"], ledger.publications.revision(door.authority)) == (
        newest.version,
        newest.revision,
    )
    ledger.close()


def test_who_has_the_newest_and_who_names_no_authority_wait_as_long(made):
    door = made(hold=1)
    door.start("tatu.watch")
    version = door.watch(0)["version"]
    for authority in (door.authority, "there-is-none"):
        begun = time.monotonic()
        assert door.watch(version, authority) is None
        assert 0.9 <= time.monotonic() - begun < 3


def test_the_door_refuses_what_it_does_not_know(made):
    door = made()
    door.start("tatu.watch")
    for path, status in (
        ("/watch/v2/authorities/blue", 400),
        ("/watch/v2/authorities/blue?after=-1", 400),
        ("/watch/v2/authorities/blue?after=9223372036854775808", 400),
        ("/watch/v2/authorities/blue?after=x", 400),
        ("/watch/v2/authorities/..%2f..%2fetc?after=1", 404),
        (f"/watch/v2/authorities/{'a' * 65}?after=1", 404),
        ("/watch/v2/authorities/bl%0aue?after=1", 404),
        ("/v2/authorities/blue/statement", 404),
    ):
        with pytest.raises(urllib.error.HTTPError) as refused:
            door.get(path)
        with refused.value as answer:
            assert (status, "application/problem+json") == (
                answer.code,
                answer.headers["Content-Type"],
            ), path


def test_connections_beyond_the_room_do_not_silence_the_others(made):
    door = made(most=128)
    process = door.start_apart()
    version = door.watch(0)["version"]
    asked = f"GET /watch/v2/authorities/blue?after={version} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    held = [socket.create_connection(("127.0.0.1", door.port)) for _ in range(100)]
    for connection in held:
        connection.sendall(asked)
    until = time.monotonic() + DEADLINE
    while door.get("/readyz")["watching"] < 100:
        assert time.monotonic() < until
    door.lose_a_role()
    assert door.watch(version)["version"] > version
    for connection in held:
        connection.close()
    assert process.poll() is None


@pytest.mark.slow
def test_with_api_it_runs_beside_it_and_is_named_by_it(made, monkeypatch):
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "/nonexistent")
    deployment = made(with_api=True)
    process = deployment.start("tatu.serve")
    wait_until(lambda: deployment.is_ready(deployment.api_port), process)
    assert deployment.get("/v2", deployment.api_port)["watch"] == "/watch"
    version = deployment.watch(0)["version"]
    served = deployment.get(
        f"/v2/authorities/{deployment.authority}/statement", deployment.api_port
    )
    assert version == json.loads(served["statement"])["version"]
    family = [process.pid]
    for pid in family:
        family += children(pid)
    (door,) = [pid for pid in children(process.pid) if is_door(pid)]
    assert b"CREDENTIALS_DIRECTORY" not in Path(f"/proc/{door}/environ").read_bytes()
    process.send_signal(signal.SIGTERM)
    assert process.wait(DEADLINE) == 0
    until = time.monotonic() + DEADLINE
    while any(map(running, family)):
        assert time.monotonic() < until


@pytest.mark.slow
def test_beside_the_api_it_ends_when_that_is_killed_and_starts_again_when_it_is(made):
    deployment = made(with_api=True)
    process = deployment.start("tatu.serve")
    (door,) = [pid for pid in children(process.pid) if is_door(pid)]
    os.kill(door, signal.SIGKILL)
    wait_until(lambda: not deployment.is_ready(), process)
    wait_until(deployment.is_ready, process)
    process.kill()
    process.wait(DEADLINE)
    until = time.monotonic() + DEADLINE
    while deployment.is_ready():
        assert time.monotonic() < until
