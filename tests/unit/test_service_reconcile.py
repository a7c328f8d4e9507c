"""What the cloud's notices missed, and the brake (S22)."""

from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from tatu.core.audit import SYSTEM
from tatu.core.certificate import CertificateType
from tatu.core.errors import Conflict, Denied, Unavailable
from tatu.core.host import Host
from tatu.core.identity import APPLICATION_CREDENTIAL, FEDERATION
from tatu.ports import Assignment, CertificateFilter, Project, User
from tatu.service.reconcile import Reconciliation, Settings
from tests.fakes.deployment import Key
from tests.unit.test_service_issuance import events

HOLD = timedelta(minutes=30)
KEY = Key()
CREDENTIAL = f"{APPLICATION_CREDENTIAL}7"


class Cloud:
    """A deployment whose cloud changes without telling anybody."""

    def __init__(self, deployment):
        self.deployment = deployment
        self.ledger = deployment.ledger
        self.directory = deployment.ledger.directory
        self.identities = deployment.identities
        self.inventory = deployment.inventory
        self.members = []
        self.refreshed = []
        self.reconciliation = self.compose()

    def compose(self, holder="one", **parts):
        return Reconciliation(
            ledger=self.ledger,
            identities=self.identities,
            inventory=self.inventory,
            revocation=self.deployment.revocation,
            clock=self.deployment.clock,
            settings=Settings(share=0.5, minimum=3, hold=HOLD),
            holder=holder,
            **parts,
        )

    def run(self, **options):
        return self.reconciliation.run(**options)

    def issue(self, user, project="blue"):
        return self.deployment.issue(user, key=KEY, project=project).certificate.serial

    def issue_by(self, user, origin):
        """Issue to a user who brought something besides a sign-in of their own."""
        identity = replace(self.deployment.who(user), origin=origin)
        wanted = self.deployment.wanted(identity, KEY)
        issued = self.deployment.issuance.user_certificate(
            None, identity, "blue", *wanted, request_id="r"
        )
        return issued.certificate.serial

    def revoked(self, serial):
        return self.ledger.certificates.get("blue", serial, scope=None).revoked_at is not None

    def populate(self, count):
        """Let there be so many members of blue with a certificate each."""
        for number in range(count):
            user = User(id=f"id-u{number:02}", name=f"u{number:02}")
            self.directory.create_user(user, self.deployment.event())
            self.deployment.assign(user.name, "member")
            self.issue(user.name)
            self.members.append(user.id)

    def silently(self, change):
        """Change the directory, and take away the cut-offs by which it told."""
        change()
        self.ledger.cut_offs.swept(*(sweep.mark for sweep in self.ledger.cut_offs.unswept()))

    def forget(self, *users, role="member"):
        for user in users:
            lost = Assignment(project="blue", role=f"id-{role}", user=user)
            self.silently(lambda lost=lost: self.directory.unassign(lost, self.deployment.event()))

    def remember(self, *users):
        for user in users:
            given = Assignment(project="blue", role="id-member", user=user)
            self.directory.assign(given, self.deployment.event())

    def live(self, kind=CertificateType.USER):
        wanted = CertificateFilter(
            authorities=None, type=kind, live_at=self.deployment.clock(), revoked=False
        )
        found = self.ledger.certificates.list(wanted, limit=1000, marker=None).items
        return {held.subject or held.host for held in found}

    def held(self):
        return {held.value for held in self.reconciliation.held()}

    def put_instances(self, count):
        """Let there be so many instances that are hosts."""
        for number in range(count):
            host_id = f"i-{number:02}"
            now = self.deployment.clock()
            self.inventory.put(host_id, built_at=now)
            self.ledger.hosts.admit(
                Host(
                    id=host_id,
                    authority="blue",
                    names=(),
                    addresses=(),
                    epoch=1,
                    admitted_until=now,
                    created_at=now,
                    instance=number != 0,  # an operator admitted the first
                ),
                self.deployment.event(),
            )

    def hosts(self):
        page = self.ledger.hosts.list(authorities=None, limit=1000, marker=None)
        return {host.id for host in page.items}


@pytest.fixture
def cloud(deployment):
    return Cloud(deployment)


# --- what is lost


def test_what_a_notice_missed_is_revoked_and_nothing_else(cloud):
    cloud.populate(4)
    cloud.deployment.assign("u00", "member", project="red")
    reds = cloud.issue("u00", project="red")
    cloud.forget("id-u00", "id-u01")
    report = cloud.run()

    assert (report.found, report.applied, report.held) == (2, 2, 0)
    assert cloud.live() == {"id-u00", "id-u02", "id-u03"}
    assert cloud.ledger.certificates.get("red", reds, scope=None).revoked_at is None
    (told,) = events(cloud.deployment, "certificates.revoked")
    assert told["facts"]["reason"] == "reconciled"
    assert cloud.ledger.cut_offs.unswept() == ()


