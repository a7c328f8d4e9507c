"""What hosts tell: the latest of each, and their logins, each once."""

import json
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace
from datetime import timedelta

import pytest

from tatu.core.claims import Finding, LiveSession, LoginKind, Report
from tatu.core.errors import Conflict, Malformed, NotFound
from tatu.ports import Lag, LoginFilter, Publication, RevocationSelector
from tatu.store import hosts
from tatu.store.logins import SqlLogins
from tests.contract.ledger.material import (
    NOW,
    SERVERS,
    authority,
    claimed,
    event,
    host,
    host_certificate,
    key,
    login,
    once,
    receipt,
)
from tests.fakes.threads import together

LATER = NOW + timedelta(minutes=5)
ALL = LoginFilter(authorities=None)


def enrol(ledger, *hosts, at=NOW):
    for host_id in hosts:
        admitted = ledger.hosts.admit(host(host_id), event(at=at))
        keys = [key(f"{host_id}-{admitted.epoch}").line]
        ledger.hosts.enrol("blue", host_id, admitted.epoch, keys, event(at=at))


@pytest.fixture
def fleet(blue):
    """Three enrolled hosts, and one that is only admitted."""
    blue.hosts.admit(host("d"), event())
    enrol(blue, "c", "a", "b")
    return blue


def missing(ledger, at_least, limit=9):
    """Return who is behind, and who is not."""
    found = ledger.receipts.list(
        "blue", now=NOW, at_least=at_least, limit=limit, marker=None
    ).items
    late = [one.host for one in found if not one.receipt or one.receipt.krl_version < at_least]
    return late, [one.host for one in found if one.host not in late]


def test_the_latest_receipt_is_kept_with_its_proof(fleet):
    fleet.receipts.put(receipt("a", 1), "first", once())
    fleet.receipts.put(receipt("a", 2), "second", once())
    assert (receipt("a", 2), "second") == fleet.receipts.get("blue", "a")
    with pytest.raises(NotFound):
        fleet.receipts.get("blue", "b")


def test_a_receipt_is_kept_only_if_its_nonce_was_unused_and_uses_it(fleet):
    fleet.receipts.put(receipt("a", 2), "first", once("n"))
    with pytest.raises(Conflict):
        fleet.receipts.put(receipt("a", 1), "again", once("n"))
    assert fleet.nonces.used(once("n"))
    with pytest.raises(Conflict):
        fleet.nonces.use(once("n"))
    fleet.nonces.use(once("m"))
    with pytest.raises(Conflict):
        fleet.receipts.put(receipt("a", 1), "again", once("m"))
    assert fleet.receipts.get("blue", "a") == (receipt("a", 2), "first")


def test_a_nonce_is_used_also_by_a_receipt_of_a_host_that_is_gone(fleet):
    """What was refused must not be heard should the host come back."""
    fleet.hosts.delete("blue", "a", event())
    with pytest.raises(NotFound):
        fleet.receipts.put(receipt("a", 2), "", once("n"))
    enrol(fleet, "a")
    with pytest.raises(Conflict):
        fleet.receipts.put(receipt("a", 2), "", once("n"))
    with pytest.raises(NotFound):
        fleet.receipts.get("blue", "a")


def test_of_many_receipts_of_one_nonce_in_several_processes_one_is_kept(fleet, open_ledger):
    ledgers = [fleet, open_ledger()]

    def tell(number):
        try:
            ledgers[number % 2].receipts.put(receipt("a", number + 1), str(number), once("n"))
        except Conflict:
            return None
        return number

    (kept,) = {number for number in together(16, tell) if number is not None}
    assert fleet.receipts.get("blue", "a") == (receipt("a", kept + 1), str(kept))


def test_those_behind_come_first_in_pages(fleet):
    for host_id, version in (("a", 3), ("b", 2), ("c", 3)):
        fleet.receipts.put(receipt(host_id, version), "", once())
    assert missing(fleet, 3) == (["b"], ["a", "c"])
    assert missing(fleet, 2) == ([], ["a", "b", "c"])
    assert fleet.receipts.count("blue", now=NOW, at_least=3) == (3, 2)
    seen, marker = [], None
    while True:
        page = fleet.receipts.list("blue", now=NOW, at_least=3, limit=1, marker=marker)
        seen += [one.host for one in page.items]
        marker = page.marker
        if marker is None:
            break
    assert seen == ["b", "a", "c"]
    with pytest.raises(Malformed):
        fleet.receipts.list("blue", now=NOW, at_least=3, limit=1, marker="2:a")


