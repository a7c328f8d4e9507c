"""Callers by the tokens of a real Keystone: whom they speak for, and when nobody is let through."""

import logging
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest
from oslo_config import cfg

from tatu.core import own
from tatu.core.errors import NotFound, Unauthenticated, Unavailable
from tatu.drivers import loading
from tatu.drivers.identity import keystone_listings
from tatu.drivers.identity.keystone import SECTION
from tatu.drivers.identity.keystone_assigned import Assigned
from tatu.drivers.identity.keystone_listings import Listings, Roles
from tatu.ports import Request
from tests.openstack.clouds import PASSWORD, Cloud


class Clock:
    """The real one, which may be set ahead."""

    def __init__(self):
        self.ahead = timedelta()

    def __call__(self):
        return datetime.now(UTC) + self.ahead


class Marks:
    """Cut-offs as far as an identity driver asks for them."""

    def mark(self):
        return 7

    def check(self, topics, since):
        return 7

    def unswept(self):
        return ()


@pytest.fixture(scope="module")
def cloud(identity_lab):
    return Cloud(identity_lab)


@pytest.fixture(scope="module")
def tatu(cloud):
    """Tatu's own user, who may read."""
    user = cloud.make("user")
    cloud.assign("reader", "system", user=user)
    cloud.assign("reader", f"projects/{cloud.make('project')}", user=user)
    return user


@dataclass
class People:
    """A project, and somebody who is a member of it."""

    project: str
    user: str


@pytest.fixture(scope="module")
def people(cloud):
    found = People(project=cloud.make("project"), user=cloud.make("user"))
    cloud.assign("member", f"projects/{found.project}", user=found.user)
    return found


@pytest.fixture(scope="module")
def opened(cloud, tatu, tmp_path_factory):
    """Return how to open the driver, with a clock of its own."""

    def open_with(scope="system_scope = all", **options):
        file = tmp_path_factory.mktemp("keystone") / "tatu.conf"
        file.write_text(
            f"[{SECTION}]\nauth_type = password\nauth_url = {cloud.url}\nuser_id = {tatu}\n"
            f"password = {PASSWORD}\n{scope}\n"
            + "".join(f"{name} = {value}\n" for name, value in options.items())
        )
        conf = cfg.ConfigOpts()
        driver = loading.find("identity", "keystone")
        conf(["--config-file", str(file)])
        loading.register(driver, conf)
        return loading.build(driver, conf, {"conf": conf, "cut_offs": Marks(), "clock": Clock()})

    return open_with


@pytest.fixture(scope="module")
def signed_in(opened):
    return opened()


@pytest.fixture
def provider(signed_in):
    """The driver, which remembers nothing yet."""
    reader, clock = signed_in.reader, Clock()
    listings = Listings(reader, Roles(reader, clock), clock)
    return replace(signed_in, listings=listings, clock=clock)


def request(token, path="/v2/authorities/blue/user-certificates", method="POST"):
    headers = {"x-auth-token": token}
    return Request(method=method, path=path, body_digest="", headers=headers)


def written(time):
    return time.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def asked_by(cloud, lab, action):
    """Return what Keystone is asked by an action; it logs a request a little after its answer."""
    fence = "GET /v3/regions 200"

    def fenced():
        count = lab.requests("keystone").count(fence)
        cloud.get("/regions")
        deadline = time.monotonic() + 10
        while (lines := lab.requests("keystone")).count(fence) == count:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        return lines

    before = len(fenced())
    action()
    return fenced()[before:-1]


def names(roles):
    return {role.name for role in roles}


# --- tokens ---------------------------------------------------------------------------------


def test_a_project_scoped_token_speaks_for_its_user_there(provider, cloud, people):
    token = cloud.token(people.user, project_id=people.project)
    identity = provider.authenticate(request(token))
    assert (identity.issuer, identity.subject) == (cloud.url, people.user)
    assert identity.name == cloud.get(f"/users/{people.user}")["user"]["name"]
    assert identity.project == people.project
    assert names(identity.roles) == {"member", "reader"}  # what member implies, too
    assert {role.id for role in identity.roles} == {cloud.role("member"), cloud.role("reader")}
    assert (identity.mark, identity.origin, identity.ends_by, identity.fresh) == (
        7,
        "",
        None,
        False,
    )
    assert identity.validated_at < identity.expires_at


