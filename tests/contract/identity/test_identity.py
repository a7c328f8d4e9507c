"""What every `IdentityProvider` promises."""

from dataclasses import replace
from datetime import timedelta

import pytest

from tatu.core import bearer, losses
from tatu.core.audit import SYSTEM, Event
from tatu.core.authority import KeyAlgorithm
from tatu.core.errors import NotFound, Unauthenticated, Unavailable
from tatu.core.identity import FEDERATION
from tatu.drivers.identity.local import Local
from tatu.ports import Assignment, BearerToken, Request, User, UserKey
from tests.fakes.deployment import Key
from tests.fakes.identities import FakeIdentities
from tests.fakes.identities import request as named
from tests.fakes.keystone import URL, FakeKeystone


class LocalCase:
    """The embedded directory: a request carries a token."""

    issuer = "local"

    def __init__(self, deployment):
        self.deployment = deployment
        self.made = 0
        ledger = deployment.ledger
        self.provider = Local(
            directory=ledger.directory,
            sign_ins=ledger.sign_ins,
            cut_offs=ledger.cut_offs,
            clock=deployment.clock,
        )

    def request(self, user, project, *, fresh=False, lifetime=timedelta(hours=1)):
        ledger, now = self.deployment.ledger, self.deployment.clock()
        user_id = ledger.directory.user(user).id
        key = Key(KeyAlgorithm.ED25519).public
        ledger.directory.add_key(
            UserKey(user=user_id, public_key=key, created_at=now), self.event()
        )
        self.made += 1
        self.token = bearer.text(self.made.to_bytes(32, "big"))
        self.key = key.fingerprint
        ledger.sign_ins.put_token(
            BearerToken(
                digest=bearer.digest(self.token),
                user=user_id,
                project=project,
                key=key.fingerprint,
                fresh=fresh,
                created_at=now,
                expires_at=now + lifetime,
            ),
            self.event(),
        )
        return with_token(self.token)

    def event(self):
        return Event(
            action="test",
            actor=SYSTEM,
            authority=None,
            subject="test",
            at=self.deployment.clock(),
            facts={},
        )


class KeystoneCase(LocalCase):
    """A Keystone: a request carries a token that it vouches for."""

    issuer = URL

    def __init__(self, deployment):
        self.deployment = deployment
        self.keystone = FakeKeystone(deployment.ledger.directory)
        self.provider = self.keystone.provider(deployment.clock, deployment.ledger.cut_offs)

    def request(self, user, project, **_):
        headers = {"x-auth-token": self.keystone.token(user, project)}
        return Request(method="GET", path="/", body_digest="", headers=headers)


class FakeCase(LocalCase):
    """The fake: a request names its user."""

    def __init__(self, deployment):
        self.deployment = deployment
        self.provider = FakeIdentities(deployment.ledger, deployment.clock)

    def request(self, user, project, **_):
        return named(user, project)


def with_token(token, scheme="Bearer"):
    headers = {} if token is None else {"authorization": f"{scheme} {token}"}
    return Request(method="GET", path="/", body_digest="", headers=headers)


@pytest.fixture(params=[LocalCase, KeystoneCase, FakeCase])  # the fake remembers nobody
def case(request, deployment):
    return request.param(deployment)


@pytest.fixture
def local(deployment):
    return LocalCase(deployment)


def test_a_caller_is_known_with_the_roles_of_the_project(case):
    identity = case.provider.authenticate(case.request("ann", "blue"))
    assert (identity.issuer, identity.name) == (case.issuer, "ann")
    assert (identity.subject, identity.project) == ("id-ann", "blue")
    assert {"admin", "member", "reader"} == identity.role_names
    assert not identity.fresh
    assert identity.validated_at < identity.expires_at


def test_somebody_without_roles_in_the_project_has_none(case):
    identity = case.provider.authenticate(case.request("bob", "red"))
    assert frozenset() == identity.roles


def test_the_mark_is_older_than_all_that_ends_later(case):
    identity = case.provider.authenticate(case.request("ann", "blue"))
    later = case.deployment.ledger.cut_offs.commit([losses.role("x")], "test", case.event())
    assert identity.mark < later


