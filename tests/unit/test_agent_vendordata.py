"""What an agent takes from its platform's vendordata."""

import json

import pytest

from tatu.agent import vendordata
from tatu.agent.errors import AgentError, Malformed
from tests.vectors.make_enrolments import FACTS, TOKENS
from tests.vectors.make_statements import CURRENT, NEXT

TOLD = {
    "version": 1,
    "authority": FACTS["authority"],
    "host": FACTS["host"],
    "url": FACTS["url"],
    "statement_keys": [CURRENT, NEXT],
    "token": TOKENS["usual"],
}


@pytest.mark.parametrize(
    "told",
    [
        TOLD,
        {"static": {"cloud-init": "#!/bin/sh"}, "tatu": TOLD, "others": {}},
        TOLD | {"something": "newer"},
    ],
)
def test_a_token_is_found_in_our_answer_and_in_what_nova_makes_of_it(told):
    found = vendordata.invitation(json.dumps(told))
    assert (found.authority, found.host, found.url) == ("blue", "db-1", FACTS["url"])


@pytest.mark.parametrize(
    ("told", "says"),
    [
        ({name: value for name, value in TOLD.items() if name != "token"}, "no token"),
        ({"static": {}, "tatu": {}}, "nothing from Tatu"),
        ({"static": {}}, "nothing from Tatu"),
        ({}, "nothing from Tatu"),
        ([], "nothing from Tatu"),
    ],
)
def test_without_a_token_it_says_what_to_do(told, says):
    with pytest.raises(AgentError, match=says):
        vendordata.invitation(json.dumps(told))


@pytest.mark.parametrize(
    "changed",
    [
        {"version": 2},
        {"authority": "red"},
        {"host": "db-2"},
        {"url": "https://elsewhere.example"},
        {"statement_keys": [CURRENT]},
        {"statement_keys": [CURRENT, 7]},
        {"statement_keys": ["no key"]},
        {"statement_keys": None},
        {"token": 7},
        {"token": TOKENS["cut"]},
    ],
    ids=str,
)
def test_what_does_not_fit_together_is_refused(changed):
    with pytest.raises(Malformed):
        vendordata.invitation(json.dumps(TOLD | changed))


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, '{"tatu": ' * 5000, "x" * 2**21])
def test_what_cannot_be_read_is_refused(text):
    with pytest.raises(AgentError):
        vendordata.invitation(text)


def test_no_error_shows_the_token(capsys):
    for changed in ({"host": "db-2"}, {"statement_keys": [CURRENT]}):
        with pytest.raises(AgentError) as raised:
            vendordata.invitation(json.dumps(TOLD | changed))
        assert TOLD["token"][20:] not in str(raised.value)
