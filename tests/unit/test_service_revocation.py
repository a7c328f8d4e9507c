"""Revocations, losses and sweeps (S4, S5, S6)."""

from dataclasses import replace
from datetime import timedelta

import pytest

from tatu.core import losses
from tatu.core.certificate import CertificateType
from tatu.core.errors import Conflict, Denied, Gone, NotFound, PermissionEnded, Unavailable
from tatu.core.identity import FEDERATION, Role
from tatu.ports import (
    Assignment,
    CertificateFilter,
    Group,
    Project,
    RevocationSelector,
    User,
)
from tatu.service.settling import TOGETHER
from tests.fakes.deployment import Key
from tests.fakes.identities import request
from tests.fakes.threads import together
from tests.unit.test_service_issuance import events


def live(deployment, **parts):
    wanted = CertificateFilter(
        type=CertificateType.USER,
        live_at=deployment.clock(),
        revoked=False,
        **{"authorities": None, **parts},
    )
    found = deployment.ledger.certificates.list(wanted, limit=1000, marker=None).items
    return {certificate.serial for certificate in found}


def serial(deployment, user, **parts):
    return deployment.issue(user, **parts).certificate.serial


def revoke(deployment, user="ann", **selected):
    selector = RevocationSelector(authority="blue", **selected)
    return deployment.revocation.revoke(deployment.who(user), selector, "test", request_id="r")


# --- by name


def test_revoking_twice_is_the_same_as_once(deployment):
    one = serial(deployment, "ann")

    assert revoke(deployment, serial=one).serials == (one,)
    assert revoke(deployment, serial=one).serials == ()
    assert live(deployment) == set()


def test_what_never_was_is_not_found(deployment):
    with pytest.raises(NotFound):
        revoke(deployment, serial=999)


def test_who_may_revoke_their_own_kills_nobody_elses_certificate(deployment):
    key = Key()
    anns, bobs = serial(deployment, "ann", key=key), serial(deployment, "bob", key=key)
    found = revoke(deployment, "bob", subject_key=key.public.fingerprint, subjects_only="id-bob")

    assert found.serials == (bobs,)
    assert live(deployment) == {anns}
    with pytest.raises(NotFound):
        revoke(deployment, "bob", serial=anns, subjects_only="id-bob")


def test_everything_is_everything_of_one_authority(deployment):
    mine = {serial(deployment, user) for user in ("ann", "bob")}
    deployment.assign("ann", "member", project="red")
    reds = serial(deployment, "ann", project="red")

    assert set(revoke(deployment, everything=True).serials) == mine
    assert live(deployment) == {reds}


def test_a_revocation_is_audited_with_who_what_and_why(deployment):
    revoke(deployment, serial=serial(deployment, "bob"))

    (told,) = events(deployment, "certificates.revoked")
    assert told["actor"]["name"] == "ann"
    assert told["facts"]["reason"] == "test"
    assert told["request_id"] == "r"


# --- losses: every way to lose a role ends its certificates, and nothing else


def unassign(deployment, user=None, group=None, role="admin"):
    holder = {"user": f"id-{user}"} if user else {"group": group}
    deployment.administration.unassign(
        deployment.who("ann"),
        Assignment(project="blue", role=f"id-{role}", **holder),
        request_id="r",
    )


def test_removing_a_role_revokes_just_the_certificates_that_hold_it(deployment):
    both = serial(deployment, "ann")
    member = serial(deployment, "ann", principals=frozenset({"member"}))
    bobs = serial(deployment, "bob")

    unassign(deployment, "ann")

    assert live(deployment) == {member, bobs}
    found = deployment.ledger.certificates.get("blue", both, scope=None)
    assert found.revoked_at is not None
    assert deployment.ledger.cut_offs.unswept() == ()


def test_a_role_that_a_group_still_gives_is_not_lost(deployment):
    give_by_group(deployment, "ann", "admin")
    both = serial(deployment, "ann")
    unassign(deployment, "ann")
    assert live(deployment) == {both}

    unassign(deployment, group="ops")
    assert live(deployment) == set()


