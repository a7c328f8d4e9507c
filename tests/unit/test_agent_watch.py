"""The door is a hint: whatever it says, an agent asks the one API that it was enrolled at."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tatu.agent import watch
from tatu.agent.errors import AgentError
from tatu.agent.http import Server
from tatu.agent.watch import Target, Watcher

SOON = 5.0


class Api:
    """Answers `/v2` with `named`, and what watches with the next of `answers`."""

    def __init__(self):
        self.named = "/watch"
        self.answers = []
        self.asked = []
        self.hold = 0.0
        api = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                if self.path == "/v2":
                    status, body = 200, json.dumps({"watch": api.named}).encode()
                else:
                    time.sleep(api.hold)
                    status, body = api.answers.pop(0) if api.answers else (503, b"")
                api.asked.append((self.path, status))
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server = Server(f"http://127.0.0.1:{self._server.server_address[1]}")
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def watched(self):
        return [asked for asked in self.asked if asked[0] != "/v2"]

    def close(self):
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def api(monkeypatch):
    monkeypatch.setattr(watch, "_SOONEST", 0.05)
    monkeypatch.setattr(watch, "_LONGEST_REST", 0.2)
    made = Api()
    yield made
    made.close()


def newer(version):
    return 200, json.dumps({"version": version}).encode()


def until(holds):
    deadline = time.monotonic() + SOON
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.parametrize(
    ("named", "url"),
    [
        ("/watch", "https://tatu.example:8322/api/watch"),
        ("//evil.example/watch", "https://tatu.example:8322/api//evil.example/watch"),
        ("https://tatu.example:8323/watch", "https://tatu.example:8323/watch"),
        ("", None),
        (None, None),
        (7, None),
    ],
)
def test_the_door_is_where_the_api_says(monkeypatch, named, url):
    server = Server("https://tatu.example:8322/api")
    answer = json.dumps({"watch": named}).encode()
    monkeypatch.setattr(Server, "get", lambda self, path, **_: answer)
    found = watch.door(server)
    assert url == (found.url if found else None)


@pytest.mark.parametrize(
    "named",
    [
        "https://evil.example/watch",
        "https://tatu.example@evil.example/watch",
        "https://169.254.169.254/latest",
        "http://tatu.example/watch",
        "file:///etc/shadow",
        "gopher://tatu.example/",
        "https://tatu.example/watch?x=",
        "watch",
        "https://[",
    ],
)
def test_nobody_sends_agents_elsewhere(monkeypatch, named):
    server = Server("https://tatu.example")
    answer = json.dumps({"watch": named}).encode()
    monkeypatch.setattr(Server, "get", lambda self, path, **_: answer)
    with pytest.raises(AgentError):
        watch.door(server)


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b"{}",
        b"x",
        newer(7)[1],
        newer(6)[1],
        newer("8")[1],
        newer(True)[1],
        newer(8.5)[1],
        b'{"version": 8' + b" " * 2**16 + b"}",
    ],
)
def test_what_is_no_news_is_none(api, body):
    api.answers = [(200, body)]
    with pytest.raises(AgentError):
        watch.news(api.server, Target(api.server, "blue", 7))


def test_news_are_asked_for_by_the_authority_and_the_version(api):
    api.answers = [newer(8)]
    assert watch.news(api.server, Target(api.server, "blue/../x", 7)) == 8
    assert api.asked == [("/v2/authorities/blue%2F..%2Fx?after=7", 200)]


def test_a_door_that_does_not_hold_is_none(api):
    api.answers = [(204, b""), (204, b"")]
    target = Target(api.server, "blue", 7)
    with pytest.raises(AgentError):
        watch.news(api.server, target)
    api.hold = 0.06
    assert watch.news(api.server, target) is None


def test_a_watcher_wakes_the_host_and_waits_until_it_has_fetched(api):
    wake = threading.Event()
    watcher = Watcher(wake)
    api.hold = 0.06
    api.answers = [newer(8), (204, b""), newer(9)]
    watcher.start()
    watcher.follow(Target(api.server, "blue", 7))
    assert wake.wait(SOON)
    assert watcher.is_open
    wake.clear()
    watcher.follow(Target(api.server, "blue", 8))
    assert wake.wait(SOON)
    assert [path.partition("=")[2] for path, _ in api.watched] == ["7", "8", "8"]


def test_a_door_that_lies_is_asked_more_and_more_seldom(api):
    watcher = Watcher(threading.Event())
    api.answers = [newer(99)] * 100
    begun = time.monotonic()
    watcher.start()
    watcher.follow(Target(api.server, "blue", 7))
    until(lambda: len(api.watched) == 6)
    assert time.monotonic() - begun > 0.8  # half a second by rests that do not grow


def test_without_a_door_and_while_it_is_away_the_host_is_told_to_poll(api):
    watcher = Watcher(threading.Event())
    api.answers = [(503, b"")]
    api.hold = 0.06
    watcher.start()
    watcher.follow(Target(api.server, "blue", 7))
    until(lambda: (503) in [status for _, status in api.watched])
    assert not watcher.is_open
    api.answers = [(204, b"")] * 3
    until(lambda: watcher.is_open)
    api.named = ""
    until(lambda: not watcher.is_open)
