"""Enrolment's messages (S11)."""

import base64
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tatu.core import enrolment
from tatu.core.enrolment import EnrolmentToken
from tatu.core.errors import Denied, Malformed
from tests.vectors.keys import ECDSA_256, ED25519

TOKEN = EnrolmentToken(
    url="https://tatu.example",
    authority="blue",
    host="db",
    secret=bytes(range(32)),
    trust="sha256:" + "0" * 64,
)


def test_a_token_reads_back_as_it_was_written():
    assert EnrolmentToken.parse(str(TOKEN)) == TOKEN
    assert str(TOKEN).isprintable()
    assert " " not in str(TOKEN)


def test_a_token_shows_its_secret_to_nobody():
    shown = repr(TOKEN) + repr([TOKEN])

    assert base64.b64encode(TOKEN.secret).decode() not in shown
    assert repr(TOKEN.secret) not in shown
    assert str(TOKEN) not in shown


def test_the_token_of_the_originals_wire_tells_of_no_secret():
    facts = {"authority": "blue", "host": "db", "epoch": 1}
    token = enrolment.legacy_token(bytes(32), **facts)
    assert re.fullmatch("[0-9a-f]{32}", token)
    assert token not in enrolment.secret(bytes(32), **facts).hex()
    for other in ({"authority": "red"}, {"host": "web"}, {"epoch": 2}):
        assert enrolment.legacy_token(bytes(32), **{**facts, **other}) != token


@given(st.integers(0, len(str(TOKEN)) - 1))
def test_every_prefix_of_a_token_is_refused(at):
    with pytest.raises(Malformed):
        EnrolmentToken.parse(str(TOKEN)[:at])


@given(st.integers(0, len(str(TOKEN)) - 1), st.characters())
def test_a_changed_token_is_refused_or_another_one(at, char):
    text = str(TOKEN)
    changed = text[:at] + char + text[at + 1 :]
    try:
        found = EnrolmentToken.parse(changed)
    except Malformed:
        return
    assert changed == str(found)


def word(value: object) -> str:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return enrolment.PREFIX + base64.urlsafe_b64encode(data).decode().rstrip("=")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        enrolment.PREFIX,
        word([]),
        word({}),
        word(b"[" * 2000),
        word(b"\xff"),
        word({"url": 1, "authority": "a", "host": "h", "secret": "", "trust": "t"}),
        word({"url": "u", "authority": "a", "host": "h", "secret": "!", "trust": "t"}),
        str(TOKEN) + "=",
        str(TOKEN) + "\n",
        enrolment.PREFIX + "é",
        enrolment.PREFIX + "A" * 5000,
    ],
)
def test_what_is_no_token_is_refused_without_being_shown(text):
    with pytest.raises(Malformed) as caught:
        EnrolmentToken.parse(text)
    assert len(text) < 10 or text not in str(caught.value)


def test_a_token_with_a_short_secret_is_refused():
    short = EnrolmentToken(url="u", authority="a", host="h", secret=b"x", trust="t")

    with pytest.raises(Malformed):
        EnrolmentToken.parse(str(short))


def test_each_epoch_host_and_authority_has_its_own_secret():
    found = {
        enrolment.secret(b"k", authority=a, host=h, epoch=e)
        for a in ("a", "a\0", "ab")
        for h in ("b", "bb")
        for e in (0, 1, 2)
    }

    assert len(found) == 18
    assert enrolment.secret(b"k", authority="a", host="b", epoch=1) in found
    assert all(len(secret) == 32 for secret in found)


def test_the_digest_of_trust_does_not_depend_on_order():
    one = enrolment.trust_digest([ED25519, ECDSA_256])

    assert one == enrolment.trust_digest([ECDSA_256, ED25519])
    assert one != enrolment.trust_digest([ED25519])


def message(**changed):
    facts = {
        "deployment": "d",
        "authority": "a",
        "host": "h",
        "nonce": "0" * 64,
        "host_keys": [ED25519, ECDSA_256],
    }
    return enrolment.message(**{**facts, **changed})


@pytest.mark.parametrize(
    "changed",
    [
        {"deployment": "e"},
        {"authority": "b"},
        {"host": "i"},
        {"nonce": "1" * 64},
        {"host_keys": [ED25519]},
        {"host_keys": [ECDSA_256, ED25519]},
    ],
)
def test_a_mac_proves_this_very_request(changed):
    mac = enrolment.request_mac(b"s", message())

    enrolment.check_request_mac(b"s", message(), mac)
    with pytest.raises(Denied):
        enrolment.check_request_mac(b"s", message(**changed), mac)
    with pytest.raises(Denied):
        enrolment.check_request_mac(b"t", message(), mac)


@given(st.text(max_size=80))
def test_no_other_text_is_the_mac(mac):
    with pytest.raises(Denied):
        enrolment.check_request_mac(b"s", message(), mac)


def test_the_macs_of_requests_and_answers_cannot_be_taken_for_one_another():
    assert enrolment.request_mac(b"s", b"n\0b") != enrolment.answer_mac(b"s", "n", b"b")
    assert enrolment.answer_mac(b"s", "n", b"b") != enrolment.answer_mac(b"s", "m", b"b")
