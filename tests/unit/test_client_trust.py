"""Whom the client believes, and what it tells ssh of them."""

import subprocess
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace

import pytest

from tatu.client import knownhosts, sshconfig, trust
from tatu.client.clouds import Cloud
from tatu.client.resources import Host
from tatu.client.resources import Statement as Answer
from tatu.client.state import State
from tatu.core import statement as statements
from tatu.core.errors import Conflict, Denied, Malformed
from tests.fakes.tatu_api import HOST, KRL, NOW, ONE, THREE, TWO, FakeApi


@pytest.fixture
def state(tmp_path):
    return State.of(tmp_path / "cloud")


def connected(state, api):
    cloud = SimpleNamespace(deployment="d")
    session = SimpleNamespace(project="p")
    return SimpleNamespace(cloud=cloud, state=state, api=api, session=lambda: session)


def refresh(state, api, now=NOW):
    return trust.refresh(connected(state, api), now)


def test_the_first_statement_is_believed_and_kept(state):
    api = FakeApi()
    assert refresh(state, api).statement == api.said
    assert trust.last(state, "p") == api.said
    assert state.krl.read_bytes() == KRL


def test_the_same_statement_again_is_no_news_and_no_error(state):
    refresh(state, FakeApi())
    refresh(state, FakeApi())


def test_a_key_that_was_announced_may_follow(state):
    refresh(state, FakeApi(1, keys=(ONE, TWO)))
    refresh(state, FakeApi(2, keys=(TWO, THREE), signer=TWO))
    refresh(state, FakeApi(3, keys=(THREE,), signer=THREE))


@pytest.mark.parametrize("keys", [(TWO,), (ONE, TWO)])
def test_a_key_that_was_not_announced_is_refused(state, keys):
    refresh(state, FakeApi(1))
    with pytest.raises(Denied, match="no statement before has announced"):
        refresh(state, FakeApi(2, keys=keys, signer=TWO))
    assert trust.last(state, "p").version == 1


def test_the_first_statement_must_name_its_own_key(state):
    with pytest.raises(Denied):
        refresh(state, FakeApi(keys=(ONE,), signer=TWO))


def test_a_retired_key_is_believed_no_more(state):
    refresh(state, FakeApi(1, keys=(ONE, TWO)))
    refresh(state, FakeApi(2, keys=(TWO,), signer=TWO))
    with pytest.raises(Denied):
        refresh(state, FakeApi(3, keys=(ONE,), signer=ONE))


@pytest.mark.parametrize(
    "changes",
    [{"authority": "q"}, {"deployment": "e"}, {"host": "h-1"}, {"krl_digest": f"sha256:{'0' * 64}"},
     {"expires": NOW}, {"version": int(NOW.timestamp() * 1000) * 2}],
)  # fmt: skip
def test_a_statement_that_is_not_for_us_now_is_refused(state, changes):
    if "expires" in changes:
        changes = {"issued": NOW - timedelta(minutes=10), **changes}
    with pytest.raises(Denied):
        refresh(state, FakeApi(**changes))
    assert trust.last(state, "p") is None


def test_an_older_statement_is_a_replay(state):
    refresh(state, FakeApi(2))
    with pytest.raises(Denied):
        refresh(state, FakeApi(1))


def test_a_forged_signature_is_refused(state):
    api = FakeApi()
    forged = api.statement("p")
    api.statement = lambda _: replace_text(forged, api)
    with pytest.raises(Denied):
        refresh(state, api)


def replace_text(answer, api):
    """Return the statement with another authority, under the old signature."""
    text = statements.encode(replace(api.said, host_authorities=(TWO.public_key,))).decode()
    return Answer(statement=text, signature=answer.signature, krl=answer.krl)


def test_a_krl_that_ssh_could_not_read_is_not_installed(state):
    state.krl.write_bytes(KRL)
    broken = FakeApi(krl=b"SSHKRL", krl_digest=statements.digest(b"SSHKRL"))
    with pytest.raises(Malformed):
        refresh(state, broken)
    assert state.krl.read_bytes() == KRL


def test_damaged_pins_are_not_passed_over(state):
    refresh(state, FakeApi())
    state.trust("p").write_text("{}")
    with pytest.raises(Malformed, match="trust-p"):
        refresh(state, FakeApi(2, keys=(TWO,), signer=TWO))


def test_the_first_dns_suffix_is_kept_and_another_is_refused(state):
    api = FakeApi()
    assert trust.dns_suffix(connected(state, api)) == "b.example"
    assert trust.dns_suffix(connected(state, api)) == "b.example"
    for other in ("evil.example", ""):
        api.dns_suffix = other
        with pytest.raises(Denied, match="if you know why, remove"):
            trust.dns_suffix(connected(state, api))
    state.dns_suffix("p").unlink()
    assert trust.dns_suffix(connected(state, api)) == ""


@pytest.mark.parametrize("suffix", ["com", "com.", ".com", "*", "*.com", "a b.c", "B.Example"])
def test_a_server_speaks_for_no_whole_domain(state, suffix):
    api = FakeApi()
    api.dns_suffix = suffix
    with pytest.raises(Denied, match="are all under"):
        trust.dns_suffix(connected(state, api))
    assert not state.dns_suffix("p").exists()
    assert knownhosts.patterns({}, suffix) == []
    assert "github.com" not in knownhosts.aliases([host(names=("github.com",))], suffix)


def host(host_id="db-1", names=("db",), addresses=("192.0.2.1",)):
    return Host(
        id=host_id,
        authority="p",
        names=list(names),
        addresses=list(addresses),
        principals=[],
        state="enrolled",
    )


