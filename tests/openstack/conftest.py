"""One lab for all tests of a process: it comes up when the first asks, and grows when one needs more."""

import pytest

from tests.lab.openstack.lab import Lab


def pytest_collection_modifyitems(items):
    for item in items:
        if "tests/openstack/" in item.path.as_posix():
            item.add_marker(pytest.mark.openstack)
            # the SDK warns of what it does itself
            item.add_marker(
                pytest.mark.filterwarnings(
                    "ignore::openstack.warnings.OpenStackDeprecationWarning"
                )
            )


@pytest.fixture(scope="session")
def identity_lab(tmp_path_factory):
    with Lab.start(tmp_path_factory.mktemp("lab")) as lab:
        yield lab
    assert lab.processes.living() == []


@pytest.fixture(scope="session")
def dns_lab(identity_lab):
    identity_lab.extend("dns")
    return identity_lab


@pytest.fixture(scope="session")
def compute_lab(identity_lab):
    identity_lab.extend("compute")
    return identity_lab
