import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tatu.core import canonical
from tatu.core.errors import Malformed
from tatu.core.sudo import MAX_SIZE, SudoChallenge

FACTS = {
    "account": "admin",
    "certificate": "SHA256:" + "A" * 43,
    "host": "db-1",
    "nonce": "0" * 64,
    "session": "7",
    "time": "2026-01-01T12:00:00Z",
}
MESSAGE = SudoChallenge(**FACTS).message


def test_a_challenge_is_read_as_it_was_written():
    assert SudoChallenge(**FACTS) == SudoChallenge.parse(MESSAGE)


@pytest.mark.parametrize(
    "change",
    [
        {"account": "Root"},
        {"account": "a\n"},
        {"certificate": "SHA256:x"},
        {"host": "db-1.example"},
        {"host": ["db-1"]},
        {"nonce": "0"},
        {"session": "-1"},
        {"session": 7},
        {"time": "now"},
        {"more": "1"},
    ],
)
def test_a_challenge_of_another_form_is_refused(change):
    with pytest.raises(Malformed):
        SudoChallenge.parse(canonical.data(FACTS | change))


@pytest.mark.parametrize(
    "message",
    [b"", b"[]", b"null", b"[" * MAX_SIZE, json.dumps(FACTS).encode(), MESSAGE + b"\n",
     MESSAGE.replace(b"db-1", b"d\\u0062-1"), b" " * (MAX_SIZE + 1), "\N{SNOWMAN}".encode()],
)  # fmt: skip
def test_only_the_one_form_is_a_challenge(message):
    with pytest.raises(Malformed):
        SudoChallenge.parse(message)


@given(st.integers(0, len(MESSAGE) - 1), st.integers(0, 255))
def test_no_changed_byte_and_no_prefix_says_the_same(at, byte):
    with pytest.raises(Malformed):
        SudoChallenge.parse(MESSAGE[:at])
    changed = MESSAGE[:at] + bytes([byte]) + MESSAGE[at + 1 :]
    try:
        read = SudoChallenge.parse(changed)
    except Malformed:
        return
    assert read.message == changed
