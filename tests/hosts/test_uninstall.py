"""`tatu-agent uninstall`: the machine as it was, on a real host."""

import re
import subprocess

import pytest

from tests.hosts.obeying import Obeying

_PICTURE = """
import hashlib, os
for root in ("/etc", "/home", "/usr", "/var/lib", "/var/spool"):
    for folder, _, names in os.walk(root):
        for path in (folder, *(os.path.join(folder, name) for name in names)):
            found = os.lstat(path)
            said = [path, oct(found.st_mode), found.st_uid, found.st_gid]
            if os.path.islink(path):
                said.append(os.readlink(path))
            elif os.path.isfile(path) and root != "/usr":
                said.append(hashlib.sha256(open(path, "rb").read()).hexdigest())
            print(*said)
"""

# what useradd and its kin keep of the last change, and what runs beside
_PASSING = re.compile(r"/etc/[a-z]+- |/etc/\.pwd\.lock |/var/lib/(systemd|private)|\S*__pycache__")


def picture(host):
    """Return what stands where the agent could have left something."""
    lines = host.run(["python3", "-c", _PICTURE]).stdout.splitlines()
    return {line for line in lines if not _PASSING.match(line)}


@pytest.fixture
def host(boot):
    return boot("leaving-1")


@pytest.fixture
def obeying(fleet, host, tmp_path):
    roles = {"admin": ("admin",), "member": ("member",)}
    with Obeying.on(fleet, host, tmp_path, accounts=roles, sudo=("admin",)) as found:
        yield found


def uninstall(obeying, *options):
    return obeying.host.run(["tatu-agent", "uninstall", *options])


def test_the_machine_is_as_it_was_when_the_accounts_go_too(fleet, host, tmp_path):
    # the distribution's include is missing, so sshd's main file is changed as well
    host.run(["sed", "-i", "s/^Include/#Include/", "/etc/ssh/sshd_config"])
    host.run(["useradd", "--create-home", "debian"])
    home = host.run(["sh", "-c", "echo ~debian"]).stdout.strip()
    host.write(f"{home}/.ssh/authorized_keys", "ssh-ed25519 AAAA\n", 0o600)
    host.run(["systemctl", "restart", "ssh"])
    before = picture(host)
    roles = {"admin": ("admin",), "member": ("member",)}
    with Obeying.on(fleet, host, tmp_path, accounts=roles, sudo=("admin",)) as obeying:
        assert obeying.login("member", obeying.certified("member"), "true").returncode == 0
        assert len(picture(host) - before) > 15
        done = uninstall(obeying, "--remove-accounts")
        assert "warning" not in done.stderr
        host.run(["rm", "/usr/local/sbin/tatu-agent"])  # where the test put it
        assert picture(host) == before
        for path in ("/var/lib/tatu-agent", "/run/tatu-agent", "/etc/ssh/tatu"):
            assert host.run(["test", "-e", path], check=False).returncode == 1
        assert host.run(["getent", "group", "tatu"], check=False).returncode == 2
        assert host.sshd_ready()
        assert obeying.login("member", obeying.certified("member"), "true").returncode == 255


def test_accounts_are_kept_locked_with_their_files_and_can_be_had_again(obeying):
    host = obeying.host
    member = obeying.certified("member")
    command = obeying.ssh("member", member, "echo", "in;", "exec", "sleep", "600")
    with (
        obeying.fleet.inside(),
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as session,
    ):
        try:
            assert session.stdout.readline() == b"in\n"
            host.run(["sh", "-c", "echo long >~member/thesis"])
            done = uninstall(obeying)
            assert "kept, locked, with their files: admin, member" in done.stdout
            assert session.wait(30) == 255, "its session ends"
        finally:
            session.kill()
    assert host.run(["sh", "-c", "cat ~member/thesis"]).stdout == "long\n"
    assert "nologin" in host.run(["getent", "passwd", "member"]).stdout
    assert obeying.login("member", member, "true").returncode == 255
    assert uninstall(obeying).stdout.count("kept") == 1, "again is no error"
    obeying.enrol()
    assert obeying.login("member", member, "cat", "thesis").stdout == "long\n"


def serve(obeying):
    """Have systemd run the agent."""
    program = "/usr/lib/tatu-agent/tatu-agent"
    obeying.host.run(["install", "-D", "/usr/local/sbin/tatu-agent", program])
    obeying.host.run([program, "setup", "--insecure-http"])
    obeying.host.wait_until(lambda: is_on(obeying), "the agent does not run")


def is_on(obeying):
    """Say whether the agent runs, now and after the next boot."""
    done = [
        obeying.host.run(["systemctl", word, "tatu-agent.service"], check=False).stdout
        for word in ("is-active", "is-enabled")
    ]
    return done == ["active\n", "enabled\n"]


def test_it_is_refused_from_a_session_that_it_would_end(obeying):
    host = obeying.host
    serve(obeying)
    done = obeying.login("admin", obeying.certified("admin"), "sudo", "tatu-agent", "uninstall")
    assert done.returncode == 1
    assert "use another account" in done.stderr
    assert host.run(["test", "-e", "/etc/ssh/tatu"]).returncode == 0
    assert is_on(obeying), "or it would hear of no revocation any more"
    roles = {"admin": ("admin",), "late": ("late",)}
    obeying.tatu.publish(accounts=roles, sudo=("admin",))
    late = ["getent", "passwd", "late"]
    host.wait_until(lambda: host.run(late, check=False).returncode == 0, "it obeys no more")
    member = ["passwd", "--status", "member"]
    host.wait_until(lambda: " L " in host.run(member).stdout, "it locks nobody")


def test_what_sshd_would_not_start_with_is_left_in_place(obeying):
    host = obeying.host
    serve(obeying)
    host.write("/etc/ssh/sshd_config.d/99-broken.conf", "NoSuchOption yes\n")
    done = host.run(["tatu-agent", "uninstall"], check=False)
    assert done.returncode == 1
    assert host.run(["test", "-s", "/etc/ssh/sshd_config.d/00-tatu.conf"]).returncode == 0
    assert host.sshd_ready()
    host.wait_until(lambda: is_on(obeying), "the agent does not go on")
    host.run(["rm", "/etc/ssh/sshd_config.d/99-broken.conf"])
    assert "uninstalled" in uninstall(obeying).stdout
    assert not is_on(obeying)
    assert host.run(["test", "-e", "/etc/ssh/sshd_config.d/00-tatu.conf"], check=False).returncode
