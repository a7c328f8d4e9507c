"""Hosts on one switch: real systemd, journald, logind, PAM, sudo and sshd, about a second each."""

import contextlib
import ctypes
import fcntl
import json
import secrets
import shutil
import socket
import subprocess
import sys
import time
from ipaddress import ip_address
from pathlib import Path

from tests.lab.hosts import guard
from tests.lab.hosts.image import image
from tests.lab.openstack.process import Failed
from tests.lab.openstack.venv import ROOT

GATEWAY = "10.99.0.1"
"""The switch's own address, where hosts find what tests serve."""

START = 120.0
"""Seconds that a host may take until sshd greets, on a machine that does much else."""

_FIRST = ip_address("10.99.0.10")

_CLONE_NEWNET = 0x40000000

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_BOOT = """
set -e
for group in "$1" "$2"; do echo 0 >"$group/cgroup.procs"; done
mount -t overlay overlay -o "lowerdir=$3,upperdir=$4/disk,workdir=$4/work" "$4/root"
folder=$4
shift 4
exec env SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 systemd-nspawn --directory="$folder/root" "$@"
"""
"""The mount is of a namespace that ends with the host; the disk stays, to be booted again or copied."""


class Fleet:
    """A switch, and the hosts on it; `Fleet.start` is how to get one.

    Each fleet has its own network: fleets of several runs do not see one another.
    """

    @classmethod
    @contextlib.contextmanager
    def start(cls, folder: Path):
        """Keep a fleet, with its files in this folder, for as long as the block lasts."""
        guard.clear_what_the_dead_left()
        fleet = cls(folder.resolve())
        try:
            fleet._connect()
            yield fleet
        finally:
            fleet._close()

    def __init__(self, folder):
        self.folder = folder
        self.name = f"tatu{secrets.token_hex(3)}"
        self.hosts = {}
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

    def host(
        self, name: str, *, image: str = "bookworm", drive=None, disk_of: "Host | None" = None
    ):
        """Boot a host and wait until sshd greets.

        `drive` is a configuration drive: path below `openstack/latest`, and text or what becomes JSON; without one there is
        no cloud-init.  `disk_of` is a host that is down, whose disk this one gets a copy of.
        """
        host = self.new(name, image=image, drive=drive, disk_of=disk_of)
        host.boot()
        host.wait()
        return host

    def boot(self, *names: str, **options):
        """Boot many hosts at once, as `host` does one."""
        hosts = [self.new(name, **options) for name in names]
        for host in hosts:
            host.boot()
        for host in hosts:
            host.wait()
        return hosts

    def new(self, name, *, image="bookworm", drive=None, disk_of=None):
        """Return a host that is not booted yet."""
        assert name not in self.hosts, name
        self._made += 1
        address = str(_FIRST + self._made)
        host = Host(self, name, address, base=image, drive=drive, disk_of=disk_of)
        self.hosts[name] = host
        return host

    def remove(self, host: "Host"):
        """Leave nothing of a host."""
        host.cut_power()
        host.disconnect()
        shutil.rmtree(host.folder)
        del self.hosts[host.name]

    @contextlib.contextmanager
    def inside(self):
        """Be on the switch: what this thread binds, connects or starts in the block is there, and there alone."""
        with (
            Path("/proc/thread-self/ns/net").open("rb") as outside,
            Path(f"/run/netns/{self.switch}").open("rb") as inside,
        ):
            _enter(inside)
            try:
                yield
            finally:
                _enter(outside)

    def run(self, argv, *, check=False, **options):
        """Run a command on the switch, as `subprocess.run` does; its output is kept, as text."""
        with self.inside():
            options = {"capture_output": True, "text": True, **options}
            return subprocess.run(list(map(str, argv)), check=check, **options)

    def _connect(self):
        switch = self.switch
        _ip("netns", "add", switch)
        _ip("-n", switch, "link", "set", "lo", "up")
        _ip("-n", switch, "link", "add", "br0", "type", "bridge")
        _ip("-n", switch, "addr", "add", f"{GATEWAY}/16", "dev", "br0")
        _ip("-n", switch, "addr", "add", "169.254.169.254/32", "dev", "br0")
        _ip("-n", switch, "link", "set", "br0", "up")

    def _close(self):
        self._guard.stdin.close()
        status = self._guard.wait()
        for host in self.hosts.values():
            host.reap()
        self._lock.close()
        if status:
            raise RuntimeError(f"the fleet {self.name} was not cleared")


