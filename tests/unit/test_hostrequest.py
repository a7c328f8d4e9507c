"""What a host signs of its requests, and the headers that carry it (security.md S12)."""

import base64
import hashlib
import json
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tatu.core import hostrequest
from tatu.core.errors import Malformed, Unauthenticated
from tatu.core.hostrequest import WINDOW, Credentials
from tatu.core.sshsig import Namespace
from tests.fakes.tatu_server import Key

VECTORS = json.loads((Path(__file__).parents[1] / "vectors/hostrequest/messages.json").read_text())
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
KEY = Key()
SIGNATURE = "".join(KEY.armored(Namespace.HOST, b"x").splitlines()[1:-1])
HEADERS = {
    "tatu-host": "blue/db-1",
    "tatu-time": "2026-01-02T03:04:05Z",
    "tatu-nonce": "5a" * 16,
    "tatu-signature": SIGNATURE,
}


@pytest.mark.parametrize("vector", VECTORS, ids=[v["name"] for v in VECTORS])
def test_the_common_vectors_hold(vector):
    message = hostrequest.message(
        deployment=vector["deployment"],
        authority=vector["authority"],
        host=vector["host"],
        method=vector["method"],
        path=vector["path"],
        body_digest=hashlib.sha256(vector["body"].encode()).hexdigest(),
        time=datetime.fromisoformat(vector["time"]),
        nonce=vector["nonce"],
    )
    assert vector["message"].encode() == message


def test_headers_are_read():
    found = Credentials.parse(HEADERS)
    assert (found.authority, found.host, found.time) == ("blue", "db-1", NOW)
    assert (found.nonce, found.signature.public_key) == ("5a" * 16, KEY.public)


@pytest.mark.parametrize("name", HEADERS)
def test_each_header_is_needed(name):
    with pytest.raises(Malformed):
        Credentials.parse({other: text for other, text in HEADERS.items() if other != name})


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("tatu-host", "blue"),
        ("tatu-host", "blue/db-1/x"),
        ("tatu-host", "blue/DB-1"),
        ("tatu-host", "blue/db-1\n"),
        ("tatu-time", "2026-1-2T03:04:05Z"),
        ("tatu-time", "2026-01-02T03:04:05+00:00"),
        ("tatu-nonce", "5A" * 16),
        ("tatu-nonce", "5a" * 15),
        ("tatu-nonce", "5a" * 16 + "\n"),
        ("tatu-signature", "?"),
        ("tatu-signature", "bläu"),
        ("tatu-signature", "A" * 2**20),
        ("tatu-signature", SIGNATURE + base64.b64encode(b"more").decode()),
    ],
)
def test_what_has_another_form_is_malformed(name, text):
    with pytest.raises(Malformed):
        Credentials.parse(HEADERS | {name: text})


@given(st.sampled_from(sorted(HEADERS)), st.text(max_size=80))
def test_whatever_stands_there_is_read_or_malformed(name, text):
    with suppress(Malformed):
        Credentials.parse(HEADERS | {name: text})


@given(st.integers(0, len(SIGNATURE) - 1))
def test_every_prefix_of_a_signature_is_malformed(length):
    with pytest.raises(Malformed):
        Credentials.parse(HEADERS | {"tatu-signature": SIGNATURE[:length]})


@pytest.mark.parametrize("sign", [1, -1])
def test_a_request_is_good_for_minutes(sign):
    found = Credentials.parse(HEADERS)
    found.check_time(NOW + sign * WINDOW)
    with pytest.raises(Unauthenticated):
        found.check_time(NOW + sign * (WINDOW + timedelta(seconds=1)))