def give_by_group(deployment, user, role):
    fresh = deployment.who("ann")
    deployment.administration.create_group(fresh, Group(id="ops", name="Ops"), request_id="r")
    deployment.administration.add_member(fresh, "ops", f"id-{user}", request_id="r")
    deployment.administration.assign(
        fresh, Assignment(project="blue", role=f"id-{role}", group="ops"), request_id="r"
    )


@pytest.mark.parametrize("how", ["leave", "delete"])
def test_leaving_or_deleting_a_group_loses_what_it_gave(deployment, how):
    give_by_group(deployment, "bob", "admin")
    both = serial(deployment, "bob")
    member = serial(deployment, "bob", principals=frozenset({"member"}))
    fresh = deployment.who("ann")
    if how == "leave":
        deployment.administration.remove_member(fresh, "ops", "id-bob", request_id="r")
    else:
        deployment.administration.delete_group(fresh, "ops", request_id="r")

    assert both not in live(deployment)
    assert live(deployment) == {member}


@pytest.mark.parametrize("how", ["disable", "delete"])
def test_a_user_who_is_disabled_or_deleted_loses_all(deployment, how):
    serial(deployment, "bob")
    anns = serial(deployment, "ann")
    fresh = deployment.who("ann")
    if how == "disable":
        deployment.administration.enable_user(fresh, "id-bob", enabled=False, request_id="r")
    else:
        deployment.administration.delete_user(fresh, "id-bob", request_id="r")

    assert live(deployment) == {anns}


@pytest.mark.parametrize("how", ["disable", "delete"])
def test_a_project_that_is_disabled_or_deleted_ends_its_certificates(deployment, how):
    deployment.assign("ann", "member", project="red")
    serial(deployment, "ann")
    reds = serial(deployment, "ann", project="red")
    fresh = deployment.who("ann")
    if how == "disable":
        deployment.administration.enable_project(fresh, "blue", enabled=False, request_id="r")
    else:
        deployment.administration.delete_project(fresh, "blue", request_id="r")

    wanted = CertificateFilter(authorities=None, live_at=deployment.clock())
    (left,) = deployment.ledger.certificates.list(wanted, limit=9, marker=None).items
    assert (left.authority, left.serial) == ("red", reds)


def test_a_deleted_role_is_lost_by_all_who_held_it(deployment):
    serial(deployment, "ann")
    bobs = serial(deployment, "bob")
    deployment.administration.delete_role(deployment.who("ann"), "id-admin", request_id="r")

    assert live(deployment) == {bobs}


def test_a_renamed_role_is_a_loss_of_the_old_name(deployment):
    serial(deployment, "ann")
    bobs = serial(deployment, "bob")
    effective = deployment.identities.effective_roles

    def renamed(subject, project):
        names = {"admin": "chief"}
        return frozenset(
            replace(role, name=names.get(role.name, role.name))
            for role in effective(subject, project)
        )

    deployment.identities.effective_roles = renamed
    deployment.ledger.cut_offs.commit([losses.role("id-admin")], "renamed", deployment.event())

    assert deployment.revocation.sweep() == 1
    assert live(deployment) == {bobs}


def test_a_role_made_anew_under_the_old_name_does_not_bring_certificates_back(deployment):
    serial(deployment, "ann")
    fresh = deployment.who("ann")
    deployment.administration.delete_role(fresh, "id-admin", request_id="r")
    deployment.administration.create_role(fresh, Role(id="id-2", name="admin"), request_id="r")
    deployment.administration.assign(
        fresh, Assignment(project="blue", role="id-2", user="id-ann"), request_id="r"
    )

    assert live(deployment) == set()


# --- sweeps


def test_what_cannot_be_judged_now_is_swept_later(deployment):
    serial(deployment, "ann")
    deployment.identities.out = True
    deployment.ledger.directory.enable_user("id-ann", deployment.event(), enabled=False)
    assert deployment.revocation.sweep() == 0
    assert len(deployment.ledger.cut_offs.unswept()) == 1
    assert len(live(deployment)) == 1

    deployment.identities.out = False
    assert deployment.revocation.sweep() == 1
    assert deployment.ledger.cut_offs.unswept() == ()
    assert deployment.revocation.sweep() == 0


