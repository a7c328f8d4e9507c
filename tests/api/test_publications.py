"""What hosts fetch: signed, without a token, and never older than what this process revoked."""

import hashlib

import pytest

from tatu.api.newest import UNASKED, Newest
from tatu.core import krl
from tatu.core.keys import PublicKey
from tatu.core.sshsig import Namespace, SshSignature
from tatu.core.statement import decode
from tests.api.deployment import deployed

STATEMENT = "/v2/authorities/blue/statement"
KRL = "/v2/authorities/blue/krl"


@pytest.fixture
def deployment(template, tmp_path):
    with deployed(template, tmp_path) as made:
        yield made


@pytest.fixture
def revoke(deployment):
    def revoked():
        serial = deployment.issue()["serial"]
        answer = deployment.call(
            "POST",
            "/v2/authorities/blue/revocations",
            "blue-manager",
            json={"serial": serial, "reason": "lost"},
        )
        assert (answer.status_code, answer.json["revoked"]) == (200, [serial])
        return serial

    return revoked


def serials(deployment, body):
    found = krl.decode(body)
    (key,) = (
        PublicKey.parse(key["public_key"])
        for key in deployment.call("GET", "/v2/authorities/blue/public-keys").json["keys"]
        if key["purpose"] == "user"
    )
    return found.serials.get(key, ())


def test_the_statement_is_signed_by_the_statement_key_and_names_the_krl(deployment):
    answer = deployment.call("GET", STATEMENT)
    keys = deployment.call("GET", "/v2/authorities/blue/public-keys").json["keys"]
    (key,) = (k["public_key"] for k in keys if k["purpose"] == "statement")
    signature = SshSignature.parse(answer.json["signature"])
    text = answer.json["statement"].encode()
    assert signature.public_key.line == key
    deployment.parts.issuance.verifier.verify(
        signature.public_key,
        signature.signature,
        signature.signed_bytes(Namespace.STATEMENT, text),
    )
    reference = answer.json["krl"]
    path = reference["url"].removeprefix("https://tatu.example")
    served = deployment.call("GET", path)
    assert reference["digest"] == "sha256:" + hashlib.sha256(served.content).hexdigest()
    assert (decode(text).krl_version, decode(text).krl_digest) == (
        reference["version"],
        reference["digest"],
    )
    assert served.headers["Content-Type"] == "application/octet-stream"
    assert "immutable" in served.headers["Cache-Control"]


@pytest.mark.parametrize("path", [STATEMENT, KRL])
@pytest.mark.parametrize("shape", ["{}", "W/{}", '"0", {}', '{} , "0"'])
def test_who_has_it_is_told_so(deployment, path, shape):
    etag = deployment.call("GET", path).headers["ETag"]
    answer = deployment.call("GET", path, headers={"If-None-Match": shape.format(etag)})
    assert (answer.status_code, answer.content, answer.headers["ETag"]) == (304, b"", etag)


@pytest.mark.parametrize("known", ['"0"', "nonsense", ""])
def test_who_has_another_gets_it(deployment, known):
    answer = deployment.call("GET", KRL, headers={"If-None-Match": known})
    assert answer.status_code == 200


def test_what_was_revoked_is_in_the_very_next_answer(deployment, revoke):
    for _ in range(3):
        before = deployment.call("GET", KRL)
        serial = revoke()
        after = deployment.call("GET", KRL, headers={"If-None-Match": before.headers["ETag"]})
        assert (after.status_code, serial in serials(deployment, after.content)) == (200, True)


def test_a_user_who_is_disabled_is_in_the_very_next_answer(deployment):
    serial = deployment.issue()["serial"]
    assert serial not in serials(deployment, deployment.call("GET", KRL).content)
    path = "/v2/users/blue-member"
    answer = deployment.call("PATCH", path, "blue-admin", fresh=True, json={"enabled": False})
    assert answer.status_code == 200
    assert serial in serials(deployment, deployment.call("GET", KRL).content)


def test_the_krl_stays_the_same_while_statements_are_renewed(deployment):
    statement, krl_etag = (
        deployment.call("GET", path).headers["ETag"] for path in (STATEMENT, KRL)
    )
    deployment.clock.move(minutes=8)
    assert deployment.call("GET", STATEMENT).headers["ETag"] != statement
    assert deployment.call("GET", KRL).headers["ETag"] == krl_etag


def test_what_another_process_revoked_is_seen_after_a_quarter_of_a_second(deployment):
    ticks = [0.0]
    parts = deployment.parts
    newest = Newest(
        ledger=parts.ledger,
        statements=parts.statements,
        clock=parts.clock,
        api_endpoint="",
        ticks=lambda: ticks[0],
    )
    before = newest.get("blue").statement_etag
    parts.ledger.authorities.touch()
    assert newest.get("blue").statement_etag == before
    ticks[0] += UNASKED
    assert newest.get("blue").statement_etag != before


def test_nothing_is_asked_of_the_database_while_a_publication_is_young(deployment, monkeypatch):
    etag = deployment.call("GET", STATEMENT).headers["ETag"]

    def asked(*_args):
        raise AssertionError("the database was asked")

    monkeypatch.setattr(type(deployment.ledger.publications), "revision", asked)
    monkeypatch.setattr(type(deployment.ledger.publications), "newest", asked)
    answer = deployment.call("GET", STATEMENT, headers={"If-None-Match": etag})
    assert answer.status_code == 304


@pytest.mark.parametrize("what", ["statement", "krl", "public-keys", "krl/1"])
def test_an_authority_that_is_not_there_has_nothing(deployment, what):
    assert deployment.call("GET", f"/v2/authorities/none/{what}").status_code == 404


def test_a_version_that_never_was_is_not_there(deployment):
    assert deployment.call("GET", f"{KRL}/1").status_code == 404


def test_a_fleet_that_fetches_a_krl_reads_it_once_and_each_version_is_its_own(
    deployment, revoke, monkeypatch
):
    publications = deployment.parts.ledger.publications
    read, krls = [], publications.krl
    monkeypatch.setattr(publications, "krl", lambda *asked: read.append(asked[1]) or krls(*asked))
    versions = [int(deployment.call("GET", KRL).headers["ETag"].strip('"'))]
    revoke()
    versions.append(int(deployment.call("GET", KRL).headers["ETag"].strip('"')))
    read.clear()
    for version in (*versions * 2, versions[1], versions[1]):
        served = deployment.call("GET", f"{KRL}/{version}").content
        assert version == krl.decode(served).version
    assert read == versions * 2
    assert deployment.call("GET", f"{KRL}/1").status_code == 404
