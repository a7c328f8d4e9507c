"""What follows when the cloud tells that something happened (S4, S8)."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import structlog

from tatu.core import losses
from tatu.core.certificate import CertificateType
from tatu.core.errors import Denied, Gone, NotFound, Unavailable
from tatu.core.notices import Notice, NoticeKind
from tatu.ports import CertificateFilter, Project, User
from tatu.service import notices
from tatu.service.audit import SOME
from tatu.service.notices import CROWD, MAX_CONTENT, MAX_MESSAGE, Notices
from tests.fakes.deployment import Key
from tests.fakes.identities import request
from tests.fakes.threads import together
from tests.unit.test_service_enrolment import redeem
from tests.unit.test_service_instances import A, B, ask, boot, host
from tests.unit.test_service_issuance import events
from tests.unit.test_service_revocation import live, serial

K = NoticeKind


class Told:
    """A deployment whose cloud has changed without the ledger knowing, and what handles it."""

    def __init__(self, deployment, *, create_authorities=False):
        self.deployment = deployment
        self.lost = 0
        self.without = {}
        real = deployment.ledger.directory.effective_roles
        deployment.ledger.directory.effective_roles = lambda user, project: frozenset(
            role for role in real(user, project) if role.id not in self.without.get(user, ())
        )
        self.notices = Notices(
            ledger=deployment.ledger,
            identities=deployment.identities,
            authorities=deployment.authorities,
            instances=deployment.instances,
            clock=deployment.clock,
            lost=self._lose,
            later=self._put_off,
            create_authorities=create_authorities,
        )

    def _lose(self):
        self.lost += 1

    def _put_off(self):
        self.later = True

    def handle(self, kind, id_, **parts):
        """Handle a notice, and what it put off."""
        self.later = False
        self.notices.handle(Notice(kind=kind, id=id_, message="m-1", **parts))
        if self.later:
            self.notices.catch_up()

    def sweep(self):
        self.deployment.revocation.sweep()

    def take(self, user, *roles):
        """Let a user lose roles in the cloud."""
        self.without[user] = {f"id-{role}" for role in roles}

    def cut_off(self):
        """The topics of the cut-offs that are to be swept."""
        return [found.topic for found in self.deployment.ledger.cut_offs.unswept()]

    @property
    def chain(self):
        return self.deployment.ledger.audit.head()


@pytest.fixture
def told(deployment):
    return Told(deployment)


# --- losses


def test_a_removed_assignment_ends_what_it_gave_and_nothing_else(told, deployment):
    serial(deployment, "ann")
    bobs = serial(deployment, "bob")
    told.take("id-ann", "admin")
    told.handle(K.ASSIGNMENT_REMOVED, "id-admin", user="id-ann", project="blue")

    assert told.cut_off() == [losses.user_in_project("id-ann", "blue")]
    assert told.lost == 1
    told.sweep()
    assert live(deployment) == {bobs}


def test_the_event_of_a_loss_names_the_message_and_its_kind(told, deployment):
    told.handle(K.USER_DELETED, "id-ann")
    (found,) = events(deployment, "permission.ended")

    assert found["actor"]["kind"] == "system"
    assert found["subject"] == "id-ann"
    assert (found["facts"]["notice"], found["facts"]["message"]) == ("user.deleted", "m-1")


def test_a_loss_stands_before_anything_is_swept(told, deployment):
    identity = deployment.who("ann")
    told.take("id-ann", "admin", "member", "reader")
    told.handle(K.USER_DELETED, "id-ann")

    wanted = deployment.wanted(identity, Key())
    with pytest.raises(Denied):
        deployment.issuance.user_certificate(
            request("ann", "blue"), identity, "blue", *wanted, request_id="r"
        )


def test_a_notice_that_comes_twice_does_no_harm(told, deployment):
    anns = serial(deployment, "ann")
    for _ in range(2):
        told.handle(K.USER_DELETED, "id-ann")
        told.sweep()
    assert live(deployment) == {anns}  # the cloud says that she has all that she had


def test_a_domain_role_of_a_domain_itself_takes_nothing_away(told):
    before = told.chain
    told.handle(K.ASSIGNMENT_REMOVED, "id-admin", user="id-ann", domain="default")
    assert (told.chain, told.lost) == (before, 0)


UPDATES = {
    K.USER_CHANGED: ("user", "id-ann", User(id="id-ann", name="ann")),
    K.PROJECT_CHANGED: ("project", "blue", Project(id="blue", name="blue")),
    K.DOMAIN_CHANGED: ("project", "default", Project(id="default", name="Default")),
}


def answer(deployment, kind, found):
    """Have the cloud answer, or fail, when it is asked about what has changed."""
    asked, _, _ = UPDATES[kind]

    def ask(_):
        if isinstance(found, Exception):
            raise found
        return found

    setattr(deployment.identities, asked, ask)


@pytest.mark.parametrize("kind", UPDATES)
def test_a_change_that_takes_nothing_away_leaves_no_trace_in_the_chain(told, deployment, kind):
    _, changed, there = UPDATES[kind]
    answer(deployment, kind, there)
    before = told.chain
    told.handle(kind, changed)
    assert (told.chain, told.lost) == (before, 0)


@pytest.mark.parametrize("kind", UPDATES)
@pytest.mark.parametrize("now", ["disabled", "gone", "unknown"])
def test_what_was_disabled_or_is_gone_or_cannot_be_asked_about_is_a_loss(
    told, deployment, kind, now
):
    _, changed, there = UPDATES[kind]
    found = {
        "disabled": replace(there, enabled=False),
        "gone": NotFound("no"),
        "unknown": Unavailable("no"),
    }
    answer(deployment, kind, found[now])
    told.handle(kind, changed)
    assert told.cut_off() == list(Notice(kind=kind, id=changed, message="m").topics)


@pytest.mark.parametrize(
    "kind", [K.USER_DELETED, K.GROUP_CHANGED, K.GROUP_DELETED, K.DOMAIN_DELETED, K.ORIGIN_DELETED]
)
def test_what_was_deleted_is_a_loss_without_asking(told, deployment, kind):
    deployment.identities.out = True
    told.handle(kind, "x")
    assert len(told.cut_off()) == 1


@pytest.fixture
def paused(deployment, monkeypatch):
    """Notices between whose shared cut-offs there is a long pause."""
    monkeypatch.setattr(notices, "PAUSE", 60)
    return Told(deployment)


def crowd(told, kind, *ids):
    """Have notices of a kind come at once while the pause after another one lasts."""
    told.handle(kind, "first")
    together(len(ids), lambda at: told.handle(kind, ids[at]))


def test_losses_of_nobody_knows_whom_share_a_cut_off_and_a_link(paused, deployment):
    crowd(paused, K.GROUP_DELETED, *(f"g-{at}" for at in range(CROWD)))

    assert paused.cut_off() == [losses.everyone()] * 2
    assert paused.lost == 2
    first, second = events(deployment, "permission.ended")
    assert "shared_by" not in first["facts"]
    assert second["facts"]["shared_by"] == CROWD


def test_origins_of_no_certificate_are_cut_off_with_one_link(paused, deployment):
    origins = [f"application-credential:{at}" for at in range(CROWD)]
    crowd(paused, K.ORIGIN_DELETED, *origins)

    assert sorted(paused.cut_off()) == sorted(map(losses.origin, ["first", *origins]))
    assert len(events(deployment, "permission.ended")) == 2


def test_the_end_of_an_origin_that_has_a_certificate_is_a_link_of_its_own(told, deployment):
    real = deployment.identities.authenticate
    deployment.identities.authenticate = lambda *args, **kwargs: replace(
        real(*args, **kwargs), origin="trust:t"
    )
    serial(deployment, "ann")
    told.handle(K.ORIGIN_DELETED, "trust:other")
    together(CROWD, lambda _: told.handle(K.ORIGIN_DELETED, "trust:t"))
    subjects = [found["subject"] for found in events(deployment, "permission.ended")]
    assert subjects == ["trust:other"] + CROWD * ["trust:t"]
    told.sweep()
    assert live(deployment) == set()


def test_a_notice_is_done_when_a_cut_off_stands_that_is_younger(told, deployment):
    before = deployment.ledger.cut_offs.mark()
    told.handle(K.GROUP_DELETED, "g-1")
    middle = deployment.ledger.cut_offs.mark()
    told.handle(K.GROUP_DELETED, "g-2")
    assert before < middle < deployment.ledger.cut_offs.mark()


def test_many_losses_are_swept_as_one(told, deployment, monkeypatch):
    serial(deployment, "ann")
    bobs = serial(deployment, "bob")
    told.take("id-ann", "admin")
    for _ in range(30):
        told.handle(K.ASSIGNMENT_REMOVED, "id-admin", user="id-ann", project="blue")
    judged, listed, real = deployment.identities.judged, [], deployment.ledger.certificates.list
    monkeypatch.setattr(
        deployment.ledger.certificates,
        "list",
        lambda wanted, **page: listed.append(wanted) or real(wanted, **page),
    )
    told.sweep()

    assert (deployment.identities.judged - judged, len(listed)) == (1, 1)
    assert told.cut_off() == []
    assert live(deployment) == {bobs}


@pytest.mark.parametrize("kind", [K.ROLE_CHANGED, K.ROLE_DELETED])
def test_a_role_that_ends_or_is_renamed_ends_its_certificates_and_accounts(told, deployment, kind):
    serial(deployment, "ann")
    bobs = serial(deployment, "bob")
    told.take("id-ann", "admin")
    before = deployment.ledger.publications.revision("blue")
    told.handle(kind, "id-admin")

    assert deployment.ledger.publications.revision("blue") > before
    told.sweep()
    assert live(deployment) == {bobs}


def test_while_the_ledger_is_out_a_notice_is_brought_again(told, deployment, monkeypatch):
    def out(*_):
        raise Unavailable("the ledger does not answer")

    monkeypatch.setattr(deployment.ledger.cut_offs, "commit", out)
    with pytest.raises(Unavailable):
        told.handle(K.USER_DELETED, "id-ann")


# --- projects


def test_a_deleted_project_ends_its_authority(told, deployment):
    serial(deployment, "ann")
    answer(deployment, K.PROJECT_CHANGED, NotFound("gone"))
    for _ in range(2):
        told.handle(K.PROJECT_DELETED, "blue")

    assert live(deployment) == set()
    with pytest.raises(Gone):
        deployment.ledger.authorities.get("blue").check_not_retired()
    assert deployment.ledger.authorities.get("red").retired_at is None
    assert events(deployment, "authority.retired")[0]["facts"]["message"] == "m-1"


def test_a_project_that_the_cloud_still_has_keeps_its_authority_and_is_looked_at(told, deployment):
    anns = serial(deployment, "ann")
    told.handle(K.PROJECT_DELETED, "blue")
    told.sweep()

    assert deployment.ledger.authorities.get("blue").retired_at is None
    assert live(deployment) == {anns}
    assert len(events(deployment, "permission.ended")) == 1


def test_a_project_of_which_nobody_tells_is_cut_off_once_and_its_notice_comes_again(
    told, deployment
):
    serial(deployment, "ann")
    answer(deployment, K.PROJECT_CHANGED, Unavailable("no answer"))
    for _ in range(3):
        with pytest.raises(Unavailable):
            told.handle(K.PROJECT_DELETED, "blue")
    assert deployment.ledger.authorities.get("blue").retired_at is None
    assert told.cut_off() == [losses.project("blue")]
    assert len(events(deployment, "permission.ended")) == 1

    answer(deployment, K.PROJECT_CHANGED, NotFound("gone"))
    told.handle(K.PROJECT_DELETED, "blue")
    assert deployment.ledger.authorities.get("blue").retired_at is not None
    assert live(deployment) == set()


def test_a_deleted_project_without_authority_is_no_mistake(told, deployment):
    answer(deployment, K.PROJECT_CHANGED, NotFound("gone"))
    told.handle(K.PROJECT_DELETED, "green")


def test_a_new_project_gets_an_authority_only_where_that_is_wanted(told, deployment):
    answer(deployment, K.PROJECT_CHANGED, Project(id="green", name="Green"))
    told.handle(K.PROJECT_CREATED, "green")
    with pytest.raises(NotFound):
        deployment.ledger.authorities.get("green")

    wanting = Told(deployment, create_authorities=True)
    for _ in range(2):
        wanting.handle(K.PROJECT_CREATED, "green")
    assert deployment.ledger.authorities.get("green").name == "Green"
    (found,) = [e for e in events(deployment, "authority.created") if e["subject"] == "green"]
    assert (found["actor"]["kind"], found["request_id"]) == ("system", "m-1")


@pytest.mark.parametrize("found", [NotFound("gone again"), Unavailable("no answer")])
def test_a_new_project_that_cannot_be_asked_about_is_left(deployment, found):
    answer(deployment, K.PROJECT_CHANGED, found)
    Told(deployment, create_authorities=True).handle(K.PROJECT_CREATED, "green")
    with pytest.raises(NotFound):
        deployment.ledger.authorities.get("green")


# --- instances


def certified(deployment):
    """The hosts that have a certificate which is not revoked."""
    wanted = CertificateFilter(
        authorities=None, type=CertificateType.HOST, live_at=deployment.clock(), revoked=False
    )
    found = deployment.ledger.certificates.list(wanted, limit=99, marker=None).items
    return {certificate.host for certificate in found}


@pytest.fixture
def enrolled(deployment):
    """Two instances with certificates; the first has a floating address."""
    boot(deployment, A, name="db", addresses=("10.0.0.5", "203.0.113.7"))
    boot(deployment, B, name="web", addresses=("10.0.0.6",))
    for instance in (A, B):
        redeem(deployment, ask(deployment, instance), Key())


@pytest.mark.usefixtures("enrolled")
def test_a_deleted_instance_is_no_host_any_more(told, deployment):
    for _ in range(2):
        told.handle(K.INSTANCE_DELETED, A, project="blue")
    told.sweep()

    with pytest.raises(NotFound):
        host(deployment, A)
    assert told.lost == 1
    assert certified(deployment) == {B}
    assert events(deployment, "host.deleted")[0]["facts"]["message"] == "m-1"


@pytest.mark.usefixtures("enrolled")
def test_an_instance_is_deleted_in_its_own_project_alone(told, deployment):
    told.handle(K.INSTANCE_DELETED, A, project="red")
    assert host(deployment, A).deleted_at is None


@pytest.mark.usefixtures("enrolled")
@pytest.mark.parametrize("kind", [K.INSTANCE_CHANGED, K.INSTANCE_REBUILT])
def test_a_changed_instance_is_called_what_it_is_called_now(told, deployment, kind):
    deployment.inventory.change(A, name="store")
    told.handle(kind, A, project="blue")
    assert host(deployment, A).names == ("store", "store.blue.example")


@pytest.mark.usefixtures("enrolled")
@pytest.mark.parametrize("project", ["", "blue"])
def test_whoever_had_an_address_that_was_taken_away_has_it_no_more(told, deployment, project):
    deployment.inventory.change(A, addresses=("10.0.0.5",))
    told.handle(K.ADDRESS_CHANGED, "203.0.113.7", project=project)

    assert host(deployment, A).addresses == ("10.0.0.5",)
    assert certified(deployment) == {B}


@pytest.mark.usefixtures("enrolled")
def test_an_address_that_nobody_had_asks_nobody(told, deployment):
    before = deployment.inventory.asked
    told.handle(K.ADDRESS_CHANGED, "203.0.113.9")
    told.handle(K.ADDRESS_CHANGED, "203.0.113.7", project="red")
    assert deployment.inventory.asked == before


@pytest.mark.usefixtures("enrolled")
def test_while_the_inventory_is_out_what_changed_is_left_to_reconciliation(told, deployment):
    deployment.inventory.change(A, name="store")
    deployment.inventory.out = True
    told.handle(K.INSTANCE_CHANGED, A, project="blue")
    assert host(deployment, A).names == ("db", "db.blue.example")


@pytest.mark.usefixtures("enrolled")
def test_while_the_ledger_is_out_what_changed_waits(told, deployment, monkeypatch):
    def out(*_):
        raise Unavailable("the ledger does not answer")

    deployment.inventory.change(A, name="store")
    deployment.inventory.out = True
    with monkeypatch.context() as patch:
        patch.setattr(deployment.ledger, "check", out)
        with pytest.raises(Unavailable, match="ledger"):
            told.handle(K.INSTANCE_CHANGED, A, project="blue")
    deployment.inventory.out = False
    told.notices.catch_up()
    assert host(deployment, A).names == ("store", "store.blue.example")


@pytest.mark.usefixtures("enrolled")
def test_an_inventory_that_hangs_keeps_no_loss_waiting(told, deployment, monkeypatch):
    asked, answer = threading.Event(), threading.Event()
    ask_for = deployment.inventory.instance

    def hang(*args, **more):
        asked.set()
        assert answer.wait(10)
        return ask_for(*args, **more)

    monkeypatch.setattr(deployment.inventory, "instance", hang)
    told.notices.handle(Notice(kind=K.INSTANCE_CHANGED, id=A, message="m-1", project="blue"))
    with ThreadPoolExecutor(1) as pool:
        caught_up = pool.submit(told.notices.catch_up)
        try:
            assert asked.wait(10)
            told.handle(K.USER_DELETED, "id-ann")
            for _ in range(9):
                told.notices.handle(Notice(kind=K.INSTANCE_REBUILT, id=B, message="m-2"))
            assert told.lost == 1
        finally:
            answer.set()
        caught_up.result(10)


@pytest.mark.usefixtures("enrolled")
def test_what_is_told_many_times_is_asked_once(told, deployment):
    before = deployment.inventory.asked
    for message in ("m-1", "m-2", "m-3"):
        told.notices.handle(Notice(kind=K.INSTANCE_CHANGED, id=A, message=message, project="blue"))
    told.notices.catch_up()
    told.notices.catch_up()
    assert deployment.inventory.asked == before + 1


@pytest.mark.usefixtures("enrolled")
def test_more_than_can_wait_is_left_to_reconciliation(told, deployment, monkeypatch):
    monkeypatch.setattr(notices, "MAX_WAITING", 1)
    before = deployment.inventory.asked
    for instance in (A, B):
        told.notices.handle(
            Notice(kind=K.INSTANCE_CHANGED, id=instance, message="m", project="blue")
        )
    told.notices.catch_up()
    assert deployment.inventory.asked == before + 1


@pytest.mark.usefixtures("enrolled")
def test_an_instance_is_asked_about_only_when_its_name_is_another(told, deployment):
    deployment.inventory.change(A, name="store")
    before = deployment.inventory.asked
    told.handle(K.INSTANCE_CHANGED, A, project="blue", name="DB")
    told.handle(K.INSTANCE_CHANGED, A, project="red", name="store")
    assert deployment.inventory.asked == before
    told.handle(K.INSTANCE_CHANGED, A, project="blue", name="store")
    assert host(deployment, A).names == ("store", "store.blue.example")


# --- what nobody can read


def test_what_nobody_can_read_is_kept_in_the_chain_cut_short(told, deployment):
    told.notices.set_aside("m\ud800" * 1_000, "x" * 10_000, "no id")
    (found,) = events(deployment, "notice.set-aside")
    assert found["subject"] == ("m\ud800" * 1_000)[:MAX_MESSAGE]
    assert found["facts"] == {"content": "x" * MAX_CONTENT, "reason": "no id"}


def test_of_much_that_nobody_can_read_the_chain_keeps_some_and_the_log_tells_of_all(
    told, deployment
):
    with structlog.testing.capture_logs() as logged:
        for number in range(SOME + 3):
            told.notices.set_aside(f"m-{number}", "?", "no id")
    assert len(events(deployment, "notice.set-aside")) == SOME
    assert [line["kept"] for line in logged] == [True] * SOME + [False] * 3
    deployment.clock.forward(minutes=1)
    told.notices.set_aside("m-last", "?", "no id")
    assert len(events(deployment, "notice.set-aside")) == SOME + 1
