"""Hosts and their admissions."""

from contextlib import closing
from dataclasses import replace
from datetime import timedelta

import pytest

from tatu.core import losses
from tatu.core.errors import Conflict, Gone, Malformed, NotFound, PermissionEnded, Taken
from tatu.store.database import make_engine
from tatu.store.hosts import select_of
from tests.contract.ledger.material import (
    NOW,
    SQLITE,
    authority,
    event,
    host,
    host_certificate,
    key,
)
from tests.fakes.threads import together

KEYS = (key("db-1").line, key("db-2").line)


def test_a_host_is_admitted_and_enrolled(blue):
    wanted = host(
        names=("db", "db.blue.example"), addresses=("10.0.0.1",), instance=True, legacy=True
    )
    admitted = blue.hosts.admit(wanted, event())
    assert admitted == blue.hosts.get("blue", "db", scope=None)
    assert admitted == replace(wanted, admitted_at=NOW)
    at = NOW + timedelta(minutes=1)
    enrolled = blue.hosts.enrol("blue", "db", 1, KEYS, event(at=at))
    assert (KEYS, at) == (enrolled.host_keys, enrolled.enrolled_at)
    assert enrolled == blue.hosts.get("blue", "db", scope=["blue"])


def test_the_same_keys_again_change_nothing(blue):
    blue.hosts.admit(host(), event())
    first = blue.hosts.enrol("blue", "db", 1, KEYS, event())
    head = blue.audit.head()
    assert first == blue.hosts.enrol(
        "blue", "db", 1, KEYS[::-1], event(at=NOW + timedelta(hours=1))
    )
    assert head == blue.audit.head()


def test_a_clone_is_refused_and_noted(blue):
    blue.hosts.admit(host(), event())
    blue.hosts.enrol("blue", "db", 1, KEYS, event())
    with pytest.raises(Conflict):
        blue.hosts.enrol("blue", "db", 1, KEYS[:1], event())
    blue.hosts.refused("blue", "db", event("refused"))
    assert blue.hosts.get("blue", "db", scope=None).refused_at == NOW


def test_another_admission_opens_another_epoch(blue):
    blue.hosts.admit(host(), event())
    blue.hosts.enrol("blue", "db", 1, KEYS, event())
    again = blue.hosts.admit(host(names=("web",)), event())
    assert (
        again.epoch,
        again.host_keys,
        again.names,
        again.enrolled_at,
    ) == (2, (), ("web",), None)
    with pytest.raises(Gone):
        blue.hosts.enrol("blue", "db", 1, KEYS, event())
    with pytest.raises(PermissionEnded):
        blue.certificates.record(host_certificate(1, mark=0), event())
    assert blue.cut_offs.unswept() == ()


def test_the_first_host_keeps_its_names(blue):
    blue.hosts.admit(host("a", names=("db",), addresses=("10.0.0.1",)), event())
    for other in (
        host("b", names=("db",)),
        host("b", addresses=("10.0.0.1",)),
        host("b", names=("a",)),
    ):
        with pytest.raises(Conflict):
            blue.hosts.admit(other, event())
    assert [one.id for one in blue.hosts.list(authorities=None, limit=10, marker=None).items] == [
        "a"
    ]
    blue.hosts.admit(host("a", names=("web",)), event())
    blue.hosts.admit(host("b", names=("db",)), event())


def test_a_deleted_host_frees_its_names_and_ends_its_certificates(blue):
    blue.hosts.admit(host("a", names=("db",)), event())
    blue.hosts.delete("blue", "a", event())
    for ask in (
        lambda: blue.hosts.get("blue", "a", scope=None),
        lambda: blue.hosts.delete("blue", "a", event()),
        lambda: blue.hosts.enrol("blue", "a", 1, KEYS, event()),
        lambda: blue.hosts.refused("blue", "a", event()),
    ):
        with pytest.raises(NotFound):
            ask()
    assert [losses.host("blue", "a")] == [sweep.topic for sweep in blue.cut_offs.unswept()]
    blue.hosts.admit(host("b", names=("db",)), event())
    assert blue.hosts.admit(host("a"), event()).epoch == 2


