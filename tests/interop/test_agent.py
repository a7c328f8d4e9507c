"""The agent with real ssh-keygen and sshd, against a server that can lie."""

import fcntl
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tatu.agent import accounts, http, main, place, sshd, sudoers, unattended
from tatu.agent.errors import AgentError
from tatu.core.certificate import CertificateType
from tatu.core.statement import Freshness, FreshnessPolicy
from tests.fakes.agent_host import ACCOUNT, AgentHost, at
from tests.fakes.tatu_server import FakeTatu, Key


@pytest.fixture
def tatu():
    server = FakeTatu(accounts={ACCOUNT: ("admin",), "nobody-here": ("member",)})
    yield server
    server.close()


@pytest.fixture
def host(tmp_path, keys):
    return AgentHost(tmp_path / "host", keys)


@pytest.fixture
def enrolled(host, tatu, capsys):
    assert host.enrol(tatu.token) == 0, capsys.readouterr().err
    capsys.readouterr()
    return host


def refused(host, capsys, text):
    """Say that a sync fails with one clear line, and that all is as before."""
    before = host.picture()
    assert host.sync() == 1
    error = capsys.readouterr().err
    assert text in error
    assert error.count("\n") == 1
    after = host.picture()
    assert {path: data for path, data in before.items() if after.get(path) != data} == {}
    host.check_sshd()


def closed(host, capsys, text):
    """Say that a sync fails with one clear line, and that no account opens, but to break-glass."""
    assert (host.principals / ACCOUNT).exists()
    before = host.picture()
    assert host.sync() == 1
    error = capsys.readouterr().err
    assert text in error
    assert error.count("\n") == 1
    assert list(host.principals.iterdir()) == []
    assert {*before} - {*host.picture()} == {host.principals / ACCOUNT}
    host.check_sshd()


# --- enrolment


def test_a_host_is_not_enrolled_with_a_group_that_is_of_somebody_else(
    host, tatu, capsys, monkeypatch
):
    with monkeypatch.context() as patch:
        patch.setattr(accounts.Accounts, "strangers", lambda _: ["postgres"])
        assert host.enrol(tatu.token) == 1
    assert "is of postgres: give --group another" in capsys.readouterr().err
    assert not host.drop_in.exists()
    assert host.enrol(tatu.token) == 0, "the token is still good"


def test_enrolment_gives_sshd_certificates_authorities_and_a_revocation_list(host, tatu, capsys):
    assert host.enrol(tatu.token) == 0
    assert "enrolled as db-1 of blue" in capsys.readouterr().out
    assert host.reload_count == 1
    assert host.revokes(tatu.statement.krl_version)
    assert (host.ssh / "tatu/user_authorities.pub").read_text() == f"{tatu.user_key.public}\n"
    assert "\nadmin\n" in (host.principals / ACCOUNT).read_text()
    assert [path.name for path in host.principals.iterdir()] == [ACCOUNT]
    assert (host.state.stat().st_mode & 0o777) == 0o700
    host.check_sshd()


def test_enrolling_again_changes_nothing(enrolled, tatu):
    before = enrolled.picture()
    assert enrolled.enrol(tatu.token) == 0
    assert before == enrolled.picture()
    assert enrolled.reload_count == 1


def test_the_token_comes_from_the_environment_or_standard_input(host, tatu, monkeypatch):
    monkeypatch.setenv("TATU_ENROLMENT_TOKEN", tatu.token)
    assert main.main(host.arguments("enrol")) == 0
    monkeypatch.delenv("TATU_ENROLMENT_TOKEN")
    arguments = [sys.executable, "-m", "tatu.agent", *host.arguments("enrol", "--token-file", "-")]
    subprocess.run(arguments, input=tatu.token, text=True, check=True, capture_output=True)


