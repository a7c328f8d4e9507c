"""What the PAM hook writes down of a login, and what is read of it."""

import json
import os
import shlex
import subprocess

import pytest

from tatu.agent import hooks, keys, sessions
from tatu.agent.errors import Malformed
from tatu.agent.layout import Layout
from tatu.agent.sessions import Session
from tatu.core.certificate import CertificateType
from tests.fakes.tatu_server import Key, certify

CA, USER = Key(), Key()
LINE = certify(
    CA,
    USER.public,
    ("member",),
    type=CertificateType.USER,
    serial=2**64 - 1,
    key_id="user_1 (serial 9)\x1b",
    critical_options={"source-address": b"192.0.2.0/24"},
).line
SHOWN = f"publickey {LINE}\n"
STAT = "115 () S 1 () S 1 " + " ".join(map(str, range(115, 160)))


@pytest.fixture
def layout(tmp_path):
    return Layout(tmp_path, tmp_path / "sshd_config", "sshd", "tatu", "true")


class Hook:
    """The hook, as sshd's process 115 calls it, with its own /proc and its own log."""

    def __init__(self, layout):
        self.layout = layout
        self.script = hooks.SOURCES["session"].decode()
        self.be("/proc/$PPID/", f"{layout.root}/")
        self.be("logger -t tatu-session -p authpriv.err --", "echo")

    def be(self, old, new):
        """Have the hook see or do something else."""
        assert old in self.script, old
        self.script = self.script.replace(old, new)

    def __call__(self, session="13", **changes):
        """Let it write down a login; return why it is refused."""
        (self.layout.root / "sessionid").write_text(session)
        (self.layout.root / "stat").write_text(f"{STAT}\n")
        shown = {"PAM_USER": "member", "PAM_RHOST": "192.0.2.7", "SSH_AUTH_INFO_0": SHOWN}
        done = subprocess.run(
            ["/bin/sh", "-c", self.script, "sh", sessions.folder(self.layout)],
            env={"PPID": "115", "IFS": "3", **shown, **changes},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode == 0) == (not done.stdout), done
        return done.stdout.removeprefix("a session is refused: ").strip()


@pytest.fixture
def hook(layout):
    return Hook(layout)


def test_what_the_hook_writes_is_what_is_read(hook, layout):
    hook()
    [found] = sessions.all(layout)
    assert found == sessions.of(layout, 13)
    assert (
        found.id,
        found.monitor,
        found.account,
        found.source,
    ) == (13, os.getpid(), "member", "192.0.2.7")
    certificate = found.certificate
    assert (
        certificate.line,
        certificate.serial,
        certificate.principals,
    ) == (LINE, 2**64 - 1, ("member",))
    assert certificate.critical_options == {"source-address": "192.0.2.0/24"}
    assert CA.public.fingerprint == keys.fingerprint(certificate.signature_key)


def test_a_process_may_be_called_anything(hook, layout):
    hook()
    assert sessions.of(layout, 13).started == int(STAT.rpartition(")")[2].split()[19])


def test_records_are_for_root_alone(hook, layout):
    hook()
    folder = sessions.folder(layout)
    assert [path.stat().st_mode & 0o777 for path in (layout.run, folder, folder / "13")] == [
        0o700,
        0o700,
        0o600,
    ]
    assert [path.name for path in folder.iterdir()] == ["13"]


def test_a_record_is_never_replaced(hook, layout):
    hook()
    assert "there already" in hook(PAM_USER="admin")
    assert sessions.of(layout, 13).account == "member"
    assert [path.name for path in sessions.folder(layout).iterdir()] == ["13"]


@pytest.mark.parametrize(
    "shown",
    [
        "",
        f"publickey {USER.public.line}",
        "password",
        f"password\n{SHOWN}",
        f"{SHOWN}{SHOWN}",
        f"hostbased {LINE}",
        f'publickey {LINE}", "account": "root',
        f"publickey {LINE} comment",
        f"publickey x {LINE}",
        f"publickey {LINE}\n\n",
    ],
    ids=range(10),  # the keys differ from process to process
)
def test_a_login_by_anything_but_one_certificate_is_refused(shown, hook, layout):
    assert hook(SSH_AUTH_INFO_0=shown) == "sshd names no certificate"
    assert sessions.all(layout) == []


