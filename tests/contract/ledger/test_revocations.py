"""What has ended, and what the KRL must say of it."""

from datetime import timedelta

import pytest

from tatu.core import losses
from tatu.core.authority import SKEW
from tatu.core.errors import NotFound, PermissionEnded
from tatu.core.losses import Sweep
from tatu.ports import RevocationSelector
from tests.contract.ledger.material import (
    NOW,
    authority,
    event,
    host_certificate,
    key,
    user_certificate,
)


def selector(**chosen):
    return RevocationSelector(**{"authority": "blue", **chosen})


@pytest.fixture
def issued(blue):
    """Certificates 1 and 2 of u1 (two keys), 3 of u2 (the first key), 4 of a host."""
    blue.certificates.record(user_certificate(1), event())
    blue.certificates.record(user_certificate(2, subject_key="other"), event())
    blue.certificates.record(user_certificate(3, subject="u2"), event())
    blue.certificates.record(host_certificate(4), event())
    return blue


@pytest.mark.parametrize(
    ("chosen", "revoked"),
    [
        ({"serial": 2}, (2,)),
        ({"subject_key": key("alice").fingerprint}, (1, 3)),
        ({"subject_key": key("alice").fingerprint, "subjects_only": "u1"}, (1,)),
        ({"subject": "u1"}, (1, 2)),
        ({"host": "db"}, (4,)),
        ({"host": "never seen"}, ()),
        ({"everything": True}, (1, 2, 3, 4)),
    ],
)
def test_a_selector_revokes_what_it_names_and_once(issued, chosen, revoked):
    before = issued.publications.revision("blue")
    assert revoked == issued.revocations.revoke(selector(**chosen), "lost", event("revoked"))
    assert before + bool(revoked) == issued.publications.revision("blue")
    head = issued.audit.head()
    assert issued.revocations.revoke(selector(**chosen), "again", event("revoked")) == ()
    assert head == issued.audit.head()
    found = [
        s for listed in issued.revocations.facts("blue", NOW).serials.values() for s in listed
    ]
    assert sorted(revoked) == sorted(found)
    for serial in revoked:
        one = issued.certificates.get("blue", serial, scope=None)
        assert (one.revoked_at, one.revoked_reason, one.revoked_by) == (NOW, "lost", "u-admin")


@pytest.mark.parametrize(
    "chosen",
    [
        {"serial": 9},
        {"subject": "u9"},
        {"subject_key": "SHA256:x"},
        {"serial": 3, "subjects_only": "u1"},
    ],
)
def test_what_was_never_certified_is_not_found(issued, chosen):
    with pytest.raises(NotFound):
        issued.revocations.revoke(selector(**chosen), "lost", event())


def test_what_was_never_certified_is_named(issued):
    with pytest.raises(NotFound, match="serial 777"):
        issued.revocations.revoke(selector(serial=777), "lost", event())


def test_nothing_is_revoked_in_an_authority_that_is_not(ledger):
    with pytest.raises(NotFound):
        ledger.revocations.revoke(selector(everything=True), "lost", event())


def test_other_authorities_keep_theirs(issued):
    issued.authorities.create(authority("red"), event())
    issued.certificates.record(user_certificate(1, authority_id="red"), event())
    issued.revocations.revoke(selector(subject="u1"), "lost", event())
    assert issued.certificates.get("red", 1, scope=None).revoked_at is None


