"""What the PAM hook writes down of a login, and what is read of it."""

import json
import os
import shlex
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tatu.agent import keys, session_hook, sessions
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


@pytest.fixture
def hook(layout, monkeypatch):
    """Call the hook as sshd's process 115, in the audit session 13 unless another is given."""
    proc = {"/proc/115/sessionid": "13", "/proc/115/stat": STAT}
    monkeypatch.setattr(session_hook, "_read", proc.__getitem__)

    def call(session="13", **changes):
        proc["/proc/115/sessionid"] = session
        environment = {
            "PAM_USER": "member",
            "PAM_RHOST": "192.0.2.7",
            "SSH_AUTH_INFO_0": SHOWN,
            **changes,
        }
        session_hook._record(str(sessions.folder(layout)), environment, 115)

    return call


def test_what_the_hook_writes_is_what_is_read(hook, layout):
    hook()
    [found] = sessions.all(layout)
    assert found == sessions.of(layout, 13)
    assert (
        found.id,
        found.monitor,
        found.account,
        found.source,
    ) == (13, 115, "member", "192.0.2.7")
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
    with pytest.raises(FileExistsError):
        hook(PAM_USER="admin")
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
    ],
    ids=range(8),  # the keys differ from process to process
)
def test_a_login_by_anything_but_one_certificate_is_refused(shown, hook, layout):
    with pytest.raises(ValueError, match="no certificate"):
        hook(SSH_AUTH_INFO_0=shown)
    assert sessions.all(layout) == []


@given(st.text())
def test_whatever_is_shown_it_is_refused_or_one_plain_line(shown):
    try:
        line = session_hook._certificate(f"publickey {shown}")
    except ValueError:
        return
    assert json.loads(json.dumps(line)) == line == json.loads(f'"{line}"')


def test_a_login_that_has_no_audit_session_is_refused(hook, layout):
    with pytest.raises(ValueError, match=r"pam_loginuid\.so"):
        hook(session="4294967295")
    assert not sessions.folder(layout).exists()


@pytest.mark.parametrize("account", ["", 'a", "session": 1', "a b", "a\n"])
def test_a_login_to_an_account_of_no_name_is_refused(account, hook):
    with pytest.raises(ValueError, match="no account"):
        hook(PAM_USER=account)


def test_a_source_that_is_no_name_is_not_told(hook, layout):
    hook(PAM_RHOST='evil", "account": "root')
    assert sessions.of(layout, 13).source == ""


@pytest.mark.parametrize("room", [{"f_bavail": 9}, {"f_favail": 9}])
def test_a_full_memory_refuses_new_sessions_before_it_is_everybodys_loss(room, hook, monkeypatch):
    free = {"f_blocks": 100, "f_bavail": 50, "f_files": 100, "f_favail": 50, **room}
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(**free))
    with pytest.raises(ValueError, match="no room"):
        hook()


def test_a_record_that_was_not_written_whole_refuses_the_session(hook, layout, monkeypatch):
    write = os.write
    monkeypatch.setattr(os, "write", lambda opened, data: write(opened, data[:100]))
    with pytest.raises(ValueError, match="not written whole"):
        hook()
    assert list(sessions.folder(layout).iterdir()) == []


def test_failing_the_hook_refuses_the_session_and_says_why_in_the_log(layout, monkeypatch):
    said = []
    monkeypatch.setattr(session_hook.syslog, "syslog", lambda _, text: said.append(text))
    monkeypatch.setattr(session_hook.sys, "argv", ["session", str(layout.run)])
    monkeypatch.setattr(session_hook.os, "environ", {"PAM_USER": "member"})
    assert session_hook.main() == 1
    assert said == ["a session is refused: sshd names no certificate"]


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
