"""What is HTTP and nothing else: lengths, types, methods, ids, headers, and input nobody meant."""

import json

import falcon
import pytest
from falcon import testing
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tatu.api.app import ROUTES
from tests.api.test_access import path

CHALLENGES = "/v2/challenges"
CERTIFICATES = "/v2/authorities/blue/user-certificates"
WITH_BODY = sorted((m, p) for p, ops in ROUTES.items() for m, o in ops.items() if o.body)


def problem(answer, status, slug):
    assert (answer.status_code, answer.json["status"]) == (status, status), answer.text
    assert answer.json["type"] == f"urn:tatu:problem:{slug}"
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers["X-Request-Id"] == answer.json["request_id"]
    return answer.json["detail"]


def raw(deployment, method, target, *, body=b"", user=None, **environ):
    """Send what a client that keeps no rules would send."""
    headers = {"Content-Type": "application/json"}
    if user is not None:
        headers["Authorization"] = f"Bearer {deployment.token(user, fresh=True)}"
    made = testing.create_environ(path=target, method=method, headers=headers, body=body)
    made["CONTENT_LENGTH"] = str(len(body))
    made.update(environ)
    made = {name: value for name, value in made.items() if value is not None}
    caught = testing.StartResponseMock()
    content = b"".join(deployment.app(made, caught))
    return testing.Result([content], caught.status, caught.headers)


@pytest.mark.parametrize("route", WITH_BODY, ids=" ".join)
def test_a_body_without_a_length_is_refused_unread(deployment, route):
    method, template = route
    answer = raw(
        deployment,
        method,
        path(template),
        CONTENT_LENGTH=None,
        HTTP_TRANSFER_ENCODING="chunked",
        **{"wsgi.input": Unreadable()},
    )
    problem(answer, 411, "length-required")


@pytest.mark.parametrize("route", WITH_BODY, ids=" ".join)
def test_a_body_that_is_too_large_is_refused_unread(deployment, route):
    method, template = route
    answer = raw(
        deployment,
        method,
        path(template),
        CONTENT_LENGTH=str(2**20 + 1),
        **{"wsgi.input": Unreadable()},
    )
    problem(answer, 413, "too-large")


def test_a_chunked_body_where_none_belongs_is_refused_too(deployment):
    answer = raw(
        deployment,
        "DELETE",
        "/v2/users/none",
        user="blue-admin",
        CONTENT_LENGTH=None,
        HTTP_TRANSFER_ENCODING="chunked",
    )
    problem(answer, 411, "length-required")


BODILESS = sorted((m, p) for p, ops in ROUTES.items() for m, o in ops.items() if not o.body)


@pytest.mark.parametrize("route", BODILESS, ids=" ".join)
def test_a_body_where_none_belongs_is_refused_unread(deployment, route):
    method, template = route
    environ = {"CONTENT_LENGTH": "9", "wsgi.input": Unreadable()}
    detail = problem(raw(deployment, method, path(template), **environ), 400, "malformed")
    assert "takes no body" in detail


@pytest.mark.parametrize("route", WITH_BODY, ids=" ".join)
def test_no_body_is_read_of_whoever_may_not_send_it(deployment, route):
    method, template = route
    if ROUTES[template][method].public:
        return
    environ = {"CONTENT_LENGTH": "9", "wsgi.input": Unreadable()}
    problem(raw(deployment, method, path(template), **environ), 401, "unauthenticated")
    answer = raw(deployment, method, path(template), user="red-reader", **environ)
    assert answer.status_code in ((401,) if ROUTES[template][method].by_host else (403, 404))


@pytest.mark.parametrize("length", ["-1", "x", "1e3", "", "99999999999999999999999999"])
def test_a_length_that_is_none_is_refused(deployment, length):
    answer = raw(deployment, "POST", CHALLENGES, body=b"{}", CONTENT_LENGTH=length)
    assert answer.status_code in (400, 411, 413)


def test_a_body_that_ends_early_is_refused(deployment):
    detail = problem(
        raw(deployment, "POST", CHALLENGES, body=b"{}", CONTENT_LENGTH="99"), 400, "malformed"
    )
    assert "shorter" in detail