def test_the_token_comes_from_what_the_platform_tells_the_instance(host, tatu, tmp_path):
    told = {
        "version": 1,
        "authority": "blue",
        "host": "db-1",
        "url": tatu.url,
        "statement_keys": [tatu.statement_key.public.line, tatu.next_statement_key.public.line],
        "token": tatu.token,
    }
    file = tmp_path / "vendor_data2.json"
    file.write_text(json.dumps({"static": {"cloud-init": ""}, "tatu": told}))
    assert main.main(host.arguments("enrol", "--vendordata", str(file))) == 0
    host.check_sshd()


def test_a_token_is_not_taken_from_the_arguments(host, tatu, capsys):
    token = tatu.token
    with pytest.raises(SystemExit) as left:
        main.main(host.arguments("enrol", "--token", token))
    assert left.value.code == 2
    assert token[13:] not in capsys.readouterr().err
    assert main.main(host.arguments("enrol", "--token-file", token)) == 1
    assert token[13:] not in capsys.readouterr().err
    assert main.main(host.arguments("enrol")) == 1
    assert "no token" in capsys.readouterr().err


def test_the_token_is_not_handed_on_to_other_programs(host, tatu, monkeypatch):
    monkeypatch.setenv("TATU_ENROLMENT_TOKEN", tatu.token)
    seen = host.root / "environment"
    command = f"sh -c 'env > {seen}'"
    assert main.main(host.arguments("enrol", "--reload-command", command)) == 0
    assert "PATH=" in seen.read_text()
    assert "tatu-enrol" not in seen.read_text()


def test_the_secret_is_neither_sent_nor_kept(host, tatu):
    token = tatu.token
    assert host.enrol(token) == 0
    (host.root / "token").unlink()
    kept = b"".join(path.read_bytes() for path in host.root.rglob("*") if path.is_file())
    assert token[13:40].encode() not in kept
    assert bytes(range(32)) not in kept


def lie(tatu, **changes):
    tatu.answer_changes.update(changes)


@pytest.mark.parametrize(
    ("lie", "text"),
    [
        (lambda t: setattr(t, "answer_mac", "00" * 32), "does not come from who made the token"),
        (lambda t: setattr(t, "answer_mac", "é"), "does not come from who made the token"),
        (lambda t: lie(t, deployment="x"), "another deployment"),
        (lambda t: lie(t, host="db-2"), "another host"),
        (lambda t: lie(t, authority="red"), "another authority"),
        (lambda t: lie(t, statement_keys=[Key().public.line]), "not those that the token names"),
        (lambda t: lie(t, statement_keys=7), "does not list texts"),
        (lambda t: lie(t, statement="\ud800"), "no statement that is a text"),
        (lambda t: lie(t, signature="x" * 20_000), "no signature"),
        (lambda t: lie(t, certificates=[]), "0 certificates for 2 host keys"),
        (lambda t: setattr(t, "signer", Key()), "signature failed"),
        (lambda t: setattr(t, "host_key", Key()), "not signed by a host authority"),
        (lambda t: t.certificate_changes.update(principals=("db-2",)), "does not name this host"),
        (lambda t: t.certificate_changes.update(subject=Key().public), "for another key"),
        (lambda t: t.certificate_changes.update(type=CertificateType.USER), "no host certificate"),
        (
            lambda t: t.certificate_changes.update(critical_options={"force-command": "x"}),
            "critical option",
        ),
        (
            lambda t: t.certificate_changes.update(
                valid_before=datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=1)
            ),
            "does not hold now",
        ),
        (lambda t: t.publish(krl=b""), "no KRL of version"),
        (lambda t: t.publish(host="db-2"), "another host"),
        (lambda t: t.publish(authority="red"), "another authority"),
        (lambda t: t.publish(deployment="x"), "another deployment"),
    ],
)
def test_an_answer_that_lies_leaves_the_host_as_it_was(lie, text, host, tatu, capsys):
    before = host.picture()
    token = tatu.token
    lie(tatu)
    assert host.enrol(token) == 1
    error = capsys.readouterr().err
    assert text in error
    assert error.count("\n") == 1
    changed = {path for path, data in host.picture().items() if before.get(path) != data}
    assert {path.name for path in changed if path.parent != host.state} == set()
    assert not (host.state / "state.json").exists()
    host.check_sshd()


