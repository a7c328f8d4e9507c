"""Refused logins, as sshd logs them, and what others would like to be taken for them."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tatu.agent import logins, spool
from tatu.agent.errors import AgentError
from tatu.agent.layout import Layout
from tatu.agent.logins import Line

KEY, CA = f"SHA256:{'k' * 43}", f"SHA256:{'c' * 43}"
AT = datetime(2026, 1, 1, 12, tzinfo=UTC)


def failed(key_id="user_7", account="member", serial=7, source="192.0.2.7"):
    return (
        f"Failed publickey for {account} from {source} port 4022 ssh2: ED25519-CERT {KEY} "
        f"ID {key_id} (serial {serial}) CA ED25519 {CA}"
    )


def refused(*messages, pid="9", managed=("member",)):
    lines = [Line(f"s={number}", AT, pid, text) for number, text in enumerate(messages)]
    return list(logins.refused(lines, managed))


def test_a_refused_certificate_is_told_with_the_reason_before_it():
    [event] = refused("error: Certificate invalid: expired", failed())
    assert len(event.pop("id")) == 32
    assert event == {
        "at": "2026-01-01T12:00:00Z",
        "kind": "refused",
        "account": "member",
        "source": "192.0.2.7",
        "subject_key": KEY,
        "key_id": "user_7",
        "serial": 7,
        "signature_key": CA,
        "detail": "Certificate invalid: expired",
    }


@pytest.mark.parametrize(
    "reason",
    [
        "Certificate invalid: not yet valid",
        "Certificate invalid: name is not a listed principal",
        "Certificate does not contain an authorized principal",
        f"Authentication key ED25519-CERT {KEY} revoked by file /etc/ssh/tatu/revoked.krl",
        "cert: Authentication tried for x with valid certificate but not from a permitted source",
    ],
)
def test_all_reasons_that_sshd_gives_are_known(reason):
    assert [reason] == [event["detail"] for event in refused(reason, failed())]
    assert [reason] == [event["detail"] for event in refused(f"error: {reason}", failed())]
    named = f'error: Refusing certificate ID "a: "b" serial=7 signed by ED25519 CA {CA}: {reason}'
    assert [reason] == [event["detail"] for event in refused(named, failed())], "from 10.1 on"


@pytest.mark.parametrize(
    "key_id",
    [
        "x (serial 1) CA ED25519 " + f"SHA256:{'e' * 43}",
        f"x\\n{failed(key_id='y', serial=1)}",
        "Certificate invalid: expired",
        "",
        " ",
    ],
)
def test_a_key_id_cannot_pose_as_the_rest_of_the_line(key_id):
    [event] = refused(failed(key_id))
    told = event["key_id"], event["serial"], event["signature_key"], event["account"]
    assert told == (key_id, 7, CA, "member")


@given(st.text())
def test_whatever_a_key_id_is_the_rest_stays_what_sshd_wrote(text):
    for event in refused(failed(text)):
        assert (event["serial"], event["source"], event["subject_key"]) == (7, "192.0.2.7", KEY)


@pytest.mark.parametrize(
    "account",
    ["invalid user member", f"x from 192.0.2.9 port 1 ssh2: {failed()}", "root", "a b", ""],
)
def test_accounts_that_are_not_managed_are_not_told(account):
    assert refused(failed(account=account)) == []


def test_plain_keys_and_passwords_are_nothing_that_tatu_gave():
    assert (
        refused(
            f"Failed publickey for member from 192.0.2.7 port 1 ssh2: ED25519 {KEY}",
            "Failed password for member from 192.0.2.7 port 1 ssh2",
            "Connection closed by authenticating user member 192.0.2.7 port 1 [preauth]",
        )
        == []
    )


def test_where_the_log_names_no_certificate_the_reason_alone_is_told():
    left = "Connection closed by authenticating user member 192.0.2.7 port 1 [preauth]"
    [event] = refused("Certificate invalid: expired", left)
    assert (event["account"], event["detail"]) == ("member", "Certificate invalid: expired")
    assert "serial" not in event


def test_a_reason_is_for_its_own_connection():
    other = Line("s=1", AT, "8", "Certificate invalid: expired")
    [event] = logins.refused([other, Line("s=2", AT, "9", failed())], {"member"})
    assert "detail" not in event


def test_a_line_has_the_same_id_when_it_is_read_again():
    again = refused(failed()), refused(failed())
    assert again[0] == again[1]
    assert len({event["id"] for event in refused(failed(), failed())}) == 2


ENTRY = {
    "__CURSOR": "s=1",
    "__REALTIME_TIMESTAMP": "1767268800000000",
    "MESSAGE": failed(),
    "_PID": "9",
    "_COMM": "sshd-session",
    "_EXE": "/usr/lib/openssh/sshd-session",
    "_SYSTEMD_UNIT": "ssh.service",
}


def test_a_line_of_sshds_own_counts():
    assert logins.line(ENTRY) == Line("s=1", AT, "9", failed())
    for unit in ("sshd.service", "ssh@3-192.0.2.1:22-192.0.2.7:4022.service"):
        assert logins.line({**ENTRY, "_SYSTEMD_UNIT": unit})
    assert logins.line({name: value for name, value in ENTRY.items() if name != "_EXE"})


@pytest.mark.parametrize(
    "changes",
    [
        {"_SYSTEMD_UNIT": "session-3.scope"},
        {"_SYSTEMD_UNIT": "evil-ssh.service"},
        {"_SYSTEMD_UNIT": None},
        {"_EXE": "/usr/bin/sudo"},
        {"_EXE": "/home/member/sshd-session"},
        {"_EXE": "/usr/bin/logger"},
        {"MESSAGE": None},
        {"MESSAGE": [70, 97]},
        {"MESSAGE": ["a", "b"]},
        {"_PID": 9},
    ],
)
def test_a_line_that_another_program_wrote_does_not(changes):
    """`ln -s /usr/bin/sudo sshd` logs as root, as `sshd`, from its user's session."""
    assert logins.line({**ENTRY, **changes}) is None