def test_a_cold_token_costs_one_round_trip_and_a_known_one_none(
    provider, cloud, people, identity_lab
):
    tokens = [cloud.token(people.user, project_id=people.project) for _ in range(2)]
    provider.authenticate(request(tokens[0]))  # Tatu's own sign-in, too

    def asked(cached):
        return asked_by(
            cloud, identity_lab, lambda: provider.authenticate(request(tokens[1]), cached=cached)
        )

    assert asked(cached=True) == ["GET /v3/auth/tokens 200"]
    assert asked(cached=True) == []
    assert asked(cached=False) == ["GET /v3/auth/tokens 200"]


def test_a_system_scoped_token_has_roles_and_no_project(provider, cloud):
    user = cloud.make("user")
    cloud.assign("admin", "system", user=user)
    identity = provider.authenticate(request(cloud.token(user, system_scope="all")))
    assert identity.project is None
    assert "admin" in identity.role_names


def test_a_domain_scoped_or_unscoped_token_has_neither(provider, cloud):
    user = cloud.make("user")
    cloud.assign("admin", "domains/default", user=user)
    for scope in ({"domain_id": "default"}, {"unscoped": True}):
        identity = provider.authenticate(request(cloud.token(user, **scope)))
        assert (identity.project, identity.roles) == (None, frozenset())


def test_a_revoked_token_is_refused_uncached_at_once_and_cached_within_a_minute(
    provider, cloud, people
):
    session = cloud.session(people.user, project_id=people.project)
    token = session.get_token()
    provider.authenticate(request(token))
    cloud.delete("/auth/tokens", **{"X-Subject-Token": token})
    provider.authenticate(request(token))
    provider.clock.ahead = timedelta(seconds=60)
    with pytest.raises(Unauthenticated):
        provider.authenticate(request(token))


def test_what_is_found_worthless_is_remembered_no_more(provider, cloud, people):
    token = cloud.token(people.user, project_id=people.project)
    provider.authenticate(request(token))
    cloud.delete("/auth/tokens", **{"X-Subject-Token": token})
    for cached in (False, True):
        with pytest.raises(Unauthenticated):
            provider.authenticate(request(token), cached=cached)


def test_an_expired_token_is_refused(provider, cloud, people):
    until = datetime.now(UTC) + timedelta(seconds=5)
    _, token = cloud.credential(people.user, people.project, expires_at=written(until))
    time.sleep(max(0, (until - datetime.now(UTC)).total_seconds()))
    with pytest.raises(Unauthenticated):
        provider.authenticate(request(token))


def test_the_token_of_a_user_who_was_disabled_or_whose_project_was_is_refused(provider, cloud):
    for noun in ("user", "project"):
        found = {"user": cloud.make("user"), "project": cloud.make("project")}
        cloud.assign("member", f"projects/{found['project']}", user=found["user"])
        token = cloud.token(found["user"], project_id=found["project"])
        provider.authenticate(request(token))
        cloud.change(noun, found[noun], enabled=False)
        with pytest.raises(Unauthenticated):
            provider.authenticate(request(token), cached=False)


def test_a_removed_role_is_gone_uncached(provider, cloud):
    user, project = cloud.make("user"), cloud.make("project")
    for role in ("member", "manager"):
        cloud.assign(role, f"projects/{project}", user=user)
    token = cloud.token(user, project_id=project)
    assert "manager" in provider.authenticate(request(token)).role_names
    cloud.unassign("manager", f"projects/{project}", user=user)
    found = provider.authenticate(request(token), cached=False)
    assert names(found.roles) == {"member", "reader"}
    cloud.unassign("member", f"projects/{project}", user=user)
    with pytest.raises(Unauthenticated):
        provider.authenticate(request(token), cached=False)


@pytest.mark.parametrize("token", ["gAAAA" + "x" * 200, "none", "a/b", "%2e"])
def test_what_keystone_never_made_is_refused_and_stays_out_of_logs_and_errors(
    provider, token, caplog
):
    caplog.set_level(logging.INFO)
    with pytest.raises(Unauthenticated) as raised:
        provider.authenticate(request(token))
    assert token not in str(raised.value)
    assert token not in caplog.text


# --- what was lent ----------------------------------------------------------------------------