def test_a_certificate_that_nobody_signed_is_refused(host, tatu, capsys, monkeypatch):
    sign = tatu.host_key.sign
    monkeypatch.setattr(tatu.host_key, "sign", lambda data: sign(data + b"x"))
    assert host.enrol(tatu.token) == 1
    assert "the check of a host certificate failed" in capsys.readouterr().err


def test_a_server_that_refuses_says_why(host, tatu, capsys):
    problem = json.dumps({"detail": "no\x1b[2J way", "request_id": "r9"}).encode()
    tatu.served["/v2/enrolments"] = 403, problem
    assert host.enrol(tatu.token) == 1
    assert "answered 403: no?[2J way (request r9)" in capsys.readouterr().err


def test_where_the_distribution_includes_nothing_a_block_does_and_goes_when_not_needed(host, tatu):
    with_include = host.config.read_bytes()
    without = with_include.replace(b"Include", b"#Include")
    host.config.write_bytes(without)
    host.config.chmod(0o600)
    assert host.enrol(tatu.token) == 0
    text = host.config.read_bytes()
    assert text.endswith(without)
    assert f"Include {host.drop_in}\n".encode() in text
    assert host.config.stat().st_mode & 0o777 == 0o600
    assert host.sync() == 0
    assert (text, 1) == (host.config.read_bytes(), host.reload_count)
    host.config.write_bytes(text.replace(b"#Include", b"Include"))
    assert host.sync() == 0
    assert with_include == host.config.read_bytes()


def test_what_sshd_would_not_do_leaves_its_main_file_as_it_was(host, tatu, capsys):
    host.config.write_text(host.config.read_text().replace("Include", "#Include"))
    before = host.config.read_bytes()
    assert host.enrol(tatu.token, "--reload-command", "false") == 1
    assert before == host.config.read_bytes()
    assert not host.drop_in.exists()


def test_a_setting_before_ours_that_opens_another_way_in_is_found(host, tatu, capsys):
    other = host.ssh / "sshd_config.d/00-first.conf"
    other.write_text(f"Match User {ACCOUNT}\n    AuthorizedKeysFile .ssh/authorized_keys\n")
    assert host.enrol(tatu.token) == 1
    assert f"{other} has a `Match` block before" in capsys.readouterr().err
    assert not host.drop_in.exists()


@pytest.mark.parametrize("word", ["Match", "  mAtCH", '"Match"'])
@pytest.mark.parametrize("criteria", ["Address 192.0.2.0/24", "LocalPort 2222", "all"])
def test_a_block_that_holds_only_elsewhere_is_found_too(word, criteria, host, tatu, capsys):
    host.config.write_text(
        f"{word} {criteria}\n  AuthorizedKeysFile .ssh/authorized_keys\nMatch all\n"
        + host.config.read_text()
    )
    assert host.enrol(tatu.token) == 1
    assert f"{host.config} has a `Match` block before" in capsys.readouterr().err
    assert not host.drop_in.exists()


def test_a_block_in_a_file_that_is_included_first_is_found(host, tatu, capsys):
    other = host.ssh / "first.conf"
    other.write_text("Match Address=192.0.2.0/24\n  PasswordAuthentication yes\n")
    host.config.write_text(f'# Match\ninclude="{other}"\n' + host.config.read_text())
    assert host.enrol(tatu.token) == 1
    assert f"{other} has a `Match` block before" in capsys.readouterr().err
    other.write_text("PasswordAuthentication yes\n")
    assert host.enrol(tatu.token) == 0, "our block overrides what holds for all"


