"""A deployment for each test that asks for one, from a database that is migrated once."""

import shutil

import pytest

from tatu.store.migrations import migrate
from tests.fakes.deployment import Deployment


@pytest.fixture(scope="session")
def populated(tmp_path_factory):
    """A database and key store with two projects, users and authorities."""
    database = tmp_path_factory.mktemp("ledger") / "tatu.db"
    migrate(f"sqlite:///{database}")
    deployment = Deployment(database).populate()
    deployment.ledger.close()
    return database, deployment.keystore.signers, deployment.clock.now


@pytest.fixture
def deployment(populated, tmp_path):
    """A deployment of its own: what a test does to it no other test sees."""
    database, signers, now = populated
    shutil.copy(database, tmp_path / "tatu.db")
    found = Deployment(tmp_path / "tatu.db")
    found.keystore.signers.update(signers)
    found.clock.now = now
    yield found
    found.ledger.close()
