"""A restored old database: noticed, and made fit to sign again (security.md S3)."""

import json
import shutil
from dataclasses import replace
from datetime import timedelta

import pytest

from tatu.core import audit, losses
from tatu.core.errors import Malformed, NotFound, RolledBack, Unavailable
from tatu.ports import RevocationSelector, User
from tatu.store import auditcopy
from tests.contract.ledger.material import (
    NOW,
    SQLITE,
    authority,
    event,
    host,
    host_certificate,
    key,
    user_certificate,
)
from tests.contract.ledger.test_authorities import publication

pytestmark = SQLITE  # servers are dumped by their own tools; what follows is the same


def selector(**chosen):
    return RevocationSelector(**{"authority": "blue", **chosen})


class Deployment:
    """A SQLite ledger with its state, of which an old dump can be restored."""

    def __init__(self, open_ledger, url, tmp_path):
        self._open = open_ledger
        self._path = url.removeprefix("sqlite:///")
        self._old = tmp_path / "old.db"
        self.state = tmp_path / "state"
        self.ledger = open_ledger(self.state)

    def dump(self):
        self.ledger.close()
        shutil.copy(self._path, self._old)
        self.ledger = self._open(self.state)

    def restore(self):
        self.ledger.close()
        shutil.copy(self._old, self._path)
        self.ledger = self._open(self.state)

    def reopen(self):
        self.ledger.close()
        self.ledger = self._open(self.state)

    def copied(self):
        return list(auditcopy.read(self.state / "audit.jsonl"))

    def issue(self, subject="u1"):
        serial = self.ledger.certificates.reserve("blue")
        made = user_certificate(serial, subject=subject, mark=self.ledger.cut_offs.mark())
        self.ledger.certificates.record(made, event("certificate.issued", authority="blue"))
        return serial


@pytest.fixture
def deployment(open_ledger, url, tmp_path):
    made = Deployment(open_ledger, url, tmp_path)
    made.ledger.authorities.create(authority(), event("authority.created", authority="blue"))
    return made


def test_a_rolled_back_ledger_signs_and_changes_nothing(deployment):
    deployment.issue()
    deployment.dump()
    deployment.issue()
    deployment.restore()
    ledger = deployment.ledger
    for ask in (
        ledger.check,
        lambda: ledger.certificates.record(user_certificate(1000), event()),
        lambda: ledger.audit.append(event()),
        lambda: ledger.directory.create_user(User(id="u", name="u"), event()),
    ):
        with pytest.raises(RolledBack, match="tatu-manage db restored"):
            ask()
    assert ledger.certificates.get("blue", 1, scope=None).subject == "u1"


def test_no_serial_is_given_twice_after_a_restore(deployment):
    deployment.dump()
    for _ in range(130):
        deployment.ledger.certificates.reserve("blue")
    deployment.restore()
    with pytest.raises(RolledBack):
        deployment.ledger.certificates.reserve("blue")
    with pytest.raises(RolledBack):
        deployment.ledger.check()
    deployment.ledger.restored(iter(deployment.copied()))
    assert deployment.ledger.certificates.reserve("blue") == 257
    deployment.ledger.check()


def test_no_version_is_published_twice_after_a_restore(deployment):
    deployment.dump()
    deployment.ledger.publications.store(publication(100, krl_version=1), b"", after=0)
    deployment.restore()
    with pytest.raises(RolledBack):
        deployment.ledger.publications.store(publication(50), b"", after=0)
    deployment.ledger.restored(iter(deployment.copied()))
    with pytest.raises(RolledBack):
        deployment.ledger.publications.store(publication(100), b"", after=0)
    deployment.ledger.publications.store(publication(101), b"", after=0)
    deployment.ledger.publications.store(publication(102), None, after=101)


@pytest.mark.parametrize("lost", [90, 200])
def test_a_version_that_only_a_host_has_stops_all_signing_until_the_restore_is_owned_up_to(
    deployment, lost
):
    """The marks were restored with the database, as with a machine's snapshot: a host tells."""
    publications = deployment.ledger.publications
    publications.store(publication(50), b"", after=0)
    publications.store(publication(100), None, after=50)
    deployment.ledger.authorities.snapshot("blue")
    assert publications.is_lost("blue", lost)
    publications.prove_lost("blue", lost)
    for ask in (
        deployment.ledger.check,
        lambda: deployment.ledger.authorities.snapshot("blue"),
        lambda: publications.store(publication(max(lost, 100) + 1), None, after=100),
    ):
        with pytest.raises(RolledBack, match="tatu-manage db restored"):
            ask()
    deployment.ledger.restored(iter(deployment.copied()))
    assert not publications.is_lost("blue", lost)
    deployment.reopen()
    deployment.ledger.check()
    deployment.ledger.authorities.snapshot("blue")
    deployment.ledger.publications.store(publication(300), None, after=100)