@pytest.mark.parametrize("how", ["delete_user", "enable_user"])
def test_a_user_who_is_really_gone_loses_all(cloud, how):
    cloud.populate(2)
    kept = {} if how == "delete_user" else {"enabled": False}
    change = getattr(cloud.directory, how)
    cloud.silently(lambda: change("id-u01", cloud.deployment.event(), **kept))

    assert cloud.run().applied == 1
    assert cloud.live() == {"id-u00"}


@pytest.mark.parametrize("how", ["delete_project", "enable_project"])
def test_a_project_that_is_really_gone_loses_its_certificates_but_not_its_authority(cloud, how):
    cloud.populate(2)
    kept = {} if how == "delete_project" else {"enabled": False}
    change = getattr(cloud.directory, how)
    cloud.silently(lambda: change("blue", cloud.deployment.event(), **kept))
    before = cloud.identities.judged
    report = cloud.run()

    assert (report.found, report.applied) == (2, 2)
    assert cloud.live() == set()
    assert cloud.identities.judged == before  # one answer about the project is enough
    assert cloud.ledger.authorities.get("blue").retired_at is None


def test_a_federated_certificate_is_not_judged_by_assignments(cloud):
    cloud.populate(1)
    cloud.issue_by("bob", f"{FEDERATION}corp")
    cloud.forget("id-bob")
    assert cloud.run().found == 0

    cloud.silently(
        lambda: cloud.directory.enable_user("id-bob", cloud.deployment.event(), enabled=False)
    )
    assert cloud.run().applied == 1
    assert cloud.live() == {"id-u00"}


def test_what_came_by_a_credential_or_trust_that_is_gone_is_revoked_and_nothing_else(cloud):
    cloud.populate(1)
    lost = [cloud.issue_by("u00", origin) for origin in (CREDENTIAL, "trust:9", CREDENTIAL)]
    kept = cloud.issue_by("u00", f"{APPLICATION_CREDENTIAL}70")
    cloud.identities.taken_back |= {CREDENTIAL, "trust:9"}
    before = cloud.run(dry_run=True).calls
    report = cloud.run()

    assert (report.found, report.applied, report.origins) == (2, 2, 3)
    assert [cloud.revoked(serial) for serial in (*lost, kept)] == [True, True, True, False]
    assert cloud.live() == {"id-u00"}
    assert report.calls == before
    assert (cloud.run().found, cloud.run().origins) == (0, 1)


def test_each_credential_costs_one_question_however_many_certificates_came_by_it(cloud):
    cloud.populate(1)
    before = cloud.run().calls
    for _ in range(5):
        cloud.issue_by("u00", CREDENTIAL)
    assert cloud.run().calls == before + 1


def test_a_credential_that_was_lost_with_a_role_given_back_is_found(cloud):
    """Keystone deletes it with the role, and tells nobody."""
    cloud.populate(1)
    serial = cloud.issue_by("u00", CREDENTIAL)
    cloud.forget("id-u00")
    cloud.remember("id-u00")
    cloud.identities.taken_back.add(CREDENTIAL)
    assert cloud.run().applied == 1
    assert cloud.revoked(serial)


# --- what is no loss: the cloud's mistakes


def test_a_credential_of_which_nobody_tells_stands(cloud):
    cloud.populate(1)
    serial = cloud.issue_by("u00", CREDENTIAL)

    def silent(*_):
        raise Unavailable("500")

    cloud.identities.lent = silent
    report = cloud.run()

    assert (report.found, report.unjudged) == (0, 1)
    assert not cloud.revoked(serial)


def test_a_page_that_is_missing_is_no_absence(cloud):
    cloud.populate(4)
    whole = cloud.identities.holders
    cloud.identities.holders = lambda project, since=None: dict(list(whole(project).items())[::2])
    report = cloud.run()

    assert (report.found, report.held, report.applied) == (0, 0, 0)
    assert len(cloud.live()) == 4


def test_an_empty_list_is_no_absence(cloud):
    cloud.populate(4)
    cloud.put_instances(4)
    cloud.identities.holders = lambda project, since=None: {}
    cloud.identities.projects = lambda since=None: iter(())
    cloud.inventory.instances = lambda: iter(())
    report = cloud.run()

    assert (report.found, report.held, report.unjudged) == (0, 0, 0)
    assert (len(cloud.live()), len(cloud.hosts())) == (4, 4)


