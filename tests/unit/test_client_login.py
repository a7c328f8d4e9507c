"""Signing in to servers, the malicious included: what we sign, and what we make of their answers."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from keystoneauth1.adapter import Adapter

from tatu.client import http as client_http
from tatu.client.api import Api
from tatu.client.certify import NewKey
from tatu.client.login import KeySignIn, Loader
from tatu.client.resources import Token, Whoami
from tatu.client.state import Session
from tatu.core import errors
from tatu.core.challenge import SignInPurpose
from tatu.core.sshsig import Namespace, SshSignature
from tests.fakes.http import FakeHttp

IDENTITY = {
    "issuer": "local", "subject": "u-1", "name": "alice", "project": "p-1", "roles": [],
    "expires_at": "2030-01-01T00:00:00Z", "fresh": False, "added_later": 1,
}  # fmt: skip


class FakeServer(FakeHttp):
    """Answers what it was told to, and remembers what it was asked."""

    def __init__(self):
        self.answers = {}
        self.asked = []
        self.changes = {}
        super().__init__()

    def respond(self, method, path, headers, body):
        self.asked.append((method, path, dict(headers), body))
        return self.answer(method, path, body)

    def paths(self):
        return [path for _, path, _, _ in self.asked]

    def answer(self, method, path, body):
        if path in self.answers:
            status, headers, answer = self.answers[path]
            return (
                status,
                headers,
                answer if isinstance(answer, bytes) else json.dumps(answer).encode(),
            )
        match path:
            case "/v2":
                facts = {
                    "version": {"id": "v2", "status": "CURRENT", "links": []},
                    "deployment": "d-1",
                    "identity": "local",
                    "url": self.url,
                }
            case "/v2/challenges":
                facts = self.challenge(json.loads(body))
            case "/v2/tokens":
                ends = datetime.now(UTC) + timedelta(hours=1)
                facts = {"token": "tatu_x", "expires_at": ends.isoformat(), "identity": IDENTITY}
            case _:
                facts = IDENTITY
        return 200, {}, json.dumps(facts).encode()

    def challenge(self, asked):
        message = {
            "deployment": self.url,
            "expires_at": "2030-01-01T00:00:00Z",
            "id": "c-1",
            "nonce": "n",
            **asked,
            **self.changes,
        }
        text = json.dumps(message, sort_keys=True, separators=(",", ":"))
        return {"id": "c-1", "message": text, "expires_at": "2030-01-01T00:00:00Z"}


@pytest.fixture
def server():
    running = FakeServer()
    yield running
    running.stop()


KEY = NewKey.generate()


def plugin(server, **more):
    return KeySignIn(
        **{"url": server.url, "user": "alice", "project": "p", "find_key": lambda: KEY, **more}
    )


def sign_in(server, **more):
    return plugin(server, **more).sign_in(client_http.session(server.url))


def api(server, **more):
    auth = plugin(server, **more)
    session = client_http.session(server.url)
    return Api(adapter=Adapter(session, auth=auth, endpoint_override=server.url))


def test_a_challenge_for_us_is_signed_for_signing_in_only(server):
    kept = []
    session = sign_in(server, keep=kept.append)
    assert (session.token, session.subject, session.project) == ("tatu_x", "u-1", "p-1")
    assert kept == [session]
    sent = json.loads(server.asked[-1][3])
    signature = SshSignature.parse(sent["signature"])
    assert signature.public_key == KEY.public_key
    assert signature.namespace == Namespace.LOGIN


@pytest.mark.parametrize(
    "changes",
    [
        {"deployment": "https://bank.example"},
        {"user": "root"},
        {"project": "other"},
        {"purpose": "administer"},
        {"public_key": "ssh-ed25519 AAAA"},
        {"id": "c-2"},
        {"also": "this"},
        {"nonce": 1},
        {"expires_at": "2030-01-01T00:00:00+01:00"},
        {"expires_at": "never"},
        {"expires_at": None},
    ],
)
def test_a_challenge_that_we_would_not_write_is_not_signed(server, changes):
    server.changes = changes
    with pytest.raises((errors.Denied, errors.Malformed)):
        sign_in(server)
    assert "/v2/tokens" not in server.paths()


@pytest.mark.parametrize("message", ["", "[]", "null", "hello", "[" * 9999, "{}"])
def test_what_is_no_challenge_is_not_signed(server, message):
    facts = {"id": "c-1", "message": message, "expires_at": "2030-01-01T00:00:00Z"}
    server.answers["/v2/challenges"] = (201, {}, facts)
    with pytest.raises((errors.Denied, errors.Malformed)):
        sign_in(server)
    assert "/v2/tokens" not in server.paths()


def test_a_server_that_passes_for_another_gets_no_signature(server):
    facts = {
        "version": {"id": "v2", "status": "CURRENT", "links": []},
        "deployment": "d",
        "identity": "local",
        "url": "https://bank.example",
    }
    server.answers["/v2"] = (200, {}, facts)
    with pytest.raises(errors.Denied, match=r"bank\.example"):
        sign_in(server)
    assert server.paths() == ["/v2"]


def test_whoever_answers_later_names_no_other_project(server):
    known = {"deployment": "d-1", "project_id": "p-1"}
    assert sign_in(server, **known).project == "p-1"
    with pytest.raises(errors.Denied, match=r"project is 'p-1' and no longer 'p-0'.*tatu login"):
        sign_in(server, **{**known, "project_id": "p-0"}, keep=pytest.fail)


def test_another_deployment_gets_no_signature(server):
    with pytest.raises(errors.Denied, match="deployment is 'd-1' and no longer 'd-0'"):
        sign_in(server, deployment="d-0")
    assert server.paths() == ["/v2"]


def test_the_first_sign_in_says_what_the_next_must_find(server):
    auth = plugin(server)
    session = client_http.session(server.url)
    auth.sign_in(session)
    assert (auth.deployment, auth.project_id) == ("d-1", "p-1")
    identity = {**IDENTITY, "project": "p-2"}
    ends = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    facts = {"token": "tatu_y", "expires_at": ends, "identity": identity}
    server.answers["/v2/tokens"] = (200, {}, facts)
    with pytest.raises(errors.Denied, match="p-2"):
        auth.sign_in(session)


def test_administering_asks_for_that_purpose(server):
    sign_in(server, purpose=SignInPurpose.ADMINISTER)
    assert json.loads(server.asked[1][3])["purpose"] == "administer"


def session_until(**span):
    return Session(
        token="old",
        expires_at=datetime.now(UTC) + timedelta(**span),
        subject="u",
        name="n",
        project="p",
    )


def test_a_token_that_lives_is_used_again(server):
    api(server, kept=session_until(minutes=5)).whoami()
    assert server.paths() == ["/v2/whoami"]
    assert server.asked[0][2]["Authorization"] == "Bearer old"


def test_a_token_that_ends_is_renewed_first(server):
    api(server, kept=session_until(seconds=5)).whoami()
    assert server.paths() == ["/v2", "/v2/challenges", "/v2/tokens", "/v2/whoami"]
    assert server.asked[-1][2]["Authorization"] == "Bearer tatu_x"


def test_a_token_that_was_ended_elsewhere_is_renewed_once(server):
    server.answers["/v2/whoami"] = (401, {}, {"detail": "the token has ended"})
    with pytest.raises(errors.Unauthenticated, match="has ended"):
        api(server, kept=session_until(minutes=5)).whoami()
    assert server.paths().count("/v2/tokens") == 1


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, errors.Malformed), (401, errors.Unauthenticated), (403, errors.Denied),
        (404, errors.NotFound), (409, errors.Conflict), (410, errors.Gone),
        (429, errors.TooMany), (500, errors.Unavailable), (503, errors.Unavailable),
        (418, errors.Malformed),
    ],
)  # fmt: skip
def test_a_problem_is_an_error_of_one_line_with_its_request(server, status, kind):
    problem = {"detail": "no\nway \x1b[31m", "request_id": "r-1"}
    server.answers["/v2/whoami"] = (status, {"Retry-After": "7"}, problem)
    with pytest.raises(kind) as raised:
        api(server, kept=session_until(minutes=5)).whoami()
    assert str(raised.value).startswith("no way  [31m (request r-1)")


@pytest.mark.parametrize("answer", [b"", b"<html>", b"\xff", b"{}", b"[1]", b"null"])
def test_an_answer_that_is_not_tatus_is_named(server, answer):
    server.answers["/v2/whoami"] = (200, {}, answer)
    with pytest.raises(errors.Unavailable, match="did not answer as Tatu"):
        api(server, kept=session_until(minutes=5)).whoami()


@pytest.mark.parametrize("answer", [b"", b"<html>", b"\xff", b"[]"])
def test_a_proxys_error_has_its_status(server, answer):
    server.answers["/v2/whoami"] = (502, {"X-Request-Id": "r-2"}, answer)
    with pytest.raises(errors.Unavailable, match=r"502 \(request r-2\)"):
        api(server, kept=session_until(minutes=5)).whoami()


def test_the_token_does_not_follow_a_redirect(server):
    server.answers["/v2/whoami"] = (302, {"Location": f"{server.url}/elsewhere"}, b"")
    with pytest.raises(errors.Unavailable, match="elsewhere"):
        api(server, kept=session_until(minutes=5)).whoami()
    assert server.paths() == ["/v2/whoami"]


def test_no_proxy_and_no_netrc_come_between(server, tmp_path, monkeypatch):
    (tmp_path / "netrc").write_text("default login other password other\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    found = api(server, kept=session_until(minutes=5))
    found.whoami()
    found.adapter.session.session.trust_env = True
    monkeypatch.delenv("http_proxy")
    found.whoami()
    sent = [headers["Authorization"] for _, _, headers, _ in server.asked]
    assert sent == ["Bearer old", "Bearer old"]


def test_a_name_that_no_path_takes_is_found_in_the_list(server):
    named = {"id": "u-2", "name": "Bob B", "enabled": True}
    server.answers["/v2/users/Bob%20B"] = (400, {}, {"detail": "no id"})
    server.answers["/v2/users/Eve%20E"] = (400, {}, {"detail": "no id"})
    server.answers["/v2/users"] = (200, {}, {"items": [named], "links": {}})
    found = api(server, kept=session_until(minutes=5))
    assert found.entry("users", "Bob B").id == "u-2"
    with pytest.raises(errors.Malformed):
        found.entry("users", "Eve E")


def test_a_server_that_is_not_there_is_unavailable():
    class Nowhere:
        url = "http://127.0.0.1:9"

    with pytest.raises(errors.Unavailable, match="does not answer"):
        sign_in(Nowhere)


def test_all_pages_are_read_and_links_lead_nowhere_else(server):
    first = {"items": [IDENTITY], "links": {"next": "https://evil.example/v2/x?marker=m&limit=1"}}
    server.answers["/v2/x"] = (200, {}, first)
    server.answers["/v2/x?marker=m&limit=1"] = (200, {}, {"items": [IDENTITY], "links": {}})
    adapter = api(server, kept=session_until(minutes=5)).adapter
    assert len(client_http.pages(adapter, "/v2/x", Whoami, {})) == 2


def test_secrets_are_not_shown():
    who = Whoami(
        issuer="i", subject="s", name="n", project=None, roles=[], expires_at=datetime.now(UTC)
    )
    assert "secret" not in repr(Token(token="secret", expires_at=who.expires_at, identity=who))
    assert "old" not in repr(session_until(minutes=1))


def test_the_plugin_is_made_from_options(tmp_path):
    facts = {"url": "https://tatu.example", "user": "u", "project": "p", "key": "/absent"}
    options = {f"tatu_{name}": value for name, value in facts.items()}
    made = Loader().load_from_options(**options)
    assert made.get_endpoint(None) == "https://tatu.example"
    with pytest.raises(errors.NotFound, match="absent"):
        made.sign_in(None)
    with pytest.raises(errors.Malformed, match="https"):
        Loader().load_from_options(**{**options, "tatu_url": "http://tatu.example"})
