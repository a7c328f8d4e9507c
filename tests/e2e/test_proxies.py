"""The proxies that the installation guide puts before API and watch door, as they stand there, with TLS."""

import http.client
import json
import re
import socket
import ssl
import time
from contextlib import ExitStack

import pytest

from tatu.api.bodies import PER_ADDRESS
from tatu.bootstrap import open_ledger
from tatu.config import OPTIONS, load
from tests.fakes.tls import make_certificate
from tests.lab import proxies
from tests.lab.server import START, Deployment, ask, free_port, wait_until

pytestmark = pytest.mark.slow

GUIDE = "operations/install.md"
CONNECTIONS = 64
"""Of an address, as the guide has it."""

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDIhzM3uyAlG7s5mUkD7K2yyJ2JBT2M1dwHvzkG6hFvC"
HOLD = 1
"""Seconds, in place of 55."""

SIGN_INS = 5
MORE = """\
[api]
trusted_proxies = 127.0.0.1/32
[watch]
with_api = true
endpoint = /watch
bind_port = {port}
hold = {hold}
[rates]
sign_in_address = {sign_ins}
"""


class Front:
    """A proxy before the API: how somebody asks through it, from an address of this machine."""

    def __init__(self, kind, deployment, certificate):
        self.kind = kind
        self.deployment = deployment
        self.port = free_port()
        self._tls = ssl.create_default_context(cafile=certificate)

    def sending(self, text):
        """Return a connection on which this was sent, and no more."""
        plain = socket.create_connection(("127.0.0.1", self.port), START)
        found = self._tls.wrap_socket(plain, server_hostname="127.0.0.1")
        found.sendall(text.encode())
        return found

    def connection(self, source):
        return http.client.HTTPSConnection(
            *("127.0.0.1", self.port), timeout=START, context=self._tls, source_address=(source, 0)
        )

    def ask(self, method, path, body=None, *, source="127.0.0.1"):
        """Ask once, and return status and JSON."""
        connection = self.connection(source)
        try:
            return ask(connection, method, path, body)
        finally:
            connection.close()

    def is_ready(self):
        try:
            return self.ask("GET", "/readyz")[0] == 200
        except (OSError, http.client.HTTPException):
            return False

    def watch(self, after):
        return self.ask("GET", f"/watch/v2/authorities/{self.deployment.authority}?after={after}")


@pytest.fixture(scope="module")
def fronts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("proxies")
    certificate, key = make_certificate(folder)
    whole = folder / "whole.pem"
    whole.write_bytes(certificate.read_bytes() + key.read_bytes())
    deployment = Deployment(folder / "deployment")
    process = deployment.processes[0]
    door = free_port()
    with process.config.open("a") as config:
        config.write(MORE.format(port=door, hold=HOLD, sign_ins=SIGN_INS))
    ledger = open_ledger(load(["--config-file", str(process.config)]))
    (found,) = ledger.authorities.list(only=None, limit=2, marker=None).items
    ledger.close()
    deployment.authority = found.id
    with ExitStack() as stack:
        stack.callback(deployment.stop)
        process.start()
        made = {}
        for kind in proxies.COMMANDS:
            front = made[kind] = Front(kind, deployment, certificate)
            instead = {
                443: front.port,
                8322: process.port,
                8323: door,
                "/etc/nginx/tatu.pem": certificate,
                "/etc/nginx/tatu.key": key,
                "/etc/haproxy/tatu.pem": whole,
            }
            text = proxies.told(GUIDE, kind)
            place = folder / kind
            stack.enter_context(proxies.running(kind, text, place, instead, front.is_ready))
        wait_until(lambda: made["nginx"].watch(0)[0] == 200)
        yield made


@pytest.fixture(params=sorted(proxies.COMMANDS))
def front(request, fronts):
    return fronts[request.param]


def test_api_and_door_answer_by_the_urls_that_hosts_are_told(front):
    status, told = front.ask("GET", "/v2")
    assert (status, told["watch"]) == (200, "/watch")
    path = f"/v2/authorities/{front.deployment.authority}/statement"
    version = json.loads(front.ask("GET", path)[1]["statement"])["version"]
    assert front.watch(0) == (200, {"version": version})


def test_who_waits_at_the_door_is_cut_off_by_no_proxy(front):
    version = front.watch(0)[1]["version"]
    begun = time.monotonic()
    assert front.watch(version)[0] == 204
    assert time.monotonic() - begun >= 0.9 * HOLD


@pytest.mark.parametrize(
    ("kind", "named"),
    [("nginx", r"proxy_read_timeout (\d+)s"), ("haproxy", r"tatu_watch\n *timeout server (\d+)s")],
)
def test_proxies_are_more_patient_than_the_door(kind, named):
    (hold,) = [option.default for option in OPTIONS["watch"] if option.name == "hold"]
    assert [hold < int(found) for found in re.findall(named, proxies.told(GUIDE, kind))] == [True]


def test_a_crowd_that_waits_from_one_address_takes_no_place_of_others(front):
    version = front.watch(0)[1]["version"]
    authority = front.deployment.authority
    asked = f"GET /watch/v2/authorities/{authority}?after={version} HTTP/1.1\r\nHost: x\r\n\r\n"
    with ExitStack() as stack:
        crowd = [stack.enter_context(front.sending(asked)) for _ in range(CONNECTIONS + 16)]
        assert front.ask("GET", "/v2")[0] == 200
        for each in crowd:
            assert each.recv(12) == b"HTTP/1.1 204"


def half(length):
    return (
        "POST /v2/challenges HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        f"Content-Length: {length}\r\n\r\n{{"
    )


def test_bodies_that_do_not_arrive_keep_no_place_at_the_api(front):
    with ExitStack() as stack:
        for _ in range(2 * PER_ADDRESS):
            stack.enter_context(front.sending(half(100)))
        status, told = front.ask("POST", "/v2/challenges", {})
        assert (status, told["type"]) == (400, "urn:tatu:problem:malformed")


def test_an_address_has_few_connections_and_others_have_theirs(front):
    with ExitStack() as stack:
        for _ in range(CONNECTIONS):
            stack.enter_context(front.sending(half(100)))
        wait_until(lambda: front.ask("GET", "/healthz")[0] == 503)
        assert front.ask("GET", "/healthz", source="127.0.0.2")[0] == 200


def test_what_is_too_large_is_refused_by_the_proxy(front):
    with front.sending(half(2**21)) as connection:
        assert connection.recv(12) == b"HTTP/1.1 413"


def test_the_api_counts_by_the_address_that_the_proxy_saw(front):
    def status(source, forwarded="192.0.2.1"):
        connection = front.connection(source)
        headers = {"Content-Type": "application/json", "X-Forwarded-For": forwarded}
        try:
            connection.request("POST", "/v2/challenges", "{}", headers)
            return connection.getresponse().status
        finally:
            connection.close()

    number = 10 + sorted(proxies.COMMANDS).index(front.kind)
    mine, other = f"127.0.1.{number}", f"127.0.2.{number}"
    body = {"user": "alice", "project": "blue", "public_key": KEY, "purpose": "login"}
    for attempt in range(SIGN_INS):
        assert front.ask("POST", "/v2/challenges", body, source=mine)[0] == 201, attempt
    assert front.ask("POST", "/v2/challenges", body, source=mine)[0] == 429
    assert status(mine, other) == 429
    assert front.ask("POST", "/v2/challenges", body, source=other)[0] == 201
