"""The agent by the metadata address, where Neutron's agent lets neither header nor status through."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from tatu.agent import http, renew, watch
from tatu.agent.layout import Layout
from tatu.agent.state import Store
from tatu.core.enrolment import EnrolmentToken
from tests.api import deployment as deployments
from tests.e2e.test_agent_server import revoked
from tests.fakes.agent_host import GROUP, AgentHost, make_keys
from tests.fakes.metadata_path import PREFIX, Neutron, proxied


@pytest.fixture
def tatu(template, tmp_path, monkeypatch):
    monkeypatch.setattr(http, "METADATA", "127.0.0.1")
    with deployments.deployed(template, tmp_path / "deployment") as made:
        way = Neutron(proxied(made.app))
        made.seen = way.seen
        with deployments.answering(way) as address:
            made.url = f"{address}{PREFIX}"
            yield made


def test_a_host_enrols_obeys_and_renews_by_the_metadata_address(tatu, tmp_path, capsys):
    host = AgentHost(tmp_path / "host", make_keys(tmp_path))
    token = EnrolmentToken.parse(tatu.admit("blue", "db-1")["token"])
    assert host.enrol(str(replace(token, url=tatu.url))) == 0, capsys.readouterr().err

    issued = tatu.issue()
    told = {"serial": issued["serial"], "reason": "the test ends"}
    tatu.call("POST", "/v2/authorities/blue/revocations", "blue-manager", json=told)
    assert host.sync() == 0, capsys.readouterr().err
    assert revoked(host, issued["certificate"], tmp_path)
    assert host.sync() == 0  # nothing is new: what 304 says is carried, too

    layout = Layout(
        root=host.root,
        sshd_config=host.config,
        sshd="/usr/sbin/sshd",
        group=GROUP,
        reload_command="true",
    )
    store = Store(layout.state)
    tatu.ledger.hosts.rebind("blue", "db-1", names=("www",), addresses=(), event=tatu.event())
    before = store.load()
    assert renew.renew(layout, store, before, datetime.now(UTC)) != before
    assert {path for _, path in tatu.seen} == {f"{PREFIX}/v2/carried"}


def test_nobody_waits_at_a_door_by_it(tatu):
    assert watch.door(http.Server(tatu.url)) is None


def test_what_is_refused_is_told_as_ever(tatu):
    with pytest.raises(http.Answered, match="the server answered 404"):
        http.Server(tatu.url).get("/v2/authorities/none/statement", limit=4096)
    with pytest.raises(http.AgentError, match="over 10 bytes"):
        http.Server(tatu.url).get("/v2", limit=10)
