"""A running server, somebody with a home and an ssh-agent, and a host with sshd: all on loopback."""

import hashlib
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from tatu.bootstrap import now, open_ledger
from tatu.client.signing import FileKey
from tatu.config import load
from tatu.core import enrolment, hostrequest
from tatu.core.audit import SYSTEM, Event
from tatu.core.enrolment import EnrolmentToken
from tatu.core.identity import Role
from tatu.core.keys import PublicKey
from tatu.core.sshsig import Namespace
from tatu.drivers.keystore import kek
from tatu.ports import Assignment, Project, User, UserKey
from tatu.store.migrations import migrate

PROJECT = "blue"
TATU = str(Path(sys.executable).with_name("tatu"))
DEADLINE = 30
NO_AGENT = 2
"""What ssh-add ends with when nothing answers."""


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def wait_until(holds, process):
    """Wait for something that a process does; fail when it ends, or takes too long."""
    until = time.monotonic() + DEADLINE
    while not holds():
        assert process.poll() is None, f"ended with {process.returncode}"
        assert time.monotonic() < until, "it took too long"
        time.sleep(0.02)


def make_key(path, *options):
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", *options, "-f", path], check=True
    )
    return path


class Server:
    """The API on SQLite, as its own process."""

    def __init__(self, folder, admin_key):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        (folder / "kek").write_text(kek.new_line(os.urandom))
        (folder / "kek").chmod(0o600)
        self.config = folder / "tatu.conf"
        self.config.write_text(
            f"[DEFAULT]\napi_endpoint = {self.url}\n"
            f"[api]\nbind_port = {self.port}\n"
            f"[database]\nconnection = sqlite:///{folder}/tatu.db\n"
            f"[state]\ndirectory = {folder}/state\n"
            f"[keystore_local]\nkek_file = {folder}/kek\n"
        )
        (folder / "state").mkdir()
        self.log = folder / "server.log"
        self._fill(folder, PublicKey.parse(Path(f"{admin_key}.pub").read_text()))
        self.process = None
        self.start()

    def _fill(self, folder, key):
        migrate(f"sqlite:///{folder}/tatu.db")
        ledger = open_ledger(load(["--config-file", str(self.config)]))
        event = Event(action="test", actor=SYSTEM, authority=None, subject="", at=now(), facts={})
        directory = ledger.directory
        directory.create_project(Project(id=PROJECT, name=PROJECT), event)
        for role in ("admin", "manager", "member", "reader"):
            directory.create_role(Role(id=role, name=role), event)
        directory.create_user(User(id="u-root", name="alice"), event)
        directory.add_key(UserKey(user="u-root", public_key=key, created_at=now()), event)
        for role in ("admin", "manager", "member"):
            directory.assign(Assignment(project=PROJECT, role=role, user="u-root"), event)
        ledger.close()

    def start(self):
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tatu.serve", "--config-file", self.config],
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        wait_until(self._is_ready, self.process)

    def _is_ready(self):
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=5) as answer:
                return answer.status == 200
        except OSError:
            return False

    def stop(self):
        self.process.terminate()
        self.process.wait(DEADLINE)