@pytest.mark.parametrize("media", ["text/plain", "", "application/x-www-form-urlencoded"])
def test_only_json_is_read(deployment, media):
    answer = deployment.call("POST", CHALLENGES, headers={"Content-Type": media}, body="{}")
    problem(answer, 415, "unsupported-media-type")


def test_json_may_name_its_charset(deployment):
    headers = {"Content-Type": "Application/JSON; charset=utf-8"}
    answer = deployment.call("POST", CHALLENGES, headers=headers, body="{}")
    problem(answer, 400, "malformed")


BAD = {
    "empty": b"",
    "no JSON": b"{",
    "not an object": b"[]",
    "null": b"null",
    "two values": b"{} {}",
    "a byte order mark": b"\xef\xbb\xbf{}",
    "not UTF-8": b'{"user": "\xff"}',
    "a lone surrogate": b'{"user": "\\ud800"}',
    "a NUL": b'{"user": "a\\u0000"}',
    "a newline": b'{"user": "a\\n"}',
    "a wrong type": b'{"user": 1}',
    "a huge number": b'{"user": ' + b"9" * 5000 + b"}",
    "an infinite number": b'{"user": 1e999}',
    "not a number": b'{"user": NaN}',
    "an unknown field": b'{"nope": 1}',
    "deep nesting": b"[" * 100_000,
    "deep nesting in an unknown field": b'{"nope": ' + b"[" * 100_000,
    "deep nesting in a known one": b'{"user": ' + b'{"a": ' * 100_000,
    "deep nesting, closed": b"[" * 50_000 + b"]" * 50_000,
}


BY_USERS = [
    (method, path)
    for method, path in WITH_BODY
    if "vendordata" not in path and not ROUTES[path][method].by_host
]


# (what Nova and hosts send, administrators may not: test_vendordata.py, test_hostrequests.py)
@pytest.mark.parametrize("route", BY_USERS, ids=" ".join)
@pytest.mark.parametrize("bad", BAD)
def test_what_is_no_request_is_refused_with_the_reason(deployment, route, bad):
    method, template = route
    answer = raw(deployment, method, path(template), body=BAD[bad], user="blue-admin")
    assert problem(answer, 400, "malformed").startswith("body: ")


def test_a_wrong_value_is_told_by_its_path(deployment):
    body = {"items": [{"public_key": "x", "proof": 1}]}
    answer = deployment.call("POST", f"{CERTIFICATES}/batch", "blue-member", json=body)
    assert problem(answer, 400, "malformed") == (
        "body: items[0].proof: it must be a text, and is a whole number"
    )


@pytest.mark.parametrize(
    "query",
    [
        "nope=1",
        "limit=0",
        "limit=1001",
        "limit=x",
        "limit=-1",
        "limit=",
        "limit=1&limit=2",
        "limit=" + "9" * 5000,
        "serial=0",
        "serial=18446744073709551616",
        "revoked=perhaps",
        "marker=%00",
        "marker=%ff",
        "marker=nonsense",
        "subject_key=x",
        "authority=%00",
        "subject=a%0A",
    ],
)
def test_a_filter_that_is_none_is_refused(deployment, query):
    answer = deployment.call("GET", f"/v2/user-certificates?{query}", "blue-admin")
    problem(answer, 400, "malformed")


@pytest.mark.parametrize("operation", ["/v2/whoami", "/v2", "/healthz"])
def test_a_query_where_none_belongs_is_refused(deployment, operation):
    answer = deployment.call("GET", f"{operation}?a=1", "blue-admin")
    problem(answer, 400, "malformed")


@pytest.mark.parametrize(
    "target",
    [
        "/nope",
        "/v2/",
        "/v2/authorities/",
        "/v2/authorities/%00",
        "/v2/authorities/%ff",
        "/v2/authorities/a%0A",
        "/v2/authorities/" + "a" * 5000,
        "/v2/authorities/blue/user-certificates/0",
        "/v2/authorities/blue/user-certificates/-1",
        "/v2/authorities/blue/user-certificates/1e3",
        "/v2/authorities/blue/user-certificates/" + "9" * 5000,
        "/v2/authorities/blue/hosts/a.b",
        "/v2/users/..%2f..%2fetc",
    ],
)
def test_a_path_that_is_none_is_not_there(deployment, target):
    problem(deployment.call("GET", target, "blue-admin"), 404, "not-found")