def test_a_version_that_is_here_or_may_have_been_pruned_is_not_lost(deployment):
    publications = deployment.ledger.publications
    assert publications.is_lost("blue", 1)
    publications.store(publication(50), b"", after=0)
    for version, lost in ((49, False), (50, False), (51, True)):
        assert publications.is_lost("blue", version) is lost
    assert publications.get("blue", 50) == publication(50)
    with pytest.raises(NotFound):
        publications.get("blue", 51)


def test_what_was_revoked_since_the_dump_is_revoked_again(deployment):
    kept, lost = deployment.issue(), deployment.issue("u2")
    deployment.dump()
    late, stolen = deployment.issue("u3"), deployment.issue("u4")
    revocations = deployment.ledger.revocations
    revocations.revoke(selector(serial=lost), "lost", event("revoked", authority="blue"))
    revocations.revoke(
        selector(subject="u4", block=True), "stolen", event("revoked", authority="blue")
    )
    mark = deployment.ledger.cut_offs.commit([losses.user("u5")], "gone", event())
    links = deployment.copied()
    deployment.restore()
    deployment.ledger.restored(iter(links))
    ledger = deployment.ledger
    assert {key("blue-user"): [lost, stolen]} == ledger.revocations.facts("blue", NOW).serials
    found = ledger.certificates.get("blue", lost, scope=None)
    assert (found.revoked_at, found.revoked_reason, found.revoked_by) == (NOW, "lost", "u-admin")
    assert ledger.certificates.get("blue", kept, scope=None).revoked_at is None
    again = ledger.certificates.get("blue", late, scope=None)
    assert (again.subject, again.line, again.revoked_at) == ("u3", "", None)
    assert (late,) == ledger.revocations.revoke(selector(subject="u3"), "gone too", event())
    assert {"u4"} == ledger.authorities.snapshot("blue").blocked_users
    assert mark <= ledger.cut_offs.mark()
    ledger.check()
    assert stolen < deployment.issue()


def test_what_was_retired_or_rebound_since_the_dump_is_so_again(deployment):
    ledger = deployment.ledger
    ledger.authorities.create(authority("red"), event(authority="red"))
    for place in ("blue", "red"):
        ledger.hosts.admit(replace(host(addresses=("10.0.0.1",)), authority=place), event())
    gone = deployment.issue()
    deployment.dump()
    ledger = deployment.ledger
    late = deployment.issue()
    serial = ledger.certificates.reserve("blue")
    named = host_certificate(serial, mark=ledger.cut_offs.mark(), principals=("db", "10.0.0.1"))
    ledger.certificates.record(named, event(authority="blue"))
    told = event("host.rebound", authority="blue")
    ledger.hosts.rebind("blue", "db", names=(), addresses=("10.0.0.2",), event=told)
    moved = ledger.certificates.get("blue", serial, scope=None)
    assert moved.revoked_reason == "host.rebound"
    ledger.authorities.retire("red", event("authority.retired", authority="red"))
    links = deployment.copied()
    deployment.restore()
    deployment.ledger.restored(iter(links))

    ledger = deployment.ledger
    again = ledger.certificates.get("blue", serial, scope=None)
    assert again.revoked_reason == "host.rebound"
    assert ledger.certificates.get("blue", gone, scope=None).revoked_at is None
    assert ledger.certificates.get("blue", late, scope=None).revoked_at is None
    assert ledger.authorities.get("red").retired_at == NOW
    left = ledger.hosts.list(authorities=None, limit=9, marker=None).items
    assert [one.authority for one in left] == ["blue"]


def test_a_certificate_that_is_made_again_has_its_origin(deployment):
    deployment.dump()
    deployment.issue()
    serial = deployment.ledger.certificates.reserve("blue")
    made = user_certificate(serial, origin="trust:t1")
    deployment.ledger.certificates.record(made, event(authority="blue"))
    links = deployment.copied()
    # as a release wrote it that knew of no origin
    old = links[1].body.replace('"origin":null,', "")
    assert old != links[1].body
    rewritten, previous = [], links[0].hash
    for link, body in zip(links[1:], (old, links[2].body), strict=True):
        rewritten.append(audit.link(previous, link.sequence, body))
        previous = rewritten[-1].hash
    deployment.restore()
    deployment.ledger.restored(iter([links[0], *rewritten]))

    certificates = deployment.ledger.certificates
    assert certificates.get("blue", serial, scope=None).origin == "trust:t1"
    assert certificates.get("blue", serial - 1, scope=None).origin == ""