def test_an_application_credential_is_the_origin_and_the_end(provider, cloud, people):
    until = datetime.now(UTC) + timedelta(hours=3)
    ident, token = cloud.credential(people.user, people.project, expires_at=written(until))
    identity = provider.authenticate(request(token))
    assert identity.origin == f"application-credential:{ident}"
    assert abs(identity.ends_by - until) < timedelta(seconds=1)
    assert identity.expires_at < identity.ends_by

    ident, token = cloud.credential(people.user, people.project)
    identity = provider.authenticate(request(token))
    assert (identity.origin, identity.ends_by) == (f"application-credential:{ident}", None)


def test_access_rules_confine_to_their_paths_whatever_is_remembered(provider, cloud, people):
    cloud.offer_ssh()
    rule = {"service": "ssh", "method": "GET", "path": "/v2/authorities/*"}
    _, token = cloud.credential(people.user, people.project, access_rules=[rule])
    allowed = request(token, "/v2/authorities/blue", "GET")
    first = provider.authenticate(allowed)
    assert provider.authenticate(allowed) is first
    for path, method in (
        ("/v2/authorities/blue/user-certificates", "GET"),
        ("/v2/authorities/blue", "PATCH"),
        ("/v2/hosts", "GET"),
    ):
        with pytest.raises(Unauthenticated):
            provider.authenticate(request(token, path, method))
    assert provider.authenticate(allowed) is first
    with_service_token = {"x-auth-token": token, "x-service-token": cloud.token(people.user)}
    with pytest.raises(Unauthenticated):
        provider.authenticate(
            Request(method="GET", path="/v2/hosts", body_digest="", headers=with_service_token)
        )


def test_rules_for_another_service_open_nothing_here(provider, cloud, people):
    cloud.offer_ssh()
    rule = {"service": "compute", "method": "GET", "path": "/v2/hosts"}
    _, token = cloud.credential(people.user, people.project, access_rules=[rule])
    with pytest.raises(Unauthenticated):
        provider.authenticate(request(token, "/v2/hosts", "GET"))


def test_the_token_of_a_deleted_application_credential_is_refused(provider, cloud, people):
    ident, token = cloud.credential(people.user, people.project)
    provider.authenticate(request(token))
    cloud.delete(f"/users/{people.user}/application_credentials/{ident}")
    with pytest.raises(Unauthenticated):
        provider.authenticate(request(token), cached=False)


def test_tokens_by_trusts_are_refused(provider, cloud, people):
    trustee = cloud.make("user")
    for impersonation in (True, False):
        _, token = cloud.trust(people.user, trustee, people.project, impersonation=impersonation)
        with pytest.raises(Unauthenticated, match="trust"):
            provider.authenticate(request(token))


def test_an_impersonating_trust_is_taken_where_it_is_allowed(opened, cloud, people):
    provider, trustee = opened(allow_trust_tokens=True), cloud.make("user")
    until = datetime.now(UTC) + timedelta(hours=2)
    ident, token = cloud.trust(
        people.user, trustee, people.project, impersonation=True, expires_at=written(until)
    )
    identity = provider.authenticate(request(token))
    assert identity.subject == people.user
    assert identity.origin == f"trust:{ident}"
    assert abs(identity.ends_by - until) < timedelta(seconds=1)

    _, token = cloud.trust(people.user, trustee, people.project, impersonation=False)
    with pytest.raises(Unauthenticated, match="impersonate"):
        provider.authenticate(request(token))


# --- roles, users, projects -----------------------------------------------------------------


def holders(provider, project):
    """Return who has roles there; where Tatu is registered, its own user has one everywhere."""
    found = provider.holders(project)
    return {user: roles for user, roles in found.items() if names(roles) != {own.INVENTORY_ROLE}}


def test_effective_roles_are_also_those_inherited_implied_and_by_group(provider, cloud):
    top = cloud.make("project")
    below = cloud.make("project", parent_id=top)
    user, group = cloud.make("user"), cloud.make("group")
    special, implied = cloud.make("role"), cloud.make("role")
    cloud.put(f"/roles/{special}/implies/{implied}")
    cloud.put(f"/groups/{group}/users/{user}")
    cloud.put(f"/projects/{below}/groups/{group}/roles/{special}")
    cloud.put(
        f"/OS-INHERIT/projects/{top}/users/{user}/roles/{cloud.role('member')}"
        "/inherited_to_projects"
    )
    found = provider.effective_roles(user, below)
    assert {special, implied, cloud.role("member"), cloud.role("reader")} == {
        role.id for role in found
    }
    assert {"member", "reader"} < names(found)
    assert holders(provider, below) == {user: found}
    assert provider.effective_roles(user, top) == frozenset()
    token = cloud.token(user, project_id=below)
    assert provider.authenticate(request(token)).roles == found


