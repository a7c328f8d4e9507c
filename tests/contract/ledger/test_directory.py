"""Local projects, users, groups, roles and assignments."""

import pytest

from tatu.core import losses
from tatu.core.errors import Conflict, NotFound, Unauthenticated
from tatu.core.identity import Role
from tatu.ports import Assignment, BearerToken, Group, Project, User, UserKey
from tests.contract.ledger.material import NOW, event, key

MEMBER, ADMIN = Role(id="r1", name="member"), Role(id="r2", name="admin")


@pytest.fixture
def directory(ledger):
    """Two projects, two users, a group that holds both users, two roles, no assignment."""
    it = ledger.directory
    it.create_project(Project(id="p1", name="blue"), event())
    it.create_project(Project(id="p2", name="red"), event())
    it.create_user(User(id="u1", name="alice"), event())
    it.create_user(User(id="u2", name="bob"), event())
    it.create_group(Group(id="g1", name="ops"), event())
    it.create_role(MEMBER, event())
    it.create_role(ADMIN, event())
    it.add_member("g1", "u1", event())
    it.add_member("g1", "u2", event())
    return it


def given(role, *, project="p1", **holder):
    return Assignment(project=project, role=role, **holder)


def topics(ledger):
    return [sweep.topic for sweep in ledger.cut_offs.unswept()]


def test_things_are_found_by_id_first_then_by_name(directory):
    directory.create_user(User(id="alice", name="not alice"), event())
    assert directory.user("alice").name == "not alice"
    assert directory.user("bob").id == "u2"
    for find in (directory.user, directory.project, directory.group, directory.role):
        with pytest.raises(NotFound):
            find("Bob")


def test_names_are_unique_and_compared_byte_for_byte(directory):
    for name in ("Alice", "alice ", "álice", "a\u0301lice"):
        directory.create_user(User(id=f"id of {name}", name=name), event())
        assert name == directory.user(name).name
    for again in (User(id="u1", name="new"), User(id="new", name="alice")):
        with pytest.raises(Conflict):
            directory.create_user(again, event())


def test_lists_come_in_pages_by_id(directory):
    for list_all in (directory.users, directory.projects):
        first = list_all(limit=1, marker=None)
        rest = list_all(limit=1, marker=first.marker)
        assert (first.items[0].id[1], rest.items[0].id[1], rest.marker) == ("1", "2", None)
    assert (Group(id="g1", name="ops"),) == directory.groups(limit=1, marker=None).items
    assert directory.roles() == (MEMBER, ADMIN)


def test_roles_come_directly_and_by_groups(directory):
    directory.assign(given("r1", user="u1"), event())
    directory.assign(given("r2", group="g1"), event())
    assert {MEMBER, ADMIN} == directory.effective_roles("u1", "p1")
    assert {ADMIN} == directory.effective_roles("u2", "p1")
    assert set() == directory.effective_roles("u1", "p2")
    assert set() == directory.effective_roles("nobody", "p1")
    assert set() == directory.effective_roles("g1", "p1")


def test_disabled_means_no_roles(directory):
    directory.assign(given("r1", user="u1"), event())
    directory.enable_user("u1", event(), enabled=False)
    assert set() == directory.effective_roles("u1", "p1")
    directory.enable_user("u1", event(), enabled=True)
    assert {MEMBER} == directory.effective_roles("u1", "p1")
    directory.enable_project("p1", event(), enabled=False)
    assert set() == directory.effective_roles("u1", "p1")


def test_what_changes_nothing_leaves_no_event(ledger, directory):
    directory.assign(given("r1", user="u1"), event())
    head = ledger.audit.head()
    directory.assign(given("r1", user="u1"), event())
    directory.add_member("g1", "u1", event())
    directory.enable_user("u1", event(), enabled=True)
    directory.delete_user("nobody", event())
    directory.delete_project("nothing", event())
    directory.delete_group("nothing", event())
    directory.delete_role("nothing", event())
    directory.remove_member("g1", "nobody", event())
    directory.remove_key("u1", "SHA256:none", event())
    assert head == ledger.audit.head()
    assert topics(ledger) == []


@pytest.mark.parametrize(
    ("take", "ended"),
    [
        (lambda d: d.enable_user("u1", event(), enabled=False), [losses.user("u1")]),
        (lambda d: d.delete_user("u1", event()), [losses.user("u1")]),
        (lambda d: d.enable_project("p1", event(), enabled=False), [losses.project("p1")]),
        (lambda d: d.delete_project("p1", event()), [losses.project("p1")]),
        (lambda d: d.delete_role("r1", event()), [losses.role("r1")]),
        (
            lambda d: d.unassign(given("r1", user="u1"), event()),
            [losses.user_in_project("u1", "p1")],
        ),
        (lambda d: d.remove_member("g1", "u2", event()), [losses.user_in_project("u2", "p1")]),
        (
            lambda d: d.unassign(given("r2", group="g1"), event()),
            [losses.user_in_project("u1", "p1"), losses.user_in_project("u2", "p1")],
        ),
        (
            lambda d: d.delete_group("g1", event()),
            [losses.user_in_project("u1", "p1"), losses.user_in_project("u2", "p1")],
        ),
    ],
)
def test_a_loss_commits_its_cut_offs(ledger, directory, take, ended):
    directory.assign(given("r1", user="u1"), event())
    directory.assign(given("r2", group="g1"), event())
    take(directory)
    assert ended == sorted(topics(ledger))
    held = directory.effective_roles("u1", "p1"), directory.effective_roles("u2", "p1")
    assert ({MEMBER, ADMIN}, {ADMIN}) != held


