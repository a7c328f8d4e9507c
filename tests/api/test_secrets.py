"""A marked secret, sent wherever one can be sent, is never seen again (design, promises)."""

import itertools
import json
import logging

import pytest
import structlog

from tatu import logs
from tatu.api.app import NOAUTH_ROUTES, ROUTES, V1_ROUTES
from tatu.core import carried
from tatu.ports import Held
from tests.api.deployment import deployed
from tests.api.keys import ClientKey
from tests.api.test_access import path

MARK = "hunter2marked"
ALL = sorted((method, path) for path, operations in ROUTES.items() for method in operations)
SIGNATURE = f"-----BEGIN SSH SIGNATURE-----\n{MARK}\n-----END SSH SIGNATURE-----\n"
# A body of each shape, with the mark wherever a secret or a key belongs.
SHAPES = [
    {"challenge": MARK, "signature": SIGNATURE},
    {"public_key": f"ssh-ed25519 {MARK}", "proof": SIGNATURE},
    {"items": [{"public_key": f"ssh-ed25519 {MARK}", "proof": SIGNATURE}]},
    {"user": "a", "project": "b", "public_key": f"ssh-ed25519 {MARK}"},
    {"public_key": f"ssh-ed25519 {MARK}"},
    {
        "authority": "blue",
        "host": "db",
        "nonce": "0" * 64,
        "host_keys": [f"ssh-ed25519 {MARK}"],
        "mac": MARK,
        "signatures": [SIGNATURE],
    },
    {"reason": 1, "password": MARK},
    MARK,
    [MARK],
]


@pytest.fixture(autouse=True)
def logged(capsys):
    """Log all there is to be logged, libraries to their last word."""
    root = logging.getLogger()
    before = root.handlers[:], root.level
    logs.configure("debug")
    root.setLevel(logging.DEBUG)
    yield lambda: "".join(capsys.readouterr())
    structlog.reset_defaults()
    root.handlers[:], level = before
    root.setLevel(level)


@pytest.mark.parametrize("route", ALL, ids=" ".join)
def test_a_secret_in_the_wrong_place_is_not_told(deployment, logged, route):
    method, template = route
    target = path(template)
    token = f"tatu_{MARK}".ljust(48, "x")
    headers = {
        "X-Auth-Token": MARK,
        "Cookie": MARK,
        "Idempotency-Key": MARK,
        "If-None-Match": MARK,
    }
    told = []
    for authorization in (f"Bearer {token}", f"Bearer {MARK}", f"Basic {MARK}", MARK):
        sent = {**headers, "Authorization": authorization}
        told.append(deployment.call(method, target, headers=sent))
    for user in (None, "blue-admin"):
        told.append(deployment.call(method, f"{target}?{MARK}=1", user, fresh=True))
        shapes = SHAPES if method in ("POST", "PATCH") else []
        told.extend(
            deployment.call(method, target, user, fresh=True, json=shape, headers=headers)
            for shape in shapes
        )
    if template == "/v2/tokens/current":
        deployment.forget_tokens()
    assert all(answer.status_code < 500 for answer in told)
    assert MARK not in logged()
    # The caller is told of a parameter or field that it named itself, and of nothing else.
    for answer in told:
        named = answer.text.replace(f"unknown field `{MARK}`", "")
        assert MARK not in named, answer.text


def test_the_originals_wire_tells_no_secret_either(template, tmp_path, logged):
    doors = "[original_wire]\nenabled = true\nnoauth = true\n"
    bodies = [
        dict.fromkeys(names, MARK)
        for names in (
            ("auth_id", "user_id", "pub_key"),
            ("auth_id", "host_id", "hostname"),
            ("token_id", "host_id", "pub_key"),
            ("project-id", "instance-id", "user-data"),
            ("serial",),
        )
    ]
    told = []
    with deployed(template, tmp_path, settings=doors) as deployment:
        for template_, operations in {**V1_ROUTES, **NOAUTH_ROUTES}.items():
            target = template_.format(auth_id="blue", which="1", fingerprint=MARK, host_id="1")
            for method, user in itertools.product(operations, (None, "blue-admin")):
                for body in (*bodies, MARK):
                    headers = {"X-Auth-Token": MARK, "X-Auth-Sudo-Project-ID": MARK}
                    told.append(deployment.call(method, target, user, json=body, headers=headers))
    assert all(answer.status_code < 500 for answer in told)
    assert MARK not in logged()


def test_tokens_and_keys_that_are_good_are_not_logged_either(deployment, logged):
    key = ClientKey()
    body = deployment.wanted(key, "blue-member")
    path_ = "/v2/authorities/blue/user-certificates"
    assert deployment.call("POST", path_, "blue-member", json=body).status_code == 201
    admitted = deployment.admit("blue", "db")
    lines = logged()
    for secret in (
        deployment.token("blue-member"),
        body["proof"].splitlines()[1],
        key.line.split()[1],
        admitted["token"],
    ):
        assert secret not in lines


def test_what_is_carried_in_a_query_is_not_logged(deployment, logged):
    value = {"method": "POST", "path": "/v2/authorities/blue/hosts/db/logins", "body": MARK}
    url = carried.url(value | {"nonce": MARK, "signature": MARK})
    assert deployment.call("GET", url).status_code == 200
    lines = logged()
    assert '"route":"/v2/carried"' in lines
    assert MARK not in lines
    assert url.partition("=")[2] not in lines


def test_each_request_is_one_event_that_says_who_did_what(deployment, logged):
    deployment.token("blue-member")
    logged()
    answer = deployment.call("GET", "/v2/authorities/blue", "blue-member")
    lines = [line for line in logged().splitlines() if '"event":"request"' in line]
    (event,) = map(json.loads, lines)
    assert event["ms"] >= 0
    assert {name: event[name] for name in event if name not in ("ms", "timestamp")} == {
        "event": "request",
        "level": "info",
        "method": "GET",
        "route": "/v2/authorities/{authority}",
        "status": 200,
        "request_id": answer.headers["X-Request-Id"],
        "subject": "blue-member",
        "project": "blue",
    }


def test_metrics_tell_how_many_losses_the_brake_holds(deployment):
    def held():
        text = deployment.call("GET", "/metrics").text
        return next(line for line in text.splitlines() if line.startswith("tatu_held_losses "))

    assert held() == "tatu_held_losses 0.0"
    loss = Held(authority="blue", kind="user", value="u1", since=deployment.clock())
    deployment.ledger.holds.hold([loss], deployment.event())
    assert held() == "tatu_held_losses 1.0"


def test_metrics_count_by_route_and_name_nobody(deployment):
    deployment.call("GET", "/v2/authorities/blue", "blue-member")
    deployment.call("GET", "/somewhere/else")
    text = deployment.call("GET", "/metrics").text
    assert 'route="/v2/authorities/{authority}",status="200"' in text
    assert 'method="unmatched",route="unmatched",status="404"' in text
    assert "blue" not in text