def test_hosts_are_listed_by_authority_and_id_in_pages(blue):
    blue.authorities.create(authority("red"), event())
    for name in "cab":
        blue.hosts.admit(host(name), event())
    first = blue.hosts.list(authorities=["blue"], limit=2, marker=None)
    rest = blue.hosts.list(authorities=["blue"], limit=2, marker=first.marker)
    assert (
        [h.id for h in first.items],
        [h.id for h in rest.items],
        rest.marker,
    ) == (["a", "b"], ["c"], None)
    assert blue.hosts.list(authorities=["red"], limit=2, marker=None).items == ()
    with pytest.raises(NotFound):
        blue.hosts.get("blue", "a", scope=["red"])


def test_hosts_of_some_ids_are_listed_whatever_their_authority(blue):
    blue.authorities.create(authority("red"), event())
    for name, project in (("a", "blue"), ("b", "blue"), ("a", "red")):
        blue.hosts.admit(replace(host(name), authority=project), event())

    def found(ids, authorities=None):
        page = blue.hosts.list(authorities=authorities, ids=ids, limit=9, marker=None)
        return [(one.authority, one.id) for one in page.items]

    assert found(["a", "c"]) == [("blue", "a"), ("red", "a")]
    assert found(["a", "b"], ["blue"]) == [("blue", "a"), ("blue", "b")]
    assert found([]) == []


@pytest.mark.parametrize("marker", ["", "x", "[]", '["a"]', "1", '{"a": 1}', "[[], 1]"])
def test_a_marker_that_no_list_gave_is_malformed(blue, marker):
    with pytest.raises(Malformed):
        blue.hosts.list(authorities=None, limit=2, marker=marker)


# --- what an inventory says of them


def enrolled(ledger, **parts):
    ledger.hosts.admit(host(**parts), event())
    return ledger.hosts.enrol("blue", "db", 1, KEYS, event())


def rebind(ledger, host_id="db", *, names=(), addresses=(), at=NOW):
    told = event("host.rebound", authority="blue", at=at)
    return ledger.hosts.rebind("blue", host_id, names=names, addresses=addresses, event=told)


def test_what_a_host_is_called_changes_within_its_epoch(blue):
    before = enrolled(blue, names=("db",), addresses=("10.0.0.1",))
    at = NOW + timedelta(hours=1)
    after = rebind(blue, names=("db",), addresses=("10.0.0.2",), at=at)

    assert replace(before, addresses=("10.0.0.2",), renewal_due_at=at) == after
    assert after == blue.hosts.get("blue", "db", scope=None)
    blue.hosts.admit(host("other", addresses=("10.0.0.1",)), event())


def test_a_certificate_that_names_more_than_its_host_has_is_revoked_in_that_commit(blue):
    enrolled(blue, addresses=("10.0.0.1", "10.0.0.2"))
    mark = blue.cut_offs.mark()
    for serial, principals in ((1, ("db", "10.0.0.1")), (2, ("db", "10.0.0.2")), (3, ("db",))):
        made = host_certificate(serial, mark=mark, principals=principals)
        blue.certificates.record(made, event())
    revision = blue.publications.revision("blue")
    rebind(blue, addresses=("10.0.0.2",))

    ended = {
        serial: blue.certificates.get("blue", serial, scope=None).revoked_reason
        for serial in (1, 2, 3)
    }
    assert ended == {1: "host.rebound", 2: None, 3: None}
    assert blue.publications.revision("blue") > revision
    with pytest.raises(PermissionEnded):  # made while it was called otherwise
        blue.certificates.record(host_certificate(4, mark=mark), event())
    assert blue.cut_offs.unswept() == ()


def test_the_same_names_again_are_no_event(blue):
    before = enrolled(blue, names=("db", "web"), addresses=("10.0.0.1",))
    head = blue.audit.head()
    assert before == rebind(blue, names=("web",), addresses=("10.0.0.1",))
    assert head == blue.audit.head()


def test_an_id_is_taken_from_whoever_is_called_so_and_with_it_what_they_have(blue):
    blue.hosts.admit(host("web", names=("db", "db.blue.example", "www")), event())
    blue.hosts.enrol("blue", "web", 1, KEYS, event())
    blue.certificates.record(host_certificate(1, "web", principals=("web", "db")), event())
    mark = blue.cut_offs.mark()
    blue.hosts.admit(host("db", names=("db", "db.blue.example")), event(action="host.admitted"))

    left = blue.hosts.get("blue", "web", scope=None)
    assert (left.names, left.renewal_due_at) == (("www",), NOW)
    assert blue.certificates.get("blue", 1, scope=None).revoked_reason == "host.rebound"
    assert blue.cut_offs.mark() > mark
    with pytest.raises(Taken):
        rebind(blue, "web", names=("db",))


