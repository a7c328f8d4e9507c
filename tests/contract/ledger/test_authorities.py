"""Authorities, their keys, and what hosts are told of them."""

from dataclasses import replace
from datetime import timedelta

import pytest

from tatu.core import losses
from tatu.core.authority import KeyState, Profile, Purpose
from tatu.core.errors import Conflict, NotFound, PermissionEnded
from tatu.ports import NewestVersion, Publication
from tests.contract.ledger.material import (
    NOW,
    authority,
    authority_key,
    event,
    key,
    user_certificate,
)


def publication(version, *, revision=0, krl_version=1):
    return Publication(
        authority="blue",
        version=version,
        revision=revision,
        statement=b"{}",
        signature="armored",
        krl_version=krl_version,
        issued_at=NOW,
        expires_at=NOW + timedelta(minutes=15),
    )


def test_an_authority_reads_as_it_was_made(blue):
    assert authority() == blue.authorities.get("blue")


def test_an_authority_is_made_once(blue):
    with pytest.raises(Conflict):
        blue.authorities.create(authority(), event())
    assert blue.audit.head()[0] == 1


def test_what_is_not_there_is_not_found(ledger):
    missing = ledger.authorities
    for ask in (
        lambda: missing.get("blue"),
        lambda: missing.snapshot("blue"),
        lambda: missing.change_profile("blue", Profile(), event()),
        lambda: missing.add_key("blue", authority_key("k", state=KeyState.NEXT), event()),
        lambda: missing.set_key_state("blue", "r", KeyState.RETIRED, event()),
        lambda: ledger.publications.newest("blue"),
        lambda: ledger.publications.revision("blue"),
        lambda: ledger.publications.krl("blue", 1),
        lambda: ledger.publications.store(publication(1), b"", after=0),
        lambda: ledger.revocations.facts("blue", NOW),
    ):
        with pytest.raises(NotFound):
            ask()
    assert ledger.audit.head()[0] == 0


def test_ids_are_compared_byte_for_byte(ledger):
    ids = ["Blue", "blue", "blue ", "blué", "blue\u0301", "BLUE"]
    for one in ids:
        ledger.authorities.create(replace(authority(one), keys=()), event())
    page = ledger.authorities.list(only=None, limit=10, marker=None)
    assert sorted(ids) == [one.id for one in page.items]
    with pytest.raises(NotFound):
        ledger.authorities.get("bluE")
    for one in ids:
        assert one == ledger.authorities.get(one).id


def test_lists_are_in_pages_and_confined(ledger):
    for one in "abcde":
        ledger.authorities.create(authority(one), event())
    first = ledger.authorities.list(only=None, limit=2, marker=None)
    assert (tuple(one.id for one in first.items), first.marker) == (("a", "b"), "b")
    last = ledger.authorities.list(only=["e", "c", "x"], limit=2, marker="b")
    assert (tuple(one.id for one in last.items), last.marker) == (("c", "e"), None)
    assert authority("c") == last.items[0]


def test_a_profile_is_replaced_and_hosts_learn_of_it(blue):
    profile = Profile(user_validity=timedelta(hours=1), extensions=frozenset(), pam_sudo=True)
    changed = blue.authorities.change_profile("blue", profile, event())
    assert (profile, 1) == (changed.profile, changed.revision)
    assert changed == blue.authorities.get("blue")
    blue.authorities.touch()
    assert blue.publications.revision("blue") == 2


def test_a_key_is_next_then_active_then_retired(blue):
    new = authority_key("new", state=KeyState.NEXT)
    blue.authorities.add_key("blue", new, event())
    with pytest.raises(Conflict):
        blue.authorities.add_key("blue", authority_key("newer", state=KeyState.NEXT), event())
    blue.authorities.add_key("blue", authority_key("h", Purpose.HOST, KeyState.NEXT), event())
    at = NOW + timedelta(hours=1)
    moved = blue.authorities.set_key_state("blue", "ref-new", KeyState.ACTIVE, event(at=at))
    assert key("new") == moved.active(Purpose.USER).public_key
    old = next(one for one in moved.keys if one.reference == "ref-blue-user")
    assert (KeyState.RETIRED, at) == (old.state, old.retired_at)
    assert moved.revision == 3
    with pytest.raises(Conflict):
        blue.authorities.set_key_state("blue", "ref-blue-user", KeyState.ACTIVE, event())


def test_a_key_that_stops_signing_cuts_off_what_it_was_signing(blue):
    topics = frozenset({losses.signature_key(key("blue-user").fingerprint)})
    blue.authorities.set_key_state("blue", "ref-blue-user", KeyState.RETIRED, event())
    with pytest.raises(PermissionEnded):
        blue.certificates.record(user_certificate(1, topics=topics), event())
    assert blue.cut_offs.unswept() == ()


def test_a_revoked_key_is_a_fact_of_the_krl(blue):
    event_ = event("key.revoked")
    moved = blue.authorities.set_key_state(
        "blue", "ref-blue-user", KeyState.RETIRED, event_, revoked=True
    )
    assert moved.keys[0].revoked_at == NOW
    assert {key("blue-user")} == blue.revocations.facts("blue", NOW).revoked_authorities
    again = blue.authorities.set_key_state(
        "blue", "ref-blue-user", KeyState.RETIRED, event_, revoked=True
    )
    assert moved == again
    assert blue.audit.head()[0] == 2


def test_a_snapshot_knows_its_own_process_s_changes(blue):
    assert blue.authorities.snapshot("blue").authority.revision == 0
    blue.authorities.touch()
    mark = blue.cut_offs.commit([losses.user("u1"), losses.user("u2")], "gone", event())
    snapshot = blue.authorities.snapshot("blue")
    assert (snapshot.authority.revision, snapshot.mark, mark) == (1, 2, 2)


def test_publications_follow_one_another(blue):
    publications = blue.publications
    assert publications.newest("blue") is None
    publications.store(publication(10, krl_version=10), b"first", after=0)
    publications.store(publication(20, revision=1, krl_version=10), None, after=10)
    assert publication(20, revision=1, krl_version=10) == publications.newest("blue")
    assert publications.krl("blue", 10) == b"first"
    for late, after in ((publication(30), 10), (publication(15), 20), (publication(30), 0)):
        with pytest.raises(Conflict):
            publications.store(late, b"late", after=after)
    with pytest.raises(NotFound):
        publications.krl("blue", 20)


def test_a_krl_of_a_megabyte_is_kept(blue):
    krl = bytes(range(256)) * 4096
    blue.publications.store(publication(1), krl, after=0)
    assert krl == blue.publications.krl("blue", 1)


def test_how_far_authorities_are_is_told_of_those_that_there_are(blue):
    blue.authorities.create(authority("red"), event())
    blue.publications.store(publication(1), b"krl", after=0)
    blue.publications.store(publication(7), None, after=1)
    blue.authorities.change_profile("blue", Profile(), event())
    asked = ["blue", "red", "absent", *(f"x{number}" for number in range(1000))]
    assert {
        "blue": NewestVersion(version=7, published=0, revision=1),
        "red": NewestVersion(version=0, published=0, revision=0),
    } == blue.publications.versions(asked)
    assert blue.publications.versions([]) == {}
