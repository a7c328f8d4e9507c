"""Whom sudo's check refuses before any agent is asked (security.md S15)."""

import base64
import json
import os
import socket
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tatu.agent import forwarded, keys, pam, spool, sudo
from tatu.agent.errors import AgentError
from tatu.agent.layout import Layout
from tatu.agent.sessions import Session
from tatu.agent.sudo import Question
from tatu.core import sudo as core_sudo
from tatu.core.certificate import Certificate, CertificateType
from tatu.core.sshsig import Namespace, SshSignature, to_be_signed
from tests.fakes.statements import stated
from tests.fakes.tatu_server import Key, certify

NOW = datetime.now(UTC).replace(microsecond=0)
CA, OFFLINE, OTHER, USER = Key(), Key(), Key(), Key()
LINES = {"account": "admin", "source": "192.0.2.7"}


def newest(**changes):
    return stated(CA, OTHER, OFFLINE, NOW - timedelta(minutes=1), **changes)


def a_session(authority=CA, account="admin", source="192.0.2.7", **changes):
    facts = {
        "principals": (account,),
        "type": CertificateType.USER,
        "valid_before": NOW + timedelta(hours=1),
        **changes,
    }
    made = certify(authority, USER.public, **facts)
    return Session.parse(
        json.dumps(
            {
                "session": 12,
                "monitor": os.getpid(),
                "started": 1,
                "account": account,
                "certificate": made.line,
                "source": source,
                "at": NOW.strftime("%Y-%m-%dT%H:%M:%SZ"),
            }
        ).encode()
    )


def test_the_certificate_of_an_open_session_may_have_root():
    sudo.permitted(a_session(), newest(), NOW)


@pytest.mark.parametrize(
    ("session", "said"),
    [
        (a_session(authority=OTHER), "no longer trusted"),
        (a_session(principals=("member",)), "no longer opens"),
        (a_session(principals=()), "no longer opens"),
        (a_session(account="member"), "no sudo"),
        (a_session(account="nobody-here"), "no sudo"),
        (a_session(valid_before=NOW), "has ended"),
        (a_session(valid_after=NOW + timedelta(seconds=1)), "has ended"),
        (a_session(critical_options={"force-command": "id"}), "one command"),
        (a_session(critical_options={"source-address": "198.51.100.0/24"}), "where"),
        (a_session(critical_options={"source-address": "192.0.2.0/24"}, source=""), "where"),
        (a_session(critical_options={"source-address": "192.0.2.0/24"}, source="me"), "where"),
        (a_session(critical_options={"verify-required": ""}), "not known"),
        (a_session(authority=OFFLINE), "no longer trusted"),
        (a_session(authority=OFFLINE, account="rescue"), "no sudo"),
    ],
)
def test_what_a_certificate_may_not_be(session, said):
    with pytest.raises(AgentError, match=said):
        sudo.permitted(session, newest(), NOW)


def test_a_login_from_where_the_certificate_says_may_have_root():
    listed = {"source-address": "198.51.100.0/24,192.0.2.0/24"}
    sudo.permitted(a_session(critical_options=listed), newest(), NOW)


@pytest.mark.parametrize("age", [timedelta(hours=2), timedelta(minutes=-5)])
def test_a_statement_that_is_too_old_or_of_the_future_gives_no_root(age):
    issued = NOW - age
    stale = newest(issued=issued, expires=issued + timedelta(minutes=15))
    with pytest.raises(AgentError, match="not known"):
        sudo.permitted(a_session(), stale, NOW)


def test_a_lost_account_has_no_root():
    with pytest.raises(AgentError, match="no sudo"):
        sudo.permitted(a_session(), newest(accounts={"member": ("member",)}, sudo=()), NOW)


def test_a_clock_set_back_does_not_bring_a_certificate_back():
    ended = a_session(valid_before=NOW)
    with pytest.raises(AgentError, match="has ended"):
        sudo.permitted(ended, newest(issued=NOW), NOW - timedelta(seconds=30))


def test_a_host_certificate_makes_no_session():
    with pytest.raises(AgentError, match="no user certificate"):
        a_session(type=CertificateType.HOST)


# --- who asks


@pytest.fixture
def layout(tmp_path):
    return Layout(tmp_path, tmp_path / "sshd_config", "sshd", "tatu", "")


