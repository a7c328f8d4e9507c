"""What hosts ask, signed by the keys that enrolled; the renewal of their certificates (S8, S12)."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from tatu.core import statement
from tatu.core.certificate import Certificate
from tatu.core.sshsig import Namespace
from tests.api.deployment import deployed
from tests.api.host import SigningHost, enrol
from tests.api.keys import ClientKey
from tests.api.test_http import BAD

JSON = {"Content-Type": "application/json"}


@pytest.fixture
def deployment(template, tmp_path):
    with deployed(template, tmp_path) as made:
        yield made


@pytest.fixture
def host(deployment):
    return SigningHost(deployment, addresses=["192.0.2.7"])


def principals(line):
    return Certificate.parse(line).contents.principals


def shown(deployment, host="db-1"):
    return deployment.call("GET", f"/v2/authorities/blue/hosts/{host}", "blue-reader").json


def denials(deployment):
    events = deployment.call("GET", "/v2/audit-events?limit=1000", "blue-manager").json["items"]
    bodies = [json.loads(item["body"]) for item in events]
    return [body["subject"] for body in bodies if body["action"] == "host.request-denied"]


@pytest.mark.parametrize("which", [0, 1])
def test_each_enrolled_key_signs_for_its_host(host, which):
    answer = host.renew(key=host.keys[which])
    assert answer.status_code == 201, answer.text
    assert len(answer.json["certificates"]) == 2


@pytest.mark.parametrize(
    "told",
    [
        {"deployment": "another"},
        {"authority": "red"},
        {"host": "db-2"},
        {"method": "PUT"},
        {"path": "/v2/authorities/blue/hosts/db-1/report"},
        {"path": "/v2/authorities/blue/hosts/db-1/certificates?x=1"},
        {"body_digest": "0" * 64},
        {"namespace": Namespace.ENROL},
        {"namespace": Namespace.STATEMENT},
    ],
    ids=str,
)
def test_a_signature_is_good_for_this_very_request_alone(host, deployment, told):
    answer = host.renew(**told)
    assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert denials(deployment) == ["db-1"]


@pytest.mark.parametrize(
    "sent", [{"Tatu-Nonce": "0" * 32}, {"Tatu-Time": "2026-01-01T00:00:00Z"}], ids=str
)
def test_what_is_sent_is_what_was_signed(host, sent):
    assert host.renew(sent=sent).status_code == 401


def test_whoever_is_no_enrolled_host_hears_the_same(host, deployment):
    red = SigningHost(deployment, "db-1", "red")
    deleted = SigningHost(deployment, "db-2")
    deployment.call("DELETE", deleted.path, "blue-manager")
    again = SigningHost(deployment, "db-3")
    deployment.admit("blue", "db-3")
    old_wire = SigningHost(deployment, "db-4")
    _make_legacy(deployment, old_wire)
    stranger = SigningHost(deployment, "db-5")
    stranger.host = "db-6"
    foreign = host.renew(key=red.keys[0])
    unknown_key = host.renew(key=ClientKey())
    answers = [each.renew() for each in (deleted, again, old_wire, stranger)]
    told = {(a.status_code, a.json["detail"]) for a in (*answers, foreign, unknown_key)}
    assert len(told) == 1
    assert next(iter(told))[0] == 401


def _make_legacy(deployment, host):
    """Make a host be one of the original's wire, keys and all."""
    from sqlalchemy import update  # noqa: PLC0415

    from tatu.store.tables import hosts  # noqa: PLC0415

    change = update(hosts).where(hosts.c.id == host.host).values(legacy=True)
    deployment.ledger._database.write(lambda connection: connection.execute(change))


@pytest.mark.parametrize(
    "bad", sorted(BAD.keys() - {"empty"})
)  # whose length the client does not say
def test_what_is_signed_is_read_as_strictly_as_all_else(host, bad):
    path = f"{host.path}/certificates"
    answer = host.send("POST", path, BAD[bad], JSON | host.headers("POST", path, BAD[bad]))
    assert answer.status_code == 400
    assert answer.json["detail"].startswith("body: ")


def test_a_host_asks_under_its_own_path_alone(host, deployment):
    other = SigningHost(deployment, "db-2")
    path = f"{other.path}/certificates"
    answer = host.send("POST", path, b"{}", JSON | host.headers("POST", path, b"{}"))
    assert answer.status_code == 401


def test_a_host_is_no_user_and_a_user_no_host(host, deployment):
    headers = host.headers("GET", "/v2/hosts", b"")
    assert deployment.call("GET", "/v2/hosts", headers=headers).status_code == 401
    path = f"{host.path}/certificates"
    assert deployment.call("POST", path, "blue-admin", json={}).status_code == 401


@pytest.mark.parametrize("minutes", [5.1, -5.1])
def test_a_request_of_another_time_is_refused_and_told_why(host, deployment, minutes):
    then = deployment.clock() + timedelta(minutes=minutes)
    answer = host.renew(time=then)
    assert answer.status_code == 401
    assert "clocks" in answer.json["detail"]


def test_a_request_is_good_once_even_at_the_edge_of_the_window(host, deployment):
    path = f"{host.path}/certificates"
    then = deployment.clock() + timedelta(minutes=5)
    headers = JSON | host.headers("POST", path, b"{}", time=then)
    assert host.send("POST", path, b"{}", headers).status_code == 201
    assert host.send("POST", path, b"{}", headers).status_code == 401
    deployment.clock.move(minutes=10)
    deployment.ledger.nonces.expire(deployment.clock())
    assert host.send("POST", path, b"{}", headers).status_code == 401


