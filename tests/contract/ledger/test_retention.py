"""Rows are removed by one command alone, and only what nothing needs any more."""

import json
from datetime import timedelta

import pytest

from tatu.core import losses
from tatu.core.authority import SKEW
from tatu.core.errors import Malformed, NotFound
from tatu.ports import CertificateFilter, Publication, RevocationSelector
from tests.contract.ledger.material import NOW, event, host, login, user_certificate

OLD = NOW - timedelta(days=10)
BEFORE = NOW - timedelta(days=5)


def publication(version, krl_version, at=OLD):
    return Publication(
        authority="blue",
        version=version,
        revision=version,
        statement=b"s",
        signature="g",
        krl_version=krl_version,
        issued_at=at,
        expires_at=at + timedelta(minutes=15),
    )


@pytest.fixture
def grown(blue):
    """A ledger in which of each kind one is old and done with, and one is not."""
    for this, krl, after in (
        (publication(1, 1), b"one", 0),
        (publication(2, 2), b"two", 1),
        (publication(3, 2, NOW), None, 2),
    ):
        blue.publications.store(this, krl, after=after)
    for user in ("u7", "u8"):
        blocked = RevocationSelector(authority="blue", subject=user, block=True)
        blue.revocations.revoke(blocked, "lost", event(authority="blue", at=OLD))
    first = blue.revocations.blocks("blue")[0]
    blue.revocations.clear_block("blue", first.id, event(authority="blue", at=OLD))
    blue.cut_offs.commit([losses.user("u9")], "gone", event(at=OLD))
    mark = blue.cut_offs.mark()
    for serial, days in ((1, -7), (2, -6), (3, -3), (4, -1), (5, 1)):
        lasts = timedelta(days=days)
        blue.certificates.record(user_certificate(serial, mark=mark, lasts=lasts), event())
    blue.revocations.revoke_serials({"blue": [2, 4]}, "lost", event(authority="blue"))
    blue.hosts.admit(host(), event())
    blue.logins.append([login("1", received_at=OLD), login("2")], {})
    return blue


def prune(ledger, before=BEFORE, *, certificates=True, dry_run=False):
    said = event("ledger.pruned")
    return ledger.prune(before, said, certificates=certificates, dry_run=dry_run)


def serials(ledger):
    wanted = CertificateFilter(authorities=None)
    return {row.serial for row in ledger.certificates.list(wanted, limit=9, marker=None).items}


GONE = {"publications": 2, "krls": 1, "cut_offs": 2, "blocks": 1, "logins": 1}


def test_what_is_done_with_is_removed_and_the_rest_stays(grown):
    events = grown.audit.head()[0]
    assert prune(grown, certificates=False) == GONE
    assert grown.publications.newest("blue").version == 3
    assert grown.publications.krl("blue", 2) == b"two"
    with pytest.raises(NotFound):
        grown.publications.krl("blue", 1)
    assert [block.value for block in grown.revocations.blocks("blue")] == ["u8"]
    assert [sweep.topic for sweep in grown.cut_offs.unswept()] == [losses.user("u9")]
    assert serials(grown) == {1, 2, 3, 4, 5}
    (told,) = grown.audit.read(after=events, limit=9)
    assert json.loads(told.body)["facts"]["removed"] == GONE


def test_the_chain_and_the_versions_go_on(grown):
    mark = grown.cut_offs.mark()
    prune(grown)
    assert grown.cut_offs.mark() == mark
    grown.publications.store(publication(4, 2, NOW), None, after=3)
    assert prune(grown) == dict.fromkeys((*GONE, "certificates"), 0)


def test_certificates_go_when_that_is_asked_for_and_they_had_expired(grown):
    assert prune(grown) == GONE | {"certificates": 2}
    assert serials(grown) == {3, 4, 5}


def test_a_dry_run_counts_and_removes_nothing(grown):
    head = grown.audit.head()
    assert prune(grown, dry_run=True) == GONE | {"certificates": 2}
    assert head == grown.audit.head()
    assert serials(grown) == {1, 2, 3, 4, 5}
    assert prune(grown) == GONE | {"certificates": 2}


def test_what_a_krl_still_names_is_kept(grown):
    """An expired certificate stays in the KRL for two days more (security.md S18)."""
    with pytest.raises(Malformed, match="48 hours"):
        prune(grown, NOW - SKEW + timedelta(seconds=1))
    facts = grown.revocations.facts("blue", NOW)
    prune(grown, NOW - SKEW)
    assert facts.serials == grown.revocations.facts("blue", NOW).serials