def test_what_is_deleted_leaves_nothing_behind(directory):
    directory.assign(given("r1", user="u1"), event())
    directory.assign(given("r2", project="p2", group="g1"), event())
    directory.add_key(UserKey(user="u1", public_key=key("a"), created_at=NOW), event())
    directory.delete_user("u1", event())
    assert [user.id for user in directory.members("g1")] == ["u2"]
    assert (given("r2", project="p2", group="g1"),) == directory.assignments(
        project=None, user=None, group=None
    )
    directory.delete_role("r2", event())
    directory.delete_group("g1", event())
    directory.delete_project("p1", event())
    assert directory.assignments(project=None, user=None, group=None) == ()
    directory.create_user(User(id="u1", name="alice"), event())
    assert directory.keys("u1") == ()


def test_assignments_are_found_by_each_of_their_parts(directory):
    mine, theirs = given("r1", user="u1"), given("r2", project="p2", group="g1")
    directory.assign(mine, event())
    directory.assign(theirs, event())
    assert (mine,) == directory.assignments(project="p1", user=None, group=None)
    assert (mine,) == directory.assignments(project=None, user="u1", group=None)
    assert (theirs,) == directory.assignments(project=None, user=None, group="g1")
    assert directory.assignments(project="p1", user=None, group="g1") == ()


@pytest.mark.parametrize(
    "ask",
    [
        lambda d: d.assign(given("r9", user="u1"), event()),
        lambda d: d.assign(given("r1", user="u9"), event()),
        lambda d: d.assign(given("r1", group="u1"), event()),
        lambda d: d.assign(given("r1", project="p9", user="u1"), event()),
        lambda d: d.unassign(given("r1", user="u1"), event()),
        lambda d: d.add_member("g9", "u1", event()),
        lambda d: d.add_member("g1", "u9", event()),
        lambda d: d.members("g9"),
        lambda d: d.keys("u9"),
        lambda d: d.enable_user("u9", event(), enabled=True),
        lambda d: d.enable_project("p9", event(), enabled=False),
        lambda d: d.add_key(UserKey(user="u9", public_key=key("a"), created_at=NOW), event()),
    ],
)
def test_what_is_not_there_is_not_found(directory, ask):
    with pytest.raises(NotFound):
        ask(directory)


def test_nobody_collects_keys(directory):
    keys = [UserKey(user="u1", public_key=key(f"k{n}"), created_at=NOW) for n in range(21)]
    for one in keys[:20]:
        directory.add_key(one, event())
    with pytest.raises(Conflict, match="at most 20"):
        directory.add_key(keys[20], event())
    directory.remove_key("u1", keys[0].public_key.fingerprint, event())
    directory.add_key(keys[20], event())


def test_a_key_is_one_user_s_alone(ledger, directory):
    mine = UserKey(user="u1", public_key=key("a"), created_at=NOW)
    directory.add_key(mine, event())
    assert (mine,) == directory.keys("u1")
    assert {"sign-in"} == ledger.purposes_of(key("a"))
    for user in ("u1", "u2"):
        with pytest.raises(Conflict):
            directory.add_key(UserKey(user=user, public_key=key("a"), created_at=NOW), event())


@pytest.mark.parametrize(
    ("take", "left"),
    [
        (lambda d: d.remove_key("u1", key("a").fingerprint, event()), {"d2"}),
        (lambda d: d.enable_user("u1", event(), enabled=False), set()),
        (lambda d: d.delete_user("u1", event()), set()),
    ],
)
def test_tokens_end_with_what_they_rest_on(ledger, directory, take, left):
    for name, digest in (("a", "d1"), ("b", "d2")):
        directory.add_key(UserKey(user="u1", public_key=key(name), created_at=NOW), event())
        ledger.sign_ins.put_token(token(digest, key(name).fingerprint), event())
    take(directory)
    found = set()
    for digest in ("d1", "d2"):
        try:
            found.add(ledger.sign_ins.token(digest, NOW).digest)
        except Unauthenticated:
            continue
    assert left == found
    if left:
        assert ledger.cut_offs.mark() == 1
        assert topics(ledger) == []


def test_no_token_is_made_for_who_is_gone_meanwhile(ledger, directory):
    directory.add_key(UserKey(user="u1", public_key=key("a"), created_at=NOW), event())
    with pytest.raises(Unauthenticated):
        ledger.sign_ins.put_token(token("d1", key("b").fingerprint), event())
    directory.enable_user("u1", event(), enabled=False)
    with pytest.raises(Unauthenticated):
        ledger.sign_ins.put_token(token("d1", key("a").fingerprint), event())


def token(digest, fingerprint):
    return BearerToken(
        digest=digest,
        user="u1",
        project="p1",
        key=fingerprint,
        fresh=False,
        created_at=NOW,
        expires_at=NOW.replace(hour=6),
    )