def test_the_chain_goes_on_as_if_nothing_had_happened(deployment):
    deployment.issue()
    deployment.dump()
    deployment.issue()
    deployment.ledger.directory.create_user(User(id="u", name="u"), event("user.created"))
    links = deployment.copied()
    deployment.restore()
    deployment.ledger.restored(iter(links))
    now = deployment.copied()
    assert links == now[:-1]
    assert now == list(deployment.ledger.audit.read(after=0, limit=100))
    told = json.loads(now[-1].body)
    assert (
        told["action"],
        told["facts"]["to_be_done_by_hand"],
    ) == ("ledger.restored", {"user.created": 1})
    audit.check(now)


def test_a_ledger_that_went_on_alone_keeps_both_pasts(deployment, open_ledger):
    deployment.dump()
    lost = deployment.issue("u2")
    deployment.ledger.revocations.revoke(
        selector(serial=lost), "lost", event("revoked", authority="blue")
    )
    links = deployment.copied()
    deployment.restore()
    alone = open_ledger()  # as somebody would who lost the state folder, too
    alone.audit.append(event("meanwhile"))
    alone.close()
    with pytest.raises(RolledBack):
        deployment.ledger.audit.append(event())
    deployment.ledger.restored(iter(links))
    deployment.ledger.check()
    actions = [json.loads(link.body)["action"] for link in deployment.copied()]
    assert actions[1:] == ["meanwhile", "certificate.issued", "revoked", "ledger.restored"]
    assert links == list(auditcopy.read(deployment.state / "audit.jsonl.1"))
    assert deployment.ledger.certificates.get("blue", lost, scope=None).revoked_at
    audit.check(deployment.copied())


def test_a_restore_can_be_repeated(deployment):
    deployment.dump()
    lost = deployment.issue()
    links = deployment.copied()
    deployment.restore()
    deployment.ledger.restored(iter(links))
    first = deployment.ledger.audit.head()
    deployment.ledger.restored(iter(deployment.copied()))
    assert first[0] + 1 == deployment.ledger.audit.head()[0]
    assert lost == deployment.ledger.certificates.get("blue", lost, scope=None).serial


def test_a_forged_copy_is_refused(deployment):
    deployment.dump()
    deployment.issue()
    links = deployment.copied()
    forged = links[-1].body.replace("u1", "u2")
    links[-1] = audit.Link(**{**vars(links[-1]), "body": forged})
    deployment.restore()
    with pytest.raises(Malformed):
        deployment.ledger.restored(iter(links))


@pytest.mark.parametrize("torn", [b"{", b'{"sequence":9,"previous":"', b"\xff" * 70_000])
def test_a_torn_copy_is_mended(deployment, torn):
    deployment.issue()
    with (deployment.state / "audit.jsonl").open("ab") as file:
        file.write(torn)
    assert len(deployment.copied()) == 2
    deployment.issue()
    deployment.reopen()
    deployment.issue()
    links = deployment.copied()
    assert (4, links[-1].hash) == audit.check(links) == deployment.ledger.audit.head()


def test_a_copy_that_lags_catches_up(deployment, open_ledger):
    unseen = open_ledger()  # a process that was killed before it copied
    unseen.audit.append(event())
    unseen.audit.append(event())
    deployment.issue()
    assert len(deployment.copied()) == 4
    unseen.audit.append(event())
    deployment.reopen()
    assert len(deployment.copied()) == 5


def test_processes_share_one_copy(deployment, open_ledger):
    other = open_ledger(deployment.state)
    for _ in range(5):
        deployment.ledger.audit.append(event())
        other.audit.append(event())
    audit.check(deployment.copied())
    assert len(deployment.copied()) == 11
    other.certificates.reserve("blue")
    assert deployment.ledger.certificates.reserve("blue") == 129


def test_a_copy_of_large_events_is_read_from_its_end(deployment):
    deployment.ledger.audit.append(event(large="x" * 300_000))
    deployment.reopen()
    deployment.ledger.audit.append(event())
    assert audit.check(deployment.copied())[0] == 3


def test_without_its_marks_nothing_is_signed(deployment):
    (deployment.state / "highwater.json").write_text("{")
    with pytest.raises(Unavailable):
        deployment.ledger.certificates.reserve("blue")


def test_a_copy_that_cannot_be_written_stops_signing(deployment):
    deployment.issue()
    copy = deployment.state / "audit.jsonl"
    copy.unlink()
    copy.mkdir()
    with pytest.raises(Unavailable):
        deployment.issue()
    copy.rmdir()
    deployment.ledger.audit.append(event(at=NOW + timedelta(seconds=1)))
    assert deployment.copied() == list(deployment.ledger.audit.read(after=0, limit=10))