def test_an_error_half_way_through_a_list_is_no_absence(cloud):
    cloud.populate(3)
    cloud.put_instances(3)

    def half(first):
        yield first
        raise Unavailable("500")

    cloud.identities.projects = lambda since=None: half(Project(id="red", name="Red"))
    cloud.inventory.instances = lambda: half("i-01")
    report = cloud.run()

    assert (report.found, report.applied) == (0, 0)
    assert report.unjudged == 2  # hosts; the projects answered for themselves
    assert (len(cloud.live()), len(cloud.hosts())) == (3, 3)


def test_a_token_of_the_wrong_scope_sees_nothing_and_proves_nothing(cloud):
    cloud.populate(4)

    def wrong(*_):
        raise Unavailable("Tatu's own token is not scoped to the system")

    cloud.identities.holders = lambda project, since=None: {}
    cloud.identities.effective_roles = wrong
    report = cloud.run()

    assert (report.found, report.unjudged, report.held) == (0, 4, 0)
    assert len(cloud.live()) == 4


def test_an_outage_is_no_absence_and_nobody_waits_for_each_answer(cloud):
    cloud.populate(4)
    cloud.put_instances(3)
    cloud.identities.out = cloud.inventory.out = True
    report = cloud.run()

    assert (report.found, report.unjudged, report.applied) == (0, 6, 0)
    assert report.calls < 6
    assert (len(cloud.live()), len(cloud.hosts())) == (4, 3)


# --- the brake


def test_a_mass_loss_is_held_and_applied_after_half_an_hour(cloud):
    cloud.populate(4)
    lost = cloud.members[:3]
    cloud.forget(*lost)
    assert (cloud.run().held, cloud.run().applied) == (3, 0)
    assert (cloud.held(), len(cloud.live())) == (set(lost), 4)
    (told,) = events(cloud.deployment, "brake.held")
    assert told["facts"]["held"] == {"blue": [f"user {user}" for user in lost]}

    cloud.deployment.clock.forward(minutes=29)
    assert cloud.run().applied == 0
    cloud.deployment.clock.forward(minutes=1)
    report = cloud.run()

    assert (report.applied, report.held) == (3, 0)
    assert (cloud.live(), cloud.held()) == (set(cloud.members[3:]), set())
    assert len(events(cloud.deployment, "brake.applied")) == 1


def test_the_next_run_is_due_when_the_oldest_hold_ends(cloud):
    cloud.populate(4)
    assert cloud.reconciliation.watch() is None
    cloud.forget(*cloud.members[:3])
    second = timedelta(seconds=1)
    assert HOLD - second < cloud.reconciliation.watch() <= HOLD
    cloud.deployment.clock.forward(minutes=29)
    assert 59 * second < cloud.reconciliation.watch() <= 60 * second
    cloud.identities.out = True  # what is over and cannot be judged makes nobody hurry
    cloud.deployment.clock.forward(minutes=1)
    assert cloud.reconciliation.watch() is None
    assert len(cloud.held()) == 3


def test_a_mass_of_lost_credentials_is_held_and_gets_nothing_new(cloud):
    cloud.populate(1)
    origins = [f"{APPLICATION_CREDENTIAL}{number}" for number in range(4)]
    serials = [cloud.issue_by("u00", origin) for origin in origins]
    cloud.identities.taken_back |= set(origins[:3])
    assert (cloud.run().held, cloud.held()) == (3, set(origins[:3]))
    with pytest.raises(Denied, match="being checked"):
        cloud.issue_by("u00", origins[0])
    cloud.issue_by("u00", origins[3])
    cloud.issue("u00")
    assert not any(map(cloud.revoked, serials))

    cloud.deployment.clock.forward(minutes=29)
    cloud.identities.out = True
    assert cloud.run().held == 3
    cloud.deployment.clock.forward(minutes=1)
    cloud.identities.out = False
    assert (cloud.run().applied, cloud.held()) == (3, set())
    assert [*map(cloud.revoked, serials)] == [True, True, True, False]


def test_a_held_user_gets_no_certificate_and_others_do(cloud):
    cloud.populate(4)
    cloud.forget(*cloud.members[:3])
    cloud.run()
    cloud.remember(cloud.members[0])

    with pytest.raises(Denied, match="being checked"):
        cloud.issue("u00")
    cloud.issue("u03")