def test_each_name_of_a_host_leads_to_its_id():
    found = knownhosts.aliases([host(names=("db", "db.blue.example"))], "blue.example")
    expected = dict.fromkeys(["db-1", "db", "db.blue.example", "192.0.2.1"], "db-1")
    assert found == expected


@pytest.mark.parametrize(
    "name",
    ["github.com", "*", "a,b", "x y", "db\n* ssh-ed25519 AAAA", "!db", "db.blue.example.org"],
)
def test_a_name_that_would_speak_for_others_is_left_out(name):
    assert set(knownhosts.aliases([host(names=(name,))], "blue.example")) == {"db-1", "192.0.2.1"}


@pytest.mark.parametrize("host_id", ["*", "a b", "", "x,*"])
def test_a_host_with_no_proper_id_is_left_out(host_id):
    assert knownhosts.aliases([host(host_id)], "") == {}


def test_the_first_host_keeps_its_name():
    found = knownhosts.aliases([host("a", ("db-1",), ()), host()], "")
    assert found["db-1"] == "db-1"
    found = knownhosts.aliases([host(), host("db-2", ("db",), ())], "")
    assert (found["db"], found["db-2"]) == ("db-1", "db-2")


@pytest.mark.parametrize(
    ("suffix", "last"), [("blue.example", "*.blue.example"), ("", "192.0.2.1")]
)
def test_patterns_are_the_projects_names_and_its_suffix(suffix, last):
    known = knownhosts.aliases([host()], suffix)
    assert knownhosts.patterns(known, suffix) == list(
        dict.fromkeys(["db-1", "db", "192.0.2.1", last])
    )


@pytest.mark.parametrize("suffix", ["*", "a b", "x,*", "-"])
def test_a_suffix_that_is_none_gives_no_pattern(suffix):
    assert knownhosts.patterns({}, suffix) == []


def test_without_hosts_there_are_no_lines():
    assert knownhosts.lines([], [HOST.public_key], "blue") == ""


def test_ssh_keygen_finds_the_lines(tmp_path):
    (tmp_path / "known").write_text(
        knownhosts.lines(["db", "*.b.example"], [HOST.public_key], "c")
    )
    for name, status in (("db", 0), ("x.b.example", 0), ("github.com", 1)):
        found = subprocess.run(
            ["ssh-keygen", "-F", name, "-f", tmp_path / "known"], capture_output=True, check=False
        )
        assert found.returncode == status


def test_the_configuration_refreshes_for_its_hosts_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    cloud = Cloud(name="blue", url="https://t", user="u", project="p", key="k")
    cloud.folder.mkdir(parents=True)
    (tmp_path / "my tatu").write_text(f'#!/bin/sh\necho "$@" >> "{tmp_path}/called"\n')
    (tmp_path / "my tatu").chmod(0o755)
    hosts = {"db-1": "db-1", "db": "db-1", "web-1": "web-1"}
    command = f"'{tmp_path}/my tatu' ssh-config refresh --cloud blue"
    text = sshconfig.text(cloud, hosts, [*hosts, "*.blue.example"], command)
    (tmp_path / "config").write_text(f"Include {tmp_path}/blue.conf\nUser later\n")
    (tmp_path / "blue.conf").write_text(text)

    def shown(name):
        return subprocess.run(
            ["ssh", "-G", "-F", tmp_path / "config", name],
            capture_output=True, text=True, check=True,
        ).stdout.splitlines()  # fmt: skip

    assert f"certificatefile {cloud.folder}/id_ed25519-cert.pub" in shown("db")
    assert "hostkeyalias db-1" in shown("db")
    assert "hostkeyalias web-1" in shown("web-1")
    assert not any("hostkeyalias" in line for line in shown("new.blue.example"))
    called = (tmp_path / "called").read_text().splitlines()
    assert set(called) == {"ssh-config refresh --cloud blue"}
    other = shown("github.com")
    assert "user later" in other
    assert not any(str(cloud.folder) in line for line in other)
    assert (tmp_path / "called").read_text().splitlines() == called


def written(name, *patterns):
    cloud = Cloud(name=name, url="https://t", user="u", project="p", key="k")
    hosts = {pattern: patterns[0] for pattern in patterns if "*" not in pattern}
    return sshconfig.write(
        cloud, [*patterns], sshconfig.text(cloud, hosts, [*patterns], "refresh")
    )


@pytest.mark.parametrize(
    "crossing", ["prod-db", "10.0.0.5", "*.corp.example", "x.corp.example", "*.b.corp.example",
                 "*.example"],
)  # fmt: skip
def test_what_one_cloud_has_another_does_not_take(crossing, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    first = written("corp", "h-1", "prod-db", "10.0.0.5", "*.corp.example")
    before = first.read_text()
    with pytest.raises(Conflict, match=r"corp\.conf is for this already"):
        written("a-evil", "x1", crossing)
    assert not sshconfig.path("a-evil").exists()
    assert written("a-evil", "x1", "corp.example", "*.evil.example").exists()
    assert written("corp", "h-1", "prod-db") == first
    assert first.read_text() != before


def test_another_clouds_authority_does_not_count_for_a_host_that_is_known(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    path = written("corp", "h-1", "prod-db")
    shown = subprocess.run(
        ["ssh", "-G", "-F", path, "prod-db"], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    (files,) = (line.split()[1:] for line in shown if line.startswith("userknownhostsfile"))
    assert len(files) == 1
    assert files[0].endswith("/corp/known_hosts")


def test_the_configuration_of_a_project_without_hosts_says_nothing(tmp_path):
    cloud = Cloud(name="blue", url="https://t", user="u", project="p", key="k")
    text = sshconfig.text(cloud, {}, [], "refresh")
    assert all(line.startswith("#") for line in text.splitlines())
