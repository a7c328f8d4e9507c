"""Which sessions end, on a real host: all that was started in them, and nothing beside them."""

import contextlib
import shlex
from datetime import UTC, datetime, timedelta

import pytest

from tests.fakes.tatu_server import Key
from tests.hosts.obeying import Obeying
from tests.hosts.people import ACCOUNTS, Machine


@pytest.fixture(scope="module")
def machine(fleet, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sessions")
    with Obeying.start(fleet, "sessions", folder, accounts=ACCOUNTS) as obeying:
        yield Machine(obeying)


_DETACHED = {
    "setsid": "setsid sleep {name} {quiet} &",
    "nohup": "nohup sh -c 'nohup setsid sleep {name} & nohup sleep {name}' {quiet} &",
    "tmux": "tmux new-session -d 'sleep {name}'",
    "daemon": "(python3 -c '{daemon}' sleep {name} {quiet} &)",
    "namespace": "unshare --user --pid --fork --map-root-user sleep {name} {quiet} &",
}
_DAEMON = (
    "import os, sys; os.fork() and os._exit(0); os.setsid(); os.execvp(sys.argv[1], sys.argv[1:])"
)


def test_what_outlives_its_login_ends_when_its_certificate_is_revoked(machine):
    bob, eve = machine.person("member"), machine.person("member")
    names, others = {kind: machine.name() for kind in _DETACHED}, machine.name()
    commands = [
        command.format(name=names[kind], quiet="</dev/null >/dev/null 2>&1", daemon=_DAEMON)
        for kind, command in _DETACHED.items()
    ]
    with eve.session("member", others):
        bob.run("member", "\n".join(commands))
        machine.until(lambda: all(map(machine.processes, names.values())))
        machine.publish()
        running = [kind for kind, name in names.items() if machine.processes(name)]
        assert running == list(names), "they go on while their certificate opens the account"
        said = machine.revoke(bob)
        assert "its certificate is revoked" in said
        assert [kind for kind, name in names.items() if machine.processes(name)] == []
        assert machine.processes(others), "another certificate's session in the same account"
    assert bob.serial not in {each["serial"] for each in machine.sessions()}


_RUNNER = """\
import os
os.setsid(), os.nice(19)
while True:
    if os.fork():
        os._exit(0)
"""


def test_a_program_that_is_another_process_each_moment_ends(machine):
    """It forks and exits faster than it could be found and killed; its cgroup is frozen first."""
    bob, mine = machine.person("member"), machine.name()
    runner = f"python3 -c {shlex.quote(_RUNNER)} 'sleep {mine}' </dev/null >/dev/null 2>&1 &"
    bob.run("member", runner)
    machine.until(lambda: machine.processes(mine))
    machine.revoke(bob)
    assert [machine.processes(mine) for _ in range(10)] == [[]] * 10


def test_who_is_logged_in_is_told_and_the_connection_ends(machine):
    bob = machine.person("member")
    with bob.session("member", machine.name(), ["-tt"]) as terminal:
        machine.revoke(bob)
        shown, _ = terminal.communicate(timeout=10)
    assert b"Tatu ends this session: its certificate is revoked." in shown
    assert b"closed by remote host" in shown
    assert terminal.returncode == 255


def test_port_forwards_end_with_their_session(machine):
    bob, eve = machine.person("member"), machine.person("member")
    with bob.forward("member", 8001), eve.forward("member", 8002):
        machine.revoke(bob)
        assert (machine.greets(8001), machine.greets(8002)) == (False, True)


def test_a_shared_connection_ends_with_all_sessions_in_it(machine):
    bob = machine.person("member")
    # of a socket's path no more than 108 bytes count, and ssh adds some of its own
    master = ["-o", f"ControlPath={machine.obeying.key.parent}/control"]
    names = machine.name(), machine.name()
    with contextlib.ExitStack() as stack:
        for name in names:
            stack.enter_context(bob.session("member", name, [*master, "-o", "ControlMaster=auto"]))
        assert len([each for each in machine.sessions() if each["serial"] == bob.serial]) == 1
        machine.revoke(bob)
        assert [machine.processes(name) for name in names] == [[], []]
        assert bob.run("member", "true", options=master, check=False).returncode == 255


def test_who_became_root_and_changed_the_login_uid_is_found_by_the_cgroup(machine):
    admin, mine = machine.person("admin"), machine.name()
    rewrite = f"echo 0 >/proc/self/loginuid; exec setsid sleep {mine}"
    before = f"sudo sh -c {shlex.quote(rewrite)} </dev/null >/dev/null 2>&1 &"
    with admin.session("admin", machine.name(), before=before):
        machine.until(lambda: machine.processes(mine))
        assert machine.processes(mine), machine.publish()
        said = machine.revoke(admin)
    assert machine.processes(mine) == []
    assert "it had root, and may have left what nobody can find" in said


def test_who_became_somebody_else_in_another_session_is_found_by_the_uid(machine):
    """A service that root started in the account's name has neither session nor login uid."""
    admin, mine = machine.person("admin"), machine.name()
    admin.run("admin", f"sudo systemd-run --uid=member sleep {mine}")
    machine.until(lambda: machine.processes(mine))
    machine.publish()
    assert machine.processes(mine) == []


def test_nothing_runs_in_a_managed_account_without_a_login(machine):
    bob, mine, host = machine.person("member"), machine.name(), machine.host
    # at the boot, for which nobody has to wait as for the next minute
    for command in (f"echo '@reboot sleep {mine}' | crontab -", f"echo 'sleep {mine}' | at now"):
        bob.run("member", command)
    host.run(["rm", "-f", "/run/crond.reboot"])
    host.run(["systemctl", "restart", "cron"])
    for command in (f"systemd-run --user sleep {mine}", "loginctl enable-linger"):
        bob.run("member", command, check=False)
    spool = host.root / "var/spool/cron"
    crontab, linger = spool / "crontabs/member", host.root / "var/lib/systemd/linger/member"
    assert crontab.exists()
    for unit in ("atd", "cron"):
        host.wait_until(
            lambda unit=unit: "Authentication failure" in host.journal(unit),
            f"{unit} was not asked to run anything",
        )
    assert machine.processes(mine) == []
    machine.publish()
    assert machine.processes(mine) == []
    uid = host.run(["id", "-u", "member"]).stdout.strip()
    manager = host.run(["systemctl", "is-active", f"user@{uid}.service"], check=False)
    assert manager.stdout.strip() != "active"
    assert [path for path in (crontab, linger) if path.exists()] == []
    assert list((spool / "atjobs").glob("[!.]*")) == []


def test_what_somebody_started_in_the_account_without_a_certificate_ends(machine):
    mine = machine.name()
    started = f"setsid sleep {mine} </dev/null >/dev/null 2>&1 &"
    machine.host.run(["runuser", "--login", "member", "--command", started])
    machine.until(lambda: machine.processes(mine))
    machine.publish()
    assert machine.processes(mine) == []


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"accounts": {"admin": ("admin",)}}, "its account is closed"),
        (
            {"accounts": {"admin": ("admin",), "member": ("others",)}},
            "its certificate no longer opens this account",
        ),
    ],
    ids=["account", "principal"],
)
def test_a_lost_role_ends_its_sessions(changes, why, machine):
    bob, eve = machine.person("member"), machine.person("admin")
    mine, others = machine.name(), machine.name()
    with bob.session("member", mine), eve.session("admin", others):
        assert why in machine.publish(**changes)
        assert machine.processes(mine) == []
        assert machine.processes(others)
    machine.publish()