class Host:
    """One machine; its disk outlives a power cut."""

    def __init__(self, fleet, name, address, *, base, drive, disk_of):
        self.name = name
        self.address = address
        self.folder = fleet.folder / name
        self.console = self.folder / "console.log"
        self._fleet = fleet
        self._base = image(base)
        self._group = f"{fleet.name}/{name}"
        self._process = None
        for part in ("root", "work"):
            (self.folder / part).mkdir(parents=True)
        if disk_of is None:
            (self.folder / "disk").mkdir()
        else:
            assert not disk_of.is_up, "its disk is in use"
            _copy(disk_of.folder / "disk", self.folder / "disk")
        self.drive = None
        if drive is not None:
            self.boot_drive(drive)
        self._connect()

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
        assert not self.is_up, f"{self.name} is up"
        groups = [root / self._group for root in guard.GROUPS]
        for group in (*groups, guard.UNIFIED / self._group / "commands"):
            group.mkdir(parents=True, exist_ok=True)
        namespace = f"/run/netns/{self._namespace}"
        drive = ["--bind-ro=" + f"{self.drive}:/var/lib/cloud/seed/config_drive"]
        with self.console.open("ab") as console:
            self._process = subprocess.Popen(
                [
                    *("unshare", "--mount", "sh", "-c", _BOOT, "sh"),
                    *map(str, (groups[0], groups[-1], self._base, self.folder)),
                    *("--quiet", "--register=no", "--keep-unit", f"--machine={self.name}"),
                    f"--network-namespace-path={namespace}",
                    *(drive if self.drive else []),
                    "--boot",
                    *([] if self.drive else ["cloud-init=disabled"]),
                ],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                start_new_session=True,
            )

    def wait(self):
        """Wait until sshd greets; raises Failed with the last lines of the console."""
        self.wait_until(self.sshd_ready, "sshd does not greet")

    def wait_until(self, holds, what, seconds=START):
        """Wait until a check holds; raises Failed when the host ends or takes too long."""
        until = time.monotonic() + seconds
        while not holds():
            if not self.is_up:
                raise Failed(f"{self.name} ended", self.console)
            if time.monotonic() > until:
                if self.pid:
                    with self.console.open("a") as console:
                        console.write(self.journal())
                raise Failed(f"{self.name}: {what}", self.console)
            time.sleep(0.02)

    def sshd_ready(self):
        """Return whether sshd greets now."""
        try:
            with (
                self._fleet.inside(),
                socket.create_connection((self.address, 22), 1) as connection,
            ):
                return connection.recv(4) == b"SSH-"
        except OSError:
            return False

    @property
    def is_up(self):
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self):
        """Return its PID 1 as this machine numbers it; None before there is one."""
        if not self.is_up:
            return None
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text()
        return next(iter(children.split()), None)

    @property
    def root(self):
        """Return its file system while it is up."""
        return Path(f"/proc/{self.pid}/root")

    def run(
        self,
        argv,
        *,
        input=None,  # noqa: A002  as subprocess.run has it
        user=None,
        check=True,
        timeout=60,
    ):
        """Run a command on the host, as root or as a user who need not be logged in; raises unless it succeeds."""
        command = list(map(str, argv))
        if user is not None:
            command = ["runuser", "-u", user, "--", *command]
        # a cgroup beside PID 1's: whatever is left running ends with the host
        group = guard.UNIFIED / self._group / "commands/cgroup.procs"
        enter = ["nsenter", "-t", self.pid, "-a", "--root", "--wd", "env", "-i", f"PATH={_PATH}"]
        done = subprocess.run(
            ["sh", "-c", 'echo 0 >"$0"; exec "$@"', group, *enter, "LANG=C.UTF-8", *command],
            input=input,
            stdin=subprocess.DEVNULL if input is None else None,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if check and done.returncode:
            said = done.stdout + done.stderr
            raise AssertionError(f"{command} on {self.name} ended with {done.returncode}: {said}")
        return done

    def write(self, path, content, mode=0o644):
        """Write a file of root's, with the folders that it needs, also before the first boot."""
        file = (self.root if self.is_up else self.folder / "disk") / str(path).lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch(mode=0o600)
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        file.chmod(mode)

    def journal(self, unit=None):
        """Return what a unit, or the whole machine, logged since it was booted, one message a line."""
        units = [] if unit is None else [f"--unit={unit}"]
        return self.run(["journalctl", "--no-pager", "--output=cat", "--boot", *units]).stdout

    def cut_power(self):
        """End every process at once; the disk stays as it is."""
        guard.kill(self._group)
        self.reap()

    def reap(self):
        if self._process is not None:
            self._process.wait(guard.DEADLINE)
            self._process = None

    def disconnect(self):
        """Take its network away for good."""
        _ip("netns", "del", self._namespace)

    @property
    def _namespace(self):
        return f"{self._fleet.name}-{self.name}"

    def _connect(self):
        switch, namespace, end = (
            self._fleet.switch,
            self._namespace,
            f"v{self.address.rpartition('.99.')[2]}",
        )
        hardware = "02:00:" + ":".join(f"{part:02x}" for part in ip_address(self.address).packed)
        _ip("netns", "add", namespace)
        _ip(
            "-n",
            switch,
            "link",
            "add",
            end,
            "type",
            "veth",
            "peer",
            "name",
            "eth0",
            "address",
            hardware,
            "netns",
            namespace,
        )
        _ip("-n", switch, "link", "set", end, "master", "br0", "up")
        _ip("-n", namespace, "addr", "add", f"{self.address}/16", "dev", "eth0")
        for device in ("lo", "eth0"):
            _ip("-n", namespace, "link", "set", device, "up")
        _ip("-n", namespace, "route", "add", "default", "via", GATEWAY)


def _ip(*words):
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


def _copy(source, target):
    """Copy a disk with what makes it one: owners, attributes, and the marks of deleted files."""
    subprocess.run(["cp", "--archive", source, target], check=True)


def _enter(namespace):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(namespace.fileno(), _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")
