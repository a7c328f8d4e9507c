"""A fleet: a switch, and real machines that are plugged into it."""

import contextlib
import fcntl
import itertools
import secrets
import shutil
import subprocess
import sys
from ipaddress import ip_address
from pathlib import Path

from tests.lab.hosts import guard, network
from tests.lab.hosts.host import Host
from tests.lab.hosts.machine import Machine
from tests.lab.hosts.network import GATEWAY
from tests.lab.hosts.vm import Vm
from tests.lab.openstack.venv import ROOT

__all__ = ["GATEWAY", "Fleet", "Host"]

_FIRST = ip_address("10.99.0.10")


class Fleet:
    """A switch, and the hosts on it; `Fleet.start` is how to get one.

    Each fleet has its own network: fleets of several runs do not see one another.
    """

    @classmethod
    @contextlib.contextmanager
    def start(cls, folder: Path, image: str = "bookworm"):
        """Keep a fleet, with its files in this folder, for as long as the block lasts; hosts are of the image."""
        guard.clear_what_the_dead_left()
        fleet = cls(folder.resolve(), image)
        try:
            network.make_switch(fleet.switch)
            yield fleet
        finally:
            fleet._close()

    def __init__(self, folder, image):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.image = image
        self.name = f"tatu{secrets.token_hex(3)}"
        self.hosts = {}
        self.ports = itertools.count(8322)
        """Of the switch, for what tests serve there."""
        self._made = 0
        self._lock = (guard.RUNS / self.name).open("ab")
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        self._guard = subprocess.Popen(
            [sys.executable, "-m", "tests.lab.hosts.guard", self.name],
            stdin=subprocess.PIPE,
            cwd=ROOT,
            start_new_session=True,
            pass_fds=[self._lock.fileno()],  # it holds the lock when we cannot any more
        )

    @property
    def switch(self):
        """Return the name of the namespace that tests serve and log in from."""
        return f"{self.name}-switch"

    def host(self, name: str, *, drive=None, disk_of: Host | None = None):
        """Boot a host and wait until sshd greets.

        `drive` is a configuration drive: path below `openstack/latest`, and text or what becomes JSON; without one there is
        no cloud-init.  `disk_of` is a host that is down, whose disk this one gets a copy of.
        """
        host = self.new(name, drive=drive, disk_of=disk_of)
        host.boot()
        host.wait()
        return host

    def boot(self, *names: str):
        """Boot many hosts at once, as `host` does one."""
        hosts = [self.new(name) for name in names]
        for host in hosts:
            host.boot()
        for host in hosts:
            host.wait()
        return hosts

    def new(self, name, *, drive=None, disk_of=None):
        """Return a host that is not booted yet."""
        made = Host(self, name, self._address(), drive=drive, disk_of=disk_of)
        return self._kept(made)

    def new_vm(self, name):
        """Return a virtual machine that has no drive yet, and is not booted."""
        return self._kept(Vm(self, name, self._address()))

    def _address(self):
        self._made += 1
        return str(_FIRST + self._made)

    def _kept(self, machine):
        self.hosts[machine.name] = machine
        return machine

    def remove(self, host: Machine):
        """Leave nothing of a host."""
        host.cut_power()
        host.unplug()
        shutil.rmtree(host.folder)
        del self.hosts[host.name]

    def inside(self):
        """Be on the switch: what this thread binds, connects or starts in the block is there, and there alone."""
        return network.inside(self.switch)

    def run(self, argv, *, check=False, **options):
        """Run a command on the switch, as `subprocess.run` does; its output is kept, as text."""
        with self.inside():
            options = {"capture_output": True, "text": True, **options}
            return subprocess.run(list(map(str, argv)), check=check, **options)

    def _close(self):
        self._guard.stdin.close()
        status = self._guard.wait()
        for host in self.hosts.values():
            host.reap()
        self._lock.close()
        if status:
            raise RuntimeError(f"the fleet {self.name} was not cleared")