def test_an_authority_that_is_trusted_no_more_ends_what_it_signed(machine):
    old, bob, mine = machine.tatu.user_key, machine.person("member"), machine.name()
    with bob.session("member", mine):
        machine.tatu.user_key = Key()
        assert "no longer trusted" in machine.publish()
        assert machine.processes(mine) == []
    machine.tatu.user_key = old
    machine.publish()


def test_expiry_ends_sessions_where_that_is_the_policy(machine):
    soon = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=4)
    bob, mine = machine.person("member", valid_before=soon), machine.name()
    with bob.session("member", mine):
        machine.until(lambda: datetime.now(UTC) > soon)
        machine.publish()
        assert machine.processes(mine)
        assert "its certificate has expired" in machine.publish(end_at_expiry=True)
        assert machine.processes(mine) == []
    machine.publish()


def test_what_a_user_wrote_for_pam_changes_no_record(machine):
    """`pam_env.so user_readenv=1` in Debian's sshd file: a member of the account may write it."""
    bob, eve = machine.person("member"), machine.person("member")
    forged = eve.certificate.read_text().strip().replace("@", r"\@")
    lines = f'SSH_AUTH_INFO_0 DEFAULT="publickey {forged}"\nLD_PRELOAD DEFAULT=/tmp/evil.so\n'
    bob.run("member", f"printf %s {shlex.quote(lines)} >~/.pam_environment")
    with bob.session("member", machine.name()):
        assert bob.serial in {each["serial"] for each in machine.sessions()}
        assert eve.serial not in {each["serial"] for each in machine.sessions()}
    bob.run("member", "rm ~/.pam_environment")


def test_without_a_record_there_is_no_session(machine):
    """The folder is a file: nothing can be written down."""
    host, bob = machine.host, machine.person("member")
    host.run(["sh", "-c", "cd /run/tatu-agent && mv sessions away && touch sessions"])
    refused = bob.run("member", "true", check=False)
    host.run(["sh", "-c", "cd /run/tatu-agent && rm sessions && mv away sessions"])
    assert refused.returncode == 254
    assert "a session is refused" in host.journal()
    bob.run("member", "true")


def test_logins_of_all_outcomes_are_kept_to_be_told(machine):
    bob, expired = machine.person("member"), datetime.now(UTC).replace(microsecond=0)
    late = machine.person("member", valid_before=expired - timedelta(minutes=1))
    machine.publish()
    machine.collect()
    bob.run("member", "true")
    assert late.run("member", "true", check=False).returncode == 255
    machine.revoke(bob)
    assert bob.run("member", "true", check=False).returncode == 255
    machine.collect()
    told = [
        (kind, each["serial"], each.get("detail", "").partition(" SHA256")[0])
        for kind in ("accepted", "ended", "refused")
        for each in machine.spooled(kind)
        if each.get("serial") in (bob.serial, late.serial)
    ]
    assert told == [
        ("accepted", bob.serial, ""),
        ("ended", bob.serial, "its certificate is revoked"),
        ("refused", late.serial, "Certificate invalid: expired"),
        ("refused", bob.serial, "Authentication key ED25519-CERT"),
    ]


def test_administrators_log_in_whatever_is_wrong_with_the_hook(machine):
    host, bob = machine.host, machine.person("member")
    public = machine.obeying.key.with_suffix(".pub").read_text()
    host.run(["sh", "-c", "mkdir -p ~root/.ssh && cat >~root/.ssh/authorized_keys"], input=public)
    host.run(["mv", "/usr/lib/tatu-agent/session", "/usr/lib/tatu-agent/away"])
    try:
        assert bob.run("member", "true", check=False).returncode == 254
        assert bob.run("root", "id -un").stdout == "root\n"
    finally:
        host.run(["mv", "/usr/lib/tatu-agent/away", "/usr/lib/tatu-agent/session"])
