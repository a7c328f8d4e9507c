"""What real machines on a switch have in common: an address, sshd, a drive, a console, and a cgroup that ends them."""

import json
import shutil
import socket
import subprocess
import time

from tests.lab.hosts import guard, network
from tests.lab.openstack.process import Failed

START = 120.0
"""Seconds that a machine may take until sshd greets, on one that does much else."""


class Machine:
    """One machine on a fleet's switch, in a folder of its own; its disk outlives a power cut."""

    def __init__(self, fleet, name, address, drive):
        self.name = name
        self.address = address
        self.folder = fleet.folder / name
        self.folder.mkdir()
        self.console = self.folder / "console.log"
        self.drive = None
        self._switch = fleet.switch
        self._group = f"{fleet.name}/{name}"
        self._process = None
        if drive is not None:
            self.boot_drive(drive)

    def boot_drive(self, files):
        """Have this configuration drive from the next boot on."""
        self.drive = self.folder / "drive"
        shutil.rmtree(self.drive, ignore_errors=True)
        for name, content in files.items():
            file = self.drive / "openstack/latest" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content if isinstance(content, str) else json.dumps(content))

    def boot(self):
        """Switch it on, and do not wait."""
        raise NotImplementedError

    def wait(self, seconds=START):
        """Wait until sshd greets; raises Failed with the last lines of the console."""
        self.wait_until(self.sshd_ready, "sshd does not greet", seconds)

    def wait_until(self, holds, what, seconds=START):
        """Wait until a check holds; raises Failed when the machine ends or takes too long."""
        asked = time.monotonic()
        until = asked + seconds
        while not holds():
            if not self.is_up:
                raise Failed(f"{self.name} ended", self.console)
            if time.monotonic() > until:
                self.write_down()
                raise Failed(f"{self.name}: {what}", self.console)
            # what is waited for has most of the processor: many a check starts programs
            time.sleep(min(0.5, max(0.02, 2 * (time.monotonic() - asked))))
            asked = time.monotonic()

    def write_down(self):
        """Add to the console's log what else tells why something did not happen."""

    def sshd_ready(self):
        """Return whether sshd greets now."""
        try:
            with (
                network.inside(self._switch),
                socket.create_connection((self.address, 22), 1) as connection,
            ):
                return connection.recv(4) == b"SSH-"
        except OSError:
            return False

    @property
    def is_up(self):
        return self._process is not None and self._process.poll() is None

    def cut_power(self):
        """End every process at once; the disk stays as it is."""
        guard.kill(self._group)
        self.reap()

    def reap(self):
        if self._process is not None:
            self._process.wait(guard.DEADLINE)
            self._process = None

    def unplug(self):
        """Take its network away for good."""
        raise NotImplementedError

    def spawn(self, command):
        """Start what the machine is, in its cgroup; what it prints is the console."""
        assert not self.is_up, f"{self.name} is up"
        with self.console.open("ab") as console, network.inside(self._switch):
            self._process = subprocess.Popen(
                guard.within(self._group, command),
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                start_new_session=True,
            )
