"""What follows from all that was assigned is what Keystone would say of each project (S22)."""

import pytest

from tatu.core.errors import Unavailable
from tatu.drivers.identity import keystone_assigned, keystone_listings
from tatu.drivers.identity.keystone_assigned import Assigned
from tatu.ports import Group
from tests.contract.identity.test_identity import KeystoneCase

ALL = "GET /role_assignments"
EVERY = {"id-admin", "id-manager", "id-member", "id-reader"}


@pytest.fixture
def case(deployment):
    return KeystoneCase(deployment)


@pytest.fixture
def keystone(case):
    """A Keystone in which nothing is assigned."""
    directory = case.deployment.ledger.directory
    for given in directory.assignments(project=None, user=None, group=None):
        directory.unassign(given, case.event())
    return case.keystone


def given(actor, role, *, inherited=True, **where):
    """What was assigned, as Keystone tells it."""
    kind, _, name = actor.partition(" ")
    scope = {noun: {"id": place} for noun, place in where.items()}
    if inherited:
        scope["OS-INHERIT:inherited_to"] = "projects"
    return {kind: {"id": name}, "role": {"id": f"id-{role}"}, "scope": scope}


def held(case, project, roles=EVERY):
    found = Assigned.all(case.provider.reader, roles).holders(project)
    return {user: {role.removeprefix("id-") for role in some} for user, some in found.items()}


def test_what_was_given_in_a_project_holds_there_and_nowhere_else(case, keystone):
    keystone.handed_down = [
        given("user ann", "member", project="blue", inherited=False),
        given("user bob", "admin", domain="default", inherited=False),
        {"user": {"id": "bob"}, "role": {"id": "id-admin"}, "scope": {"system": {"all": True}}},
    ]
    assert held(case, "blue") == {"ann": {"member"}}
    assert held(case, "red") == {}
    # a domain is a project, too, but what was given in the domain was not given in the project
    assert held(case, "default") == {}


def test_what_is_handed_down_holds_below_and_not_where_it_was_given(case, keystone):
    keystone.parents = {"red": "blue"}
    keystone.handed_down = [
        given("user ann", "member", project="blue"),
        given("user bob", "reader", domain="default"),
        given("user eve", "manager", project="default"),
        given("user eve", "admin", domain="another"),
    ]
    below = {"bob": {"reader"}, "eve": {"manager"}}
    assert held(case, "blue") == below
    assert held(case, "red") == {"ann": {"member"}} | below


def test_parents_that_go_in_a_circle_have_an_end(case, keystone):
    keystone.parents = {"red": "blue", "blue": "red"}
    keystone.handed_down = [given("user ann", "member", project="blue")]
    assert held(case, "red") == {"ann": {"member"}}
    assert held(case, "blue") == {}


def test_members_of_a_group_have_what_the_group_has_and_each_group_is_asked_for_once(
    case, keystone, deployment
):
    deployment.ledger.directory.create_group(Group(id="ops", name="ops"), case.event())
    people = {"id-ann", "id-bob"}
    for user in people:
        deployment.ledger.directory.add_member("ops", user, case.event())
    keystone.handed_down = [
        given("group ops", "member", domain="default"),
        given("group ops", "manager", project="blue", inherited=False),
        given("group gone", "admin", domain="default"),
    ]
    found = Assigned.all(case.provider.reader, EVERY)
    assert "GET /groups/ops/users" not in keystone.asked
    assert found.holders("red") == {user: {"id-member"} for user in people}
    assert found.holders("blue") == {user: {"id-member", "id-manager"} for user in people}
    for group in ("ops", "gone"):
        assert keystone.asked.count(f"GET /groups/{group}/users") == 1


def test_roles_imply_others_in_chains_and_circles_and_those_of_a_domain_only_imply(case, keystone):
    keystone.inferences = {
        "id-admin": ["id-manager"],
        "id-manager": ["id-member", "id-reader"],
        "id-reader": ["id-manager"],
        "id-local": ["id-member"],
    }
    keystone.handed_down = [
        given("user ann", "admin", project="blue", inherited=False),
        given("user bob", "reader", project="blue", inherited=False),
        given("user eve", "local", project="blue", inherited=False),
    ]
    assert held(case, "blue") == {
        "ann": {"admin", "manager", "member", "reader"},
        "bob": {"manager", "member", "reader"},
        "eve": {"member"},
    }


# --- when, and what if it fails


