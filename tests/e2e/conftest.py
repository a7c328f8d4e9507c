"""What tests of the agent against Tatu's own API begin with."""

import pytest

from tests.api import deployment as deployments


@pytest.fixture(scope="session")
def template(tmp_path_factory):
    return deployments.template(tmp_path_factory.mktemp("template"))


@pytest.fixture
def tatu(template, tmp_path):
    with (
        deployments.deployed(template, tmp_path / "deployment") as made,
        deployments.answering(made.app) as made.url,
    ):
        yield made