def test_what_holds_is_asked_for_from_several_addresses(host, tatu, capsys, monkeypatch):
    monkeypatch.setattr(sshd, "check_order", lambda _: None)
    before = host.config.read_text()
    for addresses in ("127.0.0.1", "10.0.0.0/8", "203.0.113.0/24", "::1"):
        block = f"Match Address {addresses}\n    AuthorizedKeysFile .ssh/authorized_keys\n"
        host.config.write_text(f"{block}Match all\n{before}")
        assert host.enrol(tatu.token) == 1
        assert f"AuthorizedKeysFile none` for the account {ACCOUNT}" in capsys.readouterr().err


def test_a_drop_in_that_sshd_refuses_is_never_put_in_place(host, tatu, capsys, monkeypatch):
    monkeypatch.setattr(sshd, "drop_in", lambda *_: b"NoSuchOption yes\n")
    assert host.enrol(tatu.token) == 1
    assert "sshd -t failed" in capsys.readouterr().err
    assert not host.drop_in.exists()
    host.check_sshd()


def test_a_reload_that_fails_is_undone_and_tried_again(host, tatu, capsys):
    assert host.enrol(tatu.token, "--reload-command", "false") == 1
    assert "the reload command failed" in capsys.readouterr().err
    assert not host.drop_in.exists()
    assert host.sync() == 0
    assert host.reload_count == 1
    host.check_sshd()


def test_too_many_host_keys_or_none_are_refused(host, tatu, capsys):
    for path in host.ssh.glob("ssh_host_*"):
        path.unlink()
    assert host.enrol(tatu.token) == 1
    assert "has 0 host keys" in capsys.readouterr().err


# --- sync


def test_sync_before_enrolment_says_so(host, capsys):
    assert host.sync() == 1
    assert "not enrolled" in capsys.readouterr().err


def test_a_newer_statement_is_obeyed_without_a_reload(enrolled, tatu, capsys):
    tatu.revoked = frozenset({3})
    newest = tatu.publish(accounts={ACCOUNT: ("admin", "alice")})
    assert enrolled.sync() == 0
    assert f"obeying statement {newest.version}" in capsys.readouterr().out
    assert enrolled.revokes(newest.krl_version)
    assert "\nadmin\nalice\n" in (enrolled.principals / ACCOUNT).read_text()
    assert enrolled.reload_count == 1


def test_what_has_not_changed_is_not_sent_again(enrolled, tatu):
    before = enrolled.picture()
    assert enrolled.sync() == 0
    assert tatu.requests[-1].endswith("/statement 304")
    assert before == enrolled.picture()


def test_what_somebody_changed_is_put_right(enrolled, tatu):
    before = enrolled.picture()
    enrolled.krl.unlink()
    (enrolled.principals / ACCOUNT).write_text("mallory\n")
    enrolled.drop_in.write_text("\n")
    assert enrolled.sync() == 0
    assert before == enrolled.picture()


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(b"")])
def test_a_kept_list_that_is_damaged_is_fetched_again(damage, enrolled, tatu):
    before = enrolled.picture()
    (kept,) = enrolled.state.glob("krl-*")
    damage(kept)
    assert enrolled.sync() == 0
    assert before == enrolled.picture()


def test_what_is_known_is_put_right_when_the_server_is_away(enrolled, tatu, capsys):
    enrolled.krl.write_bytes(b"")
    tatu.close()
    assert enrolled.sync() == 1
    assert "cannot reach" in capsys.readouterr().err
    enrolled.check_sshd()
    assert enrolled.revokes(tatu.statement.krl_version)


def test_an_account_that_is_no_longer_named_opens_no_more(enrolled, tatu):
    foreign = enrolled.principals / "elsewhere"
    foreign.write_text("kept\n")
    tatu.publish(accounts={"nobody-here": ("member",)})
    assert enrolled.sync() == 0
    assert not (enrolled.principals / ACCOUNT).exists()
    assert foreign.exists()


def test_a_lockdown_leaves_no_authority_and_no_account(enrolled, tatu):
    tatu.publish(accounts={}, user_authorities=(), lockdown=True)
    assert enrolled.sync() == 0
    assert (enrolled.ssh / "tatu/user_authorities.pub").read_bytes() == b""
    assert not list(enrolled.principals.iterdir())