def test_what_proves_to_be_no_loss_is_released(cloud):
    cloud.populate(4)
    cloud.forget(*cloud.members[:3])
    cloud.run()
    cloud.remember(*cloud.members[:1])
    report = cloud.run()

    assert (report.released, report.held) == (1, 2)
    assert cloud.held() == set(cloud.members[1:3])
    assert len(cloud.live()) == 4
    cloud.issue("u00")


def test_what_is_held_stays_so_while_the_cloud_does_not_answer(cloud):
    cloud.populate(4)
    cloud.forget(*cloud.members[:3])
    cloud.run()
    cloud.deployment.clock.forward(hours=2)
    cloud.identities.out = True
    report = cloud.run()

    assert (report.held, report.applied, report.released) == (3, 0, 0)
    assert len(cloud.live()) == 4


@pytest.mark.parametrize(("there", "lost", "held"), [(3, 2, 0), (4, 3, 3), (8, 4, 0), (8, 5, 5)])
def test_the_brake_needs_a_number_and_a_share(cloud, there, lost, held):
    """Three at least, and more than half of all."""
    cloud.populate(there)
    cloud.forget(*cloud.members[:lost])
    report = cloud.run()

    assert (report.found, report.held, report.applied) == (lost, held, lost - held)


def test_the_brake_counts_each_user_once_however_many_projects_they_have(cloud):
    """Two of five are no mass, though they lost most of all that there was to lose."""
    cloud.populate(3)
    places = [f"p{number}" for number in range(4)]
    for place in places:
        cloud.directory.create_project(Project(id=place, name=place), cloud.deployment.event())
        cloud.deployment.authority(place)
        for user in ("ann", "bob"):
            cloud.deployment.assign(user, "member", project=place)
            cloud.issue(user, place)
    for place in places:
        for user in ("id-ann", "id-bob"):
            lost = Assignment(project=place, role="id-member", user=user)
            cloud.silently(
                lambda lost=lost: cloud.directory.unassign(lost, cloud.deployment.event())
            )
    report = cloud.run()

    assert (report.found, report.held, report.applied) == (8, 0, 8)


def test_an_explicit_loss_is_never_held(cloud):
    cloud.populate(4)
    cloud.forget(*cloud.members[:3])
    cloud.run()
    admin = cloud.deployment.who("ann")
    for user in cloud.members:
        cloud.deployment.administration.enable_user(admin, user, enabled=False, request_id="r")

    assert cloud.live() == set()
    assert (cloud.run().released, cloud.held()) == (3, set())


def test_what_is_held_of_a_project_outlasts_one_more_loss_of_it(cloud):
    cloud.populate(4)
    cloud.forget(*cloud.members[:3])
    cloud.run()
    told = cloud.deployment.event
    cloud.silently(lambda: cloud.directory.enable_project("blue", told(), enabled=False))
    cloud.reconciliation = replace(
        cloud.reconciliation, settings=Settings(share=0.5, minimum=5, hold=HOLD)
    )
    report = cloud.run()

    assert (report.applied, report.held) == (1, 3)
    assert cloud.live() == set(cloud.members[:3])


def test_an_operator_applies_or_releases_what_is_held(cloud):
    cloud.populate(4)
    cloud.forget(*cloud.members[:3])
    cloud.run()
    first, *rest = cloud.reconciliation.held()
    cloud.reconciliation.release([first], SYSTEM)
    assert cloud.held() == set(cloud.members[1:3])
    assert cloud.reconciliation.apply(rest, SYSTEM) == 2
    assert cloud.live() == {first.value, *cloud.members[3:]}


# --- hosts


def test_an_instance_that_is_gone_is_no_host_any_more(cloud):
    cloud.put_instances(3)
    for host_id in ("i-00", "i-02"):
        cloud.inventory.remove(host_id)
    report = cloud.run()

    assert (report.hosts, report.found, report.applied) == (2, 1, 1)
    assert cloud.hosts() == {"i-00", "i-01"}  # what an operator admitted is the operator's
    (told,) = events(cloud.deployment, "host.deleted")
    assert (told["subject"], told["actor"]["kind"]) == ("i-02", "system")


def test_a_mass_of_lost_instances_is_held_and_applied(cloud):
    cloud.put_instances(5)
    for number in range(1, 4):
        cloud.inventory.remove(f"i-{number:02}")
    assert (cloud.run().held, len(cloud.hosts())) == (3, 5)
    cloud.deployment.clock.forward(minutes=30)
    assert (cloud.run().applied, cloud.hosts()) == (3, {"i-00", "i-04"})


