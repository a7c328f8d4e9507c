"""Serials and certificates: what every database must do with them."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import timedelta

import pytest

from tatu.core import audit, losses
from tatu.core.authority import KeyState
from tatu.core.certificate import CertificateType
from tatu.core.errors import Conflict, Malformed, NotFound, PermissionEnded, Standing, Unavailable
from tatu.core.identity import MAX_ID
from tatu.ports import CertificateFilter, Held, RevocationSelector, User, UserKey
from tatu.store.certificates import select_of
from tatu.store.database import make_engine
from tests.contract.ledger.material import (
    NOW,
    SQLITE,
    authority,
    event,
    host_certificate,
    key,
    user_certificate,
)
from tests.fakes.threads import together


def everything(ledger, **wanted):
    wanted = {"authorities": None, **wanted}
    return [
        one.serial
        for one in ledger.certificates.list(
            CertificateFilter(**wanted), limit=100, marker=None
        ).items
    ]


def test_serials_are_dense_from_one(blue):
    assert list(range(1, 301)) == [blue.certificates.reserve("blue") for _ in range(300)]


def test_two_processes_never_get_the_same_serial(blue, open_ledger):
    other = open_ledger()
    with ThreadPoolExecutor(8) as pool:
        serials = list(
            pool.map(lambda n: (blue if n % 2 else other).certificates.reserve("blue"), range(600))
        )
    assert len(set(serials)) == 600
    assert max(serials) <= 600 + 2 * 128


def unproven(serial, **parts):
    return replace(user_certificate(serial, **parts), proven=False)


@pytest.fixture
def standing(blue):
    blue.certificates.record(unproven(1), event())
    return blue


def test_of_what_is_not_proven_one_lives_that_says_the_same(standing):
    head = standing.audit.head()
    with pytest.raises(Standing) as refused:
        standing.certificates.record(unproven(2), event())
    assert refused.value.serial == 1
    assert head == standing.audit.head()


def test_of_many_at_once_that_say_the_same_one_is_recorded(blue, open_ledger):
    ledgers = blue, open_ledger()

    def record(at):
        try:
            ledgers[at % 2].certificates.record(unproven(at + 1), event())
        except Standing as error:
            return error.serial
        return at + 1

    (serial,) = set(together(8, record))
    assert everything(blue) == [serial]


@pytest.mark.parametrize(
    "parts",
    [
        {"subject": "u2"},
        {"subject_key": "other"},
        {"origin": "trust:1"},
        {"signature_key": "blue-other"},
    ],
    ids=str,
)
def test_what_says_something_else_is_recorded_beside_it(standing, parts):
    standing.certificates.record(unproven(2, **parts), event())
    assert everything(standing) == [2, 1]


def test_what_is_proven_is_recorded_however_often(standing):
    for serial in (2, 3):
        standing.certificates.record(user_certificate(serial), event())
    assert everything(standing) == [3, 2, 1]


def test_what_was_revoked_or_has_expired_stands_for_nothing(standing):
    later = replace(unproven(2), issued_at=NOW + timedelta(hours=24))
    standing.certificates.record(later, event())
    standing.revocations.revoke_serials({"blue": [1, 2]}, "lost", event())
    standing.certificates.record(unproven(3), event())
    assert everything(standing) == [3, 2, 1]


def test_no_serial_is_reserved_for_an_authority_that_is_not(ledger):
    with pytest.raises(NotFound):
        ledger.certificates.reserve("blue")


def test_the_longest_ids_are_kept_and_told_apart(ledger):
    """Of four bytes a character: what every index has to hold."""
    project, user, other = (("\U0001f511" * MAX_ID)[:-1] + last for last in "abc")
    ledger.authorities.create(authority(project), event())
    for serial, subject in enumerate((user, other), start=1):
        issued = user_certificate(serial, authority_id=project, subject=subject)
        ledger.certificates.record(issued, event())
    assert everything(ledger, authorities=(project,), subject=user) == [1]

    selector = RevocationSelector(authority=project, subject=user, block=True)
    assert ledger.revocations.revoke(selector, "left", event()) == (1,)
    held = Held(authority=project, kind="user", value=other, since=NOW)
    ledger.holds.hold([held], event())
    snapshot = ledger.authorities.snapshot(project)
    assert (snapshot.blocked_users, snapshot.held_users) == ({user}, {other})
    ledger.cut_offs.commit([losses.user_in_project(user, project)], "told", event())
    (sweep,) = ledger.cut_offs.unswept()
    assert sweep.parts == ("user-in-project", user, project)


def test_a_recorded_certificate_reads_as_it_was(blue):
    issued = user_certificate(1)
    blue.certificates.record(issued, event("certificate.issued", authority="blue"))
    found = blue.certificates.get("blue", 1, scope=["blue"])
    contents = issued.certificate.contents
    assert issued.certificate.line == found.line
    assert (contents.valid_after, contents.valid_before) == (found.valid_after, found.valid_before)
    assert (
        found.subject,
        found.user_name,
        found.roles,
        found.issuer,
    ) == ("u1", "name of u1", ("r1", "r2"), "local")
    assert (key("alice").fingerprint, key("blue-user").fingerprint) == (
        found.subject_key,
        found.signature_key,
    )
    assert (
        found.type,
        found.principals,
        found.key_id,
        found.host,
    ) == (CertificateType.USER, ("member",), "alice_1", "")
    assert (
        found.issued_at,
        found.revoked_at,
        found.revoked_reason,
        found.revoked_by,
    ) == (NOW, None, None, None)


def test_a_certificate_out_of_scope_reads_as_absent(blue):
    blue.certificates.record(user_certificate(1), event())
    for authority_id, serial, scope in (
        ("blue", 1, ["red"]),
        ("blue", 2, None),
        ("red", 1, None),
        ("blue", 1, []),
    ):
        with pytest.raises(NotFound):
            blue.certificates.get(authority_id, serial, scope=scope)


def test_a_record_is_an_event_that_tells_of_the_certificate(blue):
    blue.certificates.record(
        user_certificate(7), event("certificate.issued", authority="blue", why="asked")
    )
    link = blue.audit.read(after=1, limit=10)[0]
    assert '"serial":7' in link.body
    assert '"why":"asked"' in link.body
    assert (2, link.hash) == audit.check(blue.audit.read(after=0, limit=10)) == blue.audit.head()


def test_a_serial_is_recorded_once(blue):
    blue.certificates.record(user_certificate(1), event())
    head = blue.audit.head()
    with pytest.raises(Conflict):
        blue.certificates.record(user_certificate(1, subject="u2"), event())
    assert head == blue.audit.head()
    assert blue.certificates.get("blue", 1, scope=None).subject == "u1"


def test_a_certificate_of_no_authority_is_refused(blue):
    with pytest.raises(Conflict):
        blue.certificates.record(user_certificate(1, authority_id="red"), event())


def test_who_is_refused_harms_nobody_in_the_same_group(blue):
    blue.cut_offs.commit([losses.user("gone")], "role removed", event())
    wanted = [
        user_certificate(1 + n % 40, subject="gone" if n % 5 == 0 else f"u{n}") for n in range(50)
    ]

    def record(issued):
        try:
            blue.certificates.record(issued, event())
        except (Conflict, PermissionEnded) as error:
            return type(error)
        return None

    with ThreadPoolExecutor(50) as pool:
        outcomes = list(pool.map(record, wanted))
    assert outcomes.count(PermissionEnded) == 10
    assert (
        outcomes.count(Conflict) == 8
    )  # serials 1 to 10 were wanted twice, and two of these by who is gone
    assert 32 == outcomes.count(None) == len(everything(blue))
    audit.check(blue.audit.read(after=0, limit=1000))


def test_a_cut_off_refuses_what_was_decided_before_it(blue):
    before = blue.authorities.snapshot("blue").mark
    after = blue.cut_offs.commit([losses.user_in_project("u1", "blue")], "role removed", event())
    with pytest.raises(PermissionEnded):
        blue.certificates.record(user_certificate(1, mark=before), event())
    blue.certificates.record(user_certificate(2, subject="u2", mark=before), event())
    assert after == blue.authorities.snapshot("blue").mark
    blue.certificates.record(user_certificate(3, mark=after), event())
    assert everything(blue) == [3, 2]


def test_a_refused_process_reads_the_authority_anew(blue, open_ledger):
    other = open_ledger()
    stale = other.authorities.snapshot("blue").mark
    blue.cut_offs.commit([losses.user("u1")], "role removed", event())
    with pytest.raises(PermissionEnded):
        other.certificates.record(user_certificate(1, mark=stale), event())
    other.certificates.record(
        user_certificate(1, mark=other.authorities.snapshot("blue").mark), event()
    )


def test_a_mark_that_was_never_reached_is_refused(blue):
    with pytest.raises(PermissionEnded):
        blue.certificates.record(user_certificate(1, mark=1), event())


def test_no_certificate_passes_a_cut_off_that_is_raced(blue):
    """Whatever is recorded after the loss returned was refused; what came before is in the ledger."""
    reserve, lost = blue.certificates.reserve, threading.Event()
    marks = iter(range(10_000))

    def issue(_):
        over = lost.is_set()
        try:
            blue.certificates.record(user_certificate(reserve("blue"), mark=0), event())
        except PermissionEnded:
            return True
        return not over

    def lose(_):
        if next(marks) == 0:
            blue.cut_offs.commit([losses.user("u1")], "role removed", event())
            lost.set()
        return True

    with ThreadPoolExecutor(16) as pool:
        jobs = [pool.submit(lose if n == 60 else issue, n) for n in range(200)]
    assert all(job.result() for job in jobs)
    with pytest.raises(PermissionEnded):
        blue.certificates.record(user_certificate(reserve("blue"), mark=0), event())
    audit.check(blue.audit.read(after=0, limit=1000))


def test_two_processes_keep_one_chain(blue, open_ledger):
    ledgers = [blue, open_ledger()]

    def issue(n):
        mine = ledgers[n % 2]
        mine.certificates.record(user_certificate(mine.certificates.reserve("blue")), event())

    with ThreadPoolExecutor(12) as pool:
        list(pool.map(issue, range(200)))
    assert audit.check(blue.audit.read(after=0, limit=1000))[0] == 201
    assert len(everything(blue)) == 100


def test_a_closed_ledger_records_what_waits_and_nothing_more(blue, open_ledger):
    other = open_ledger()
    other.certificates.record(user_certificate(1), event())
    other.close()
    with pytest.raises(Unavailable):
        other.certificates.record(user_certificate(2), event())
    assert everything(blue) == [1]


def test_lists_are_newest_first_and_in_pages(blue):
    for serial in (3, 1, 2, 5, 4):
        blue.certificates.record(user_certificate(serial), event())
    seen, marker = [], None
    while True:
        page = blue.certificates.list(
            CertificateFilter(authorities=["blue"]), limit=2, marker=marker
        )
        seen += [one.serial for one in page.items]
        marker = page.marker
        if marker is None:
            break
    assert seen == [4, 5, 2, 1, 3]


@pytest.mark.parametrize("marker", ["", "x", "-1", "1.0", "9" * 30, "\u0662"])
def test_a_marker_that_no_list_gave_is_malformed(blue, marker):
    with pytest.raises(Malformed):
        blue.certificates.list(CertificateFilter(authorities=None), limit=2, marker=marker)


def test_filters_confine(blue):
    blue.authorities.create(authority("red"), event())
    blue.certificates.record(user_certificate(1), event())
    blue.certificates.record(user_certificate(2, subject="u2", subject_key="bob"), event())
    blue.certificates.record(host_certificate(3), event())
    blue.certificates.record(user_certificate(4, lasts=timedelta(minutes=1)), event())
    blue.certificates.record(user_certificate(1, authority_id="red"), event())
    blue.revocations.revoke_serials({"blue": [2]}, "lost", event())
    assert everything(blue) == [1, 4, 3, 2, 1]
    assert everything(blue, authorities=["blue"]) == [4, 3, 2, 1]
    assert everything(blue, authorities=[]) == []
    assert everything(blue, subject="u1") == [1, 4, 1]
    assert everything(blue, subject_key=key("bob").fingerprint) == [2]
    assert [3] == everything(blue, host="db") == everything(blue, type=CertificateType.HOST)
    assert everything(blue, serial=1) == [1, 1]
    assert everything(blue, live_at=NOW + timedelta(minutes=2)) == [1, 3, 1]
    assert everything(blue, revoked=True) == [2]
    assert everything(blue, revoked=False) == [1, 4, 3, 1]


def test_what_a_revoked_key_signed_is_revoked(blue):
    blue.certificates.record(user_certificate(1), event())
    blue.certificates.record(user_certificate(2), event())
    blue.certificates.record(host_certificate(3), event())
    blue.revocations.revoke_serials({"blue": [2]}, "lost", event())
    signer = blue.certificates.get("blue", 1, scope=None).signature_key
    (found,) = (
        one
        for one in blue.authorities.snapshot("blue").authority.keys
        if one.public_key.fingerprint == signer
    )
    blue.authorities.set_key_state(
        "blue", found.reference, KeyState.RETIRED, event(), revoked=True
    )
    with_key = blue.certificates.get("blue", 1, scope=None)
    assert (with_key.revoked_at, with_key.revoked_reason) == (NOW, "signature key revoked")
    assert blue.certificates.get("blue", 2, scope=None).revoked_reason == "lost"
    assert everything(blue, revoked=True) == [2, 1]
    assert [3] == everything(blue, revoked=False) == everything(blue, live_at=NOW)


def test_a_key_that_became_something_else_meanwhile_is_not_certified(blue):
    blue.directory.create_user(User(id="u1", name="alice"), event())
    blue.directory.add_key(UserKey(user="u1", public_key=key("login"), created_at=NOW), event())
    blue.certificates.record(host_certificate(1, "db"), event())
    blue.certificates.record(user_certificate(2, subject_key="alice"), event())
    for taken in (
        user_certificate(3, subject_key="login"),
        user_certificate(4, subject_key="blue-host"),
        user_certificate(5, subject_key="db"),
        host_certificate(6, "alice"),
        replace(host_certificate(7, "db"), host="copy"),
    ):
        with pytest.raises(PermissionEnded):
            blue.certificates.record(taken, event())
    with pytest.raises(Conflict, match="user key already"):
        blue.directory.add_key(
            UserKey(user="u1", public_key=key("alice"), created_at=NOW), event()
        )
    blue.certificates.record(host_certificate(8, "db"), event())
    blue.certificates.record(user_certificate(9, subject_key="alice"), event())
    assert everything(blue) == [9, 8, 2, 1]


def test_what_nobody_proved_to_hold_counts_for_the_unproven_of_the_same_authority_alone(blue):
    unproven = replace(user_certificate(1, subject_key="db"), proven=False)
    blue.certificates.record(unproven, event())
    assert not blue.certificates.get("blue", 1, scope=None).proven
    assert blue.purposes_of(key("db")) == blue.purposes_of(key("db"), unproven_in="red") == set()
    assert blue.purposes_of(key("db"), unproven_in="blue") == {"user"}
    mine = replace(host_certificate(2), proven=False)
    with pytest.raises(PermissionEnded):
        blue.certificates.record(mine, event())

    blue.certificates.record(host_certificate(3), event())
    for taken in (
        replace(mine, host="copy"),
        replace(user_certificate(4, subject_key="db"), proven=False),
    ):
        with pytest.raises(PermissionEnded):
            blue.certificates.record(taken, event())
    assert blue.purposes_of(key("db")) == {"host"}

    blue.certificates.record(replace(host_certificate(5, "web"), proven=False), event())
    with pytest.raises(PermissionEnded):
        blue.certificates.record(
            replace(host_certificate(6, "web"), host="copy", proven=False), event()
        )
    blue.certificates.record(replace(host_certificate(7, "web"), host="copy"), event())
    blue.certificates.record(user_certificate(8, subject_key="carol"), event())
    with pytest.raises(PermissionEnded):
        blue.certificates.record(replace(host_certificate(9, "carol"), proven=False), event())


def test_of_a_user_and_a_host_that_race_for_a_key_one_gets_it(blue):
    def one(number):
        host = number % 2
        serial = number + 1
        made = host_certificate(serial, "k") if host else user_certificate(serial, subject_key="k")
        try:
            blue.certificates.record(made, event())
        except PermissionEnded:
            return None
        return host

    kinds = {found for found in together(8, one) if found is not None}
    assert len(kinds) == 1


def test_a_key_has_the_purposes_that_it_served(blue):
    blue.certificates.record(user_certificate(1), event())
    blue.certificates.record(host_certificate(2), event())
    assert {"authority"} == blue.purposes_of(key("blue-statement"))
    assert {"user"} == blue.purposes_of(key("alice"))
    assert {"host"} == blue.purposes_of(key("db"))
    assert set() == blue.purposes_of(key("nobody"))


# --- what sweeps ask for


def test_certificates_are_found_by_their_origin(blue):
    for serial, origin in ((1, ""), (2, "trust:t1"), (3, "trust:t10")):
        blue.certificates.record(user_certificate(serial, origin=origin), event())

    assert everything(blue, origin="trust:t1") == [2]
    assert set(everything(blue, origin_begins="trust:")) == {2, 3}
    origins = [blue.certificates.get("blue", n, scope=None).origin for n in (1, 2, 3)]
    assert origins == ["", "trust:t1", "trust:t10"]


def test_certificates_are_found_by_a_role_that_they_hold(blue):
    roles = {1: ("r1",), 2: ("r2", "r1"), 3: ("r11",), 4: ("r_",), 5: ('a"b',), 6: ("R1",)}
    for serial, some in roles.items():
        blue.certificates.record(user_certificate(serial, roles=some), event())

    def holding(role):
        return set(everything(blue, role=role))

    assert {1, 2} == holding("r1")
    assert {4} == holding("r_")
    assert {5} == holding('a"b')
    assert set() == holding("%")
    assert set() == holding("r")


@SQLITE
@pytest.mark.parametrize(
    ("wanted", "index"),
    [
        ({"authorities": ("blue",)}, "certificates_by_end"),
        ({"authorities": ("blue",), "role": "r1"}, "certificates_by_end"),
        ({"authorities": ("blue",), "subject": "u1"}, "certificates_by_subject"),
        ({"authorities": None, "subject": "u1"}, "certificates_by_subject"),
        ({"authorities": None, "origin": "trust:t"}, "certificates_by_origin"),
        ({"authorities": None, "origin_begins": "trust:"}, "certificates_by_origin"),
        ({"authorities": ("blue",), "host": "db"}, "certificates_by_host"),
    ],
)
def test_a_sweep_reads_only_the_rows_that_its_topic_concerns(blue, url, wanted, index):
    """With ten thousand others in the ledger: the plan says which rows are looked at."""
    live = CertificateFilter(type=CertificateType.USER, live_at=NOW, revoked=False, **wanted)
    query = select_of(live)
    engine = make_engine(url, pool_size=1)
    with closing(engine.connect()) as connection:
        compiled = query.compile(engine, compile_kwargs={"literal_binds": True})
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {compiled}").all()
    engine.dispose()
    steps = [row.detail for row in plan if "certificates" in row.detail]
    assert [step.split(" (")[0] for step in steps] == [f"SEARCH certificates USING INDEX {index}"]
