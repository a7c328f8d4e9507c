"""The agent against Tatu's own API: one protocol, written twice."""

import subprocess
from dataclasses import replace

import pytest

from tatu.core.enrolment import EnrolmentToken
from tests.fakes.agent_host import AgentHost, make_keys


@pytest.fixture
def host(tmp_path, tmp_path_factory):
    return AgentHost(tmp_path / "host", make_keys(tmp_path_factory.mktemp("keys")))


def token_for(tatu, name):
    token = EnrolmentToken.parse(tatu.admit("blue", name)["token"])
    return str(replace(token, url=tatu.url))


def revoked(host, certificate, folder):
    path = folder / "id-cert.pub"
    path.write_text(certificate + "\n")
    done = subprocess.run(["ssh-keygen", "-Q", "-f", host.krl, path], check=False)
    return done.returncode != 0


def test_a_host_enrols_and_obeys_a_revocation(tatu, host, tmp_path, capsys):
    token = token_for(tatu, "db-1")
    assert host.enrol(token) == 0, capsys.readouterr().err
    assert host.enrol(token) == 0, capsys.readouterr().err
    assert host.reload_count == 1
    issued = tatu.issue()
    assert host.sync() == 0
    assert not revoked(host, issued["certificate"], tmp_path)
    answer = tatu.call(
        "POST",
        "/v2/authorities/blue/revocations",
        "blue-manager",
        json={"serial": issued["serial"], "reason": "the test ends"},
    )
    assert answer.status_code == 200, answer.text
    assert host.sync() == 0
    assert revoked(host, issued["certificate"], tmp_path)
    host.check_sshd()


def test_a_host_that_was_deleted_is_told_at_its_next_sync(tatu, host, capsys):
    assert host.enrol(token_for(tatu, "db-1")) == 0, capsys.readouterr().err
    answer = tatu.call("DELETE", "/v2/authorities/blue/hosts/db-1", "blue-manager")
    assert answer.status_code == 204
    capsys.readouterr()
    assert host.sync() == 0
    told = capsys.readouterr().err
    assert "is revoked: enrol this host again" in told
    assert "warning: the host certificates cannot be renewed: the server answered 401" in told


def test_a_second_machine_with_the_same_token_is_refused(tatu, host, tmp_path, capsys):
    token = token_for(tatu, "db-1")
    assert host.enrol(token) == 0
    (tmp_path / "keys").mkdir()
    clone = AgentHost(tmp_path / "clone", make_keys(tmp_path / "keys"))
    assert clone.enrol(token) == 1
    assert "answered 409" in capsys.readouterr().err


def test_a_wrong_secret_is_refused(tatu, host, capsys):
    token = replace(EnrolmentToken.parse(token_for(tatu, "db-1")), secret=bytes(32))
    assert host.enrol(str(token)) == 1
    assert "answered 403: the enrolment token does not prove" in capsys.readouterr().err
