"""Keeps a lab for whoever works on the project: `python -m tests.lab up --tier identity`.

`up` stays until it is interrupted, or with --detach until `down`; `env` prints what a shell exports to use
the lab; `hosts up --count N` keeps real hosts on a switch of their own instead.  Labs of different names run side by side, each in `.cache/lab/NAME`.
"""

import argparse
import contextlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.lab.hosts.fleet import GATEWAY, Fleet
from tests.lab.hosts.image import IMAGES
from tests.lab.openstack.lab import TIERS, Lab
from tests.lab.openstack.venv import CACHE, ROOT

_SELF = ("-m", "tests.lab")

_HOSTS = """\
Starts COUNT machines, host-1 and so on, each a container of systemd-nspawn with systemd, sshd and a disk of its own, on a
switch (a network namespace) that nothing outside of it reaches. It prints what is up and how to get in, and stays.

needs     root, and systemd-nspawn, debootstrap, ip and nsenter. The first start of an image makes it, some minutes long, from
          Debian's mirror; it stays in .cache.
get in    `nsenter -t PID -a bash` is a shell of root on a host, PID as printed; `ip netns exec SWITCH COMMAND` runs a command on
          the switch, from where hosts are reached by address, and what is served there they reach at GATEWAY. Neither an
          agent nor an account is on them yet.
end       by an interrupt (Ctrl-C) or SIGTERM to it: hosts, switch and files are gone then. When it is killed, its files stay
          in tatu-hosts-… of the folder for temporary files.

example   .venv/bin/python -m tests.lab hosts up --count 3 --image trixie
"""


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m tests.lab", description=__doc__)
    parser.add_argument("--name", default="lab")
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up")
    up.add_argument("--tier", choices=TIERS, default="identity")
    up.add_argument("--detach", action="store_true")
    commands.add_parser("down")
    commands.add_parser("env")
    hosts = commands.add_parser(
        "hosts",
        help="keep real hosts on this machine",
        description=_HOSTS.replace("GATEWAY", GATEWAY),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    hosts.add_argument("action", choices=["up"], help="start them, and stay until the end")
    hosts.add_argument("--count", type=int, default=1, help="how many (default: 1)")
    hosts.add_argument(
        "--image", choices=IMAGES, default="bookworm", help="what they run (default: bookworm)"
    )
    asked = parser.parse_args(arguments)
    folder = CACHE / "lab" / asked.name
    match asked.command:
        case "up" if _pid(folder):
            sys.exit(f"the lab {asked.name} is up already")
        case "up":
            (_detach if asked.detach else _up)(folder, asked.name, asked.tier)
        case "down":
            _down(folder)
        case "env":
            _print(_state(folder)["exports"])
        case "hosts":
            _hosts(asked.count, asked.image)


def _up(folder, name, tier):
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    shutil.rmtree(folder, ignore_errors=True)
    try:
        with Lab.start(folder, tier, say=_say) as lab:
            _print(lab.exports)
            state = folder / "state"
            state.touch(mode=0o600)
            state.write_text(json.dumps({"pid": os.getpid(), "exports": lab.exports}))
            with contextlib.suppress(KeyboardInterrupt):
                signal.pause()
    finally:
        (folder / "state").unlink(missing_ok=True)  # the logs stay


def _hosts(count, image):
    """Keep hosts until an interrupt; their files end with them."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with (
        tempfile.TemporaryDirectory(prefix="tatu-hosts-") as folder,
        Fleet.start(Path(folder), image) as fleet,
    ):
        _say(f"switch: ip netns exec {fleet.switch} COMMAND")
        for host in fleet.boot(*(f"host-{number}" for number in range(1, count + 1))):
            _say(f"{host.name} {host.address}: nsenter -t {host.pid} -a COMMAND")
        with contextlib.suppress(KeyboardInterrupt):
            signal.pause()


def _detach(folder, name, tier):
    log = folder.with_suffix(".log")
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        child = subprocess.Popen(
            [sys.executable, *_SELF, "--name", name, "up", "--tier", tier],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    while _pid(folder) != child.pid:
        if child.poll() is not None:
            sys.exit(log.read_text())
        time.sleep(0.1)
    _say(log.read_text().rstrip())


def _down(folder):
    pid = _pid(folder)
    if pid is None:
        sys.exit("there is no such lab")
    os.kill(pid, signal.SIGTERM)
    while _pid(folder):
        time.sleep(0.05)


def _state(folder):
    try:
        return json.loads((folder / "state").read_text())
    except FileNotFoundError:
        sys.exit("there is no such lab")


def _pid(folder):
    """Return the process that keeps the lab; a file that it left when it was killed does not count."""
    try:
        pid = json.loads((folder / "state").read_text())["pid"]
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (FileNotFoundError, ValueError):
        return None
    return pid if _SELF[1].encode() in words else None


def _print(exports):
    for name, value in exports.items():
        _say(f"export {name}={shlex.quote(value)}")


def _say(line):
    print(line, flush=True)  # noqa: T201  to whom it is run by


if __name__ == "__main__":
    main()
