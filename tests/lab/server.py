"""A deployment whose API runs as real processes, to be killed, stopped and started again."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from tatu.core.policy import Wanted
from tatu.core.sshsig import Namespace
from tatu.manage import main as manage
from tests.api.keys import ClientKey

START = 60.0
"""Seconds that the API may take until it is ready, on a machine that does much else."""

USER = "alice"
PROJECT = "blue"

_CONFIG = """\
[DEFAULT]
api_endpoint = {url}
log_level = warning
[api]
bind_port = {port}
blocking_threads = 8
[rates]
certificates_account = 1000000
revocations_account = 1000000
[database]
connection = {database}
[state]
directory = {state}
[keystore_local]
kek_file = {folder}/kek
"""


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


class Deployment:
    """A ledger with the project `blue` and its administrator `alice`, in a folder of its own."""

    def __init__(self, folder, database=None, state=None):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.database = database or f"sqlite:///{folder}/tatu.db"
        self.state = state or folder / "state"
        self.sign_in_key = ClientKey()
        self.processes = []
        self.add_process()
        (folder / "key.pub").write_text(self.sign_in_key.line + "\n")
        self.manage("keystore", "new-key", folder / "kek")
        self.manage("db", "sync")
        self.manage(
            "bootstrap", "--admin", USER, "--project", PROJECT, "--key", folder / "key.pub"
        )

    @property
    def config(self):
        return self.processes[0].config

    def add_process(self):
        self.processes.append(Process(self))
        return self.processes[-1]

    def manage(self, *words):
        """Run `tatu-manage`; it must succeed."""
        assert manage.main(["--config-file", str(self.config), *map(str, words)]) == 0, words

    def stop(self):
        for process in self.processes:
            process.kill()


class Process:
    """One `tatu-api`, with its worker, in a process group of its own."""

    def __init__(self, deployment):
        number = len(deployment.processes)
        self.port = free_port()
        self.log = deployment.folder / f"api-{number}.log"
        self.config = deployment.folder / f"tatu-{number}.conf"
        first = deployment.processes[0].port if number else self.port
        self.config.write_text(
            _CONFIG.format(
                url=f"http://127.0.0.1:{first}",
                port=self.port,
                database=deployment.database,
                state=deployment.state,
                folder=deployment.folder,
            )
        )
        self.process = None

    def spawn(self):
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tatu.serve", "--config-file", self.config],
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def start(self):
        """Start it, and wait until it is ready."""
        self.spawn()
        until = time.monotonic() + START
        while not self._is_ready():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < until, self.log.read_text()
            time.sleep(0.03)

    def _is_ready(self):
        try:
            return self.ask("GET", "/readyz")[0] == 200
        except (OSError, HTTPException):
            return False

    def refuses_to_start(self):
        """Start it, expect that it ends by itself, and return what it said."""
        before = self.log.stat().st_size if self.log.exists() else 0
        self.spawn()
        try:
            assert self.process.wait(START) != 0
        finally:
            self.kill()
        return self.log.read_text()[before:]

    def kill(self):
        """Kill master and worker at once, as a machine that loses power would."""
        if self.process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        wait_until(lambda: not _members(self.process.pid))
        self.process = None

    def stop(self):
        """Stop it as systemd does."""
        self.process.terminate()
        assert self.process.wait(START) == 0
        self.process = None

    def workers(self):
        return [pid for pid in _members(self.process.pid) if pid != self.process.pid]

    def ask(self, method, path, body=None, token=""):
        """Ask once, on a connection of its own; return status and JSON (or the bytes)."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=START)
        try:
            return ask(connection, method, path, body, token)
        finally:
            connection.close()

    def sign_in(self, deployment, purpose="login"):
        """Sign alice in; return who may ask."""
        status, challenge = self.ask(
            "POST",
            "/v2/challenges",
            {
                "user": USER,
                "project": PROJECT,
                "public_key": deployment.sign_in_key.line,
                "purpose": purpose,
            },
        )
        assert status == 201, challenge
        signature = deployment.sign_in_key.sign(Namespace.LOGIN, challenge["message"].encode())
        status, answer = self.ask(
            "POST", "/v2/tokens", {"challenge": challenge["id"], "signature": signature}
        )
        assert status == 201, answer
        return Caller(self.ask("GET", "/v2")[1]["deployment"], answer)


class Caller:
    """Somebody who is signed in, and the requests that they can make."""

    def __init__(self, deployment, answer):
        self.deployment = deployment
        self.token = answer["token"]
        self.subject = answer["identity"]["subject"]
        self.authority = answer["identity"]["project"]
        self.certificates = f"/v2/authorities/{self.authority}/user-certificates"
        self.revocations = f"/v2/authorities/{self.authority}/revocations"

    def body(self, key=None):
        """Return a request for a certificate, with its proof."""
        key = key or ClientKey()
        message = Wanted(subject_key=key.public).proof_message(
            deployment=self.deployment, authority=self.authority, subject=self.subject
        )
        return {"public_key": key.line, "proof": key.sign(Namespace.SUBJECT, message)}

    def issue(self, process, body=None):
        return process.ask("POST", self.certificates, body or self.body(), self.token)

    def revoke(self, process, serial):
        body = {"serial": serial, "reason": "lost"}
        return process.ask("POST", self.revocations, body, self.token)

    def krl(self, process):
        status, body = process.ask("GET", f"/v2/authorities/{self.authority}/krl")
        assert status == 200, body
        return body


def ask(connection, method, path, body=None, token=""):
    """Ask on an open connection."""
    headers = {"Content-Type": "application/json"} if body is not None else {}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    content = None if body is None else json.dumps(body)
    connection.request(method, path, content, headers)
    answer = connection.getresponse()
    data = answer.read()
    return answer.status, json.loads(data) if "json" in answer.getheader(
        "Content-Type", ""
    ) else data


def wait_until(holds, seconds=START):
    """Wait until a check holds, and return what it found."""
    asked = time.monotonic()
    until = asked + seconds
    while not (found := holds()):
        assert time.monotonic() < until, "it took too long"
        # what is waited for has most of the processor: many a check starts programs
        time.sleep(min(0.5, max(0.02, 2 * (time.monotonic() - asked))))
        asked = time.monotonic()
    return found


def _members(group):
    """Return the living processes of a process group."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(words[2]) == group and words[0] != "Z":
            found.append(int(stat.parent.name))
    return found