def test_whoever_is_gone_or_disabled_has_no_roles(provider, cloud):
    def given(domain="default"):
        user = cloud.make("user", domain_id=domain)
        project = cloud.make("project", domain_id=domain)
        cloud.assign("member", f"projects/{project}", user=user)
        assert names(provider.effective_roles(user, project)) == {"member", "reader"}
        return user, project

    user, project = given()
    cloud.change("user", user, enabled=False)
    assert provider.effective_roles(user, project) == frozenset()
    assert not provider.user(user).enabled
    cloud.delete(f"/users/{user}")
    assert provider.effective_roles(user, project) == frozenset()

    user, project = given()
    cloud.change("project", project, enabled=False)
    assert provider.effective_roles(user, project) == frozenset()
    assert not provider.project(project).enabled
    cloud.delete(f"/projects/{project}")
    assert provider.effective_roles(user, project) == frozenset()

    domain = cloud.make("domain")
    user, project = given(domain)
    cloud.change("domain", domain, enabled=False)
    assert provider.effective_roles(user, project) == frozenset()
    assert not provider.user(user).enabled
    assert not provider.project(project).enabled
    assert {project: False}.items() <= {p.id: p.enabled for p in provider.projects()}.items()
    assert holders(provider, project) == {}


def test_a_role_of_one_domain_is_no_role(provider, cloud, people):
    domain = cloud.make("domain")
    role = cloud.make("role", domain_id=domain)
    project, user = cloud.make("project", domain_id=domain), cloud.make("user")
    cloud.put(f"/projects/{project}/users/{user}/roles/{role}")
    assert role not in {known.id for known in provider.roles()}
    assert provider.effective_roles(user, project) == frozenset()
    assert holders(provider, project) == {}
    assert {"admin", "manager", "member", "reader"} <= names(provider.roles())


def test_a_user_and_a_project_are_found_by_id_alone(provider, cloud, people):
    assert provider.user(people.user).enabled
    assert provider.user(people.user).id == people.user
    assert provider.project(people.project).id == people.project
    known = {project.id: project for project in provider.projects()}
    assert known[people.project] == provider.project(people.project)
    for absent in ("f" * 64, "a b?c&d#e%2e", "\u00e9"):
        with pytest.raises(NotFound):
            provider.user(absent)
        with pytest.raises(NotFound):
            provider.project(absent)
        assert provider.effective_roles(absent, people.project) == frozenset()
        assert provider.effective_roles(people.user, absent) == frozenset()
    assert provider.holders("nowhere") == {}


def test_many_holders_cost_few_calls(provider, cloud, identity_lab, monkeypatch):
    monkeypatch.setattr(keystone_listings, "_FEW", 1)
    project, users = cloud.make("project"), [cloud.make("user") for _ in range(3)]
    for user in users:
        cloud.assign("member", f"projects/{project}", user=user)
    cloud.change("user", users[0], enabled=False)
    provider.check()
    domains = len(cloud.get("/domains")["domains"])
    found = {}
    asked = asked_by(cloud, identity_lab, lambda: found.update(provider.holders(project)))
    assert set(users[1:]) <= set(found)
    assert users[0] not in found
    # the project, its domain, its assignments, the roles, all domains, and the users of each
    assert len(asked) <= 5 + domains, asked
    assert not [line for line in asked if line.startswith("GET /v3/users/")]