def test_of_many_at_once_one_is_heard(host):
    path = f"{host.path}/certificates"
    headers = JSON | host.headers("POST", path, b"{}")
    with ThreadPoolExecutor(8) as pool:
        answers = pool.map(lambda _: host.send("POST", path, b"{}", headers), range(8))
    assert sorted(answer.status_code for answer in answers) == [201] + [401] * 7


def receipt(deployment, **other):
    """Return a receipt of the newest statement, as a host sends it."""
    text = deployment.call("GET", "/v2/authorities/blue/statement").json["statement"]
    told = statement.decode(text.encode())
    return json.dumps(
        {
            "statement_version": told.version,
            "krl_version": told.krl_version,
            "krl_digest": told.krl_digest,
            "at": "2026-01-01T00:00:00Z",
        }
        | other
    ).encode()


def test_of_many_receipts_at_once_one_is_heard(host, deployment):
    path, body = f"{host.path}/receipt", receipt(deployment)
    headers = JSON | host.headers("PUT", path, body)
    with ThreadPoolExecutor(8) as pool:
        answers = pool.map(lambda _: host.send("PUT", path, body, headers), range(8))
    assert sorted(answer.status_code for answer in answers) == [200] + [401] * 7


@pytest.mark.parametrize(
    ("other", "status"),
    [({"krl_version": 1}, 409), ({"statement": "x"}, 400), ({"strange": 1}, 400)],
    ids=str,
)
def test_a_refused_receipt_is_neither_heard_nor_counted_again(template, tmp_path, other, status):
    """Whoever saw it go by could lock its host out by sending it again."""
    with deployed(template, tmp_path, requests_host=16) as deployment:
        host = SigningHost(deployment)
        path, body = f"{host.path}/receipt", receipt(deployment, **other)
        headers = JSON | host.headers("PUT", path, body)
        answers = [host.send("PUT", path, body, headers).status_code for _ in range(20)]
        assert answers == [status] + [401] * 19
        assert host.renew().status_code == 201


def test_what_was_seen_on_the_way_locks_no_host_out(template, tmp_path):
    with deployed(template, tmp_path, requests_host=16, enrolment_host=100) as deployment:
        host = SigningHost(deployment)
        path = f"{host.path}/certificates"
        headers = JSON | host.headers("POST", path, b"{}")
        for _ in range(40):
            host.send("POST", path, b"{}", headers)
            host.renew(key=ClientKey())
        assert host.renew().status_code == 201
        answers = [host.renew().status_code for _ in range(20)]
        assert set(answers) == {201, 429}


def test_a_host_cannot_have_the_cloud_asked_without_end(template, tmp_path):
    with deployed(template, tmp_path, enrolment_host=5) as deployment:
        host = SigningHost(deployment)
        answers = [host.renew().status_code for _ in range(8)]
        assert answers == [201] * 5 + [429] * 3


def test_a_denial_is_written_down_some_times_and_of_no_made_up_host(host, deployment):
    for n in range(15):
        host.renew(key=ClientKey())
        host.host = f"made-up-{n}"
        host.renew()
        host.host = "db-1"
    assert denials(deployment) == ["db-1"] * 10


def test_a_certificate_that_lives_well_is_given_again(host):
    assert host.renew().json["certificates"] == host.certificates


def test_a_certificate_is_renewed_and_the_old_one_lives_on(host, deployment):
    deployment.clock.move(days=4)
    renewed = host.renew().json["certificates"]
    assert not set(renewed) & set(host.certificates)
    keys = [Certificate.parse(line).contents.subject_key for line in renewed]
    assert keys == [key.public for key in host.keys]
    listed = deployment.call("GET", "/v2/host-certificates?host=db-1", "blue-reader").json["items"]
    assert not [item for item in listed if "revoked_at" in item]


def test_a_new_host_authority_renews(host, deployment):
    path = "/v2/authorities/blue/keys"
    added = deployment.call("POST", path, "blue-manager", json={"purpose": "host"}).json
    (fingerprint,) = [
        key["fingerprint"]
        for key in added["keys"]
        if (key["purpose"], key["state"]) == ("host", "next")
    ]
    deployment.call(
        "PATCH",
        f"{path}/{fingerprint.replace('/', '%2F')}",
        "blue-admin",
        json={"state": "active", "at_once": True},
        fresh=True,
    )
    for line in host.renew().json["certificates"]:
        assert Certificate.parse(line).contents.signature_key.fingerprint == fingerprint


def test_a_host_that_is_called_otherwise_is_told_and_renews(host, deployment):
    host.deployment.ledger.hosts.rebind(
        "blue", "db-1", names=("www",), addresses=(), event=deployment.event()
    )
    assert "renewal_due_at" in shown(deployment)
    renewed = host.renew().json["certificates"]
    assert {principals(line) for line in renewed} == {("db-1", "www")}
    assert "renewal_due_at" not in shown(deployment)


def test_a_blocked_host_renews_nothing(host, deployment):
    revocation = {"host": "db-1", "reason": "lost", "block": True}
    path = "/v2/authorities/blue/revocations"
    deployment.call("POST", path, "blue-manager", json=revocation)
    assert host.renew().status_code == 403


def test_a_clone_with_another_key_is_refused_reported_and_shown(host, deployment):
    token = deployment.admit("blue", "db-1", validity=600)["token"]
    assert enrol(deployment, token, host.keys).status_code == 201
    clone = [ClientKey()]
    assert enrol(deployment, token, clone).status_code == 409
    assert host.renew(key=clone[0]).status_code == 401
    assert host.renew().status_code == 201
    assert "refused_at" in shown(deployment)
    events = deployment.call("GET", "/v2/audit-events?limit=1000", "blue-manager").json["items"]
    (refused,) = [
        body
        for body in (json.loads(item["body"]) for item in events)
        if body["action"] == "host.refused"
    ]
    assert refused["facts"]["host_keys"] == [clone[0].public.fingerprint]
