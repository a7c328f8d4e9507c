import http.server as http_module
import ipaddress
import secrets
import socket
import ssl
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tatu.agent import http
from tatu.agent.errors import AgentError, Answered
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


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("Sun, 06 Nov 1994 08:49:37 GMT", datetime(1994, 11, 6, 8, 49, 37, tzinfo=UTC)),
        ("Sunday, 06-Nov-94 08:49:37 GMT", None),
        ("Sun, 06 Nov 1994 08:49:37 CET", None),
        ("", None),
        ("9" * 5000, None),
    ],
)
def test_the_servers_time_is_what_http_writes_or_none(text, told):
    assert told == http._date(text)


def test_what_the_platform_carries_need_not_be_https():
    assert Server("http://169.254.169.254/tatu")
    for other in ("169.254.169.253", "169.254.169.254.example"):
        with pytest.raises(AgentError):
            Server(f"http://{other}/tatu")


def test_plain_http_must_be_called_insecure():
    assert Server("http://192.0.2.7", insecure_http=True).insecure_http


@pytest.fixture
def serve():
    """Serve one connection after the other with a function that gets the handler."""
    servers = []

    def start(answer, tls=None):
        class Handler(http_module.BaseHTTPRequestHandler):
            def do_GET(self):
                answer(self)

            def log_message(self, *_):
                pass

        server = http_server(Handler, tls)
        servers.append(server)
        return Server(f"http://127.0.0.1:{server.server_address[1]}/base/")

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


class QuietServer(http_module.ThreadingHTTPServer):
    def handle_error(self, *_):
        """Say nothing: a client that hangs up is what is tested."""


def http_server(handler, tls):
    server = QuietServer(("127.0.0.1", 0), handler)
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
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


@pytest.mark.parametrize(
    ("begin", "part"),
    [
        (b"HTTP/1.1 200 OK\r\nX: ", b"x"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (b"HTTP/1.1 200 OK\r\n\r\n", b"x"),
        (b"HTTP/1.1 503 Away\r\n\r\n", b"x"),
    ],
    ids=["headers", "continue", "body", "refusal"],
)
def test_an_answer_that_drips_is_given_up(begin, part, serve, monkeypatch):
    monkeypatch.setattr(http, "_DEADLINE", 0.2)
    done = threading.Event()

    def drip(handler):
        handler.wfile.write(begin)
        while not done.wait(0.02):
            handler.wfile.write(part)

    try:
        with pytest.raises(AgentError, match="took over"):
            serve(drip).get("/", limit=10**6)
        assert asking_ends()
    finally:
        done.set()


def asking_ends():
    """Say whether no thread goes on that asks a server."""
    until = time.monotonic() + 5
    while any(thread.name == "tatu-http" for thread in threading.enumerate()):
        if time.monotonic() > until:
            return False
        time.sleep(0.01)
    return True


def test_an_answer_that_drips_over_tls_leaves_no_thread(serve, tmp_path, monkeypatch):
    monkeypatch.setattr(http, "_DEADLINE", 0.5)
    done = threading.Event()
    asking = []

    def drip(handler):
        said(b"")(handler)
        asking.extend(thread.name for thread in threading.enumerate())
        while not done.wait(0.02):
            handler.wfile.write(b"x")

    server = serve(drip, self_signed(tmp_path))
    url = server.url.replace("http:", "https:")
    try:
        with pytest.raises(AgentError, match="took over"):
            Server(url, ca_file=str(tmp_path / "ca.pem")).get("/", limit=10**6)
        assert "tatu-http" in asking
        assert asking_ends()
    finally:
        done.set()


def test_a_connection_that_nobody_waits_for_any_more_is_not_used():
    here, there = socket.socketpair()
    with here, there:
        line = http._Line()
        line.cut()
        with pytest.raises(OSError, match="nobody waits"):
            line.hold(here)


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


def self_signed(folder):
    """Make a certificate for the loopback that vouches for itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "tatu")])
    now = datetime.now(UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(minutes=10))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (folder / "ca.pem").write_bytes(made.public_bytes(pem))
    (folder / "key.pem").write_bytes(key.private_bytes(pem, *form))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "ca.pem", folder / "key.pem")
    return context


def test_tls_is_trusted_only_by_the_authorities_that_were_named(serve, tmp_path):
    server = serve(said(b"yes"), self_signed(tmp_path))
    url = server.url.replace("http:", "https:")
    assert Server(url, ca_file=str(tmp_path / "ca.pem")).get("/", limit=9) == b"yes"
    with pytest.raises(AgentError, match=r"cannot reach .*certificate verify failed"):
        Server(url).get("/", limit=9)


def test_tls_authorities_that_cannot_be_read_are_one_clear_error(tmp_path):
    (tmp_path / "empty").touch()
    for name in ("absent", "empty"):
        with pytest.raises(AgentError, match=f"^cannot read {tmp_path / name}: "):
            Server("https://127.0.0.1:1", ca_file=str(tmp_path / name)).get("/", limit=1)


@pytest.mark.parametrize("body", [b"", b"[]", b"1", b"{", b"\xff", b"[" * 100_000])
def test_a_body_that_is_no_object_is_malformed(body):
    with pytest.raises(AgentError):
        http.parsed(body)


def test_what_the_metadata_address_would_cut_is_not_sent():
    server = Server(f"http://{http.METADATA}:1/tatu")
    long = {"noise": secrets.token_hex(2500)}
    with pytest.raises(Answered, match="the metadata address takes no more") as refused:
        server.post("/v2/enrolments", long, limit=10)
    assert refused.value.status == http.TOO_LARGE
