"""Health, readiness, and what is answered while something does not answer."""

import threading
from dataclasses import replace

import falcon.testing
import pytest

from tatu.api.access import DECIDED_FOR, Access
from tatu.api.app import create_app
from tatu.api.readiness import Ready
from tatu.core.errors import Denied, Unavailable


def unavailable(*_args, **_kwargs):
    raise Unavailable("the disk is full")


def test_readiness_names_what_fails_and_health_does_not_care(deployment):
    checks = {**deployment.parts.checks, "keystore": unavailable}
    client = falcon.testing.TestClient(create_app(replace(deployment.parts, checks=checks)))
    answer = client.simulate_get("/readyz")
    assert answer.status_code == 503
    assert answer.json["status"] == "unready"
    assert answer.json["checks"] == {
        "ledger": "ok",
        "keystore": "the disk is full",
        "identity": "ok",
        "inventory": "ok",
    }
    assert client.simulate_get("/healthz").json == {"status": "ok"}


def test_a_cloud_that_is_away_only_degrades(deployment):
    checks = {**deployment.parts.checks, "inventory": unavailable}
    client = falcon.testing.TestClient(create_app(replace(deployment.parts, checks=checks)))
    answer = client.simulate_get("/readyz")
    assert answer.status_code == 200
    assert answer.json["status"] == "degraded"
    assert answer.json["checks"]["inventory"] == "the disk is full"


def test_parts_are_asked_once_a_second_at_most():
    asked, ticks = [], [0.0]
    ready = Ready({"ledger": lambda: asked.append(1)}, ticks=lambda: ticks[0])
    for _ in range(3):
        assert ready.checks() == {"ledger": "ok"}
    assert len(asked) == 1
    ticks[0] += 1
    ready.checks()
    assert len(asked) == 2


def test_what_does_not_answer_is_said_and_when_to_come_back(deployment, monkeypatch):
    monkeypatch.setattr(type(deployment.ledger.hosts), "list", unavailable)
    answer = deployment.call("GET", "/v2/hosts", "blue-reader")
    assert (answer.status_code, answer.json["detail"]) == (503, "the disk is full")
    assert int(answer.headers["Retry-After"]) > 0


def test_identities_of_another_cloud_are_not_administered_here(deployment):
    elsewhere = replace(deployment.parts, administration=None, sign_in=None)
    client = falcon.testing.TestClient(create_app(elsewhere))
    headers = {"Authorization": f"Bearer {deployment.token('blue-admin', fresh=True)}"}
    made = client.simulate_post("/v2/users", json={"name": "a"}, headers=headers)
    assert (made.status_code, made.json["detail"]) == (
        404,
        "identities are administered elsewhere",
    )
    body = {"challenge": "x", "signature": "x"}
    assert client.simulate_post("/v2/tokens", json=body).status_code == 404


def test_an_operators_policy_is_obeyed_and_its_changes_too(deployment, tmp_path):
    from oslo_config import cfg  # noqa: PLC0415 - of this test alone

    file = tmp_path / "policy.yaml"
    file.write_text('"tatu:hosts:list": "role:auditor"\n')
    (tmp_path / "tatu.conf").write_text(f"[oslo_policy]\npolicy_file = {file}\n")
    conf = cfg.ConfigOpts()
    conf(["--config-file", str(tmp_path / "tatu.conf")], project="tatu")
    ticks = [0.0]
    access = Access(conf, ticks=lambda: ticks[0])
    reader = deployment.parts.identities.authenticate(deployment.request("blue-reader"))
    with pytest.raises(Denied):
        access.require(reader, "tatu:hosts:list", {})
    access.require(reader, "tatu:hosts:show", {"authority": "blue"})
    file.write_text("{}\n" + " " * 100)
    ticks[0] += DECIDED_FOR
    access.require(reader, "tatu:hosts:list", {})


def test_the_description_is_served(deployment):
    answer = deployment.call("GET", "/v2/openapi.json")
    assert answer.json["openapi"] == "3.1.0"
    assert answer.json["servers"] == [{"url": "https://tatu.example"}]


def test_a_part_that_hangs_keeps_no_other_from_its_answer():
    answer, asked = threading.Event(), []
    ticks = [0.0]

    def hang():
        asked.append(1)
        assert answer.wait(30)

    parts = {"nova": hang, "ledger": lambda: None}
    ready = Ready(parts, ticks=lambda: ticks[0], patience=0.1)
    try:
        for _ in range(3):
            found = ready.checks()
            assert found["ledger"] == "ok"
            assert "no answer" in found["nova"]
            ticks[0] += 2
        assert asked == [1]
    finally:
        answer.set()
    assert Ready(parts, patience=30).checks() == {"nova": "ok", "ledger": "ok"}