def test_one_cut_off_that_cannot_be_judged_holds_up_no_other(deployment):
    for user in ("ann", "bob"):
        serial(deployment, user)
    effective = deployment.identities.effective_roles

    def half(subject, project):
        if subject == "id-ann":
            raise Unavailable("the cloud does not answer for ann")
        return effective(subject, project)

    deployment.identities.effective_roles = half
    for user in ("ann", "bob"):
        deployment.ledger.directory.enable_user(f"id-{user}", deployment.event(), enabled=False)

    assert deployment.revocation.sweep() == 1
    assert len(deployment.ledger.cut_offs.unswept()) == 1


def test_a_loss_that_took_nothing_revokes_nothing(deployment):
    serial(deployment, "ann")
    lost = [losses.user("id-ann"), losses.project("blue")]
    deployment.ledger.cut_offs.commit(lost, "test", deployment.event())

    assert deployment.revocation.sweep() == 0
    assert len(live(deployment)) == 1
    assert events(deployment, "certificates.revoked") == []


def test_a_sweep_walks_past_one_page(deployment, monkeypatch):
    monkeypatch.setattr("tatu.service.paging.PAGE", 2)
    for _ in range(5):
        serial(deployment, "bob")
    deployment.administration.enable_user(
        deployment.who("ann"), "id-bob", enabled=False, request_id="r"
    )

    assert live(deployment) == set()


# --- sources whose answers may be older than what they told


@pytest.fixture
def late(deployment):
    """A cloud that answers for a second after a loss as if nothing had happened."""
    deployment.identities.lag = timedelta(seconds=1)
    return Late(deployment)


class Late:
    def __init__(self, deployment):
        self.deployment = deployment
        self.knows = False
        self._roles = deployment.identities.effective_roles
        deployment.identities.effective_roles = self.effective_roles

    def effective_roles(self, subject, project):
        held = self._roles(subject, project)
        return held - {Role(id="id-admin", name="admin")} if self.knows else held

    def settle(self):
        """Let the source know what it told of."""
        self.knows = True
        self.deployment.clock.forward(seconds=1)


def test_what_was_told_within_the_lag_is_judged_again_after_it(late, deployment):
    lost, bobs = serial(deployment, "ann"), serial(deployment, "bob")
    assert lose(deployment, losses.user("id-ann")) == 0
    meanwhile = serial(deployment, "ann")  # got by an answer that is older than the loss
    assert {lost, meanwhile, bobs} == live(deployment)

    late.settle()
    assert deployment.revocation.sweep() == 2
    assert live(deployment) == {bobs}
    assert deployment.ledger.cut_offs.unswept() == ()
    assert deployment.revocation.due() is None


def test_what_is_known_at_once_is_revoked_at_once(late, deployment):
    serial(deployment, "ann")
    late.knows = True

    assert lose(deployment, losses.user("id-ann")) == 1
    assert len(deployment.ledger.cut_offs.unswept()) == 1


def test_a_loss_within_the_lag_is_judged_once_and_once_after_it(late, deployment):
    for user in ("ann", "bob"):
        serial(deployment, user)
    lose(deployment, losses.user("id-ann"))
    lose(deployment, losses.user("id-bob"))
    judged = deployment.identities.judged
    deployment.revocation.sweep()
    assert deployment.identities.judged == judged

    late.settle()
    deployment.revocation.sweep()
    deployment.revocation.sweep()
    assert deployment.identities.judged == judged + 2


def test_it_is_told_when_the_oldest_of_what_is_judged_early_is_due(late, deployment):
    assert deployment.revocation.due() is None
    lose(deployment, losses.user("id-ann"))
    deployment.clock.forward(seconds=0.5)
    lose(deployment, losses.user("id-bob"))

    assert timedelta(seconds=0.4) < deployment.revocation.due() < timedelta(seconds=0.5)
    deployment.clock.forward(hours=1)
    assert deployment.revocation.due() == TOGETHER


