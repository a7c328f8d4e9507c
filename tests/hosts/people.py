"""People with certificates on a real host that obeys, and the sessions that they keep open."""

import contextlib
import itertools
import json
import socket
import subprocess

ACCOUNTS = {"admin": ("admin",), "member": ("member",)}


class Machine:
    """A host, and people whose certificates the authority made that it obeys."""

    def __init__(self, obeying):
        self.obeying = obeying
        self.fleet = obeying.fleet
        self.host = obeying.host
        self.tatu = obeying.tatu
        self.serials = itertools.count(1)
        self.names = itertools.count(10_000)

    def person(self, *principals, **changes):
        """Return somebody who has a certificate of their own, by one key for all."""
        serial = next(self.serials)
        usual = {
            "serial": serial,
            "key_id": f"user_{serial}",
            "extensions": {"permit-port-forwarding": "", "permit-pty": ""},
        }
        certificate = self.obeying.certified(*principals, **{**usual, **changes})
        return Person(self, serial, certificate)

    def publish(self, **changes):
        """Have the host obey what the authority says now; return what the agent says."""
        self.tatu.publish(**{"accounts": ACCOUNTS, "sudo": ("admin",), **changes})
        return self.obeying.sync().stdout

    def revoke(self, person):
        self.tatu.revoked |= {person.serial}
        return self.publish()

    def collect(self):
        """Have the host read what sshd logged."""
        lines = (
            "import sys; sys.path.insert(0, '/usr/local/sbin/tatu-agent')",
            "from pathlib import Path; from tatu.agent import logins; from tatu.agent.layout import Layout",
            "root = Path('/'); logins.collect(Layout(root, root / 'etc/ssh/sshd_config', '', 'tatu', ''))",
        )
        self.host.run(["python3", "-c", "\n".join(lines)])

    def name(self):
        """Return a number of seconds that no other program here sleeps for."""
        return str(next(self.names))

    def processes(self, name):
        """Return the process ids of programs that sleep for so long."""
        found = self.host.run(["pgrep", "-f", f"sleep {name}$"], check=False).stdout
        return found.split()

    def greets(self, port):
        """Return whether a forward on the switch leads to sshd now."""
        try:
            with (
                self.fleet.inside(),
                socket.create_connection(("127.0.0.1", port), 2) as connection,
            ):
                return connection.recv(4) == b"SSH-"
        except OSError:
            return False

    def sessions(self):
        return json.loads(self.host.run(["tatu-agent", "sessions", "--json"]).stdout)

    def spooled(self, kind):
        lines = self.host.run(["cat", "/var/lib/tatu-agent/spool/events"]).stdout.splitlines()
        return [event for event in map(json.loads, filter(None, lines)) if event["kind"] == kind]

    def until(self, holds):
        self.host.wait_until(holds, "what the test waits for did not come", 20)


class Person:
    """Somebody with a certificate."""

    def __init__(self, machine, serial, certificate):
        self.machine = machine
        self.serial = serial
        self.certificate = certificate

    def command(self, account, *command, options=()):
        ssh, *rest = self.machine.obeying.ssh(account, self.certificate, *command)
        return [ssh, *options, *rest]

    def run(self, account, *command, check=True, options=()):
        done = self.machine.fleet.run(
            self.command(account, *command, options=options), stdin=subprocess.DEVNULL, timeout=60
        )
        assert not check or done.returncode == 0, done.stderr
        return done

    @contextlib.contextmanager
    def session(self, account, name, options=(), before=""):
        """Keep a session open whose program can be found by a name."""
        command = self.command(account, f"{before} sleep {name}", options=options)
        with _kept(self.machine.fleet, command) as process:
            self.machine.until(lambda: self.machine.processes(name))
            yield process

    @contextlib.contextmanager
    def forward(self, account, port):
        """Keep a forward of a port of the switch's to sshd's on the host, without a shell."""
        options = ["-N", "-o", "ExitOnForwardFailure=yes", "-L", f"{port}:127.0.0.1:22"]
        with _kept(self.machine.fleet, self.command(account, options=options)):
            self.machine.until(lambda: self.machine.greets(port))
            yield


@contextlib.contextmanager
def _kept(fleet, command):
    with fleet.inside():
        process = subprocess.Popen(
            list(map(str, command)),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
