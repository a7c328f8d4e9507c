import http.server as http_module
import threading

import pytest

from tatu.agent import http
from tatu.agent.errors import AgentError
from tatu.agent.http import Server


@pytest.mark.parametrize(
    "url",
    [
        "https://tatu.example",
        "https://192.0.2.7:7780/ssh",
        "http://127.0.0.1:7780",
        "http://[::1]",
        "http://localhost",
    ],
)
def test_https_and_the_loopback_are_servers(url):
    assert url == Server(url).url


@pytest.mark.parametrize(
    "url",
    [
        "http://tatu.example",
        "http://192.0.2.7",
        "http://127.0.0.1.example",
        "http://localhost.example",
        "http://localhost@tatu.example",
        "ftp://tatu.example",
        "file:///etc/shadow",
        "https://",
        "https://user@tatu.example",
        "https://tatu.example?x",
        "https://tatu.example:port",
        "https://[::1",
        "",
    ],
)
def test_what_anybody_on_the_way_could_answer_for_is_no_server(url):
    with pytest.raises(AgentError):
        Server(url)


def test_plain_http_must_be_called_insecure():
    assert Server("http://192.0.2.7", insecure_http=True).insecure_http


@pytest.fixture
def serve():
    """Serve one connection after the other with a function that gets the handler."""
    servers = []

    def start(answer):
        class Handler(http_module.BaseHTTPRequestHandler):
            def do_GET(self):
                answer(self)

            def log_message(self, *_):
                pass

        server = http_server(Handler)
        servers.append(server)
        return Server(f"http://127.0.0.1:{server.server_address[1]}/base/")

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def http_server(handler):
    server = http_module.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    return server


def said(body, **headers):
    def answer(handler):
        handler.send_response(200)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def test_a_proxy_of_the_environment_is_not_used(serve, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    assert serve(said(b"direct")).get("/v2", limit=100) == b"direct"


def test_the_path_follows_the_base_of_the_url(serve):
    paths = []
    server = serve(lambda handler: (paths.append(handler.path), said(b"")(handler)))
    server.get("/v2", limit=1)
    assert paths == ["/base/v2"]


def test_a_byte_too_many_is_refused(serve):
    server = serve(said(b"12345"))
    assert server.get("/", limit=5) == b"12345"
    with pytest.raises(AgentError, match="over 4 bytes"):
        server.get("/", limit=4)


def test_an_answer_that_drips_is_given_up(serve, monkeypatch):
    monkeypatch.setattr(http, "_DEADLINE", -1.0)
    with pytest.raises(AgentError, match="took over"):
        serve(said(b"slow")).get("/", limit=100)


def test_a_refusal_that_drips_is_given_up_without_its_reason(serve, monkeypatch):
    monkeypatch.setattr(http, "_DEADLINE", -1.0)
    with pytest.raises(AgentError, match="answered 503: no reason given"):
        serve(lambda handler: handler.send_error(503)).get("/", limit=100)


def test_a_server_that_says_nothing_is_given_up(serve, monkeypatch):
    monkeypatch.setattr(http, "_SILENCE", 0.05)
    done = threading.Event()
    try:
        with pytest.raises(AgentError, match="cannot reach"):
            serve(lambda _: done.wait(10)).get("/", limit=100)
    finally:
        done.set()


def test_a_server_that_is_not_there_is_named():
    with pytest.raises(AgentError, match=r"cannot reach http://127.0.0.1:1: .*refused"):
        Server("http://127.0.0.1:1").get("/", limit=1)


def test_tls_authorities_that_cannot_be_read_are_one_clear_error(tmp_path):
    with pytest.raises(AgentError, match="cannot reach"):
        Server("https://127.0.0.1:1", ca_file=str(tmp_path / "absent")).get("/", limit=1)


@pytest.mark.parametrize("body", [b"", b"[]", b"1", b"{", b"\xff", b"[" * 100_000])
def test_a_body_that_is_no_object_is_malformed(body):
    with pytest.raises(AgentError):
        http.parsed(body)