@pytest.fixture
def layout(tmp_path, monkeypatch):
    monkeypatch.setattr(logins, "_SYSTEMD", tmp_path)
    monkeypatch.setattr(logins.accounts.Standing, "all", lambda _: ["member"])
    layout = Layout(tmp_path, tmp_path / "sshd_config", "sshd", "tatu", "true")
    layout.state.mkdir(parents=True)
    return layout


@pytest.fixture
def journal(monkeypatch):
    """What journalctl prints by its arguments; `entries` is what it has."""
    entries = []

    def run(arguments):
        if "--show-cursor" in arguments:
            return b"-- cursor: s=0\n"
        after = next(word for word in arguments if word.startswith("--after-cursor="))
        first = int(after.partition("s=")[2])
        assert "_UID=0" in arguments
        return "".join(f"{json.dumps(entry)}\n" for entry in entries[first:]).encode()

    monkeypatch.setattr(logins, "run", run)
    return entries


def collected(layout):
    logins.collect(layout)
    return [event["serial"] for event in spool.batch(layout, 100).events]


def test_what_was_logged_is_read_once_from_the_first_time_on(layout, journal):
    assert collected(layout) == []
    journal += [{**ENTRY, "__CURSOR": f"s={n + 1}", "MESSAGE": failed(serial=n)} for n in range(3)]
    assert collected(layout) == [0, 1, 2]
    assert collected(layout) == [0, 1, 2]


def test_more_than_is_read_at_once_is_counted(layout, journal, monkeypatch):
    monkeypatch.setattr(logins, "_AT_ONCE", 3)
    logins.collect(layout)
    journal += [{**ENTRY, "__CURSOR": f"s={n + 1}"} for n in range(3)]
    logins.collect(layout)
    assert spool.batch(layout, 100).lost == 1


def test_a_journal_that_is_gone_is_begun_anew(layout, journal, monkeypatch):
    logins.collect(layout)
    run = logins.run

    def fail(arguments):
        if "--show-cursor" in arguments:
            return run(arguments)
        raise AgentError("journalctl failed: Failed to seek to cursor")

    monkeypatch.setattr(logins, "run", fail)
    with pytest.raises(AgentError, match="seek"):
        logins.collect(layout)
    logins.collect(layout)
    monkeypatch.setattr(logins, "run", run)
    journal.append(ENTRY)
    assert collected(layout) == [7]


def test_without_systemd_there_is_nothing_to_read(layout, monkeypatch):
    monkeypatch.setattr(logins, "_SYSTEMD", layout.root / "absent")
    monkeypatch.setattr(logins, "run", None)
    logins.collect(layout)