def test_a_slower_sweep_forgets_nothing_that_one_after_it_judged_early(late, deployment):
    """It would be settled with the next sweep of all, a minute late, not within a second."""
    hosts = deployment.ledger.hosts
    get = hosts.get

    def slowly(*host, **scope):
        hosts.get = get
        lose(deployment, losses.user("id-bob"))
        return get(*host, **scope)

    hosts.get = slowly
    lose(deployment, losses.host("blue", "none"))
    assert deployment.revocation.due() is not None
    late.settle()
    deployment.revocation.sweep()
    assert deployment.revocation.due() is None


def test_what_a_killed_worker_judged_early_another_one_settles(late, deployment):
    """By its own clock: the one that it died by may have been another machine's."""
    serial(deployment, "ann")
    lose(deployment, losses.user("id-ann"))
    late.settle()

    other = deployment.compose().revocation
    assert other.sweep() == 1
    assert len(deployment.ledger.cut_offs.unswept()) == 1
    deployment.clock.forward(seconds=1)
    other.sweep()
    assert deployment.ledger.cut_offs.unswept() == ()


def test_who_was_validated_within_the_lag_gets_nothing_by_it_after_it(late, deployment):
    """However long a request was held open: it is older than the second cut-off."""
    lose(deployment, losses.user("id-ann"))
    stale = deployment.who("ann")
    late.settle()
    deployment.revocation.sweep()
    with pytest.raises(PermissionEnded):
        deployment.ledger.cut_offs.check([losses.user("id-ann")], stale.mark)


def test_another_clock_that_is_ahead_settles_nothing_sooner(late, deployment):
    old = replace(deployment.event(), at=deployment.clock() - timedelta(hours=1))
    deployment.ledger.cut_offs.commit([losses.user("id-ann")], "test", old)
    deployment.revocation.sweep()

    assert len(deployment.ledger.cut_offs.unswept()) == 1


def test_what_could_not_be_judged_within_the_lag_is_judged_as_soon_as_it_can_be(late, deployment):
    serial(deployment, "ann")
    late.knows = True
    deployment.identities.out = True
    assert lose(deployment, losses.user("id-ann")) == 0

    deployment.identities.out = False
    assert deployment.revocation.sweep() == 1


def test_what_the_ledger_itself_knows_is_settled_at_once(late, deployment):
    deployment.ledger.cut_offs.commit(
        [losses.host("blue", "h1"), losses.subject_key("blue", "SHA256:x")],
        "test",
        deployment.event(),
    )
    deployment.revocation.sweep()

    assert deployment.ledger.cut_offs.unswept() == ()


def test_another_clock_that_is_ahead_keeps_nothing_unswept_where_there_is_no_lag(deployment):
    ahead = replace(deployment.event(), at=deployment.clock() + timedelta(hours=1))
    deployment.ledger.cut_offs.commit([losses.user("id-ann")], "test", ahead)
    deployment.revocation.sweep()

    assert deployment.ledger.cut_offs.unswept() == ()


# --- what the cloud tells


def lose(deployment, *topics):
    return deployment.revocation.lose(topics, "told")


def by(deployment, user, origin, project="blue"):
    """Issue to a user who brought something besides a sign-in of their own."""
    identity = replace(deployment.who(user, project), origin=origin)
    wanted = deployment.wanted(identity, Key(), project)
    return deployment.issuance.user_certificate(
        request(user, project), identity, project, *wanted, request_id="r"
    ).certificate.serial


def test_what_an_origin_gave_dies_with_it_and_nothing_else(deployment):
    by(deployment, "ann", "trust:t1")
    kept = {by(deployment, "ann", "trust:t10"), serial(deployment, "ann")}

    assert lose(deployment, losses.origin("trust:t1")) == 1
    assert live(deployment) == kept
    assert deployment.identities.listed == 0  # whoever holds what is not asked