@pytest.mark.parametrize(
    "odd", ['"', "\\", "'", "$(id)", "`id`", "*", ";", "\t", "\x01", "é", '%s"', "\n"]
)
def test_whatever_stands_in_a_certificate_or_name_nothing_else_comes_of_it(odd, hook, layout):
    assert hook(SSH_AUTH_INFO_0=f"publickey {LINE}{odd}=\n") == "sshd names no certificate"
    assert hook(PAM_USER=f"member{odd}") == "PAM names no account"
    assert hook(PAM_RHOST=f"{odd}192.0.2.7") == ""
    assert sessions.of(layout, 13).source == ""
    assert [path.name for path in sessions.folder(layout).iterdir()] == ["13"]


def test_the_hook_is_a_script_that_shells_agree_on():
    command = ["shellcheck", "-s", "sh", "-"]
    subprocess.run(command, input=hooks.SOURCES["session"], check=True)


def test_a_login_that_has_no_audit_session_is_refused(hook, layout):
    assert "pam_loginuid.so" in hook(session="4294967295")
    assert not sessions.folder(layout).exists()


@pytest.mark.parametrize("account", ["", 'a", "session": 1', "a b", "a\n"])
def test_a_login_to_an_account_of_no_name_is_refused(account, hook):
    assert hook(PAM_USER=account) == "PAM names no account"


@pytest.mark.parametrize("session", ["", "x", "../13", "-1", "1 2"])
def test_a_process_that_cannot_be_read_is_refused(session, hook):
    assert hook(session=session) == "sshd's process cannot be read"


def test_a_source_that_is_no_name_is_not_told(hook, layout):
    hook(PAM_RHOST='evil", "account": "root')
    assert sessions.of(layout, 13).source == ""


@pytest.mark.parametrize("room", ["9 100 50 100", "50 100 9 100", ""])
def test_a_full_memory_refuses_new_sessions_before_it_is_everybodys_loss(room, hook):
    hook.be("stat -f -c '%a %b %d %c' \"$folder\"", f"echo {room}")
    assert "no room" in hook()


def test_a_record_that_was_not_written_whole_refuses_the_session(hook, layout):
    hook.be('>>"$record"', ">/dev/full")
    assert "not written whole" in hook()
    assert list(sessions.folder(layout).iterdir()) == []


def test_a_damaged_record_is_none(hook, layout):
    hook()
    path = sessions.folder(layout) / "13"
    whole = path.read_bytes()
    for cut in range(len(whole) - 2):
        with pytest.raises(Malformed):
            Session.parse(whole[:cut])
    path.write_bytes(whole[:100])
    assert (sessions.of(layout, 13), sessions.all(layout)) == (None, [])


def test_a_record_under_another_sessions_name_is_none(hook, layout):
    hook()
    path = sessions.folder(layout) / "13"
    path.rename(path.with_name("14"))
    assert sessions.all(layout) == []


def test_no_record_is_of_the_session_that_everything_else_runs_in(hook, layout):
    hook()
    facts = json.loads((sessions.folder(layout) / "13").read_bytes())
    for session in (0, -1, 2**32 - 1, True, "13"):
        with pytest.raises(Malformed):
            Session.parse(json.dumps({**facts, "session": session}).encode())


def test_what_is_told_has_no_control_characters(hook, layout):
    hook()
    assert sessions.of(layout, 13).told()["key_id"] == "user_1 (serial 9)?"


def test_sessions_are_listed_for_people_and_for_programs(hook, layout):
    hook()
    titles, row = sessions.shown(layout, as_json=False).splitlines()
    assert titles.split() == ["ID", "ACCOUNT", "SERIAL", "SINCE", "SOURCE", "KEY_ID"]
    assert row.split()[:3] == ["13", "member", str(2**64 - 1)]
    assert [each["id"] for each in json.loads(sessions.shown(layout, as_json=True))] == [13]


def test_other_accounts_skip_the_hook(layout):
    layout.pam.mkdir(parents=True)
    file = layout.pam / "sshd"
    file.write_text("@include common-session\nsession required pam_env.so user_readenv=1\n")
    layout.state.mkdir(parents=True)
    assert (sessions.record_logins(layout), sessions.record_logins(layout)) == (True, False)
    lines = [line.split() for line in file.read_text().splitlines() if line[:1] != "#"]
    assert lines[1][1:] == shlex.split(
        "[success=1 default=ignore] pam_succeed_if.so quiet user notingroup tatu"
    )
    assert lines[2][:3] == ["session", "required", "pam_exec.so"]
    assert "type=open_session" in lines[2]
    assert lines[3] == ["@include", "common-session"]


def test_where_pam_has_no_sshd_nothing_is_written(layout):
    assert not sessions.record_logins(layout)
    assert not layout.pam.exists()
