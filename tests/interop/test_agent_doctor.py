"""What `tatu-agent doctor` finds, with real ssh-keygen and sshd."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from tatu.agent import doctor, http, main, signatures
from tatu.agent.doctor import Finding
from tests.fakes.agent_host import ACCOUNT, AgentHost, at


@pytest.fixture
def host(tmp_path, keys, tatu, capsys):
    host = AgentHost(tmp_path / "host", keys)
    assert host.enrol(tatu.token) == 0
    capsys.readouterr()
    return host


@pytest.fixture
def look(host, capsys):
    """Run the doctor; return its exit code, and findings as level and about: detail."""

    def run():
        code = main.main(host.arguments("doctor", "--json"))
        told = json.loads(capsys.readouterr().out)
        return code, {each["about"]: (each["level"], each["detail"]) for each in told}

    return run


def test_a_host_in_step_has_little_to_find_and_stays_as_it_is(host, look):
    before = host.picture()
    _, found = look()
    # this sshd has no PAM, so that tests can run it
    assert list(found) == ["PAM"]
    assert before == host.picture()


def test_a_host_that_is_not_enrolled_says_so(tmp_path, keys, capsys):
    host = AgentHost(tmp_path / "new", keys)
    assert main.main(host.arguments("doctor")) == 1
    assert capsys.readouterr().out.startswith("error: enrolment: this host is not enrolled")


def test_files_that_somebody_changed_or_removed_are_named(host, look):
    host.krl.unlink()
    (host.principals / ACCOUNT).write_text("mallory\n")
    host.drop_in.write_text(host.drop_in.read_text() + "# more\n")
    code, found = look()
    assert code == 1
    assert found[str(host.krl)] == ("warning", "it is missing")
    for path in (host.principals / ACCOUNT, host.drop_in):
        assert found[str(path)] == ("warning", "it is not as the agent wrote it")


def test_a_directive_that_shadows_ours_is_named_with_its_file(host, look):
    other = host.ssh / "sshd_config.d/00-first.conf"
    other.write_text(f"Match User {ACCOUNT}\n    AuthorizedKeysFile .ssh/authorized_keys\n")
    code, found = look()
    assert code == 1
    assert found["sshd"][0] == "error"
    assert str(other) in found["sshd"][1]


def test_a_configuration_that_sshd_cannot_read_hides_nothing_else(host, look):
    host.config.write_text(host.config.read_text() + "NoSuchOption yes\n")
    host.krl.unlink()
    _, found = look()
    assert "sshd -T failed" in found["sshd"][1]
    assert found[str(host.krl)] == ("warning", "it is missing")


def test_authorized_keys_are_listed_and_those_of_managed_accounts_are_a_warning(host, look):
    homes = {name: host.root / "home" / name for name in (ACCOUNT, "ubuntu", "empty")}
    passwd = [f"{name}:x:1:1::/home/{name}:/bin/sh" for name in homes]
    (host.root / "etc/passwd").write_text("\n".join(passwd) + "\nbroken:line\n")
    for name, home in homes.items():
        (home / ".ssh").mkdir(parents=True)
        (home / ".ssh/authorized_keys").write_text("" if name == "empty" else "ssh-ed25519 AAAA\n")
    _, found = look()
    assert found[f"account {ACCOUNT}"][0] == "warning"
    assert found["account ubuntu"][0] == "info"
    assert "account empty" not in found


def test_where_keys_lead_to_is_not_looked_at(host, look):
    (host.root / "etc/passwd").write_text("mallory:x:1:1::/home/mallory:/bin/sh\n")
    folder = host.root / "home/mallory/.ssh"
    folder.mkdir(parents=True)
    (folder / "authorized_keys").symlink_to("/dev/zero")
    _, found = look()
    assert found["account mallory"][0] == "info"


@pytest.mark.parametrize(
    ("shift", "about"),
    [(timedelta(seconds=-61), "clock"), (timedelta(hours=2), "statement")],
)
def test_a_clock_or_a_statement_that_is_behind_is_found(shift, about, look, tatu, monkeypatch):
    at(monkeypatch, tatu.statement.issued + shift)
    code, found = look()
    assert code == 1
    assert found[about][0] == "warning"
    assert ("the clock is ahead" in found[about][1]) == (shift > timedelta(0))


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(-90.5, "90 seconds behind"), (-50, None), (50, None), (90.5, "90 seconds ahead of")],
)
def test_a_clock_that_is_not_the_servers_is_found(seconds, said, look, monkeypatch):
    """The server's is this machine's; the statement is too new to tell by."""
    now = datetime.now(UTC)
    at(monkeypatch, now + timedelta(seconds=seconds))
    monkeypatch.setattr(http.Server, "time", lambda _: now)
    monkeypatch.setattr(doctor, "staleness", lambda *_: None)
    _, found = look()
    assert found.get("clock") == (said and ("warning", f"it is {said} the server's"))


def test_an_answer_that_takes_long_is_no_skew(look, monkeypatch):
    now = datetime.now(UTC)
    at(monkeypatch, now)
    monotonic = doctor.time.monotonic

    def slow(_):
        monkeypatch.setattr(doctor.time, "monotonic", lambda: monotonic() + 70)
        return now + timedelta(seconds=100)

    monkeypatch.setattr(http.Server, "time", slow)
    assert "clock" not in look()[1]


def test_a_server_that_is_away_hides_nothing_else(host, look, tatu):
    tatu.close()
    host.krl.unlink()
    _, found = look()
    assert "cannot reach" in found["doctor"][1]
    assert found[str(host.krl)] == ("warning", "it is missing")


def test_a_host_that_nothing_keeps_in_step_is_found(look, tatu, monkeypatch):
    newest = tatu.statement
    half = (newest.expires - newest.issued) / 2
    at(monkeypatch, newest.issued + half + timedelta(seconds=59))
    assert "tatu-agent run" not in look()[1]
    at(monkeypatch, newest.issued + half + timedelta(seconds=61))
    code, found = look()
    assert code == 1
    assert found["tatu-agent run"][0] == "warning"
    assert "keep it running" in found["tatu-agent run"][1]


@pytest.mark.parametrize("state", ["running", "start", "dead", "failed", "auto-restart"])
def test_a_unit_that_does_not_run_is_found_where_systemd_does(state, host, look, monkeypatch):
    (host.root / "run/systemd/system").mkdir(parents=True)
    run = signatures.run

    def answered(words, *rest, **options):
        return f"{state}\n".encode() if words[0] == "systemctl" else run(words, *rest, **options)

    monkeypatch.setattr(signatures, "run", answered)
    _, found = look()
    assert ("tatu-agent.service" in found) == (state not in {"running", "start"})


def test_a_copied_identity_is_an_error(host, look):
    (host.root / "etc/machine-id").write_text("another\n")
    _, found = look()
    assert found["enrolment"][0] == "error"
    assert "copied from another machine" in found["enrolment"][1]


def test_accounts_that_stand_in_the_way_are_told(host, look, tatu, capsys):
    tatu.publish(accounts={"no-such-account": ("member",)})
    assert host.sync() == 0
    capsys.readouterr()
    _, found = look()
    assert "the account no-such-account opens to nobody" in found["enrolment"][1]


def test_accounts_that_may_run_unattended_are_told_as_what_might_surprise(host, look, capsys):
    allowed = host.root / "etc/tatu-agent/unattended"
    allowed.parent.mkdir()
    allowed.write_text(f"{ACCOUNT}\n")
    assert host.sync() == 0
    capsys.readouterr()
    level, detail = look()[1][f"account {ACCOUNT}"]
    assert (level, str(allowed) in detail) == ("info", True)


def test_names_of_files_and_accounts_cannot_forge_lines_on_a_terminal():
    told = doctor._plain(Finding("info", "account \x1b[2J", "a\nerror: b" + "x" * 5000))
    assert told.about == "account ?[2J"
    assert told.detail.startswith("a?error: b")
    assert len(told.detail) <= 1024
    told = doctor._plain(Finding("info", "/home/" + "x" * 5000, ""))
    assert len(told.about) <= 255, "or Tatu refuses the whole report"