def test_everyone_is_compared_with_one_listing_a_project(deployment):
    deployment.assign("ann", "member", project="red")
    lost = serial(deployment, "ann", principals=frozenset({"admin"}))
    kept = {
        serial(deployment, "ann", principals=frozenset({"member"})),
        serial(deployment, "bob"),
    }
    serial(deployment, "ann", project="red")
    found = Assignment(project="blue", role="id-admin", user="id-ann")
    deployment.ledger.directory.unassign(found, deployment.event())
    forget_cut_offs(deployment)
    before = deployment.identities.judged

    assert lose(deployment, losses.everyone()) == 1
    assert live(deployment, authorities=("blue",)) == kept
    assert lost not in kept
    assert deployment.identities.listed == 2
    assert deployment.identities.judged - before == 1  # who lost something, by their own answer


def forget_cut_offs(deployment):
    """As if the directory were a cloud that told nobody."""
    unswept = deployment.ledger.cut_offs.unswept()
    deployment.ledger.cut_offs.swept(*(sweep.mark for sweep in unswept))


def test_a_listing_that_lacks_somebody_revokes_nothing(deployment):
    kept = {serial(deployment, user) for user in ("ann", "bob")}
    deployment.identities.holders = lambda project, since=None: {}

    assert lose(deployment, losses.project("blue"), losses.everyone()) == 0
    assert live(deployment) == kept


def test_what_a_listing_said_before_the_loss_does_not_count(deployment):
    serial(deployment, "ann")
    asked = []
    holders = deployment.identities.holders

    def listing(project, since=None):
        asked.append(since)
        return holders(project)

    deployment.identities.holders = listing
    before = deployment.clock()
    lose(deployment, losses.everyone())
    assert all(before < since <= deployment.clock() for since in asked)
    assert asked


def test_a_role_is_looked_for_only_in_certificates_that_hold_it(deployment):
    serial(deployment, "ann")
    bobs = serial(deployment, "bob")
    judged = []
    effective = deployment.identities.effective_roles

    def told(subject, project):
        judged.append(subject)
        return frozenset(r for r in effective(subject, project) if r.id != "id-admin")

    deployment.identities.effective_roles = told
    deployment.identities.holders = lambda project, since=None: {}

    assert lose(deployment, losses.role("id-admin")) == 1
    assert (judged, live(deployment)) == (["id-ann"], {bobs})


FEDERATED = f"{FEDERATION}corp"


@pytest.mark.parametrize(
    ("how", "ends"),
    [
        ("unassign", False),
        ("disable-user", True),
        ("delete-user", True),
        ("disable-project", True),
        ("delete-project", True),
        ("delete-role", True),
        ("rename-role", True),
        ("nothing", False),
    ],
)
def test_a_federated_certificate_ends_with_its_user_project_or_role_alone(deployment, how, ends):
    """Its roles may be known from the token alone: what is assigned says nothing (S9)."""
    directory, told = deployment.ledger.directory, deployment.event
    federated = by(deployment, "bob", FEDERATED)
    member = Assignment(project="blue", role="id-member", user="id-bob")
    changes = {
        "unassign": lambda: directory.unassign(member, told()),
        "disable-user": lambda: directory.enable_user("id-bob", told(), enabled=False),
        "delete-user": lambda: directory.delete_user("id-bob", told()),
        "disable-project": lambda: directory.enable_project("blue", told(), enabled=False),
        "delete-project": lambda: directory.delete_project("blue", told()),
        "delete-role": lambda: directory.delete_role("id-member", told()),
        "rename-role": lambda: rename(deployment, "id-member", "limb"),
        "nothing": lambda: None,
    }
    changes[how]()
    lose(deployment, losses.everyone())

    assert (federated not in live(deployment)) == ends


@pytest.mark.parametrize("topic", [losses.user("id-bob"), losses.everyone()])
def test_what_was_got_by_a_trust_ends_with_the_trustee_too(deployment, topic):
    kept = {by(deployment, "ann", "trust:t2"), serial(deployment, "ann")}
    by(deployment, "ann", "trust:t1")
    deployment.identities.taken_back.add("trust:t1")  # its trustee is no more

    assert lose(deployment, topic) == 1
    assert live(deployment) == kept


