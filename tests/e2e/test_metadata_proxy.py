"""The proxies that the guide puts before Nova's metadata: instances reach Tatu through them, and Nova."""

import http.client
import re
import subprocess
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from tatu.agent import http as agent_http
from tatu.core.enrolment import EnrolmentToken
from tests.api import deployment as deployments
from tests.fakes.agent_host import AgentHost, make_keys
from tests.fakes.metadata_path import Neutron
from tests.lab.server import free_port

pytestmark = pytest.mark.slow

GUIDE = Path(__file__).parents[2] / "docs/operations/instances.md"
COMMANDS = {"haproxy": ["haproxy", "-db", "-f"], "nginx": ["nginx", "-g", "daemon off;", "-c"]}
NGINX = """\
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
{text}
}}
"""
HAPROXY = """\
defaults
    timeout connect 5s
    timeout client 30s
    timeout server 30s
{text}
"""


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
            environ["PATH_INFO"],
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


@pytest.fixture(params=sorted(COMMANDS))
def tatu(request, template, tmp_path, monkeypatch):
    """A deployment behind a proxy as the guide writes it, behind Neutron's agent."""
    monkeypatch.setattr(agent_http, "METADATA", "127.0.0.1")
    (block,) = re.findall(
        rf"^```{request.param}\n(.*?)^```$", GUIDE.read_text(), re.MULTILINE | re.DOTALL
    )
    seen = []
    with ExitStack() as stack:
        made = stack.enter_context(deployments.deployed(template, tmp_path / "deployment"))

        def api(environ, start):
            seen.append({name for name in environ if name.startswith("HTTP_")})
            return made.app(environ, start)

        def serve(app):
            return stack.enter_context(deployments.answering(app))

        ports = {"8775": str(free_port())}
        for name, app in (("8322", api), ("18775", nova)):
            ports[name] = serve(app).rpartition(":")[2]
        for name, port in ports.items():
            block = re.sub(rf"\b{name}\b", f"127.0.0.1:{port}" if name == "8775" else port, block)
        block = block.replace("bind :127", "bind 127")
        whole = {"nginx": NGINX, "haproxy": HAPROXY}[request.param]
        file = tmp_path / "proxy.conf"
        file.write_text(whole.format(folder=tmp_path, text=block))
        proxy = subprocess.Popen([*COMMANDS[request.param], file], stderr=subprocess.DEVNULL)
        try:
            front = int(ports["8775"])
            made.url = serve(Neutron(at(front)))
            wait_for(front, proxy)
            made.seen = seen
            yield made
        finally:
            proxy.terminate()
            proxy.wait(30)


def wait_for(port, proxy):
    until = time.monotonic() + 20
    while True:
        assert proxy.poll() is None, "the proxy refuses the guide's configuration"
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/openstack")
            assert connection.getresponse().read() == b"nova"
        except OSError:
            assert time.monotonic() < until
            time.sleep(0.02)
        else:
            return
        finally:
            connection.close()


def test_an_instance_enrols_and_obeys_through_the_proxy_of_the_guide(tatu, tmp_path, capsys):
    host = AgentHost(tmp_path / "host", make_keys(tmp_path))
    token = EnrolmentToken.parse(tatu.admit("blue", "db-1")["token"])
    assert host.enrol(str(replace(token, url=f"{tatu.url}/tatu"))) == 0, capsys.readouterr().err
    assert host.sync() == 0, capsys.readouterr().err
    # what lets Nova believe an instance is nobody else's business
    assert not any("HTTP_X_INSTANCE_ID_SIGNATURE" in headers for headers in tatu.seen)
    agent = agent_http.Server(tatu.url).get("/tatu/v2/agent", limit=2**20)
    assert agent.startswith(b"#!/usr/bin/python3")
