"""What the client reads, cut off and changed anywhere: it is read, or refused by name."""

import base64
import contextlib
import json
import socket
import subprocess
import threading
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tatu.client import http, signing
from tatu.client.certify import NewKey
from tatu.client.resources import Role
from tatu.client.signing import AgentKey
from tatu.client.sshagent import Agent
from tatu.client.state import Session
from tatu.core import wire
from tatu.core.errors import Conflict, Malformed, TatuError, Unavailable
from tatu.core.sshsig import Namespace, SshSignature, to_be_signed

KEY = NewKey.generate()
NOT_AN_AGENT = (Unavailable, Malformed, Conflict)


@st.composite
def damaged(draw, whole):
    """Cut something off, or exchange a few bytes, or put some in between."""
    data = bytearray(whole)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(data)))
        match draw(st.sampled_from(["cut", "change", "insert"])):
            case "cut":
                del data[at:]
            case "change":
                data[at : at + 1] = draw(st.binary(max_size=1))
            case "insert":
                data[at:at] = draw(st.binary(max_size=8))
    return bytes(data)


# --- ssh-agent


class HostileAgent:
    """Answers every question with the same bytes, and hangs up."""

    def __init__(self, path):
        self.path = str(path)
        self.answer = b""
        self.server = socket.socket(socket.AF_UNIX)
        self.server.bind(self.path)
        self.server.listen()
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()

    def serve(self):
        while True:
            connection, _ = self.server.accept()
            with connection, contextlib.suppress(OSError):
                if not connection.recv(4096):
                    return
                connection.sendall(self.answer)

    def stop(self):
        with socket.socket(socket.AF_UNIX) as last:
            last.connect(self.path)
        self.thread.join()
        self.server.close()


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    running = HostileAgent(tmp_path_factory.mktemp("agent") / "socket")
    yield running
    running.stop()


IDENTITIES = wire.string(
    wire.uint8(12)
    + wire.uint32(2)
    + (wire.string(KEY.public_key.blob) + wire.string("a comment")) * 2
)
SIGNED = wire.string("ssh-ed25519") + wire.string(
    KEY.private.sign(to_be_signed(Namespace.LOGIN, b"x"))
)
SIGNATURE = wire.string(wire.uint8(14) + wire.string(SIGNED))


def identities(agent):
    found = Agent(path=agent.path).identities()
    for key, comment in found:
        key.check()
        assert isinstance(comment, str)


def sign(agent):
    key = AgentKey(agent=Agent(path=agent.path), public_key=KEY.public_key)
    assert SshSignature.parse(key.sign(Namespace.LOGIN, b"x")).public_key == KEY.public_key


@pytest.mark.parametrize(
    ("ask", "answer"), [(identities, IDENTITIES), (sign, SIGNATURE)], ids=["identities", "sign"]
)
def test_every_prefix_of_an_agents_answer_is_refused(hostile, ask, answer):
    hostile.answer = answer
    ask(hostile)
    for end in range(len(answer)):
        hostile.answer = answer[:end]
        with pytest.raises(Unavailable):
            ask(hostile)
    # cut short, and with a length that says so
    for end in range(len(answer) - 4):
        hostile.answer = wire.string(answer[4 : 4 + end])
        with pytest.raises(NOT_AN_AGENT):
            ask(hostile)


@given(st.data())
def test_any_answer_of_an_agent_is_read_or_refused(hostile, data):
    ask, body = data.draw(st.sampled_from([(identities, IDENTITIES[4:]), (sign, SIGNATURE[4:])]))
    answer = data.draw(damaged(body) | st.binary(max_size=64))
    hostile.answer = data.draw(st.sampled_from([wire.string(answer), answer]))
    with contextlib.suppress(*NOT_AN_AGENT):
        ask(hostile)


# --- private key files


@pytest.fixture(scope="module")
def key_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("key") / "k"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
    return path.read_text()


def public_half(text):
    return signing._public_half(text, Path("k"))


def rewritten(text, data):
    first, *_, last = text.splitlines()
    return "\n".join((first, base64.b64encode(data).decode(), last))


def test_every_prefix_of_a_key_file_is_refused(key_file):
    key = public_half(key_file)
    for end in range(len(key_file.rstrip())):
        with pytest.raises(Malformed):
            public_half(key_file[:end])
    whole = base64.b64decode("".join(key_file.splitlines()[1:-1]))
    for end in range(whole.index(key.blob) + len(key.blob)):
        with pytest.raises(Malformed):
            public_half(rewritten(key_file, whole[:end]))


