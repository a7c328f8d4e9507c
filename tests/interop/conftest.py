"""What most tests of the agent on one machine begin with."""

import pytest

from tests.fakes.agent_host import ACCOUNT, make_keys
from tests.fakes.tatu_server import FakeTatu


@pytest.fixture(scope="session")
def keys(tmp_path_factory):
    return make_keys(tmp_path_factory.mktemp("keys"))


@pytest.fixture
def tatu():
    server = FakeTatu(accounts={ACCOUNT: ("admin",)})
    yield server
    server.close()
