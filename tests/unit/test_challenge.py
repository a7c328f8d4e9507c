"""What a sign-in key signs (S7)."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from tatu.core import challenge
from tatu.core.challenge import Challenge, SignInPurpose

CHALLENGE = Challenge(
    id="c",
    deployment="https://tatu.example",
    user="ann",
    project="blue",
    public_key="ssh-ed25519 AAAA",
    purpose=SignInPurpose.LOGIN,
    nonce="n",
    expires_at=datetime(2026, 1, 1, tzinfo=UTC),
)


def test_the_message_is_canonical_json_of_all_that_is_challenged():
    facts = json.loads(CHALLENGE.message)

    assert {
        "deployment",
        "expires_at",
        "id",
        "nonce",
        "project",
        "public_key",
        "purpose",
        "user",
    } == set(facts)
    assert json.dumps(facts, sort_keys=True, separators=(",", ":")).encode() == CHALLENGE.message


@pytest.mark.parametrize(
    "changed",
    [
        {"id": "d"},
        {"deployment": "https://evil.example"},
        {"user": "bob"},
        {"project": "red"},
        {"public_key": "ssh-ed25519 BBBB"},
        {"purpose": SignInPurpose.ADMINISTER},
        {"nonce": "m"},
        {"expires_at": CHALLENGE.expires_at + timedelta(seconds=1)},
        {"user": 'ann","project":"red'},
    ],
)
def test_a_signature_for_one_challenge_answers_no_other(changed):
    assert CHALLENGE.message != replace(CHALLENGE, **changed).message


def test_a_challenge_and_a_fresh_sign_in_live_a_minute():
    assert timedelta(seconds=60) >= challenge.LIFETIME
    assert timedelta(seconds=60) >= challenge.FRESH_LIFETIME
    assert timedelta(hours=1) >= challenge.TOKEN_LIFETIME
