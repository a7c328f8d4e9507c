"""What was found out before a loss must not hide it: listings asked for `since` then (S4)."""

import pytest

from tatu.core.identity import Role
from tests.contract.identity.test_identity import KeystoneCase

ROLE = Role(id="id-member", name="member")


@pytest.fixture
def case(deployment):
    return KeystoneCase(deployment)


def test_a_listing_is_kept_for_a_moment_and_asked_for_anew_since_a_loss(case, deployment):
    provider, directory = case.provider, deployment.ledger.directory
    assert "id-bob" in provider.holders("blue")
    directory.enable_user("id-bob", deployment.event(), enabled=False)
    assert "id-bob" in provider.holders("blue")
    lost = deployment.clock()

    assert "id-bob" not in provider.holders("blue", since=lost)
    assert "id-bob" not in provider.holders("blue")


def test_a_disabled_project_has_no_holders_since_then(case, deployment):
    provider, directory = case.provider, deployment.ledger.directory
    assert {"blue", "red"} <= {each.id for each in provider.projects() if each.enabled}
    directory.enable_project("blue", deployment.event(), enabled=False)
    lost = deployment.clock()

    enabled = {each.id for each in provider.projects(since=lost) if each.enabled}
    assert "blue" not in enabled
    assert provider.holders("blue", since=lost) == {}


def test_roles_are_kept_for_a_moment_and_asked_for_anew_since_a_loss(case, deployment):
    provider, directory = case.provider, deployment.ledger.directory
    assert ROLE in provider.roles()
    directory.delete_role(ROLE.id, deployment.event())
    assert ROLE in provider.roles()

    assert ROLE not in provider.roles(since=deployment.clock())
    assert ROLE not in provider.roles()


def test_a_run_of_comparing_asks_once_for_what_its_projects_share(case, deployment):
    begun = deployment.clock()
    deployment.assign("ann", "member", project="red")
    list(case.provider.projects(since=begun))
    case.provider.holders("blue", since=begun)
    before = len(case.keystone.asked)
    case.provider.holders("red", since=begun)

    assert len(case.keystone.asked) - before == 1


def test_a_run_of_comparing_is_not_overtaken_by_time(case, deployment):
    """Else one whose listing takes longer than a listing is kept would list for ever."""
    begun = deployment.clock()
    deployment.assign("ann", "member", project="red")
    list(case.provider.projects(since=begun))
    case.provider.holders("blue", since=begun)
    before = len(case.keystone.asked)
    deployment.clock.forward(seconds=600)
    case.provider.holders("red", since=begun)

    assert len(case.keystone.asked) - before == 1
