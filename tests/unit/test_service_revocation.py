"""Revocations, losses and sweeps (S4, S5, S6)."""

from dataclasses import replace

import pytest

from tatu.core import losses
from tatu.core.certificate import CertificateType
from tatu.core.errors import Conflict, Denied, NotFound, Unavailable
from tatu.core.identity import Role
from tatu.ports import (
    Assignment,
    CertificateFilter,
    Group,
    Project,
    RevocationSelector,
    User,
)
from tests.fakes.deployment import Key
from tests.unit.test_service_issuance import events


def live(deployment, **parts):
    wanted = CertificateFilter(
        authorities=None,
        type=CertificateType.USER,
        live_at=deployment.clock(),
        revoked=False,
        **parts,
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