def test_uncached_a_lost_role_is_gone_at_once(case):
    request = case.request("bob", "blue")
    assert {"member"} == case.provider.authenticate(request).role_names
    case.deployment.ledger.directory.unassign(
        Assignment(project="blue", role="id-member", user="id-bob"), case.event()
    )
    assert frozenset() == case.provider.authenticate(request, cached=False).roles


def test_a_disabled_user_is_unauthenticated(case):
    request = case.request("bob", "blue")
    case.deployment.ledger.directory.enable_user("id-bob", case.event(), enabled=False)
    with pytest.raises(Unauthenticated):
        case.provider.authenticate(request, cached=False)


def test_effective_roles_are_those_of_this_moment_and_empty_for_who_is_gone(case):
    assert {"member"} == {role.name for role in case.provider.effective_roles("id-bob", "blue")}
    case.deployment.ledger.directory.enable_project("blue", case.event(), enabled=False)
    assert frozenset() == case.provider.effective_roles("id-bob", "blue")
    assert frozenset() == case.provider.effective_roles("nobody", "blue")


def test_all_roles_are_told(case):
    names = {role.name for role in case.provider.roles()}
    assert {"admin", "manager", "member", "reader"} == names


def test_a_project_and_a_user_are_found_by_their_very_id(case):
    directory, event = case.deployment.ledger.directory, case.event()
    assert case.provider.project("blue").enabled
    assert case.provider.user("id-ann") == User(id="id-ann", name="ann")
    directory.enable_user("id-ann", event, enabled=False)
    directory.enable_project("blue", event, enabled=False)
    assert not case.provider.user("id-ann").enabled
    assert not case.provider.project("blue").enabled
    for absent in ("ann", "nobody", "ID-ANN", "\u00e9"):
        with pytest.raises(NotFound):
            case.provider.user(absent)
        with pytest.raises(NotFound):
            case.provider.project(absent)


@pytest.mark.parametrize("origin", ["", f"{FEDERATION}corp"])
def test_what_was_not_lent_always_stands(case, origin):
    case.provider.lent("id-ann", origin)


def test_all_projects_are_listed_with_their_state(case):
    case.deployment.ledger.directory.enable_project("red", case.event(), enabled=False)
    found = {project.id: project.enabled for project in case.provider.projects()}
    assert found == {"blue": True, "red": False}


def test_the_holders_of_a_project_have_their_effective_roles_or_are_not_listed(case):
    directory, event = case.deployment.ledger.directory, case.event()
    found = case.provider.holders("blue")
    assert {"id-ann", "id-bob"} <= set(found)
    assert all(
        roles == case.provider.effective_roles(user, "blue") for user, roles in found.items()
    )
    directory.enable_user("id-bob", event, enabled=False)
    since = case.deployment.clock()
    assert set(found) - {"id-bob"} == set(case.provider.holders("blue", since=since))
    assert case.provider.holders("nowhere") == {}


def test_a_provider_that_works_passes_its_check(case):
    case.provider.check()


@pytest.mark.parametrize(
    ("token", "scheme"),
    [
        (None, ""),
        ("", "Bearer"),
        ("tatu_short", "Bearer"),
        (bearer.text(bytes(32)) + "x", "Bearer"),
        (bearer.text(bytes(32)), "Basic"),
        (bearer.text(bytes(32)), "Bearer"),
        ("é" * 48, "Bearer"),
    ],
)
def test_whoever_has_no_token_of_ours_is_unauthenticated_and_the_error_hides_it(
    local, token, scheme
):
    with pytest.raises(Unauthenticated) as raised:
        local.provider.authenticate(with_token(token, scheme))
    assert not token or token not in str(raised.value)


def test_the_scheme_is_read_in_any_case(local):
    local.request("ann", "blue")
    assert local.provider.authenticate(with_token(local.token, "bearer")).name == "ann"


def test_an_expired_token_is_unauthenticated_even_when_cached(local):
    request = local.request("ann", "blue", lifetime=timedelta(seconds=5))
    local.provider.authenticate(request)
    local.deployment.clock.forward(seconds=5)
    with pytest.raises(Unauthenticated):
        local.provider.authenticate(request)


