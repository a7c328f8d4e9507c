"""The agent and the core read the same texts alike."""

import base64
import json
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tatu.agent import http, request, statement, token
from tatu.agent.errors import AgentError, Malformed, Refused
from tatu.agent.keys import HostCertificate
from tatu.agent.statement import Receiver
from tatu.agent.token import EnrolmentToken
from tatu.core import carried, enrolment
from tatu.core.certificate import Certificate, CertificateType
from tatu.core.errors import Malformed as CoreMalformed
from tatu.core.keys import PublicKey
from tests.vectors import CERTIFICATES
from tests.vectors.make_statements import USUAL_TEXT

VECTORS = Path(__file__).parents[1] / "vectors"


def load(name):
    return json.loads((VECTORS / name).read_text())


def named(vectors):
    return pytest.mark.parametrize("vector", vectors, ids=[v["name"] for v in vectors])


@named(load("statement/rules.json") + load("statement/malformed.json"))
def test_a_statement_is_accepted_or_refused_for_the_common_reason(vector):
    now = datetime.fromisoformat(vector["now"])
    try:
        new = statement.decode(vector["statement"].encode())
        last = statement.decode(vector["last"].encode()) if vector["last"] else None
        statement.accept(new, last, Receiver(**vector["receiver"]), now)
        found = "accepted"
    except Malformed:
        found = "malformed"
    except Refused as refusal:
        found = refusal.reason
    assert vector["expect"] == found


@named(load("enrolment/tokens.json"))
def test_a_token_is_read_or_refused_alike(vector):
    expected = vector["expect"]
    if expected is None:
        with pytest.raises(Malformed) as refusal:
            EnrolmentToken.parse(vector["token"])
        assert not vector["token"] or vector["token"] not in str(refusal.value)
        with pytest.raises(CoreMalformed):
            enrolment.EnrolmentToken.parse(vector["token"])
        return
    for read in (EnrolmentToken.parse, enrolment.EnrolmentToken.parse):
        found = read(vector["token"])
        assert base64.b64decode(expected["secret"]) == found.secret
        for name in ("url", "authority", "host", "trust"):
            assert expected[name] == getattr(found, name)
        assert expected["secret"] not in repr(found)
        assert repr(found.secret) not in repr(found)


@named(load("enrolment/messages.json"))
def test_messages_and_macs_are_computed_alike(vector):
    facts = {name: vector[name] for name in ("deployment", "authority", "host", "nonce")}
    secret = bytes.fromhex(vector["secret"])
    keys = [PublicKey.parse(line) for line in vector["host_keys"]]
    message = vector["message"].encode()
    assert message == token.message(**facts, host_keys=vector["host_keys"])
    assert message == enrolment.message(**facts, host_keys=keys)
    mine = EnrolmentToken(url="", authority="", host="", secret=secret, trust="")
    assert vector["request_mac"] == mine.request_mac(message)
    assert vector["request_mac"] == enrolment.request_mac(secret, message)
    answer = vector["answer"].encode()
    mine.check_answer(vector["nonce"], answer, vector["answer_mac"])
    assert vector["answer_mac"] == enrolment.answer_mac(secret, vector["nonce"], answer)
    with pytest.raises(AgentError):
        mine.check_answer("00" * 32, answer, vector["answer_mac"])
    assert vector["trust"] == token.trust_digest(vector["host_keys"])
    assert vector["trust"] == enrolment.trust_digest(keys)


@named(load("hostrequest/messages.json"))
def test_what_a_host_signs_of_a_request_is_written_alike(vector):
    names = ("deployment", "authority", "host")
    mine = SimpleNamespace(**{name: vector[name] for name in names})
    told = {name: vector[name] for name in ("method", "path", "time", "nonce")}
    found = request.message(mine, **told, body=vector["body"].encode())
    assert vector["message"].encode() == found


@pytest.mark.parametrize("name", CERTIFICATES)
def test_a_host_certificate_is_read_as_the_core_reads_it(name):
    line = CERTIFICATES[name]["certificate"]
    line = " ".join(line.split()[:2])
    expected = Certificate.parse(line).contents
    if expected.type is CertificateType.USER:
        with pytest.raises(Malformed):
            HostCertificate.parse(line)
        return
    found = HostCertificate.parse(line)
    assert expected.subject_key.line == found.subject_key
    assert expected.serial == found.serial
    assert expected.principals == found.principals
    assert (expected.valid_after, expected.valid_before) == (found.valid_after, found.valid_before)
    assert expected.signature_key.line == found.signature_key


@given(st.integers(0, len(USUAL_TEXT) - 1))
def test_every_prefix_of_a_statement_is_malformed(length):
    with pytest.raises(Malformed):
        statement.decode(USUAL_TEXT[:length].encode())


@given(st.integers(0, len(USUAL_TEXT) - 1), st.binary(min_size=1, max_size=1))
def test_a_changed_byte_of_a_statement_is_read_or_malformed(at, byte):
    data = USUAL_TEXT.encode()
    with suppress(Malformed):
        statement.decode(data[:at] + byte + data[at + 1 :])


HOST_BLOB = base64.b64decode(CERTIFICATES["host"]["certificate"].split()[1])


def line_of(blob):
    return f"ssh-ed25519-cert-v01@openssh.com {base64.b64encode(blob).decode()}"


@given(st.integers(0, len(HOST_BLOB) - 1))
def test_every_prefix_of_a_certificate_is_malformed(length):
    with pytest.raises(Malformed):
        HostCertificate.parse(line_of(HOST_BLOB[:length]))


@given(st.integers(0, len(HOST_BLOB) - 1), st.binary(min_size=1, max_size=1))
def test_a_changed_byte_of_a_certificate_is_read_or_malformed(at, byte):
    with suppress(Malformed):
        HostCertificate.parse(line_of(HOST_BLOB[:at] + byte + HOST_BLOB[at + 1 :]))


def test_a_token_is_compared_in_constant_time_even_to_what_is_not_ascii():
    mine = EnrolmentToken(url="", authority="", host="", secret=b"s", trust="")
    with pytest.raises(AgentError):
        mine.check_answer("n", b"a", "é")


@named(load("carried/requests.json"))
def test_what_the_agent_has_carried_is_what_the_core_unfolds(vector):
    wanted = vector["request"]
    headers = {name: wanted[at] for name, at in http._CARRIED.items() if at in wanted}
    body = wanted["body"].encode() or None
    path = http._folded(wanted["method"], wanted["path"], headers, body)
    before, _, query = path.partition("=")
    assert before == f"{carried.PATH}?request"
    for text in (vector["query"], query, carried.url(wanted).partition("=")[2]):
        assert wanted == json.loads(carried.unfolded(text))