def test_whoever_enrols_anew_has_told_nothing_yet(fleet):
    """What the machine before it obeyed says nothing of this one."""
    fleet.receipts.put(receipt("a", 3), "", once())
    fleet.reports.put(report("a"))
    enrol(fleet, "a", at=LATER)
    assert "a" in missing(fleet, 1)[0]
    for get in (fleet.receipts.get, fleet.reports.get):
        with pytest.raises(NotFound):
            get("blue", "a")
    fleet.receipts.put(receipt("a", 3, received_at=LATER), "", once())
    assert "a" not in missing(fleet, 1)[0]


def test_a_host_that_was_admitted_again_is_missing_as_long_as_it_has_certificates(fleet):
    """Its agent may ask for nothing now, and sshd goes on to let people in."""
    fleet.receipts.put(receipt("a", 3), "", once())
    certificate = host_certificate(7, "a")
    fleet.certificates.record(certificate, event())
    fleet.hosts.admit(host("a"), event(at=LATER))
    asked = {"at_least": 3, "limit": 1, "marker": None}
    (first,) = fleet.receipts.list("blue", now=LATER, **asked).items
    assert (first.host, first.receipt, first.not_enrolled_since) == ("a", None, LATER)
    assert missing(fleet, 3) == (["a", "b", "c"], [])
    assert fleet.receipts.count("blue", now=LATER, at_least=3) == (3, 0)
    expired = certificate.certificate.contents.valid_before
    assert fleet.receipts.count("blue", now=expired, at_least=3) == (2, 0)
    fleet.revocations.revoke(RevocationSelector(authority="blue", serial=7), "test", event())
    assert missing(fleet, 3) == (["b", "c"], [])


def test_a_host_that_is_gone_counts_no_more_and_tells_nothing(fleet):
    fleet.receipts.put(receipt("a", 3), "", once())
    fleet.hosts.delete("blue", "a", event())
    assert missing(fleet, 1) == (["b", "c"], [])
    for told in (
        lambda: fleet.receipts.put(receipt("a", 4), "", once()),
        lambda: fleet.reports.put(report("a")),
        lambda: fleet.logins.append([login("1", host="a")], {}),
        lambda: fleet.receipts.put(receipt("none", 4), "", once()),
    ):
        with pytest.raises(NotFound):
            told()


@SERVERS
def test_a_host_that_is_being_deleted_is_waited_for_and_then_tells_nothing(
    fleet, open_ledger, monkeypatch
):
    other, before = open_ledger(), hosts._revoke_beyond
    with ThreadPoolExecutor() as pool:
        telling = []

        def between(*parts):
            telling.append(pool.submit(other.receipts.put, receipt("a", 3), "", once()))
            telling.append(pool.submit(other.reports.put, report("a")))
            wait(telling, timeout=0.3)  # both wait: nothing is decided before this commit
            return before(*parts)

        monkeypatch.setattr(hosts, "_revoke_beyond", between)
        fleet.hosts.delete("blue", "a", event())
    assert [NotFound, NotFound] == [type(each.exception()) for each in telling]


def test_the_lag_is_that_of_all_authorities(fleet):
    assert Lag(hosts=3, behind=3, oldest=None) == fleet.receipts.lag()
    fleet.authorities.create(authority("red"), event())
    publication = Publication(
        authority="blue",
        version=2,
        revision=0,
        statement=b"s",
        signature="g",
        krl_version=2,
        issued_at=NOW,
        expires_at=LATER,
    )
    fleet.publications.store(publication, b"krl", after=0)
    fleet.receipts.put(receipt("a", 2, received_at=LATER), "", once())
    fleet.receipts.put(receipt("b", 1, received_at=NOW), "", once())
    assert Lag(hosts=3, behind=2, oldest=NOW) == fleet.receipts.lag()
    fleet.authorities.retire("blue", event())
    assert Lag(hosts=0, behind=0, oldest=None) == fleet.receipts.lag()


