"""Real hosts for all tests of a process: the switch comes up when the first asks."""

import pytest

from tests.lab.hosts.fleet import Fleet
from tests.lab.hosts.image import IMAGES
from tests.lab.hosts.tatu import Tatu


def pytest_addoption(parser):
    parser.addoption("--image", choices=IMAGES, default="bookworm", help="what hosts boot from")


def pytest_collection_modifyitems(items):
    for item in items:
        if "tests/hosts/" in item.path.as_posix():
            item.add_marker(pytest.mark.hosts)


@pytest.fixture(scope="session")
def fleet(tmp_path_factory, request):
    image = request.config.getoption("--image")
    with Fleet.start(tmp_path_factory.mktemp("fleet"), image) as fleet:
        yield fleet


@pytest.fixture
def boot(fleet):
    """Boot hosts that end with the test: `boot("db-1", drive=…)`, as `fleet.host` does."""
    before = set(fleet.hosts)
    yield fleet.host
    for name in set(fleet.hosts) - before:
        fleet.remove(fleet.hosts[name])


@pytest.fixture(scope="session")
def tatu(fleet, tmp_path_factory):
    with Tatu.start(fleet, tmp_path_factory.mktemp("tatu")) as tatu:
        yield tatu


@pytest.fixture
def project(tatu):
    """A project of the test's own, with its authority."""
    return tatu.project()
