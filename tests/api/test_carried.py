"""Requests that come in the query of another, where neither header nor body comes through."""

import base64
import json
import zlib

import pytest

from tatu.core import carried
from tests.api.deployment import deployed
from tests.api.host import SigningHost


@pytest.fixture
def deployment(template, tmp_path):
    with deployed(template, tmp_path) as made:
        yield made


def ask(deployment, value, *who):
    return deployment.call("GET", carried.url(value), *who)


def carry(deployment, method, path, body=None, **more):
    value = {"method": method, "path": path, **more}
    if body is not None:
        value["body"] = body
    answer = ask(deployment, value)
    assert (answer.status_code, answer.headers["Cache-Control"]) == (200, "no-store"), answer.text
    return answer.json


def told(answer):
    return base64.b64decode(answer["body"])


def test_what_is_for_anyone_is_answered_with_status_tag_and_body(deployment):
    path = "/v2/authorities/blue/statement"
    plain = deployment.call("GET", path)
    found = carry(deployment, "GET", path)
    assert (found["status"], found["headers"]["etag"]) == (200, plain.headers["ETag"])
    assert told(found) == plain.content
    again = carry(deployment, "GET", path, if_none_match=plain.headers["ETag"])
    assert (again["status"], told(again)) == (304, b"")


def test_a_host_signs_what_is_carried_as_it_signs_all_else(deployment):
    host = SigningHost(deployment)
    path = f"{host.path}/certificates"
    signed = {
        name.removeprefix("Tatu-").lower(): text
        for name, text in host.headers("POST", path, b"{}").items()
    }
    found = carry(deployment, "POST", path, "{}", **signed)
    assert found["status"] == 201
    assert len(json.loads(told(found))["certificates"]) == 2
    assert carry(deployment, "POST", path, "{}", **signed)["status"] == 401


def test_a_refusal_is_carried_too(deployment):
    found = carry(deployment, "GET", "/v2/authorities/none/statement")
    assert found["status"] == 404
    assert json.loads(told(found))["type"] == "urn:tatu:problem:not-found"


@pytest.mark.parametrize("path", ["/v2/hosts", "/v2/whoami", "/v2/authorities/blue"])
def test_no_token_is_carried(deployment, path):
    token = f"Bearer {deployment.token('blue-admin')}"
    value = {"method": "GET", "path": path}
    answer = ask(deployment, value, "blue-admin")
    assert answer.json["status"] == 401
    refused = ask(deployment, value | {"authorization": token})
    assert refused.status_code == 400


@pytest.mark.parametrize("path", ["/v2/carried", "/v2/carried?x=1", "/v2/%63arried"])
def test_what_is_carried_cannot_carry(deployment, path):
    value = {"method": "POST", "path": path, "body": '{"method":"GET","path":"/v2/carried"}'}
    assert ask(deployment, value).status_code == 404


@pytest.mark.parametrize(
    "value",
    [
        {"path": "/metrics"},
        {"path": "/v2 HTTP/1.1"},
        {"path": "/v2\r\nX: y"},
        {"method": "DELETE"},
        {"host": "a\r\nAuthorization: b"},
    ],
    ids=str,
)
def test_what_is_no_request_of_a_host_is_malformed(deployment, value):
    whole = {"method": "GET", "path": "/v2"} | value
    assert ask(deployment, whole).status_code == 400


def folded(data):
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


WHOLE = zlib.compress(b'{"method":"GET","path":"/v2"}')


@pytest.mark.parametrize(
    "text",
    [
        "",
        "AAAA",
        "%2B%2F",
        folded(WHOLE[:-1]),
        folded(WHOLE + b"x"),
        folded(zlib.compress(b"{")),
        folded(zlib.compress(b'"\xff"')),
        folded(zlib.compress(b"[" * 50_000)),
        folded(zlib.compress(b" " * 8_000_000)),  # 8 kB of query
    ],
    ids=lambda text: text[:12],
)
def test_what_does_not_unfold_to_a_request_in_bounded_room_is_malformed(deployment, text):
    assert deployment.call("GET", f"{carried.PATH}?request={text}").status_code == 400
    assert deployment.call("GET", carried.PATH).status_code == 400