@given(st.data())
def test_any_key_file_is_read_or_refused(key_file, data):
    whole = base64.b64decode("".join(key_file.splitlines()[1:-1]))
    changed = data.draw(damaged(key_file.encode())).decode("latin-1")
    for text in (changed, rewritten(key_file, data.draw(damaged(whole))), data.draw(st.text())):
        with contextlib.suppress(Malformed):
            public_half(text).check()


# --- the saved sign-in


SESSION = Session(
    token="tatu_x",
    expires_at=datetime(2030, 1, 1, tzinfo=UTC),
    subject="u-1",
    name="alice",
    project="p",
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


def test_every_prefix_of_a_saved_sign_in_is_refused():
    whole = SESSION.encode()
    assert Session.parse(whole) == SESSION
    for end in range(len(whole.rstrip())):
        with pytest.raises(Malformed, match="tatu login"):
            Session.parse(whole[:end])


@given(st.data())
def test_any_saved_sign_in_is_read_or_refused(data):
    facts = json.loads(SESSION.encode())
    facts[data.draw(st.sampled_from(sorted(facts)))] = data.draw(JSON)
    changed = data.draw(damaged(SESSION.encode().encode())).decode("latin-1")
    for text in (changed, json.dumps(facts), json.dumps(data.draw(JSON)), data.draw(st.text())):
        with contextlib.suppress(Malformed):
            found = Session.parse(text)
            assert Session.parse(found.encode()) == found
            assert f"Bearer {found.token}".encode("ascii").isascii()


@pytest.mark.parametrize("token", ["a\nX-Other: b", "a\0", "\u2603", "\ud800", None, 1])
def test_a_token_that_no_header_carries_is_refused(token):
    facts = json.loads(SESSION.encode()) | {"token": token}
    with pytest.raises(Malformed, match="tatu login"):
        Session.parse(json.dumps(facts))


# --- lists of the API


class Answering:
    """An adapter whose server answers all requests alike."""

    endpoint_override = "https://t"

    def __init__(self, content, status=200):
        self.content, self.status = content, status

    def request(self, *_, **__):
        return SimpleNamespace(
            status_code=self.status, content=self.content, headers={}, is_redirect=False
        )


PAGE = json.dumps(
    {"items": [{"id": "r-1", "name": "admin"}], "links": {"next": "https://t/v2/roles?marker=m"}}
).encode()
LAST = json.dumps({"items": [{"id": "r-1", "name": "admin"}], "links": {}}).encode()


def roles(content, status=200):
    found = http.pages(Answering(content, status), "/v2/roles", Role, {})
    assert all(isinstance(role, Role) for role in found)
    return found


def test_every_prefix_of_a_list_is_refused():
    assert [role.name for role in roles(LAST)] == ["admin"]
    for end in range(len(LAST)):
        with pytest.raises(Unavailable, match="did not answer as Tatu"):
            roles(LAST[:end])


def test_pages_that_form_a_circle_are_refused():
    with pytest.raises(Unavailable, match="circle"):
        roles(PAGE)


@given(st.data())
def test_any_list_is_read_or_refused(data):
    facts = json.loads(PAGE)
    place = data.draw(st.sampled_from([facts, facts["links"], facts["items"][0]]))
    place[data.draw(st.sampled_from(sorted(place)))] = data.draw(JSON)
    changed = data.draw(damaged(PAGE) | damaged(LAST))
    for content in (changed, json.dumps(facts).encode(), data.draw(st.binary(max_size=64))):
        with contextlib.suppress(Unavailable):
            roles(content)


@given(st.text())
@example("https://[")
@example("//[::1")
@example("?a=%ff&b")
def test_wherever_a_next_link_leads_we_stay_where_we_are(link):
    with contextlib.suppress(Unavailable):
        roles(json.dumps({"items": [], "links": {"next": link}}).encode())


@given(
    st.integers(400, 599),
    st.binary(max_size=64) | JSON.map(lambda value: json.dumps(value).encode()),
)
@example(502, b'{"detail":' + b"[" * 100_000)
@example(400, b'{"detail":' + b"[" * 100_000)
def test_any_problem_is_an_error_of_one_line(status, content):
    with pytest.raises(TatuError) as raised:
        roles(content, status)
    assert "\n" not in str(raised.value)


def test_an_answer_that_nests_without_end_is_refused():
    with pytest.raises(Unavailable, match="did not answer as Tatu"):
        roles(b'{"other":' + b"[" * 100_000)
