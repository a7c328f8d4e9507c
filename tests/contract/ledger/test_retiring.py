"""The end of an authority."""

from datetime import timedelta

import pytest

from tatu.core import losses
from tatu.core.authority import SKEW
from tatu.core.errors import Gone, NotFound, PermissionEnded
from tatu.ports import Held
from tests.contract.ledger.material import (
    NOW,
    authority,
    event,
    host,
    host_certificate,
    user_certificate,
)

HELD = Held(authority="blue", kind="user", value="u1", since=NOW)


def retire(ledger, authority_id="blue", at=NOW):
    told = event("authority.retired", authority=authority_id, at=at)
    return ledger.authorities.retire(authority_id, told)


@pytest.fixture
def used(blue):
    """An authority with hosts, certificates, a hold, and another authority beside it."""
    blue.authorities.create(authority("red"), event())
    blue.hosts.admit(host("db", names=("db",)), event())
    blue.hosts.admit(host("web"), event())
    for serial, lasts in ((1, timedelta(hours=1)), (2, -SKEW / 2), (3, -2 * SKEW)):
        blue.certificates.record(user_certificate(serial, lasts=lasts), event())
    blue.certificates.record(host_certificate(4), event())
    blue.certificates.record(user_certificate(1, authority_id="red"), event())
    blue.holds.hold([HELD], event())
    return blue


def test_a_retired_authority_is_revoked_whole(used):
    revision = used.publications.revision("blue")
    retired = retire(used)

    assert retired == used.authorities.get("blue")
    assert (retired.retired_at, retired.revision) == (NOW, revision + 1)
    # the third has expired for so long that the slowest clock knows
    ended = [used.certificates.get("blue", n, scope=None).revoked_at for n in (1, 2, 3, 4)]
    assert ended == [NOW, NOW, None, NOW]
    facts = used.revocations.facts("blue", NOW)
    assert sorted(serial for some in facts.serials.values() for serial in some) == [1, 2, 4]
    assert used.certificates.get("red", 1, scope=None).revoked_at is None


def test_hosts_and_holds_end_with_their_authority(used):
    retire(used)

    assert used.hosts.list(authorities=None, limit=9, marker=None).items == ()
    assert used.holds.standing() == ()
    with pytest.raises(NotFound):
        used.hosts.enrol("blue", "db", 1, ["key"], event())
    with pytest.raises(Gone):
        used.hosts.admit(host("db"), event())


def test_nothing_that_was_being_made_is_recorded_after_it(used):
    before = used.cut_offs.mark()
    retire(used)

    assert used.cut_offs.unswept() == ()
    with pytest.raises(PermissionEnded):
        used.certificates.record(
            user_certificate(9, mark=before, topics=frozenset({losses.project("blue")})), event()
        )


def test_retiring_twice_is_the_same_as_once(used):
    first, head = retire(used), used.audit.head()
    assert first == retire(used, at=NOW + timedelta(hours=1))
    assert head == used.audit.head()


def test_there_is_no_authority_to_retire(ledger):
    with pytest.raises(NotFound):
        retire(ledger)


def test_a_snapshot_tells_that_it_is_retired_at_once(used):
    assert used.authorities.snapshot("blue").authority.retired_at is None
    retire(used)
    assert used.authorities.snapshot("blue").authority.retired_at == NOW
