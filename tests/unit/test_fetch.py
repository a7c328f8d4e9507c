"""The watch door asks the API for a statement: where it is configured, and briefly."""

import socket
import ssl

import pytest

from tatu.core.errors import Unavailable
from tatu.fetch import Statements
from tests.fakes.http import FakeHttp
from tests.fakes.tls import make_certificate


class Api(FakeHttp):
    """Answers with one status, and remembers what it was asked."""

    def __init__(self):
        self.status = 200
        self.more = {}
        self.asked = []
        super().__init__()

    def respond(self, method, path, headers, body):
        self.asked.append((method, path, headers["If-None-Match"], headers["Cache-Control"]))
        return self.status, self.more, b"" if self.status == 304 else b"{}"


@pytest.fixture
def api():
    fake = Api()
    yield fake
    fake.stop()


@pytest.mark.parametrize("status", [200, 304])
def test_it_asks_as_hosts_do_past_all_caches(api, status):
    api.status = status
    Statements(url=api.url).ask("blue", 7)
    assert api.asked == [("GET", "/v2/authorities/blue/statement", '"7"', "no-cache")]


@pytest.mark.parametrize("status", [404, 429, 500, 503])
def test_whatever_else_is_answered_is_told(api, status):
    api.status = status
    with pytest.raises(Unavailable, match=str(status)):
        Statements(url=api.url).ask("blue", 7)


def test_nobody_sends_it_elsewhere(api, monkeypatch):
    api.status, api.more = 302, {"Location": f"{api.url}/elsewhere"}
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with pytest.raises(Unavailable, match="302"):
        Statements(url=api.url).ask("blue", 7)
    assert len(api.asked) == 1


def test_silence_is_given_up():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(Unavailable, match="does not answer"):
            Statements(url=url, silence=0.05).ask("blue", 7)
    with pytest.raises(Unavailable, match="refused"):
        Statements(url=url).ask("blue", 7)


def test_an_api_whose_certificate_is_not_trusted_is_not_asked(api, tmp_path, monkeypatch):
    certificate, key = make_certificate(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    api.server.socket = context.wrap_socket(api.server.socket, server_side=True)
    statements = Statements(url=api.url.replace("http:", "https:"))
    with pytest.raises(Unavailable, match="certificate verify failed"):
        statements.ask("blue", 7)
    assert api.asked == []
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    statements.ask("blue", 7)
    assert len(api.asked) == 1
