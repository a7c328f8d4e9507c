"""The proxies that the guide puts before Nova's metadata: instances reach Tatu through them, and Nova."""

import http.client
from contextlib import ExitStack
from dataclasses import replace

import pytest

from tatu.agent import http as agent_http
from tatu.core import carried
from tatu.core.enrolment import EnrolmentToken
from tests.api import deployment as deployments
from tests.fakes.agent_host import AgentHost, make_keys
from tests.fakes.metadata_path import PREFIX, Neutron
from tests.lab import proxies
from tests.lab.openstack.process import answers
from tests.lab.server import free_port

pytestmark = pytest.mark.slow

GUIDE = "operations/instances.md"


def nova(environ, start):
    start("200 OK", [("Content-Length", "4")])
    return [b"nova"]


def at(port):
    """Return what answers at a port as a WSGI application; headers come through to it."""

    def ask(environ, start):
        length = int(environ.get("CONTENT_LENGTH") or 0)
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        connection.request(
            environ["REQUEST_METHOD"],
            f"{environ['PATH_INFO']}?{environ['QUERY_STRING']}",
            environ["wsgi.input"].read(length) if length else None,
            {
                name.removeprefix("HTTP_").replace("_", "-"): value
                for name, value in environ.items()
                if name.startswith("HTTP_")
            },
        )
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        start(f"{answer.status} {answer.reason}", answer.getheaders())
        return [body]

    return ask


@pytest.fixture(params=sorted(proxies.COMMANDS))
def tatu(request, template, tmp_path, monkeypatch):
    """A deployment behind a proxy as the guide writes it, behind Neutron's agent."""
    monkeypatch.setattr(agent_http, "METADATA", "127.0.0.1")
    seen = []
    with ExitStack() as stack:
        made = stack.enter_context(deployments.deployed(template, tmp_path / "deployment"))

        def api(environ, start):
            seen.append({name for name in environ if name.startswith("HTTP_")})
            return made.app(environ, start)

        def serve(app):
            return stack.enter_context(deployments.answering(app))

        front = free_port()
        ports = {8775: front}
        for name, app in ((8322, api), (18775, nova)):
            ports[name] = serve(app).rpartition(":")[2]
        text = proxies.told(GUIDE, request.param)
        folder, ready = tmp_path / "proxy", answers(f"http://127.0.0.1:{front}/openstack")
        stack.enter_context(proxies.running(request.param, text, folder, ports, ready))
        made.url = f"{serve(Neutron(at(front)))}{PREFIX}"
        made.seen = seen
        yield made


def test_an_instance_enrols_and_obeys_through_the_proxy_of_the_guide(tatu, tmp_path, capsys):
    host = AgentHost(tmp_path / "host", make_keys(tmp_path))
    token = EnrolmentToken.parse(tatu.admit("blue", "db-1")["token"])
    assert host.enrol(str(replace(token, url=tatu.url))) == 0, capsys.readouterr().err
    assert host.sync() == 0, capsys.readouterr().err
    # what lets Nova believe an instance is nobody else's business
    assert not any("HTTP_X_INSTANCE_ID_SIGNATURE" in headers for headers in tatu.seen)
    agent = agent_http.Server(tatu.url).get("/v2/agent", limit=2**20)
    assert agent.startswith(b"#!/usr/bin/python3")


@pytest.mark.parametrize("kind", sorted(proxies.COMMANDS))
def test_no_proxy_of_the_guide_logs_what_is_carried_even_when_tatu_is_away(kind, tmp_path):
    seen = []

    def tatu(environ, start):
        seen.append(environ["QUERY_STRING"])
        return nova(environ, start)

    front = free_port()
    with ExitStack() as stack:
        ports = {8775: front, 8322: free_port()}
        ports[18775] = stack.enter_context(deployments.answering(nova)).rpartition(":")[2]
        there = ports | {8322: stack.enter_context(deployments.answering(tatu)).rpartition(":")[2]}
        text, ready = proxies.told(GUIDE, kind), answers(f"http://127.0.0.1:{front}/openstack")
        for name, each in (("there", there), ("away", ports)):
            with proxies.running(kind, text, tmp_path / name, each, ready):
                connection = http.client.HTTPConnection("127.0.0.1", front, timeout=30)
                connection.request("GET", f"{PREFIX}{carried.PATH}?request=marked")
                status = connection.getresponse().status
                connection.close()
            assert (status == 200) == (name == "there")
            logs = "".join(file.read_text() for file in (tmp_path / name).glob("*.log"))
            assert "GET /openstack" in logs
            assert "marked" not in logs
    assert seen == ["request=marked"]
