"""Tatu in a lab's cloud, set up by the very commands of the installation guide."""

import configparser
import contextlib
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from tatu.drivers.keystore import kek
from tatu.manage.main import main as manage
from tests.lab.openstack.nova import Vendordata
from tests.lab.server import free_port

START = 30


class Tatu:
    """A registered deployment on SQLite: its files, and its processes `api` and `worker`.

    Keys are in Barbican and identities in Keystone; `more` are sections of tatu.conf besides.
    """

    def __init__(self, lab, folder, more=""):
        self.lab, self.folder = lab, folder
        folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.conf, self.nova_conf = folder / "tatu.conf", folder / "nova.conf"
        self.cloud_conf = folder / "openstack.conf"
        self._processes = {}
        self.register("--new-passwords")  # the tests before this one had others
        key = folder / "kek"
        key.touch(mode=0o600)
        key.write_text(kek.new_line(os.urandom))
        self.conf.write_text(
            f"[DEFAULT]\napi_endpoint = {self.url}\n"
            f"[api]\nbind_port = {self.port}\n"
            f"[database]\nconnection = sqlite:///{folder}/tatu.db\n"
            f"[state]\ndirectory = {folder}/state\n"
            f"[events]\ndriver = oslo\n[events_oslo]\ntransport_url = {lab.transport_url}\n{more}"
        )
        self.manage("db", "sync")

    def register(self, *words, code=0):
        """Register Tatu with the cloud as its administrator."""
        before = {name: os.environ.get(name) for name in self.lab.exports}
        os.environ.update(self.lab.exports)
        try:
            found = manage(
                [
                    "openstack",
                    "register",
                    f"--endpoint={self.url}",
                    f"--tatu-file={self.cloud_conf}",
                    f"--nova-file={self.nova_conf}",
                    *words,
                ]
            )
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value
        assert found == code, words

    @property
    def config(self):
        return [f"--config-file={self.conf}", f"--config-file={self.cloud_conf}"]

    @property
    def own_user(self):
        """What Tatu asks Keystone with."""
        return _section(self.cloud_conf, "identity_keystone")

    @property
    def vendordata_user(self):
        """What Nova asks for vendordata with."""
        return _section(self.nova_conf, "vendordata_dynamic_auth")

    def vendordata(self, path, file=None):
        """Return what Nova is to add to metadata: this deployment's answer, and a file's content."""
        user = self.vendordata_user
        return Vendordata(
            url=f"{self.url}{path}", file=file, user=user["username"], password=user["password"]
        )

    def manage(self, *words):
        """Run `tatu-manage`; it must succeed."""
        assert manage([*self.config, *map(str, words)]) == 0, words

    def start(self, name="api", label=None):
        """Start `api` or `worker`; several of one kind by labels of their own."""
        module = {"api": "tatu.serve", "worker": "tatu.worker"}[name]
        label = label or name
        with (self.folder / f"{label}.log").open("ab") as log:
            self._processes[label] = subprocess.Popen(
                [sys.executable, "-m", module, *self.config],
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        if name == "api":
            self.wait(self.answers, label)
        return self

    def answers(self):
        try:
            with urllib.request.urlopen(f"{self.url}/healthz", timeout=1) as answer:
                return answer.status == 200
        except OSError:
            return False

    def wait(self, holds, label, seconds=START):
        """Wait until something holds; a process that ended meanwhile shows its log."""
        until = time.monotonic() + seconds
        while not holds():
            assert self._processes[label].poll() is None, self.log(label)
            assert time.monotonic() < until, self.log(label)
            time.sleep(0.05)

    def log(self, label):
        return (self.folder / f"{label}.log").read_text()[-4000:]

    def processor(self, label):
        """Return the seconds of processor time that a process has used."""
        told = Path(f"/proc/{self._processes[label].pid}/stat").read_text()
        user, system = told.rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def stop(self, label):
        """Stop a process as systemd does."""
        process = self._processes.pop(label)
        process.terminate()
        try:
            assert process.wait(START) == 0, self.log(label)
        finally:
            _kill(process)

    def kill(self, label):
        """Kill a process at once."""
        _kill(self._processes.pop(label))

    def close(self):
        for label in list(self._processes):
            self.kill(label)


@contextlib.contextmanager
def deployed(lab, folder, more=""):
    """Register a deployment; its processes end with the block."""
    tatu = Tatu(lab, folder, more)
    try:
        yield tatu
    finally:
        tatu.close()


def _section(file, name):
    parser = configparser.RawConfigParser()
    parser.read_string(file.read_text())
    return dict(parser[name])


def _kill(process):
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
