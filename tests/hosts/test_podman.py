"""What people leave running in containers of their own ends with their certificates, on a host that has Podman."""

import pytest

from tests.hosts.obeying import Obeying
from tests.hosts.people import ACCOUNTS, Machine
from tests.lab.hosts.fleet import Fleet

pytestmark = pytest.mark.matrix

_CONFIGURATION = """\
[containers]
default_sysctls = []
keyring = false
log_driver = "none"
pids_limit = 0
"""
"""A host that is a container itself has no keyrings, no sysctls to set, and not each controller of cgroups."""

_ROOT = """
mkdir -p root/dev root/etc root/proc root/run root/sys root/tmp
cp --parents $(ldd /usr/bin/sleep | grep -o '/[^ ]*') /usr/bin/sleep root
"""


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    """Have hosts of an image that has Podman; they are on a switch of their own."""
    with Fleet.start(tmp_path_factory.mktemp("fleet"), "podman") as fleet:
        yield fleet


@pytest.fixture(scope="module")
def machine(fleet, tmp_path_factory):
    folder = tmp_path_factory.mktemp("podman")
    with Obeying.start(fleet, "podman", folder, accounts=ACCOUNTS) as obeying:
        machine = Machine(obeying)
        machine.host.write("/etc/containers/containers.conf", _CONFIGURATION)
        # overlays do not lie on one another, and that of the host is one
        machine.host.write("/etc/containers/storage.conf", '[storage]\ndriver = "vfs"\n')
        # one without systemd's masks: the kernel lets nobody mount a proc that shows more than those there are
        machine.host.run(["sh", "-c", "mkdir /run/proc && mount -t proc proc /run/proc"])
        machine.person("member").run("member", _ROOT)
        yield machine


def contain(name, *options):
    """Return a command that leaves a program running in a container, there as root or as somebody else."""
    words = ["podman", "run", "--detach", "--network=none", *options, "--rootfs", "~/root"]
    return " ".join([*words, "sleep", name])


def facts(machine, name):
    """Return the real uid and the cgroup of a program."""
    [pid] = machine.processes(name)
    shown = machine.host.run(["ps", "-o", "ruid=,cgroup=", "--width", "1000", pid]).stdout
    uid, cgroup = shown.split()
    return int(uid), cgroup


def left(machine, account="member"):
    """Return the names of the programs that run in the account, and by all uids that any account has beside its own."""
    shown = machine.host.run(["ps", "-eo", "ruid=,comm="]).stdout
    own = machine.host.run(["id", "-u", account]).stdout.strip()
    lines = [line.split(None, 1) for line in shown.splitlines()]
    return [name for uid, name in lines if uid == own or int(uid) >= 100_000]


def test_what_was_left_in_containers_ends_when_the_certificate_is_revoked(machine):
    """Podman puts its own processes aside too: the monitor of each container, and what holds the namespace."""
    bob, eve = machine.person("member"), machine.person("member")
    root, mapped, mine, others = (machine.name() for _ in range(4))
    bob.run("member", contain(root))
    bob.run("member", contain(mapped, "--user=1000"))
    bob.run("member", f"podman unshare setsid sleep {mine} </dev/null >/dev/null 2>&1 &")
    eve.run("member", contain(others, "--user=1000"))
    machine.until(lambda: machine.processes(mine))
    assert facts(machine, mapped)[0] >= 100_000, "a uid that is not the account's"
    with eve.session("member", machine.name()):
        machine.publish()
        running = [bool(machine.processes(name)) for name in (root, mapped, mine, others)]
        assert running == [True] * 4, "they go on while their certificate opens the account"
        assert "its certificate is revoked" in machine.revoke(bob)
        running = [bool(machine.processes(name)) for name in (root, mapped, mine, others)]
        assert running == [False, False, False, True], "another certificate's container goes on"
        machine.revoke(eve)
    assert left(machine) == []


def test_a_container_in_a_cgroup_of_its_own_ends_with_the_certificate(machine):
    """Where an operator lets an account have a systemd of its own, that gives containers cgroups outside the session's."""
    alice, mine = machine.person("admin"), machine.name()
    machine.host.write("/etc/tatu-agent/unattended", "admin\n")
    try:
        machine.publish()
        alice.run("admin", f"{_ROOT}{contain(mine, '--user=1000')}")
        uid, cgroup = facts(machine, mine)
        assert uid >= 100_000
        assert "/user@" in cgroup, "systemd was asked for no cgroup"
        machine.revoke(alice)
        assert machine.processes(mine) == []
        assert "conmon" not in left(machine, "admin")
    finally:
        machine.host.run(["rm", "/etc/tatu-agent/unattended"])
        machine.publish()
    assert left(machine, "admin") == []


def test_what_runs_by_another_uid_without_a_certificate_ends(machine):
    """An administrator's `runuser` is of no session: nothing but the namespace says whose it is."""
    mine = machine.name()
    uid = "setpriv --reuid=5 --regid=5 --clear-groups"
    within = f"unshare --user --map-auto --map-root-user {uid} unshare --user sleep {mine}"
    started = f"setsid {within} </dev/null >/dev/null 2>&1 &"
    machine.host.run(["runuser", "--login", "member", "--command", started])
    machine.until(lambda: machine.processes(mine))
    assert facts(machine, mine)[0] >= 100_000
    machine.publish()
    assert machine.processes(mine) == []
