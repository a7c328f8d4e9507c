"""Real hosts for all tests of a process: the switch comes up when the first asks."""

import re
import subprocess

import pytest

from tests.lab.hosts.fleet import Fleet, Host
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


@pytest.fixture(scope="module", autouse=True)
def all_that_is_told_is_taken(fleet):
    """End the hosts that a module leaves; what they told Tatu has to have been taken."""
    yield
    _end(fleet, list(fleet.hosts.values()))


@pytest.fixture
def boot(fleet):
    """Boot hosts that end with the test: `boot("db-1", drive=…)`, as `fleet.host` does."""
    before = set(fleet.hosts)
    yield fleet.host
    _end(fleet, [host for name, host in fleet.hosts.items() if name not in before])


_REFUSED = re.compile(
    r"tatu-agent: (receipt|logins|report|renewal): the server answered (4..|500)"
)


def _end(fleet, hosts):
    """Leave nothing of these hosts, none of which may have told Tatu what it refuses to take."""
    refused = {}
    for host in hosts:
        if isinstance(host, Host) and host.pid:
            refused[host.name] = list(filter(_REFUSED.match, host.journal().splitlines()))
        fleet.remove(host)
    assert not any(refused.values()), refused


@pytest.fixture(scope="session")
def offline(tmp_path_factory):
    """An offline key, of which the API's machines have the public half."""
    path = tmp_path_factory.mktemp("safe") / "offline"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
    return path


@pytest.fixture(scope="session")
def tatu(fleet, offline, tmp_path_factory):
    more = f"[statement]\nbreak_glass_authorities = {offline}.pub\n"
    with Tatu.start(fleet, tmp_path_factory.mktemp("tatu"), more) as tatu:
        yield tatu


@pytest.fixture
def project(tatu):
    """A project of the test's own, with its authority."""
    return tatu.project()