def test_a_host_that_enrols_again_has_what_it_should(blue):
    enrolled(blue)
    first = rebind(blue, addresses=("10.0.0.1",)).renewal_due_at
    later = NOW + timedelta(minutes=1)
    assert first == rebind(blue, addresses=("10.0.0.2",), at=later).renewal_due_at == NOW
    assert blue.hosts.enrol("blue", "db", 1, KEYS, event()).renewal_due_at is None
    head = blue.audit.head()
    blue.hosts.enrol("blue", "db", 1, KEYS, event())
    assert head == blue.audit.head()


def test_renewal_is_due_until_what_the_host_is_called_now_is_certified(blue):
    before = enrolled(blue, addresses=("10.0.0.1",))
    now = rebind(blue, addresses=("10.0.0.2",))
    told = event("host.renewed", authority="blue")
    blue.hosts.renewed("blue", "db", principals=before.principals, event=told)
    assert blue.hosts.get("blue", "db", scope=None) == now
    blue.hosts.renewed("blue", "db", principals=now.principals, event=told)
    assert blue.hosts.get("blue", "db", scope=None) == replace(now, renewal_due_at=None)
    blue.hosts.delete("blue", "db", event())
    with pytest.raises(NotFound):
        blue.hosts.renewed("blue", "db", principals=now.principals, event=told)


def test_a_host_without_a_certificate_has_none_to_renew(blue):
    blue.hosts.admit(host(), event())
    assert rebind(blue, addresses=("10.0.0.1",)).renewal_due_at is None


def test_the_first_holder_keeps_an_address_when_another_is_bound_to_it(blue):
    blue.hosts.admit(host("a", addresses=("10.0.0.1",)), event())
    before = blue.hosts.admit(host("b"), event())
    with pytest.raises(Conflict, match="held by host 'a'"):
        rebind(blue, "b", addresses=("10.0.0.1",))
    assert before == blue.hosts.get("blue", "b", scope=None)
    with pytest.raises(NotFound):
        rebind(blue, "c")


def test_of_many_who_admit_a_host_at_once_one_does(blue):
    def admit(_):
        return blue.hosts.admit(host(), event(), stands=lambda known: known.epoch > 0)

    assert {found.epoch for found in together(8, admit)} == {1}


def test_a_host_that_stands_changes_only_by_being_opened_to_the_originals_wire(blue):
    first = blue.hosts.admit(host(), event())
    head = blue.audit.head()
    assert first == blue.hosts.admit(host(names=("web",)), event(), stands=lambda _: True)
    assert head == blue.audit.head()
    opened = blue.hosts.admit(host(legacy=True), event(), stands=lambda _: True)
    assert opened == replace(first, legacy=True) == blue.hosts.get("blue", "db", scope=None)


def test_a_host_that_was_deleted_stands_no_more(blue):
    blue.hosts.admit(host(), event())
    blue.hosts.delete("blue", "db", event())
    assert blue.hosts.admit(host(), event(), stands=lambda _: True).epoch == 2


def test_whose_name_or_address_it_is_is_told(blue):
    blue.hosts.admit(host(addresses=("10.0.0.1",)), event())
    with pytest.raises(Taken) as raised:
        blue.hosts.admit(host("web", addresses=("10.0.0.1",)), event())
    assert (raised.value.principal, raised.value.holder) == ("10.0.0.1", "db")


@SQLITE
@pytest.mark.parametrize(
    ("wanted", "index"),
    [
        ({"ids": ("db",)}, "hosts_by_id"),
        ({"holding": "203.0.113.7"}, "host_principals_by_principal"),
    ],
)
def test_hosts_of_all_authorities_are_found_by_an_index(blue, url, wanted, index):
    """With a hundred thousand others in the ledger: the plan says which rows are looked at."""
    query = select_of(**{"authorities": None, "ids": None, "holding": None, **wanted})
    engine = make_engine(url, pool_size=1)
    with closing(engine.connect()) as connection:
        compiled = query.compile(engine, compile_kwargs={"literal_binds": True})
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {compiled}").all()
    engine.dispose()
    steps = [row.detail for row in plan]
    assert any(index in step for step in steps)
    assert not [step for step in steps if step.startswith("SCAN")]