class Person:
    """Somebody with a home of their own, who runs `tatu`."""

    def __init__(self, folder, server):
        self.home = folder
        (folder / ".ssh").mkdir(mode=0o700, parents=True, exist_ok=True)
        self.server = server
        self.environment = {
            "HOME": str(folder),
            "PATH": os.environ["PATH"],
            "LC_ALL": "C.UTF-8",
        }

    def run(self, *arguments, status=0, stdin=subprocess.DEVNULL):
        """Run `tatu` and return what it printed; its exit status must be this one."""
        result = subprocess.run(
            [TATU, *map(str, arguments)],
            env=self.environment,
            stdin=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert result.returncode == status, (arguments, result.stdout, result.stderr)
        return result

    def json(self, *arguments):
        return json.loads(self.run(*arguments, "-f", "json").stdout)

    def login(self, key, *more, user="alice"):
        return self.run(
            "login", "--cloud", "test", "--url", self.server.url, "--user", user,
            "--project", PROJECT, "--key", key, *more,
        )  # fmt: skip

    @property
    def state(self):
        return self.home / ".local/state/tatu/test"


class Agent:
    """An ssh-agent."""

    def __init__(self, folder):
        self.socket = folder / "agent"
        self.process = subprocess.Popen(
            ["ssh-agent", "-D", "-a", self.socket], stdout=subprocess.DEVNULL
        )
        wait_until(lambda: self.run("-l").returncode != NO_AGENT, self.process)

    def run(self, *arguments):
        environment = {**os.environ, "SSH_AUTH_SOCK": str(self.socket)}
        return subprocess.run(
            ["ssh-add", *arguments], env=environment, capture_output=True, text=True, check=False
        )

    def stop(self):
        self.process.terminate()
        self.process.wait(DEADLINE)


def enrol(server, token_text, host_key):
    """Redeem a token for a host key; leave the certificate beside it; return the answer."""
    token = EnrolmentToken.parse(token_text)
    key = FileKey(path=Path(host_key))
    with urllib.request.urlopen(f"{server.url}/v2") as answer:
        deployment = json.load(answer)["deployment"]
    nonce = os.urandom(32).hex()
    message = enrolment.message(
        deployment=deployment,
        authority=token.authority,
        host=token.host,
        nonce=nonce,
        host_keys=[key.public_key],
    )
    body = {
        "authority": token.authority,
        "host": token.host,
        "nonce": nonce,
        "host_keys": [key.public_key.line],
        "mac": enrolment.request_mac(token.secret, message),
        "signatures": [key.sign(Namespace.ENROL, message)],
    }
    request = urllib.request.Request(
        f"{server.url}/v2/enrolments",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request) as answer:
        facts = json.loads(json.load(answer)["answer"])
    Path(f"{host_key}-cert.pub").write_text(facts["certificates"][0] + "\n")
    return facts


def tell(server, host, host_key, what, value):
    """Tell Tatu something as an enrolled host does: by a request that its key signs."""
    key = FileKey(path=Path(host_key))
    with urllib.request.urlopen(f"{server.url}/v2") as answer:
        deployment = json.load(answer)["deployment"]
    method, rest = what.split()
    path, body = f"/v2/authorities/{PROJECT}/hosts/{host}/{rest}", json.dumps(value).encode()
    time_, nonce = now().replace(microsecond=0), os.urandom(16).hex()
    message = hostrequest.message(
        deployment=deployment,
        authority=PROJECT,
        host=host,
        method=method,
        path=path,
        body_digest=hashlib.sha256(body).hexdigest(),
        time=time_,
        nonce=nonce,
    )
    headers = {
        "Content-Type": "application/json",
        "Tatu-Host": f"{PROJECT}/{host}",
        "Tatu-Time": time_.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "Tatu-Nonce": nonce,
        "Tatu-Signature": "".join(key.sign(Namespace.HOST, message).splitlines()[1:-1]),
    }
    request = urllib.request.Request(f"{server.url}{path}", body, headers, method=method)
    with urllib.request.urlopen(request) as answer:
        return answer.read()


class Sshd:
    """sshd with a host certificate, which lets these principals in as the user who runs the tests."""

    def __init__(self, folder, host_key, user_authorities, principals):
        self.port = free_port()
        self.log = folder / "sshd.log"
        (folder / "ca.pub").write_text("".join(f"{line}\n" for line in user_authorities))
        (folder / "principals").write_text("".join(f"{name}\n" for name in principals))
        (folder / "revoked").write_bytes(b"")
        self.revoked = folder / "revoked"
        config = folder / "sshd_config"
        config.write_text(
            f"ListenAddress 127.0.0.1:{self.port}\nPidFile none\nStrictModes no\nUsePAM no\n"
            f"HostKey {host_key}\nHostCertificate {host_key}-cert.pub\n"
            f"TrustedUserCAKeys {folder}/ca.pub\nAuthorizedPrincipalsFile {folder}/principals\n"
            f"RevokedKeys {folder}/revoked\nAuthorizedKeysFile none\nLogLevel VERBOSE\n"
            f"PasswordAuthentication no\nKbdInteractiveAuthentication no\n"
            f"Subsystem sftp internal-sftp\n"
        )
        Path("/run/sshd").mkdir(exist_ok=True)
        self.process = subprocess.Popen(["/usr/sbin/sshd", "-D", "-f", config, "-E", self.log])
        wait_until(self._answers, self.process)

    def _answers(self):
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1) as connection:
                return connection.recv(4) == b"SSH-"
        except OSError:
            return False

    def stop(self):
        self.process.terminate()
        self.process.wait(DEADLINE)