def test_hosts_are_asked_about_in_turn(cloud, monkeypatch):
    monkeypatch.setattr("tatu.service.reconcile.REFRESHED", 2)
    cloud.put_instances(4)
    asked = []

    def refresh(host_id):
        asked.append(host_id)
        if host_id == "i-02":
            raise Unavailable("no answer about this one")

    cloud.reconciliation = cloud.compose(refresh=refresh)
    for _ in range(3):
        cloud.run()
    assert asked == ["i-01", "i-02", "i-03", "i-01", "i-02", "i-03"]


@pytest.mark.parametrize("away", ["inventory", "ledger"])
def test_no_host_is_asked_about_any_more_when_none_can_be(cloud, monkeypatch, away):
    cloud.put_instances(4)
    asked = []

    def refresh(host_id):
        asked.append(host_id)
        part = cloud.inventory if away == "inventory" else cloud.ledger
        monkeypatch.setattr(part, "check", out)
        raise Unavailable("no answer")

    def out():
        raise Unavailable("nothing answers")

    cloud.reconciliation = cloud.compose(refresh=refresh)
    with suppress(Unavailable):
        cloud.run()
    assert asked == ["i-01"]


# --- the run itself


def test_a_project_without_an_authority_gets_one_where_that_is_wanted(cloud):
    made = []

    def create(project):
        made.append(project.id)
        if project.id == "bad":
            raise Conflict("another has its DNS suffix")

    for project in ("bad", "new", "off"):
        cloud.directory.create_project(Project(id=project, name=project), cloud.deployment.event())
    cloud.directory.enable_project("off", cloud.deployment.event(), enabled=False)
    assert cloud.run().created == 0
    cloud.reconciliation = cloud.compose(create=create)
    report = cloud.run()

    assert (sorted(made), report.created) == (["bad", "new"], 1)
    assert len(report.troubles) == 1


def test_a_dry_run_tells_and_does_nothing(cloud):
    cloud.populate(4)
    cloud.forget(*cloud.members[:3])
    head = cloud.ledger.audit.head()
    report = cloud.run(dry_run=True)

    assert (report.found, report.held) == (3, 3)
    assert (head, len(cloud.live()), cloud.held()) == (cloud.ledger.audit.head(), 4, set())


def test_one_process_compares_at_a_time(cloud):
    other = cloud.compose(holder="other")
    reports = []
    cloud.reconciliation = cloud.compose(create=lambda _: reports.append(other.run()))
    cloud.directory.create_project(Project(id="new", name="New"), cloud.deployment.event())
    assert not cloud.run().skipped

    assert [report.skipped for report in reports] == [True]
    assert not other.run().skipped


def test_a_process_that_was_killed_while_comparing_holds_the_others_up_for_a_minute(cloud):
    def killed(since=None):
        raise KeyboardInterrupt

    other = cloud.compose(holder="other")
    release = cloud.ledger.leases.release
    cloud.ledger.leases.release = lambda *_: None  # nor does it tidy up
    cloud.identities.projects, projects = killed, cloud.identities.projects
    with pytest.raises(KeyboardInterrupt):
        cloud.run()
    cloud.ledger.leases.release, cloud.identities.projects = release, projects
    assert other.run().skipped
    cloud.deployment.clock.forward(minutes=1)
    assert not other.run().skipped


def test_who_lost_the_lease_does_nothing(cloud):
    cloud.populate(1)
    cloud.forget("id-u00")
    clock, ledger = cloud.deployment.clock, cloud.ledger
    projects = cloud.identities.projects

    def slow(since=None):
        clock.forward(minutes=6)
        now = clock()
        ledger.leases.take("reconcile", "other", now=now, until=now + timedelta(minutes=5))
        return projects()

    cloud.identities.projects = slow
    with pytest.raises(Unavailable, match="another process"):
        cloud.run()
    assert cloud.live() == {"id-u00"}


def test_a_project_costs_two_questions_at_most_however_many_its_holders_are(cloud):
    cloud.populate(9)
    cloud.deployment.assign("u00", "member", project="red")
    cloud.issue("u00", project="red")
    report = cloud.run()

    assert report.holders == 10
    assert report.calls <= 2 * report.authorities


def test_what_is_held_is_an_error_in_the_log(cloud):
    cloud.populate(4)
    with capture_logs() as lines:
        cloud.reconciliation.watch()
    assert [(line["event"], line["log_level"]) for line in lines] == [("reconciled", "info")]

    cloud.forget(*cloud.members[:3])
    with capture_logs() as lines:
        cloud.reconciliation.watch()
    assert lines[-1] == {"event": "brake.held", "log_level": "error", "held": 3}