def test_statements_by_the_next_key_are_obeyed_and_its_successor_is_pinned(enrolled, tatu):
    old, tatu.statement_key = tatu.statement_key, tatu.next_statement_key
    third = tatu.next_statement_key = Key()
    tatu.publish()
    assert enrolled.sync() == 0
    tatu.statement_key, tatu.next_statement_key = third, Key()
    tatu.publish()
    assert enrolled.sync() == 0
    tatu.signer = old
    tatu.publish()
    assert enrolled.sync() == 1


@pytest.mark.parametrize(
    ("lie", "text"),
    [
        (lambda t: setattr(t, "signer", Key()), "signature failed"),
        (lambda t: setattr(t, "signer", t.user_key), "signature failed"),
        (lambda t: t.publish(host="db-2"), "another host"),
        (lambda t: t.publish(authority="red"), "another authority"),
        (lambda t: t.publish(deployment="x"), "another deployment"),
        (lambda t: t.publish(version=2**63 - 1), "ahead"),
        (lambda t: t.publish(krl_version=1), "KRL 1 is before"),
        (lambda t: t.publish(krl=b""), "no KRL of version"),
        (lambda t: t.publish(krl=b"ssh-ed25519 AAAA\n"), "no KRL of version"),
        (lambda t: t.publish(krl_digest="sha256:" + "0" * 64), "not the one that was signed"),
        (
            lambda t: t.say(
                replace(
                    t.publish(),
                    issued=t.statement.issued - timedelta(minutes=16),
                    expires=t.statement.issued - timedelta(minutes=1),
                )
            ),
            "ended at",
        ),
    ],
)
def test_a_statement_that_may_not_be_obeyed_changes_nothing(lie, text, enrolled, tatu, capsys):
    tatu.publish()
    lie(tatu)
    refused(enrolled, capsys, text)


def test_a_replayed_statement_is_refused(enrolled, tatu, capsys):
    old = tatu.statement
    tatu.publish()
    assert enrolled.sync() == 0
    capsys.readouterr()
    tatu.say(old)
    refused(enrolled, capsys, "is not after")


def test_a_revocation_list_that_sshd_could_not_read_is_refused(enrolled, tatu, capsys):
    newest = tatu.publish()
    whole = tatu._krls[newest.krl_version]
    version = newest.version + 1
    cut = whole[:12] + version.to_bytes(8, "big") + whole[20:-3]
    tatu.publish(version=version, krl_version=version, krl=cut)
    before = enrolled.krl.read_bytes()
    assert enrolled.sync() == 1
    assert "the check of the revocation list failed" in capsys.readouterr().err
    assert before == enrolled.krl.read_bytes()
    enrolled.check_sshd()


def served_statement(tatu, **changes):
    tatu.served["/v2/authorities/blue/statement"] = (
        200,
        json.dumps({**tatu.signed(), **changes}).encode(),
    )


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ((200, b"{" + b" " * 2**20), "is over"),
        ((200, b"[" * 10_000), "not JSON"),
        ((200, b"[]"), "no JSON object"),
        ((200, b'{"statement": 7}'), "no statement that is a text"),
        ((200, b'{"statement": "'), "not JSON"),
        ((200, b"{}", {"Content-Length": 3, "Connection": "close"}), "cut short"),
        ((500, b"<html>"), "answered 500: no reason given"),
        ((302, b"", {"Location": "http://127.0.0.1:1/"}), "answered 302"),
        ((200, json.dumps({"statement": "x" * 300_000, "signature": ""}).encode()), "is over"),
    ],
)
def test_an_answer_that_is_none_changes_nothing(answer, text, enrolled, tatu, capsys):
    tatu.served["/v2/authorities/blue/statement"] = answer
    refused(enrolled, capsys, text)


