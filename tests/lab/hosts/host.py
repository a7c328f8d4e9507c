"""Hosts in containers: real systemd as PID 1, journald, logind, PAM, sudo and sshd, about a second each."""

import json
import subprocess
from pathlib import Path

from tests.lab.hosts import guard, network
from tests.lab.hosts.image import image
from tests.lab.hosts.machine import Machine

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_BOOT = """
mount -t overlay overlay -o "lowerdir=$1,upperdir=$2/disk,workdir=$2/work" "$2/root"
folder=$2
shift 2
exec env SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 systemd-nspawn --directory="$folder/root" "$@"
"""
"""The mount is of a namespace that ends with the host; the disk stays, to be booted again or copied."""


class Host(Machine):
    """A container whose disk is an image with what was written since."""

    def __init__(self, fleet, name, address, *, drive, disk_of):
        super().__init__(fleet, name, address, drive)
        self._base = image(fleet.image)
        self._namespace = f"{fleet.name}-{name}"
        for part in ("root", "work"):
            (self.folder / part).mkdir()
        if disk_of is None:
            (self.folder / "disk").mkdir()
        else:
            assert not disk_of.is_up, "its disk is in use"
            # with what makes it a disk: owners, attributes, and the marks of deleted files
            command = ["cp", "--archive", disk_of.folder / "disk", self.folder / "disk"]
            subprocess.run(command, check=True)
        network.plug(fleet.switch, self._namespace, address)

    def boot(self, *, by_service=False):
        """Switch it on; what its drive says it finds there, or asks the metadata service for."""
        if by_service:
            told = [
                "--setenv=product_name=OpenStack Nova"
            ]  # by which cloud-init knows whom to ask
        elif self.drive:
            told = [f"--bind-ro={self.drive}:/var/lib/cloud/seed/config_drive"]
        else:
            told = []
        self.spawn(
            [
                *("unshare", "--mount", "sh", "-ec", _BOOT, "sh", self._base, self.folder),
                *("--quiet", "--register=no", "--keep-unit", f"--machine={self.name}"),
                f"--network-namespace-path=/run/netns/{self._namespace}",
                *told,
                "--boot",
                *([] if told else ["cloud-init=disabled"]),
            ]
        )

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
        enter = ["nsenter", "-t", self.pid, "-a", "--root", "--wd", "env", "-i", f"PATH={_PATH}"]
        done = subprocess.run(
            # beside PID 1's: whatever is left running ends with the host
            guard.within(f"{self._group}/commands", [*enter, "LANG=C.UTF-8", *command]),
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

    def said_at(self, unit, text):
        """Return when a unit said so first since the boot, in seconds, or None."""
        told = ["--no-pager", "--output=json", "--boot", f"--unit={unit}", f"--grep={text}"]
        lines = self.run(["journalctl", *told], check=False).stdout.splitlines()
        return int(json.loads(lines[0])["__REALTIME_TIMESTAMP"]) / 1e6 if lines else None

    def enrolled_at(self):
        """Return when it was: by the script that sets the agent up, or later by the service; or None."""
        if not (self.root / "var/lib/tatu-agent/loaded").exists():
            return None  # a file costs who waits less than the journal
        units = ("cloud-final", "tatu-agent")
        return next(filter(None, (self.said_at(unit, "enrolled as") for unit in units)), None)

    def start_loop(self):
        """Start the agent that `Project.enrol` left there as the service `tatu-loop`."""
        service = ["systemd-run", "--quiet", "--unit=tatu-loop", "--property=Type=notify"]
        self.run([*service, "/usr/local/sbin/tatu-agent", "run"])

    def write_down(self):
        if self.pid:
            with self.console.open("a") as console:
                console.write(self.journal())

    def unplug(self):
        network.ip("netns", "del", self._namespace)