def test_what_a_federated_user_lent_is_not_judged_by_assignments(deployment):
    kept = by(deployment, "ann", "application-credential:1")
    found = User(id="id-ann", name="ann", federated=True)
    deployment.identities.user = lambda _: found
    deployment.identities.effective_roles = lambda *_: frozenset()
    lose(deployment, losses.user("id-ann"))
    assert live(deployment) == {kept}

    deployment.identities.user = lambda _: replace(found, enabled=False)
    assert lose(deployment, losses.user("id-ann")) == 1


def rename(deployment, role_id, name):
    roles = deployment.identities.roles

    def renamed(since=None):
        return frozenset(replace(r, name=name) if r.id == role_id else r for r in roles())

    deployment.identities.roles = renamed


def test_the_next_statement_stands_ready_after_a_sweep(deployment):
    lost = serial(deployment, "bob")
    before = deployment.statements.newest("blue")
    red = deployment.statements.newest("red")
    admin = deployment.who("ann")
    deployment.administration.enable_user(admin, "id-bob", enabled=False, request_id="r")

    stored = deployment.ledger.publications.newest("blue")
    assert stored.krl_version > before.krl_version
    facts = deployment.ledger.revocations.facts("blue", deployment.clock())
    assert stored.revision == facts.revision
    assert [lost] == [one for some in facts.serials.values() for one in some]
    assert deployment.ledger.publications.newest("red") == red


def test_in_an_outage_what_needs_no_answer_is_swept_and_nobody_waits_for_the_rest(deployment):
    gone = by(deployment, "ann", "application-credential:1")
    kept = {serial(deployment, user) for user in ("ann", "bob")}
    deployment.identities.out = True
    asked = count_checks(deployment)
    topics = [losses.user(f"u{number}") for number in range(5)]
    topics += [losses.user("id-ann"), losses.user("id-bob"), losses.project("blue")]

    assert lose(deployment, *topics, losses.origin("application-credential:1")) == 1
    assert gone not in live(deployment)
    assert live(deployment) == kept
    assert len(deployment.ledger.cut_offs.unswept()) == 3
    assert len(asked) == 3  # a question, a look at the whole source, and the next statement


def count_checks(deployment):
    asked, check = [], deployment.identities.check

    def counted():
        asked.append(1)
        check()

    deployment.identities.check = counted
    return asked


def test_two_sweeps_at_once_are_harmless(deployment):
    for user in ("ann", "bob"):
        serial(deployment, user)
    disable = deployment.ledger.directory.enable_user
    disable("id-bob", deployment.event(), enabled=False)
    together(4, lambda _: deployment.revocation.sweep())

    assert len(live(deployment)) == 1
    assert len(events(deployment, "certificates.revoked")) == 1
    assert deployment.ledger.cut_offs.unswept() == ()


def test_a_retired_authority_issues_and_admits_nothing_and_its_hosts_are_told(deployment):
    lost = serial(deployment, "bob")
    ann, bob = deployment.who("ann"), deployment.who("bob")
    proven = deployment.wanted(bob, Key())
    deployment.ledger.authorities.retire("blue", deployment.event())
    with pytest.raises(Gone, match="project of this authority was deleted"):
        deployment.issuance.user_certificate(
            request("bob", "blue"), bob, "blue", *proven, request_id="r"
        )
    with pytest.raises(Gone):
        deployment.admissions.admit(ann, "blue", "db", request_id="r")

    newest = deployment.statements.newest("blue")
    assert newest.revision == deployment.ledger.publications.revision("blue")
    facts = deployment.ledger.revocations.facts("blue", deployment.clock())
    assert [lost] == [one for some in facts.serials.values() for one in some]
    deployment.clock.forward(days=33)
    with pytest.raises(Gone):
        deployment.statements.newest("blue")
    assert deployment.statements.publish("blue") is None


