import contextlib
import hashlib
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tatu.core import statement
from tatu.core.errors import Denied, Malformed
from tatu.core.statement import (
    BreakGlass,
    Freshness,
    FreshnessPolicy,
    Reason,
    Receiver,
    Refused,
    Statement,
)
from tests.vectors import keys, make_statements

FOLDER = Path(__file__).parents[1] / "vectors" / "statement"
CASES = [case for path in sorted(FOLDER.glob("*.json")) for case in json.loads(path.read_text())]
NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)

USUAL = Statement(
    deployment="https://tatu.example",
    authority="blue",
    host="*",
    version=1767268800000,
    issued=NOW,
    expires=NOW + timedelta(minutes=15),
    krl_version=1767268799000,
    krl_digest=statement.digest(b"the list"),
    user_authorities=(keys.ED25519, keys.RSA),
    host_authorities=(keys.ECDSA_256,),
    statement_keys=(keys.ECDSA_384, keys.ECDSA_521),
    accounts={"member": ("member", "é"), "admin": ("admin",)},
    sudo=("admin",),
    pam_sudo=False,
    end_at_expiry=True,
    break_glass=BreakGlass(authorities=(keys.SK_ED25519,), account="breakglass"),
    freshness=Freshness(policy=FreshnessPolicy.REFUSE_NEW_LOGINS, max_age_seconds=3600),
    minimum_agent_version="0.1.0",
    lockdown=False,
)


def outcome(case):
    try:
        new = statement.decode(case["statement"].encode())
    except Malformed:
        return "malformed"
    last = case["last"] and statement.decode(case["last"].encode())
    now = datetime.fromisoformat(case["now"])
    try:
        statement.accept(new, last, Receiver(**case["receiver"]), now)
    except Refused as refused:
        return str(refused.reason)
    return "accepted"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_the_common_vectors_hold(case):
    assert case["expect"] == outcome(case)


def test_the_common_vectors_are_those_of_their_maker(tmp_path, monkeypatch):
    monkeypatch.setattr(make_statements, "TARGET", tmp_path)
    make_statements.main()
    for path in tmp_path.iterdir():
        assert path.read_text() == (FOLDER / path.name).read_text()


def test_the_common_vectors_show_every_reason():
    assert {case["expect"] for case in CASES} == {"accepted", *Reason}


def test_a_statement_is_read_back():
    assert statement.decode(statement.encode(USUAL)) == USUAL


def test_the_form_is_canonical_json():
    data = statement.encode(USUAL)
    assert data.startswith(b'{"accounts":{"admin":["admin"],"member":["member","\\u00e9"]},')
    assert b'"issued":"2026-01-01T12:00:00Z"' in data
    assert data == statement.encode(replace(USUAL, accounts=dict(sorted(USUAL.accounts.items()))))


def test_the_digest_names_the_very_bytes_of_a_list():
    assert statement.digest(b"x") == f"sha256:{hashlib.sha256(b'x').hexdigest()}"


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"issued": NOW.replace(microsecond=1)}, "whole seconds"),
        ({"issued": NOW.replace(tzinfo=None), "expires": NOW.replace(tzinfo=None)}, "UTC"),
        ({"issued": NOW.astimezone(timezone(timedelta(hours=1)))}, "UTC"),
        ({"expires": NOW + timedelta(minutes=15, seconds=1)}, "within"),
        ({"expires": NOW}, "after it begins"),
        ({"version": 0}, "numbers"),
        ({"krl_version": 2**63}, "numbers"),
        ({"accounts": {}, "sudo": ()}, "lockdown"),
        ({"user_authorities": ()}, "lockdown"),
        ({"statement_keys": ()}, "statement key"),
        ({"statement_keys": (keys.RSA,)}, "one purpose"),
        ({"sudo": ("root",)}, "sudo"),
        ({"accounts": {"admin": ("admin,root",)}}, "principals"),
        ({"break_glass": BreakGlass(authorities=(), account="b")}, "break-glass"),
        ({"break_glass": BreakGlass(authorities=(keys.SK_ED25519,), account="B")}, "break-glass"),
        (
            {"break_glass": BreakGlass(authorities=(keys.SK_ED25519,), account="admin")},
            "break-glass",
        ),
        ({"break_glass": BreakGlass(authorities=(keys.RSA,), account="b")}, "one purpose"),
        ({"accounts": {f"a{n}": ("x",) for n in range(513)}, "sudo": ()}, "accounts"),
    ],
)
def test_what_no_host_would_obey_is_not_made(fields, why):
    with pytest.raises(ValueError, match=why):
        replace(USUAL, **fields)


def test_a_lockdown_may_empty_everything():
    empty = replace(USUAL, accounts={}, sudo=(), user_authorities=(), lockdown=True)
    assert statement.decode(statement.encode(empty)) == empty


def test_a_statement_that_no_host_would_fetch_is_not_written():
    many = {f"a{n}": tuple(f"{m:0200}" for m in range(100)) for n in range(20)}
    with pytest.raises(ValueError, match="262144 bytes"):
        statement.encode(replace(USUAL, accounts=many, sudo=()))


def test_a_statement_that_is_too_large_is_not_read():
    data = statement.encode(USUAL)
    with pytest.raises(Malformed, match="over 262144 bytes"):
        statement.decode(data + b" " * (statement.MAX_SIZE + 1 - len(data)))


@pytest.mark.parametrize(
    ("last", "version"),
    [(0, 1767268800000), (1767268800000, 1767268800001), (1767268900000, 1767268900001)],
)
def test_versions_grow_and_outlive_a_restored_database(last, version):
    assert version == statement.next_version(last, NOW)


def test_a_version_over_a_day_ahead_is_refused():
    day_ahead = statement.next_version(0, NOW + timedelta(days=1))
    statement.check_version(day_ahead, NOW)
    with pytest.raises(Denied) as refused:
        statement.check_version(day_ahead + 1, NOW)
    assert refused.value.reason is Reason.TOO_FAR_AHEAD


def test_every_prefix_is_malformed():
    data = statement.encode(USUAL)
    for end in range(len(data)):
        with pytest.raises(Malformed):
            statement.decode(data[:end])


@given(st.data())
def test_every_mutation_is_canonical_or_malformed(data):
    blob = bytearray(statement.encode(USUAL))
    for _ in range(data.draw(st.integers(1, 3))):
        blob[data.draw(st.integers(0, len(blob) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(Malformed):
        assert statement.encode(statement.decode(bytes(blob))) == blob


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(st.sampled_from(sorted(json.loads(statement.encode(USUAL)))), json_values)
def test_any_value_in_any_field_is_canonical_or_malformed(field, value):
    fields = json.loads(statement.encode(USUAL)) | {field: value}
    blob = json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()
    with contextlib.suppress(Malformed):
        assert statement.encode(statement.decode(blob)) == blob


@given(st.binary(max_size=300))
def test_any_bytes_are_malformed(blob):
    with pytest.raises(Malformed):
        statement.decode(blob)
