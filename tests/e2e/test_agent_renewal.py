"""A host renews its certificates at Tatu's own API, by the keys that enrolled (S8, S12)."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from tatu.agent import renew, request
from tatu.agent.errors import AgentError
from tatu.agent.keys import HostCertificate
from tatu.agent.layout import Layout
from tatu.agent.state import Store
from tatu.core.keys import PublicKey
from tests.e2e.test_agent_server import token_for
from tests.fakes.agent_host import GROUP, AgentHost, make_keys
from tests.fakes.tatu_server import Key, certify


class Enrolled:
    """An enrolled host, and the parts of the agent that renew."""

    def __init__(self, tatu, root, keys):
        self.tatu = tatu
        self.files = AgentHost(root, keys)
        assert self.files.enrol(token_for(tatu, "db-1")) == 0
        self.layout = Layout(
            root=root,
            sshd_config=self.files.config,
            sshd="/usr/sbin/sshd",
            group=GROUP,
            reload_command=f"sh -c 'echo reload >> {self.files.reloads}'",
        )
        self.store = Store(self.layout.state)

    @property
    def state(self):
        return self.store.load()

    def due(self, now=None, **more):
        return renew.due(self.layout, self.state, now or datetime.now(UTC), **more)

    def renew(self):
        return renew.renew(self.layout, self.store, self.state, datetime.now(UTC))

    def held(self):
        return [HostCertificate.parse(line) for line in self.state.certificates.values()]

    def shown(self):
        """Return what sshd would show, by the names of the files."""
        return {
            path.name.removesuffix("-cert.pub"): path.read_text().strip()
            for path in Path(self.files.ssh / "tatu").glob("*-cert.pub")
        }


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    return make_keys(tmp_path_factory.mktemp("keys"))


@pytest.fixture
def host(tatu, tmp_path, keys):
    return Enrolled(tatu, tmp_path / "host", keys)


def test_a_host_renews_when_two_thirds_are_over_and_sshd_shows_the_new_ones(host, tatu):
    begins = host.held()[0].valid_after
    whole = host.held()[0].valid_before - begins
    assert host.due(begins + whole * 0.66) is None
    assert host.due(begins + whole * 0.67) is not None
    before, reloads = host.state.certificates, host.files.reload_count
    tatu.clock.move(days=4)
    with pytest.raises(AgentError, match="clocks"):
        host.renew()
    tatu.clock.move(days=-4)
    tatu.ledger.hosts.rebind("blue", "db-1", names=("www",), addresses=(), event=tatu.event())
    assert host.due(told=True) is not None
    state = host.renew()
    assert state == host.state
    assert not set(before.values()) & set(state.certificates.values())
    assert host.shown() == state.certificates
    assert {certificate.principals for certificate in host.held()} == {("db-1", "www")}
    assert host.files.reload_count == reloads + 1
    assert host.due() is None
    host.files.check_sshd()


def test_a_host_renews_when_another_key_signs_or_its_certificate_is_revoked(host, tatu, capsys):
    assert host.due() is None
    path = "/v2/authorities/blue/keys"
    added = tatu.call("POST", path, "blue-manager", json={"purpose": "host"}).json
    (fingerprint,) = [
        key["fingerprint"]
        for key in added["keys"]
        if (key["purpose"], key["state"]) == ("host", "next")
    ]
    assert host.files.sync() == 0
    assert host.due() is None
    active = {"state": "active", "at_once": True}
    target = f"{path}/{fingerprint.replace('/', '%2F')}"
    tatu.call("PATCH", target, "blue-admin", json=active, fresh=True)
    before = host.held()
    assert host.files.sync() == 0
    assert "host certificates renewed: another key" in capsys.readouterr().out
    assert {each.signature_key for each in before}.isdisjoint(
        each.signature_key for each in host.held()
    )
    told = {"host": "db-1", "reason": "the test ends", "block": False}
    tatu.call("POST", "/v2/authorities/blue/revocations", "blue-manager", json=told)
    assert host.files.sync() == 0
    assert "host certificates renewed: they are revoked" in capsys.readouterr().out
    assert host.due() is None


def test_an_answer_of_before_is_not_taken(host, tatu, monkeypatch):
    old = {"certificates": list(host.state.certificates.values())}
    tatu.ledger.hosts.rebind("blue", "db-1", names=("www",), addresses=(), event=tatu.event())
    tatu.clock.move(seconds=2)
    host.renew()
    before = host.state
    monkeypatch.setattr(request, "signed", lambda *_, **__: old)
    with pytest.raises(AgentError, match="is older than the one in use"):
        host.renew()
    assert host.state == before
    assert host.shown() == before.certificates


@pytest.mark.parametrize(
    "answer", [{}, {"certificates": "x"}, {"certificates": ["x"]}, {"certificates": []}], ids=str
)
def test_an_answer_without_certificates_changes_nothing(host, monkeypatch, answer):
    before = host.state
    monkeypatch.setattr(request, "signed", lambda *_, **__: answer)
    with pytest.raises(AgentError):
        host.renew()
    assert host.state == before


def test_a_certificate_that_another_authority_signed_is_not_taken(host, monkeypatch):
    lines = [
        certify(Key(), PublicKey.parse(held.subject_key), held.principals).line
        for held in host.held()
    ]
    before = host.state
    monkeypatch.setattr(request, "signed", lambda *_, **__: {"certificates": lines})
    with pytest.raises(AgentError, match="was not signed by a host authority"):
        host.renew()
    assert host.state == before


def test_keys_that_were_made_anew_sign_nothing(host):
    for path in host.files.ssh.glob("ssh_host_*"):
        path.unlink()
    make_keys(host.files.ssh)
    with pytest.raises(AgentError, match="enrol again"):
        host.renew()