def record(layout, session, **changes):
    folder = layout.run / "sessions"
    folder.mkdir(parents=True, exist_ok=True)
    facts = {
        "session": session.id,
        "monitor": session.monitor,
        "started": session.started,
        "account": session.account,
        "certificate": session.certificate.line,
        "source": session.source,
        "at": session.at.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    (folder / str(session.id)).write_text(json.dumps({**facts, **changes}))


def asks(**changes):
    facts = {"account": "admin", "caller": "admin", "session": 12, "agent": "/a"}
    return Question(**{**facts, **changes})


def test_a_question_is_its_sessions(layout):
    record(layout, a_session())
    assert a_session() == sudo.asking(layout, asks())


@pytest.mark.parametrize(
    ("question", "said"),
    [
        (asks(session=13), "no login by certificate"),
        (asks(session=0xFFFFFFFF), "no login"),
        (asks(account="member", caller="member"), "login is to the account admin"),
        (asks(caller="member"), "login is to the account admin"),
        (asks(account="root"), "login is to the account admin"),
        (asks(account="", caller=""), "login is to the account admin"),
    ],
)
def test_a_question_of_anything_but_a_recorded_login_is_refused(layout, question, said):
    record(layout, a_session())
    with pytest.raises(AgentError, match=said):
        sudo.asking(layout, question)


def test_a_record_that_a_user_linked_is_none(layout, tmp_path):
    record(layout, a_session())
    path = layout.run / "sessions/12"
    path.rename(tmp_path / "mine")
    path.symlink_to(tmp_path / "mine")
    with pytest.raises(AgentError, match="no login by certificate"):
        sudo.asking(layout, asks())


def test_a_process_is_asked_for_its_session_and_its_agent():
    environment = {"PAM_USER": "admin", "PAM_RUSER": "member"}
    found = Question.of(os.getpid(), environment)
    own = dict(
        word.partition(b"=")[::2] for word in Path("/proc/self/environ").read_bytes().split(b"\0")
    )
    expected = own.get(b"SSH_AUTH_SOCK", b"").decode()
    session = int(Path("/proc/self/sessionid").read_text())
    assert found == Question("admin", "member", session, expected)
    with pytest.raises(AgentError):
        Question.of(2**22 + 1, environment)


RUN = """\
import os, sys
from tatu.agent import sudo
print(sudo.main(sys.argv[1:]), os.getsid(0) == os.getpid())
"""


def test_no_terminal_of_the_users_can_stop_the_check(layout):
    """It would hold the spool's lock, and the agent wait for it."""
    ran = [sys.executable, "-c", RUN, layout.root, "tatu"]
    done = subprocess.run(
        ran, env={"PAM_USER": "admin"}, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("Tatu refuses sudo: ")
    assert done.stdout.endswith("\n1 True\n")


def test_a_refusal_is_kept_for_tatu_with_its_reason(layout, monkeypatch):
    monkeypatch.setenv("PAM_USER", "admin")
    sudo._tell(layout, NOW, a_session(), "no agent")
    sudo._tell(layout, NOW, None, None)
    first, second = spool.batch(layout, 9).events
    assert (first["kind"], first["detail"], first["serial"]) == ("sudo-refused", "no agent", 7)
    assert (second["kind"], second["account"], "serial" in second) == (
        "sudo-accepted",
        "admin",
        False,
    )


# --- the challenge


def test_the_challenge_is_the_one_that_the_filtering_agent_reads():
    session = a_session()
    message = sudo.challenge("db-1", session, "0" * 64, NOW)
    read = core_sudo.SudoChallenge.parse(message)
    certificate = Certificate.parse(session.certificate.line)
    assert (read.host, read.session, read.account) == ("db-1", "12", "admin")
    assert core_sudo.fingerprint(certificate) == read.certificate
    assert core_sudo.EXTENSION.encode() == forwarded.EXTENSION


class Agent:
    """What answers at the other end of a connection, all at once."""

    def __init__(self, *answers, seconds=30):
        self.ours, self.theirs = socket.socketpair()
        self.connection = forwarded.Connection(self.theirs, time.monotonic() + seconds)
        for answer in answers:
            self.ours.sendall(len(answer).to_bytes(4, "big") + answer)
        self.ours.shutdown(socket.SHUT_WR)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.ours.close()
        self.theirs.close()

    def sign(self, message=b"m"):
        return self.connection.sign(a_session().certificate, message)


def signed(message, key=USER):
    blob = key.sign(to_be_signed(Namespace.SUDO, message))
    return b"\x0e" + len(blob).to_bytes(4, "big") + blob


def test_the_signature_is_armored_as_ssh_keygen_reads_it():
    message = b"x" * 300
    with Agent(b"\x05", signed(message)) as agent:
        made = agent.sign(message)
    assert USER.armored(Namespace.SUDO, message) == made
    assert SshSignature.parse(made).public_key == USER.public


def test_it_asks_for_the_certificates_signature_of_the_challenge():
    blob = base64.b64decode(a_session().certificate.line.split(" ")[1])
    with Agent(b"\x06", signed(b"m")) as agent:
        agent.sign()
        sent = agent.ours.recv(2**16)
    first = 4 + int.from_bytes(sent[:4], "big")
    assert sent[4:5] == b"\x1b"
    assert sent[first + 4 : first + 5] == b"\x0d"
    assert blob in sent[first:]
    assert to_be_signed(Namespace.SUDO, b"m") in sent[first:]


@pytest.mark.parametrize(
    "answers",
    [(), (b"\x05",), (b"\x05", b"\x05"), (b"\x05", b""), (b"\x05", b"\x0e"),
     (b"\x05", b"x" * 20_000), (b"\x05", b"\x0e\xff\xff\xff\xff"), (b"\x05", b"\x0e\0\0\0\1ab")],
)  # fmt: skip
def test_an_agent_that_refuses_or_babbles_is_refused(answers):
    with Agent(*answers) as agent, pytest.raises(AgentError):
        agent.sign()


@given(st.lists(st.binary(max_size=64), max_size=3))
def test_whatever_an_agent_answers_is_a_signature_or_refused(answers):
    with Agent(*answers) as agent:
        try:
            made = agent.sign()
        except AgentError:
            return
    assert made.startswith("-----BEGIN SSH SIGNATURE-----\n")


def test_an_agent_has_until_its_time_is_over():
    late = Agent(b"\x05", signed(b"m"), seconds=0)
    with late, pytest.raises(AgentError, match="too long"):
        late.sign()


# --- PAM


@pytest.fixture
def services(layout):
    layout.pam.mkdir(parents=True)
    layout.state.mkdir(parents=True)
    (layout.pam / "sudo").write_text("@include common-auth\n")
    return layout


def test_pam_asks_for_managed_accounts_first_and_lets_others_pass(services):
    sudo.ask_for_proof(services, wanted=True)
    lines = (services.pam / "sudo").read_text().splitlines()
    others = "pam_succeed_if.so quiet user notingroup tatu"
    assert lines[1] == f"auth [success=2 default=ignore] {others}"
    control = "auth [success=done default=ignore] pam_exec.so seteuid quiet stdout"
    assert lines[2].startswith(f"{control} /usr/bin/python3 -ISE {services.hooks}/sudo ")
    assert lines[3] == "auth requisite pam_deny.so"
    assert lines[-1] == "@include common-auth"
    assert not (services.pam / "sudo-i").exists()
    hook = (services.hooks / "sudo").read_text()
    assert hook == Path(sudo.__file__).with_name("sudo_hook.py").read_text()


def test_without_pam_sudo_the_stack_is_as_it_was(services):
    (services.pam / "sudo-i").write_text("auth include sudo\n")
    sudo.ask_for_proof(services, wanted=True)
    assert all(pam.present(services, name) for name in ("sudo", "sudo-i"))
    sudo.ask_for_proof(services, wanted=False)
    assert (services.pam / "sudo").read_text() == "@include common-auth\n"
    assert (services.pam / "sudo-i").read_text() == "auth include sudo\n"


def test_a_host_without_sudo_has_nothing_to_change(layout):
    sudo.ask_for_proof(layout, wanted=True)
    assert not layout.pam.exists()


def test_a_key_is_named_as_openssh_names_it():
    assert USER.public.fingerprint == keys.fingerprint(USER.public.line)