def test_when_the_keys_of_a_retired_authority_are_destroyed_its_hosts_are_told_that_it_is_gone(
    deployment,
):
    deployment.ledger.authorities.retire("blue", deployment.event())
    deployment.keystore.signers.clear()
    with pytest.raises(Gone, match="project of this authority was deleted"):
        deployment.statements.newest("blue")
    assert deployment.statements.publish("blue") is None


def test_a_key_that_the_key_store_lost_is_an_outage_and_names_no_reference(deployment):
    references = set(deployment.keystore.signers)
    deployment.clock.forward(minutes=11)  # what is signed and still holds is served without a key
    deployment.keystore.signers.clear()
    for ask in (lambda: deployment.statements.newest("blue"), lambda: deployment.issue("ann")):
        with pytest.raises(Unavailable, match="key of authority 'blue' any more") as told:
            ask()
        assert not any(reference in str(told.value) for reference in references)


# --- administration


def test_the_directory_changes_only_after_a_fresh_sign_in(deployment):
    stale = deployment.who("ann", fresh=False)
    administration = deployment.administration
    assignment = Assignment(project="blue", role="id-admin", user="id-bob")
    head = deployment.ledger.audit.head()
    for change in (
        lambda: administration.create_project(stale, Project(id="p", name="P"), request_id="r"),
        lambda: administration.enable_project(stale, "blue", enabled=False, request_id="r"),
        lambda: administration.delete_project(stale, "blue", request_id="r"),
        lambda: administration.create_user(stale, User(id="u", name="U"), request_id="r"),
        lambda: administration.enable_user(stale, "id-bob", enabled=False, request_id="r"),
        lambda: administration.delete_user(stale, "id-bob", request_id="r"),
        lambda: administration.add_key(stale, "id-bob", Key().public, request_id="r"),
        lambda: administration.remove_key(stale, "id-bob", "SHA256:x", request_id="r"),
        lambda: administration.create_group(stale, Group(id="g", name="G"), request_id="r"),
        lambda: administration.delete_group(stale, "g", request_id="r"),
        lambda: administration.add_member(stale, "g", "id-bob", request_id="r"),
        lambda: administration.remove_member(stale, "g", "id-bob", request_id="r"),
        lambda: administration.create_role(stale, Role(id="r", name="R"), request_id="r"),
        lambda: administration.delete_role(stale, "id-admin", request_id="r"),
        lambda: administration.assign(stale, assignment, request_id="r"),
        lambda: administration.unassign(stale, assignment, request_id="r"),
    ):
        with pytest.raises(Denied, match=r"^a fresh sign-in is needed"):
            change()
    assert head == deployment.ledger.audit.head()


def test_every_change_of_the_directory_is_audited_with_who_did_it(deployment):
    fresh = deployment.who("ann")
    deployment.administration.create_user(fresh, User(id="eve", name="eve"), request_id="r7")

    deployment.administration.create_project(fresh, Project(id="p", name="P"), request_id="r")
    (project,) = events(deployment, "project.created")
    assert (project["authority"], project["facts"]["name"]) == ("p", "P")
    (told,) = events(deployment, "user.created")
    assert (told["actor"]["name"], told["subject"], told["request_id"]) == ("ann", "eve", "r7")


def test_there_are_no_more_roles_than_a_statement_has_room_for(deployment, monkeypatch):
    monkeypatch.setattr("tatu.service.directory.MAX_ROLES", 4)

    with pytest.raises(Conflict, match="at most 4 roles"):
        deployment.administration.create_role(
            deployment.who("ann"), Role(id="5", name="dba"), request_id="r"
        )


def test_a_removed_sign_in_key_is_free_to_be_added_again(deployment):
    fresh, key = deployment.who("ann"), Key()
    deployment.administration.add_key(fresh, "id-bob", key.public, request_id="r")
    fingerprint = key.public.fingerprint
    deployment.administration.remove_key(fresh, "id-bob", fingerprint, request_id="r")
    assert deployment.ledger.directory.keys("id-bob") == ()

    deployment.administration.add_key(fresh, "id-bob", key.public, request_id="r")
    assert [held.public_key for held in deployment.ledger.directory.keys("id-bob")] == [key.public]
