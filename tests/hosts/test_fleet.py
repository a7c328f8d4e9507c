"""The lab's hosts themselves: real, apart, and gone afterwards."""

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lab.hosts import guard
from tests.lab.hosts.fleet import Fleet
from tests.lab.hosts.metadata import metadata
from tests.lab.hosts.network import METADATA
from tests.lab.openstack.process import Failed
from tests.lab.openstack.venv import ROOT
from tests.lab.server import wait_until

DRIVE = {
    "meta_data.json": {"uuid": "6c5bd9a4-6c4d-4a52-9b52-6a0e5b0c9d11", "hostname": "web-1"},
    "vendor_data.json": {"cloud-init": "#!/bin/sh\necho vendor >/var/lib/vendored\n"},
    "vendor_data2.json": {"tatu": {"version": 1}},
    "user_data": "#cloud-config\nruncmd: [[touch, /var/lib/used]]\n",
}

_HOLD = """
import sys, tempfile
from pathlib import Path
from tests.lab.hosts.fleet import Fleet
with tempfile.TemporaryDirectory() as folder, Fleet.start(Path(folder)) as fleet:
    fleet.host("db-1")
    print(fleet.name, flush=True)
    sys.stdin.read()
"""


def remains(fleet):
    """Return what this machine has of a fleet."""
    return [
        *Path("/run/netns").glob(f"{fleet}-*"),
        *(root / fleet for root in guard.GROUPS if (root / fleet).exists()),
        *guard.RUNS.glob(fleet),
    ]


def test_a_host_has_systemd_pam_logind_cron_and_at(boot):
    host = boot("db-1")
    assert host.run(["cat", "/proc/1/comm"]).stdout == "systemd\n"
    for unit in ("ssh", "systemd-logind", "systemd-journald", "cron", "atd"):
        host.run(["systemctl", "is-active", "--wait", unit])
    assert "Server listening" in host.journal("ssh")
    assert host.run(["id", "-un"], user="games").stdout == "games\n"
    assert host.run(["cat"], input="said\n").stdout == "said\n"
    with pytest.raises(AssertionError, match="ended with 3"):
        host.run(["sh", "-c", "exit 3"])


def test_cloud_init_reads_the_drive(boot):
    host = boot("web-1", drive=DRIVE)
    host.wait_until((host.root / "run/cloud-init/result.json").exists, "cloud-init is not done")
    assert host.run(["cat", "/var/lib/vendored"]).stdout == "vendor\n"
    assert (host.root / "var/lib/used").exists()
    assert host.run(["hostname"]).stdout == "web-1\n"
    said = host.run(["cat", "/var/lib/cloud/data/instance-id"]).stdout
    assert said.strip() == DRIVE["meta_data.json"]["uuid"]


def test_a_disk_outlives_a_power_cut_and_can_be_copied(boot):
    host = boot("db-1")
    machine = host.run(["cat", "/etc/machine-id"]).stdout
    host.run(["sh", "-c", "echo kept >/var/lib/kept; sync /var/lib/kept; rm /etc/issue"])
    host.cut_power()
    clone = boot("db-2", disk_of=host)
    host.boot()
    host.wait()
    for each in (host, clone):
        assert each.run(["cat", "/var/lib/kept"]).stdout == "kept\n"
        assert each.run(["cat", "/etc/machine-id"]).stdout == machine
        assert not (each.root / "etc/issue").exists()


def test_hosts_reach_the_switch_and_one_another_alone(boot):
    first, second = boot("db-1"), boot("db-2")
    knock = "import socket, sys; print(socket.create_connection((sys.argv[1], 22), 5).recv(4))"
    for address in (first.address, second.address):
        assert "SSH-" in second.run(["python3", "-c", knock, address]).stdout
    routes = first.run(["ip", "-json", "route"]).stdout
    assert set(re.findall(r'"dev":"(\w+)"', routes)) == {"eth0"}


def test_the_metadata_service_tells_each_host_what_is_on_its_drive(fleet, boot):
    host, other = boot("web-1", drive=DRIVE), boot("db-1")
    ask = "import sys, urllib.request as r; print(r.urlopen(sys.argv[1]).read().decode())"
    url = f"http://{METADATA}/openstack/latest/vendor_data2.json"
    with metadata(fleet) as asked:
        assert host.run(["python3", "-c", ask, url]).stdout == '{"tatu": {"version": 1}}\n'
        assert "404" in other.run(["python3", "-c", ask, url], check=False).stderr
    path = "/openstack/latest/vendor_data2.json"
    assert asked == [(host.address, path), (other.address, path)]


def test_a_host_that_does_not_come_up_shows_what_its_console_said(fleet, boot):
    host = fleet.new("db-1")
    host.write("/etc/systemd/system/default.target", "[Unit]\nRequires=no-such.service\n")
    (host.folder / "disk/sbin").mkdir()  # where the image has a link: no init
    host.boot()
    with pytest.raises(Failed, match=r"db-1 ended; the end of .*console.log"):
        host.wait()


def test_fleets_do_not_see_one_another(boot, tmp_path):
    host = boot("db-1")
    with Fleet.start(tmp_path) as other:
        with other.inside(), pytest.raises(OSError, match=r"timed out|route"):
            socket.create_connection((host.address, 22), 0.5)
        assert host.sshd_ready()
    assert remains(other.name) == []
    assert host.sshd_ready()


def hold():
    """Keep a fleet with a host in another process; return both, by name."""
    child = subprocess.Popen(
        [sys.executable, "-c", _HOLD],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
        text=True,
    )
    return child, child.stdout.readline().strip()


def test_nothing_is_left_when_the_owner_is_killed():
    child, fleet = hold()
    assert remains(fleet) != []
    child.kill()
    child.communicate()
    wait_until(lambda: remains(fleet) == [])


def test_what_died_with_its_guard_is_cleared_by_the_next(tmp_path):
    child, fleet = hold()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if words[-2:-1] == [fleet.encode()] and b"tests.lab.hosts.guard" in words:
            os.kill(int(process.name), signal.SIGKILL)
    child.kill()
    child.communicate()
    assert remains(fleet) != []
    with Fleet.start(tmp_path):
        assert remains(fleet) == []
