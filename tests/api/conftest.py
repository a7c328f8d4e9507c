import pytest

from tests.api.deployment import deployed


@pytest.fixture(scope="module")
def deployment(tmp_path_factory):
    """One deployment for the tests of a module: they must not undo what others need."""
    with deployed(tmp_path_factory.mktemp("deployment")) as made:
        yield made