def test_what_cannot_be_done_says_what_can(deployment):
    answer = deployment.call("DELETE", "/v2/authorities", "blue-admin")
    problem(answer, 405, "method-not-allowed")
    assert answer.headers["Allow"] == "GET, HEAD, POST, OPTIONS"


def test_options_tells_what_can_be_done(deployment):
    answer = deployment.call("OPTIONS", "/v2/whoami")
    assert (answer.status_code, answer.headers["Allow"]) == (200, "GET, HEAD")


@pytest.mark.parametrize("target", ["/v2", "/v2/whoami", "/v2/authorities/blue/statement"])
def test_head_is_get_without_a_body(deployment, target):
    got = deployment.call("GET", target, "blue-member")
    head = deployment.call("HEAD", target, "blue-member")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["Content-Length"] == got.headers["Content-Length"]


def test_a_plain_request_id_is_taken_over(deployment):
    answer = deployment.call("GET", "/healthz", headers={"X-Request-Id": "abc-123_X"})
    assert answer.headers["X-Request-Id"] == "abc-123_X"


@pytest.mark.parametrize("given_id", ["", "a b", "a" * 65, "a\x1b[31m", "é", 'a"', "a\n"])
def test_a_request_id_that_is_no_word_is_replaced(deployment, given_id):
    answer = raw(deployment, "GET", "/healthz", HTTP_X_REQUEST_ID=given_id)
    assert len(answer.headers["X-Request-Id"]) == 32


@pytest.mark.parametrize("target", ["/v2/whoami", "/nope", "/v2/users", "/v2/authorities/blue"])
def test_private_answers_are_in_no_cache_and_never_guessed_at(deployment, target):
    answer = deployment.call("GET", target, "blue-member")
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")


def test_a_bug_is_a_number_and_tells_nothing(deployment, monkeypatch, capsys):
    def broken(*_args, **_kwargs):
        raise RuntimeError("hunter2 is the password")

    monkeypatch.setattr(type(deployment.ledger.authorities), "list", broken)
    answer = deployment.call("GET", "/v2/authorities", "blue-admin")
    detail = problem(answer, 500, "internal")
    assert "hunter2" not in answer.text + capsys.readouterr().out
    assert len(detail.rpartition(" ")[2]) == 32


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    route=st.sampled_from(WITH_BODY),
    body=st.one_of(
        st.binary(max_size=200),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        ).map(lambda value: json.dumps(value).encode()),
        st.dictionaries(
            st.sampled_from(
                ["user", "project", "public_key", "name", "id", "items", "reason", "host"]
            ),
            st.none() | st.integers() | st.text() | st.lists(st.text()),
        ).map(lambda value: json.dumps(value).encode()),
    ),
)
def test_no_body_is_a_bug(deployment, route, body):
    method, template = route
    answer = raw(deployment, method, path(template), body=body, user="blue-admin")
    assert answer.status_code < 500 or answer.status_code == 503, answer.text


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    segments=st.lists(
        st.sampled_from(["v2", "authorities", "blue", "users", "krl", "hosts", "1"]) | st.text(),
        max_size=6,
    ),
    query=st.text(st.characters(exclude_categories=["Cs"])),
)
def test_no_path_and_no_query_is_a_bug(deployment, segments, query):
    target = "/" + "/".join(segments).encode("utf-8", "replace").decode("latin-1")
    answer = raw(
        deployment,
        "GET",
        "/",
        user="blue-admin",
        PATH_INFO=target,
        QUERY_STRING=query.encode().decode("latin-1"),
    )
    assert answer.status_code < 500, answer.text


def test_versions_are_a_choice(deployment):
    answer = deployment.call("GET", "/")
    assert answer.status == falcon.HTTP_300
    assert answer.json["versions"][0]["links"][0]["href"] == "https://tatu.example/v2"


class Unreadable:
    """A body of which not one byte may be read."""

    def read(self, *_):
        raise AssertionError("the body was read")

    readline = readlines = read