def report(host_id, **parts):
    values = {
        "authority": "blue",
        "host": host_id,
        "received_at": NOW,
        "agent_version": "1.2",
        "openssh": "OpenSSH_9.2p1",
        "os": "Debian 12",
        "findings": (Finding(level="warning", about="clock", detail="it is \N{SNOWMAN} slow"),),
        "sessions": (
            LiveSession(
                id=3,
                account="member",
                certificate=claimed(2**64 - 1),
                since=NOW,
                source="192.0.2.1",
            ),
        ),
    }
    return Report(**{**values, **parts})


def test_the_latest_report_is_kept(fleet):
    fleet.reports.put(report("a"))
    assert report("a") == fleet.reports.get("blue", "a")
    fleet.reports.put(report("a", findings=(), agent_version="1.3"))
    assert fleet.reports.get("blue", "a").agent_version == "1.3"


def ids(ledger, wanted=ALL, **more):
    page = ledger.logins.list(replace(wanted, **more), limit=99, marker=None)
    return [one.login.id for one in page.items]


def test_a_login_is_kept_once_however_often_it_is_told(fleet):
    first = [login("1", host="a"), login("2", host="a")]
    assert first == list(fleet.logins.append(first, {}))
    again = [login("2", host="a", account="root"), login("3", host="a")]
    assert [one.login.id for one in fleet.logins.append(again, {})] == ["3"]
    assert ids(fleet) == ["3", "2", "1"]
    found = fleet.logins.list(ALL, limit=2, marker=None)
    assert found.items[1].login == first[1].login
    assert [
        one.login.id for one in fleet.logins.list(ALL, limit=2, marker=found.marker).items
    ] == ["1"]
    assert fleet.logins.append([], {}) == ()


def test_another_host_may_use_the_same_id(fleet):
    fleet.logins.append([login("1", host="a")], {})
    assert len(fleet.logins.append([login("1", host="b")], {})) == 1


def test_of_many_who_tell_the_same_at_once_one_is_heard(fleet):
    """A host that repeats itself before it is answered is no error."""
    told = [login("1", host="a"), login("2", host="a")]
    kept = together(6, lambda _: len(fleet.logins.append(told, {})))
    assert sorted(kept) == [0, 0, 0, 0, 0, 2]


def test_what_alarms_is_in_the_chain_with_the_login_and_once(fleet):
    told = [login("1", host="a", alarm="unknown serial"), login("2", host="a")]
    alarms = {"1": event("login.mismatch", authority="blue")}
    before = fleet.audit.head()[0]
    for _ in range(2):
        fleet.logins.append(told, alarms)
    (link,) = fleet.audit.read(after=before, limit=9)
    assert json.loads(link.body)["action"] == "login.mismatch"
    assert ids(fleet, alarming=True) == ["1"]
    assert ids(fleet, alarming=False) == ["2"]


def test_logins_are_found_by_what_they_are(fleet):
    fleet.authorities.create(authority("red"), event())
    fleet.hosts.admit(replace(host("a"), authority="red"), event())
    fleet.logins.append([login("0", authority="red", host="a")], {})
    fleet.logins.append([login("1", host="a", subject="u1", certificate=claimed(2**64 - 1))], {})
    fleet.logins.append(
        [login("2", host="b", account="admin", kind=LoginKind.REFUSED, certificate=None)], {}
    )
    fleet.logins.append([login("3", host="b", at=LATER)], {})
    for part, expected in (
        ({"authorities": ["red"]}, ["0"]),
        ({"authorities": []}, []),
        ({"subject": "u1"}, ["1"]),
        ({"host": "b"}, ["3", "2"]),
        ({"account": "admin"}, ["2"]),
        ({"serial": 2**64 - 1}, ["1"]),
        ({"serial": 7}, ["3", "0"]),
        ({"kind": LoginKind.REFUSED}, ["2"]),
        ({"after": NOW}, ["3"]),
    ):
        assert expected == ids(fleet, **part), part
    with pytest.raises(Malformed):
        fleet.logins.list(ALL, limit=1, marker="x")


def test_a_host_keeps_no_more_than_its_share(fleet):
    few = SqlLogins(fleet.logins._database, kept=3)
    few.append([login("0", host="b")], {})
    for start in range(1, 9, 2):
        few.append([login(str(n), host="a") for n in (start, start + 1)], {})
    assert ids(fleet) == ["8", "7", "6", "0"]
