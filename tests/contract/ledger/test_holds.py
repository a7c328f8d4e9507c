"""What the brake holds (S22), and who does what alone."""

from datetime import timedelta

import pytest

from tatu.core import losses
from tatu.core.errors import PermissionEnded
from tatu.ports import Held
from tests.contract.ledger.material import (
    NOW,
    authority,
    event,
    host_certificate,
    user_certificate,
)

HOUR = timedelta(hours=1)


def held(value="u1", *, kind="user", authority_id="blue", since=NOW):
    return Held(authority=authority_id, kind=kind, value=value, since=since)


def test_held_users_are_told_with_their_authority(blue):
    blue.authorities.create(authority("red"), event())
    assert blue.authorities.snapshot("blue").held_users == frozenset()
    blue.holds.hold([held(), held("db", kind="host")], event())

    found = blue.authorities.snapshot("blue")
    assert (found.held_users, found.held_hosts) == ({"u1"}, {"db"})
    assert blue.authorities.snapshot("red").held_users == frozenset()


def test_what_is_being_made_for_a_held_user_is_not_recorded(blue):
    mark = blue.cut_offs.mark()
    blue.holds.hold([held()], event())

    topic = frozenset({losses.user_in_project("u1", "blue")})
    with pytest.raises(PermissionEnded):
        blue.certificates.record(user_certificate(1, mark=mark, topics=topic), event())
    blue.holds.hold([held("db", kind="host")], event())
    with pytest.raises(PermissionEnded):
        blue.certificates.record(host_certificate(3, mark=mark), event())
    blue.holds.hold([held("trust:9", kind="origin")], event())
    assert blue.authorities.snapshot("blue").held_origins == {"trust:9"}
    lent = frozenset({losses.origin("trust:9")})
    with pytest.raises(PermissionEnded):
        blue.certificates.record(user_certificate(4, mark=mark, topics=lent), event())
    assert blue.cut_offs.unswept() == ()  # nothing is revoked by it
    mark = blue.cut_offs.mark()
    others = frozenset({losses.user_in_project("u2", "blue")})
    blue.certificates.record(user_certificate(2, subject="u2", mark=mark, topics=others), event())


def test_what_is_held_keeps_its_time(blue):
    blue.holds.hold([held("u2", since=NOW + HOUR), held()], event())
    head = blue.audit.head()
    blue.holds.hold([held(since=NOW + 2 * HOUR)], event())

    assert blue.holds.standing() == (held(), held("u2", since=NOW + HOUR))
    assert head == blue.audit.head()


def test_releasing_is_idempotent_and_told(blue):
    blue.holds.hold([held(), held("u2")], event())
    blue.holds.release([held()], event("brake.released"))
    assert blue.holds.standing() == (held("u2"),)
    assert blue.authorities.snapshot("blue").held_users == {"u2"}

    (link,) = blue.audit.read(after=blue.audit.head()[0] - 1, limit=1)
    assert '"released":{"blue":["user u1"]}' in link.body
    head = blue.audit.head()
    blue.holds.release([held()], event("brake.released"))
    assert head == blue.audit.head()


# --- leases


def test_a_lease_is_one_holders_at_a_time(open_ledger):
    one, other = open_ledger().leases, open_ledger().leases
    assert one.take("reconcile", "one", now=NOW, until=NOW + HOUR)
    assert not other.take("reconcile", "other", now=NOW, until=NOW + HOUR)
    assert other.take("another", "other", now=NOW, until=NOW + HOUR)
    assert one.take("reconcile", "one", now=NOW, until=NOW + 2 * HOUR)
    assert not other.take("reconcile", "other", now=NOW + HOUR, until=NOW + 3 * HOUR)


def test_a_lease_ends_when_it_is_given_up_or_over(open_ledger):
    leases = open_ledger().leases
    leases.take("reconcile", "one", now=NOW, until=NOW + HOUR)
    leases.release("reconcile", "other")
    assert not leases.take("reconcile", "other", now=NOW, until=NOW + HOUR)
    leases.release("reconcile", "one")
    assert leases.take("reconcile", "other", now=NOW, until=NOW + HOUR)
    assert leases.take("reconcile", "one", now=NOW + HOUR, until=NOW + 2 * HOUR)