def test_an_identity_is_remembered_for_ten_seconds_and_no_longer(local):
    request = local.request("bob", "blue")
    first = local.provider.authenticate(request)
    local.deployment.assign("bob", "admin", project="blue")
    assert first is local.provider.authenticate(request)
    local.deployment.clock.forward(seconds=10)
    assert "admin" in local.provider.authenticate(request).role_names


@pytest.mark.parametrize("case", [LocalCase, KeystoneCase], indirect=True)
@pytest.mark.parametrize(
    "topic",
    [
        losses.user("id-bob"),
        losses.project("blue"),
        losses.user_in_project("id-bob", "blue"),
        losses.role("id-member"),
        losses.everyone(),
    ],
)
def test_whom_a_cut_off_concerns_is_not_remembered_across_it(case, topic):
    asking = case.request("bob", "blue")
    first = case.provider.authenticate(asking)
    mark = case.deployment.ledger.cut_offs.commit([topic], "test", case.event())
    again = case.provider.authenticate(asking)
    assert again is not first
    assert again.mark == mark
    assert case.provider.authenticate(asking) is again


def test_the_lag_of_a_source_that_is_the_ledger_itself_is_none(local):
    assert timedelta() == local.provider.lag


@pytest.mark.parametrize("case", [LocalCase, KeystoneCase], indirect=True)
def test_whom_a_cut_off_does_not_concern_is_remembered_across_it(case):
    asking = case.request("bob", "blue")
    first = case.provider.authenticate(asking)
    others = [losses.user("id-ann"), losses.project("red"), losses.role("id-admin")]
    case.deployment.ledger.cut_offs.commit(others, "test", case.event())
    assert case.provider.authenticate(asking) is first
    case.deployment.ledger.cut_offs.commit([losses.project("blue")], "test", case.event())
    assert case.provider.authenticate(asking) is not first


def test_a_clock_that_is_set_back_lengthens_nothing(local):
    request = local.request("bob", "blue")
    first = local.provider.authenticate(request)
    local.deployment.clock.forward(seconds=-60)
    assert first is not local.provider.authenticate(request)


def test_who_may_administer_is_looked_up_each_time(local):
    request = local.request("ann", "blue", fresh=True)
    first = local.provider.authenticate(request)
    assert first.fresh
    assert first is not local.provider.authenticate(request)


def test_a_forgotten_token_is_looked_up_again(local):
    request = local.request("ann", "blue")
    local.provider.authenticate(request)
    digest = bearer.digest(local.token)
    local.deployment.ledger.sign_ins.end_token(digest, local.event())
    local.provider.forget(digest)
    with pytest.raises(Unauthenticated):
        local.provider.authenticate(request)


def test_a_token_whose_key_was_taken_away_is_worth_nothing(local):
    request = local.request("ann", "blue")
    local.deployment.ledger.directory.remove_key("id-ann", local.key, local.event())
    with pytest.raises(Unauthenticated):
        local.provider.authenticate(request)


def test_a_token_of_a_software_key_never_administers_where_security_keys_are_asked_for(local):
    local.provider = replace(local.provider, hardware_keys_for_administrators=True)
    local.deployment.assign("ann", "member", project="red")
    for project, fresh in (("blue", False), ("blue", True), ("red", True)):
        request = local.request("ann", project, fresh=fresh)
        with pytest.raises(Unauthenticated, match="security key"):
            local.provider.authenticate(request)
    assert not local.provider.authenticate(local.request("ann", "red")).fresh
    assert local.provider.authenticate(local.request("bob", "blue", fresh=True)).fresh


def test_a_user_named_like_another_ones_id_is_not_taken_for_them(local):
    directory = local.deployment.ledger.directory
    request = local.request("bob", "blue")
    directory.delete_user("id-bob", local.event())
    with pytest.raises(Unauthenticated):
        local.provider.authenticate(request, cached=False)


def test_an_outage_of_the_ledger_is_unavailable(local):
    request = local.request("ann", "blue")

    class Out:
        def mark(self):
            raise Unavailable("out")

    provider = Local(
        directory=local.provider.directory,
        sign_ins=local.provider.sign_ins,
        cut_offs=Out(),
        clock=local.deployment.clock,
    )
    with pytest.raises(Unavailable):
        provider.authenticate(request)
    with pytest.raises(Unavailable):
        provider.check()
