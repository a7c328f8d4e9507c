"""Processes of a lab: started, waited for, stopped; whatever fails shows its last log lines."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import uuid

from tests.lab.openstack import guard
from tests.lab.openstack.venv import ROOT, environment, program

START = 240.0
"""Seconds that a service may take until it is ready, on a machine that does much else."""

_STOP = 5.0
"""Seconds that a service has to end by itself; some linger for ever."""

_LINES = 30


class Failed(RuntimeError):
    """Something of the lab failed; the text ends with the last lines of its log."""

    def __init__(self, what, log):
        try:
            lines = log.read_text(errors="replace").splitlines()
        except FileNotFoundError:
            lines = []
        # the cause may stand above a long traceback
        causes = [line for line in lines[:-_LINES] if " CRITICAL " in line]
        shown = "\n".join(causes + lines[-_LINES:])
        super().__init__(f"{what}; the end of {log}:\n{shown}")


class Processes:
    """All processes of one lab, in its folder, each in a session of its own; `close` leaves none."""

    def __init__(self, folder):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.mark = uuid.uuid4().hex
        self._children = []
        self._alone = threading.Lock()
        self._guard = subprocess.Popen(
            [sys.executable, "-m", "tests.lab.openstack.guard", self.mark],
            stdin=subprocess.PIPE,
            cwd=ROOT,
            start_new_session=True,
            bufsize=0,
        )

    def log(self, name):
        return self.folder / f"{name}.log"

    def spawn(self, name, command, extra=None):
        with self._alone, self.log(name).open("ab") as log:
            if self._guard.stdin.closed:
                raise RuntimeError(f"{name} is not started: the lab is closed")
            child = subprocess.Popen(
                list(map(str, command)),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env=environment(self.folder) | {guard.MARK: self.mark} | (extra or {}),
                start_new_session=True,
            )
            self._children.append(child)
            self._guard.stdin.write(b"%d\n" % child.pid)
            return child

    def run(self, name, command, extra=None):
        """Run a command to its end; raises Failed unless it succeeds."""
        status = self.spawn(name, command, extra).wait()
        if status:
            raise Failed(f"{name} ended with {status}", self.log(name))

    def living(self):
        """Return the ids of the lab's processes that live."""
        return guard.living({child.pid for child in self._children}, self.mark)

    def close(self):
        """Kill all at once: nobody will want their data.  Afterwards nothing more is started."""
        with self._alone:
            self._guard.stdin.close()
        self._guard.wait()
        guard.kill({child.pid for child in self._children}, self.mark)
        for child in self._children:
            child.wait()


class Service:
    """One service, that can be stopped and started again."""

    def __init__(self, processes, name, command, *, ready, extra=None):
        self.name = name
        self._processes = processes
        self._command = command
        self._ready = ready
        self._extra = extra
        self._child = None

    @property
    def log(self):
        return self._processes.log(self.name)

    def start(self):
        """Start it, and wait until it is ready; raises Failed when it ends or takes too long."""
        assert self._child is None, f"{self.name} runs"
        self._child = self._processes.spawn(self.name, self._command, self._extra)
        until = time.monotonic() + START
        while not self._ready():
            if self._child.poll() is not None:
                raise Failed(f"{self.name} ended with {self._child.returncode}", self.log)
            if time.monotonic() > until:
                raise Failed(f"{self.name} is not ready", self.log)
            time.sleep(0.1)

    def stop(self):
        """Stop it as systemd does: asked first, killed with its children when it lingers."""
        if self._child is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._child.pid, signal.SIGTERM)
        until = time.monotonic() + _STOP
        while guard.living({self._child.pid}) and time.monotonic() < until:
            self._child.poll()
            time.sleep(0.05)
        self.kill()

    def kill(self):
        """Kill it with its children, as a machine that loses power would."""
        if self._child is None:
            return
        guard.kill({self._child.pid})
        self._child.wait()
        self._child = None


def answers(url):
    """Return a check: whether something at this address answers, and not with an error of its own."""

    def ready():
        try:
            with urllib.request.urlopen(url, timeout=1):
                return True
        except urllib.error.HTTPError as error:
            return error.code < 500
        except OSError:
            return False

    return ready


def listens(port):
    """Whether something of this machine listens there."""
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def wsgi(processes, name, module, port, extra=None):
    """Return a WSGI application as a service; its requests are kept in NAME.requests."""
    command = [
        *(program("uwsgi"), "--master", "--http-socket", f"127.0.0.1:{port}"),
        *("--module", f"{module}:application", "--processes", "1", "--threads", "4"),
        *("--enable-threads", "--lazy-apps", "--die-on-term", "--need-app"),
        *("--buffer-size", "65535", "--set", f"start-time={int(time.time())}"),
        # it closes kept connections without a word, and clients take that for an error
        *("--add-header", "Connection: close"),
        *("--req-logger", f"file:{processes.folder / f'{name}.requests'}"),
        *("--log-format", "%(method) %(uri) %(status)"),
    ]
    url = f"http://127.0.0.1:{port}/"
    return Service(processes, name, command, ready=answers(url), extra=extra)