def test_what_follows_from_all_assignments_is_what_keystone_says_of_each_project(
    provider, cloud, monkeypatch
):
    domain = cloud.make("domain")
    top = cloud.make("project", domain_id=domain)
    below = cloud.make("project", domain_id=domain, parent_id=top)
    lowest = cloud.make("project", domain_id=domain, parent_id=below)
    user, member = (cloud.make("user", domain_id=domain) for _ in range(2))
    group, empty = (cloud.make("group", domain_id=domain) for _ in range(2))
    cloud.put(f"/groups/{group}/users/{member}")
    prior, implied, last = (cloud.make("role") for _ in range(3))
    local = cloud.make("role", domain_id=domain)
    for before, after in ((prior, implied), (implied, last), (local, last)):
        cloud.put(f"/roles/{before}/implies/{after}")
    for where in (
        f"projects/{top}/users/{user}/roles/{local}",
        f"projects/{below}/groups/{group}/roles/{prior}",
        f"projects/{lowest}/groups/{empty}/roles/{prior}",
        f"domains/{domain}/users/{user}/roles/{prior}",
        f"OS-INHERIT/domains/{domain}/groups/{group}/roles/{implied}/inherited_to_projects",
        f"OS-INHERIT/projects/{top}/users/{user}/roles/{cloud.role('admin')}/inherited_to_projects",
        f"OS-INHERIT/projects/{below}/users/{member}/roles/{local}/inherited_to_projects",
        f"OS-INHERIT/projects/{domain}/users/{user}/roles/{implied}/inherited_to_projects",
    ):
        cloud.put(f"/{where}")
    projects = [domain, *(project.id for project in provider.projects())]
    monkeypatch.setattr(keystone_listings, "_FEW", len(projects))
    each = {project: provider.holders(project) for project in projects}
    assert {user, member} <= set(each[lowest])
    monkeypatch.setattr(keystone_listings, "_FEW", 0)
    provider.listings._since = None
    assert each == {project: provider.holders(project) for project in projects}
    assert isinstance(provider.listings._assigned, Assigned)


@pytest.mark.parametrize("scope", ["project_id = {}", "domain_id = default"])
def test_nothing_is_believed_absent_by_a_token_of_another_scope(
    opened, cloud, people, tatu, scope
):
    project = cloud.make("project")
    cloud.assign("admin", f"projects/{project}", user=tatu)
    cloud.assign("admin", "domains/default", user=tatu)
    provider = opened(scope=scope.format(project))
    token = cloud.token(people.user, project_id=people.project)
    for ask in (
        provider.check,
        provider.roles,
        lambda: provider.effective_roles(people.user, people.project),
        lambda: provider.effective_roles("nobody", people.project),
        lambda: provider.user("nobody"),
        lambda: provider.project("nothing"),
        lambda: list(provider.projects()),
        lambda: provider.holders(people.project),
        lambda: provider.authenticate(request(token)),
    ):
        with pytest.raises(Unavailable, match="scope"):
            ask()


def test_without_its_role_tatu_knows_nothing_and_says_so(opened, cloud, people):
    stranger = cloud.make("user")
    cloud.assign("member", "system", user=stranger)
    cloud.delete(f"/roles/{cloud.role('member')}/implies/{cloud.role('reader')}")
    try:
        provider = opened(user_id=stranger)
        for ask in (
            provider.check,
            lambda: provider.user("nobody"),
            lambda: provider.effective_roles("nobody", people.project),
        ):
            with pytest.raises(Unavailable):
                ask()
    finally:
        cloud.put(f"/roles/{cloud.role('member')}/implies/{cloud.role('reader')}")


# --- outages --------------------------------------------------------------------------------


@pytest.mark.matrix
def test_while_keystone_is_away_nobody_new_is_let_in_and_it_recovers_by_itself(
    provider, cloud, people, identity_lab
):
    known, unknown = (cloud.token(people.user, project_id=people.project) for _ in range(2))
    first = provider.authenticate(request(known))
    identity_lab.stop("keystone")
    try:
        assert provider.authenticate(request(known)) is first
        for ask in (
            lambda: provider.authenticate(request(unknown)),
            lambda: provider.authenticate(request(known), cached=False),
            lambda: provider.effective_roles(people.user, people.project),
            lambda: provider.user("nobody"),
            provider.check,
        ):
            began = time.monotonic()
            with pytest.raises(Unavailable):
                ask()
            assert time.monotonic() - began < 10
        provider.clock.ahead = timedelta(seconds=60)
        with pytest.raises(Unavailable):
            provider.authenticate(request(known))
    finally:
        identity_lab.start_again("keystone")
    provider.clock.ahead = timedelta()
    assert provider.authenticate(request(unknown)).subject == people.user
    provider.check()