def test_a_changed_byte_of_a_signed_statement_is_found(enrolled, tatu, capsys):
    tatu.publish()
    text = tatu.signed()["statement"]
    served_statement(tatu, statement=text.replace('"db-1"', '"db-2"').replace("admin", "admix", 1))
    refused(enrolled, capsys, "signature failed")


def test_a_copied_identity_is_refused(enrolled, tatu, capsys):
    (enrolled.root / "etc/machine-id").write_text("another\n")
    closed(enrolled, capsys, "copied from another machine (its machine-id differs)")
    assert enrolled.enrol(tatu.token) == 0
    assert enrolled.sync() == 0
    assert "\nadmin\n" in (enrolled.principals / ACCOUNT).read_text()


def test_a_damaged_state_is_replaced_by_enrolling_again(enrolled, tatu, capsys):
    state = enrolled.state / "state.json"
    state.write_text(state.read_text().replace('"authority', '"autority'))
    closed(enrolled, capsys, "is damaged: enrol again")
    assert enrolled.enrol(tatu.token) == 0
    assert enrolled.sync() == 0


def test_a_state_that_is_missing_lets_nobody_in(enrolled, capsys):
    (enrolled.state / "state.json").unlink()
    closed(enrolled, capsys, "this host is not enrolled")


def test_only_one_agent_works_at_a_time(enrolled, capsys):
    with (enrolled.state / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert enrolled.sync() == 1
    assert "another tatu-agent is at work" in capsys.readouterr().err


def test_a_host_whose_own_certificate_is_revoked_says_so(enrolled, tatu, capsys):
    assert enrolled.sync() == 0
    assert "is revoked" not in capsys.readouterr().err
    tatu.revoked_hosts = frozenset({7})
    tatu.publish()
    assert enrolled.sync() == 0
    assert "is revoked: enrol this host again" in capsys.readouterr().err


def refusing(tatu):
    policy = Freshness(policy=FreshnessPolicy.REFUSE_NEW_LOGINS, max_age_seconds=600)
    return tatu.publish(freshness=policy)


@pytest.mark.parametrize("shift", [timedelta(seconds=-61), timedelta(seconds=602)])
def test_a_host_that_refuses_when_in_doubt_lets_nobody_in_then(
    shift, enrolled, tatu, monkeypatch, capsys
):
    newest = refusing(tatu)
    assert enrolled.sync() == 0
    at(monkeypatch, newest.issued + shift)
    assert enrolled.sync() == 0
    assert "warning: the " in capsys.readouterr().err
    assert "admin" not in (enrolled.principals / ACCOUNT).read_text().replace("tatu", "")
    monkeypatch.undo()
    assert enrolled.sync() == 0
    assert "\nadmin\n" in (enrolled.principals / ACCOUNT).read_text()


def test_a_server_that_keeps_a_host_waiting_keeps_no_stale_statement_in_force(
    enrolled, tatu, monkeypatch
):
    newest = refusing(tatu)
    assert enrolled.sync() == 0
    while_asked = []

    def wait(*_, **__):
        while_asked.append((enrolled.principals / ACCOUNT).read_text())
        at(monkeypatch, newest.issued + timedelta(seconds=602))
        raise AgentError("the server's answer took over 60 seconds")

    monkeypatch.setattr(http.Server, "get", wait)
    assert enrolled.sync() == 1
    assert "\nadmin\n" in while_asked[0]
    assert "\nadmin\n" not in (enrolled.principals / ACCOUNT).read_text(), (
        "the clock is read again"
    )
    (enrolled.principals / ACCOUNT).unlink()
    assert enrolled.sync() == 1
    assert "\nadmin\n" not in while_asked[1]


def test_a_clock_behind_the_floor_does_not_bring_an_expired_statement_back(
    enrolled, tatu, monkeypatch, capsys
):
    newest = tatu.publish()
    assert enrolled.sync() == 0
    capsys.readouterr()
    ended = replace(
        newest,
        version=newest.version + 1,
        issued=newest.issued - timedelta(minutes=20),
        expires=newest.issued - timedelta(minutes=10),
    )
    tatu.say(ended)
    at(monkeypatch, ended.issued)
    assert enrolled.sync() == 1
    assert "ended at" in capsys.readouterr().err


def test_an_old_agent_obeys_and_says_so(enrolled, tatu, capsys):
    tatu.publish(minimum_agent_version="9.0")
    assert enrolled.sync() == 0
    assert "the authority asks for 9.0" in capsys.readouterr().err


def test_what_an_operator_should_put_right_is_told(enrolled, tatu, capsys):
    tatu.publish(accounts={"nobody-here": ("member",)})
    shutil.copy(enrolled.ssh / "ssh_host_ecdsa_key.pub", enrolled.ssh / "ssh_host_ed25519_key.pub")
    capsys.readouterr()
    assert enrolled.sync() == 0
    told = capsys.readouterr().err
    assert "ssh_host_ed25519_key is not the key that was enrolled" in told
    assert "the account nobody-here opens to nobody: no account is in group" in told


def test_a_certificate_that_ends_soon_is_told(host, tatu, capsys):
    ends = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
    tatu.certificate_changes["valid_before"] = ends
    assert host.enrol(tatu.token) == 0
    assert f"ends at {ends:%Y-%m-%dT%H:%M:%SZ}" in capsys.readouterr().err


def test_a_link_in_place_of_a_file_is_replaced_and_not_followed(enrolled, tatu, capsys, tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("mine\n")
    tatu.publish(accounts={ACCOUNT: ("alice",)})
    (enrolled.principals / ACCOUNT).unlink()
    (enrolled.principals / ACCOUNT).symlink_to(victim)
    assert enrolled.sync() == 1
    assert str(ACCOUNT) in capsys.readouterr().err
    assert victim.read_text() == "mine\n"


KINDS = """
etc/pam.d/cron etc/pam.d/sshd etc/pam.d/sudo etc/ssh/auth_principals/ACCOUNT etc/ssh/sshd_config
etc/ssh/sshd_config.d/00-tatu.conf etc/ssh/tatu/revoked.krl etc/ssh/tatu/ssh_host_ecdsa_key-cert.pub
etc/ssh/tatu/ssh_host_ed25519_key-cert.pub etc/ssh/tatu/user_authorities.pub etc/sudoers.d/tatu
etc/systemd/system/user@.service.d/50-tatu.conf usr/lib/tatu-agent/session usr/lib/tatu-agent/sudo
"""


def test_whatever_others_read_has_the_context_that_the_policy_wants(host, tatu, monkeypatch):
    """A stand-in for restorecon says what would be labelled: files, and the folders made for them."""
    for folder in ("sys/fs/selinux", "run/systemd/system", "etc/sudoers.d"):
        (host.root / folder).mkdir(parents=True)
    (host.root / "sys/fs/selinux/enforce").touch()
    host.config.write_text(host.config.read_text().partition("\n")[2])  # includes nothing
    labelled = set()

    def run(words):
        assert words[0] == "restorecon"
        assert all(Path(path).exists() for path in words[1:])
        labelled.update(words[1:])

    monkeypatch.setattr(place, "run", run)
    for others in (unattended, sudoers):  # systemctl, visudo
        monkeypatch.setattr(others, "run", lambda *_, **__: b"")
    before = {path for path in host.root.rglob("*") if path.is_dir()}
    tatu.publish(accounts={ACCOUNT: ("admin",)}, sudo=(ACCOUNT,), pam_sudo=True)
    assert host.enrol(tatu.token) == 0
    found = {path.removeprefix(f"{host.root}/") for path in labelled}
    assert set(KINDS.replace("ACCOUNT", ACCOUNT).split()) <= found
    made = {path for path in host.root.rglob("*") if path.is_dir()} - before
    own = [host.state, host.root / "run/tatu-agent"]  # nobody else's, below folders that are there
    above = {parent for path in own for parent in path.parents}
    others = {path for path in made - above if not {path, *path.parents} & set(own)}
    assert others <= set(map(Path, labelled))