@pytest.mark.parametrize(
    ("chosen", "topic", "kind", "where"),
    [
        ({"subject": "u1"}, losses.user_in_project("u1", "blue"), "user", "blocked_users"),
        (
            {"subject_key": key("alice").fingerprint},
            losses.subject_key("blue", key("alice").fingerprint),
            "subject-key",
            "blocked_keys",
        ),
        ({"host": "db"}, losses.host("blue", "db"), "host", "blocked_hosts"),
    ],
)
def test_a_block_stands_until_it_is_cleared(issued, chosen, topic, kind, where):
    wanted = selector(**chosen, block=True)
    assert issued.revocations.revoke(wanted, "stolen", event("revoked"))
    with pytest.raises(PermissionEnded):
        issued.certificates.record(user_certificate(5, topics=frozenset({topic})), event())
    assert issued.cut_offs.unswept() == ()
    (block,) = issued.revocations.blocks("blue")
    value = next(iter(chosen.values()))
    assert (kind, value, "stolen", "u-admin", NOW) == (
        block.kind,
        block.value,
        block.reason,
        block.by,
        block.at,
    )
    assert {value} == getattr(issued.authorities.snapshot("blue"), where)
    assert issued.revocations.revoke(wanted, "stolen", event("revoked")) == ()
    assert (block,) == issued.revocations.blocks("blue")
    issued.revocations.clear_block("blue", block.id, event("cleared"))
    assert issued.revocations.blocks("blue") == ()
    assert set() == getattr(issued.authorities.snapshot("blue"), where)
    with pytest.raises(NotFound):
        issued.revocations.clear_block("blue", block.id, event("cleared"))
    assert issued.certificates.get("blue", 4 if kind == "host" else 1, scope=None).revoked_at


def test_a_block_stands_for_what_was_never_certified(blue):
    assert (
        blue.revocations.revoke(selector(subject="u9", block=True), "known thief", event()) == ()
    )
    assert {"u9"} == blue.authorities.snapshot("blue").blocked_users


def test_a_block_of_what_should_be_known_needs_a_certificate(blue):
    with pytest.raises(NotFound):
        blue.revocations.revoke(selector(subject="u9", block=True, known=True), "lost", event())
    assert blue.revocations.blocks("blue") == ()


def test_a_blocked_key_is_in_the_krl(blue):
    thief = selector(subject_key="SHA256:stolen", block=True)
    blue.revocations.revoke(thief, "stolen", event())
    assert {"SHA256:stolen"} == blue.revocations.facts("blue", NOW).blocked_keys


def test_a_sweep_revokes_by_serial_and_counts_the_live(issued):
    issued.authorities.create(authority("red"), event())
    issued.certificates.record(user_certificate(1, authority_id="red"), event())
    listed = {"blue": [1, 3, 99], "red": [1]}
    assert issued.revocations.revoke_serials(listed, "role removed", event()) == 3
    assert issued.revocations.revoke_serials(listed, "role removed", event()) == 0
    assert (issued.publications.revision("blue"), issued.publications.revision("red")) == (1, 1)


def test_expired_serials_stay_in_the_krl_for_slow_clocks(issued):
    issued.revocations.revoke(selector(serial=1), "lost", event())
    end = issued.certificates.get("blue", 1, scope=None).valid_before
    assert {key("blue-user"): [1]} == issued.revocations.facts(
        "blue", end + SKEW - timedelta(seconds=1)
    ).serials
    assert issued.revocations.facts("blue", end + SKEW).serials == {}


def test_serials_are_told_apart_by_signature_key(issued):
    issued.revocations.revoke(selector(everything=True), "lost", event())
    facts = issued.revocations.facts("blue", NOW)
    assert {key("blue-user"): [1, 2, 3], key("blue-host"): [4]} == facts.serials
    assert facts.revision == 1


def test_cut_offs_wait_until_they_are_swept(blue):
    first = blue.cut_offs.commit([losses.user("u1"), losses.role("r1")], "gone", event())
    assert 2 == first == blue.cut_offs.mark()
    assert [losses.user("u1"), losses.role("r1")] == [
        sweep.topic for sweep in blue.cut_offs.unswept()
    ]
    blue.cut_offs.swept(1)
    left = Sweep(mark=2, topic=losses.role("r1"), reason="gone", at=NOW)
    assert (left,) == blue.cut_offs.unswept()


def test_serials_that_are_not_there_are_passed_over_however_many(blue):
    head = blue.audit.head()
    assert blue.revocations.revoke_serials({"blue": range(1, 5000)}, "none there", event()) == 0
    assert head == blue.audit.head()
