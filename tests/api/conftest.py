import pytest

from tests.api import deployment as deployments


@pytest.fixture(scope="session")
def template(tmp_path_factory):
    return deployments.template(tmp_path_factory.mktemp("template"))


@pytest.fixture(scope="module")
def deployment(template, tmp_path_factory):
    """One deployment for the tests of a module: they must not undo what others need."""
    with deployments.deployed(template, tmp_path_factory.mktemp("deployment")) as made:
        yield made