def test_of_many_projects_all_is_asked_for_at_once_and_of_few_each(case, monkeypatch):
    provider, asked, projects = case.provider, case.keystone.asked, ("blue", "red")
    each = {project: provider.holders(project) for project in projects}
    assert each["blue"]
    assert (asked.count(ALL), asked.count("GET /role_inferences")) == (2, 0)
    monkeypatch.setattr(keystone_listings, "_FEW", 0)
    provider.listings._since = None
    assert each == {project: provider.holders(project) for project in projects}
    assert each == {project: provider.holders(project) for project in projects}
    assert (asked.count(ALL), asked.count("GET /role_inferences")) == (3, 1)
    assert provider.holders("nowhere") == {}
    assert case.keystone.timeouts["/role_assignments"] > case.keystone.timeouts["/projects"]


def test_while_one_asks_for_all_others_ask_for_their_project_alone(case, monkeypatch):
    provider = case.provider
    monkeypatch.setattr(keystone_listings, "_FEW", 0)
    before, asked = Assigned.all, []

    def slowly(reader, roles):
        asked.append(len(asked))
        if len(asked) == 1:
            assert provider.holders("blue")
        return before(reader, roles)

    monkeypatch.setattr(Assigned, "all", slowly)
    assert provider.holders("blue")
    assert provider.holders("blue")
    assert asked == [0]


def test_what_fails_is_let_go_of_and_nothing_that_is_newer(case, monkeypatch):
    provider, newer = case.provider, Unavailable("newer")
    monkeypatch.setattr(keystone_listings, "_FEW", 0)

    def fail(*_):
        provider.listings._assigned = newer
        raise Unavailable("of a group")

    monkeypatch.setattr(Assigned, "holders", fail)
    assert provider.holders("blue")
    assert provider.listings._assigned is newer


def test_a_loss_since_then_is_in_what_is_asked_for_at_once(case, deployment, monkeypatch):
    monkeypatch.setattr(keystone_listings, "_FEW", 0)
    directory = deployment.ledger.directory
    assert "id-bob" in case.provider.holders("blue")
    for lost in directory.assignments(project="blue", user="id-bob", group=None):
        directory.unassign(lost, case.event())
    assert "id-bob" not in case.provider.holders("blue", since=deployment.clock())


def test_a_project_that_is_younger_than_the_list_is_asked_for_by_itself(case, monkeypatch):
    monkeypatch.setattr(keystone_listings, "_FEW", 0)
    before = case.provider.holders("blue")
    monkeypatch.setattr(Assigned, "__contains__", lambda *_: False)
    assert case.provider.holders("blue") == before
    assert case.keystone.asked.count(ALL) == 2


UNREADABLE = {"role_assignments": [{"role": 7}]}
NOBODYS = {
    "role_assignments": [{"role": {"id": "id-admin"}, "scope": {"project": {"id": "blue"}}}]
}


@pytest.mark.parametrize(
    "fails",
    [
        {"/role_inferences": (500, b"")},
        {"/role_inferences": (404, b"")},
        {"/role_inferences": (200, {"role_inferences": [{"prior_role": {}}]})},
        {"/groups/ops/users": (500, b"")},
        {"/groups/ops/users": (404, b"<html>")},
        {"/groups/ops/users": (200, {"users": [{"id": "eve", "name": "eve"}], "truncated": True})},
        "too many",
        "cut off",
        UNREADABLE,
        NOBODYS,
        None,
    ],
    ids=str,
)
def test_where_not_all_can_be_had_each_project_is_asked_for_and_that_is_found_out_once(
    case, fails, monkeypatch
):
    provider, keystone = case.provider, case.keystone
    each = {project: provider.holders(project) for project in ("blue", "red")}
    monkeypatch.setattr(keystone_listings, "_FEW", 0)
    provider.listings._since = None
    keystone.asked.clear()
    keystone.handed_down = [given("group ops", "admin", domain="default")]
    whole, answered = keystone._given, fails if isinstance(fails, dict) else {}
    if fails == "too many":
        monkeypatch.setattr(keystone_assigned, "_MOST", 0)
    elif fails == "cut off":
        keystone.answers["/projects"] = 200, {"projects": [], "truncated": True}
    elif "role_assignments" in answered:
        monkeypatch.setattr(keystone, "_given", lambda: answered["role_assignments"])
    elif fails is None:
        monkeypatch.setattr(keystone, "_given", lambda: [whole()[0]] * 1001)  # over a page
    else:
        keystone.answers |= answered
    for _ in range(3):
        assert each == {project: provider.holders(project) for project in each}
    # one question for each project and time, and one in vain at most
    assert keystone.asked.count(ALL) in (6, 7)
    assert isinstance(provider.listings._assigned, Unavailable)


def test_while_keystone_is_away_there_is_no_listing_at_all(case, monkeypatch):
    monkeypatch.setattr(keystone_listings, "_FEW", 0)
    case.provider.holders("blue")
    case.keystone.out = True
    case.provider.listings._since = None
    with pytest.raises(Unavailable):
        case.provider.holders("blue")
