"""Keys and secrets in a real Barbican, which goes away, refuses and forgets tokens."""

import os
import uuid

import pytest

from tatu import bootstrap, config
from tatu.core.audit import SYSTEM
from tatu.core.authority import KeyAlgorithm
from tatu.core.errors import NotFound, Unavailable
from tatu.core.identity import Role
from tatu.drivers import loading
from tatu.manage import opening
from tatu.manage.main import main
from tatu.service.audit import event
from tests.contract.keystore.test_keystore import (  # noqa: F401  they run over the fixture below
    test_a_certificate_that_names_another_signature_key_is_not_signed,
    test_a_deleted_key_is_not_found_and_deleting_it_again_is_no_error,
    test_a_key_of_each_algorithm_signs_a_certificate_that_ssh_keygen_reads,
    test_a_key_store_that_works_passes_its_check,
    test_a_key_that_never_was_is_not_found_and_deleting_it_is_no_error,
    test_a_secret_is_the_same_at_each_call_and_differs_by_name,
    test_a_signer_shows_only_its_public_half_and_is_not_pickled,
    test_statements_and_checkpoints_are_signed_each_for_its_purpose,
)
from tests.fakes.secrets import FakeSecrets

PASSWORD = "lab-tatu"


@pytest.fixture(scope="module")
def users(identity_lab):
    """Make a project with the users `tatu`, who may keep secrets, and `guest`, who may not.

    The role `creator` of Barbican's old policy is not enough any more: `guest` has it.
    """
    cloud = identity_lab.cloud()
    mark = uuid.uuid4().hex[:8]
    project = cloud.identity.create_project(name=f"keys-{mark}", domain_id="default")
    names = {"project": project.name}
    for name, roles in (("tatu", ("member",)), ("guest", ("reader", "creator"))):
        names[name] = f"{name}-{mark}"
        user = cloud.identity.create_user(name=names[name], password=PASSWORD, domain_id="default")
        for role in roles:
            found = cloud.identity.find_role(role, ignore_missing=False)
            cloud.identity.assign_project_role_to_user(project, user, found)
    return names


@pytest.fixture
def configured(identity_lab, users, tmp_path, monkeypatch):
    """Return how to write a configuration with this key store, for a user."""
    monkeypatch.setenv("HOME", str(tmp_path))

    def written(name="tatu"):
        path = tmp_path / f"{name}.conf"
        path.write_text(
            f"""
[DEFAULT]
api_endpoint = https://tatu.example
[database]
connection = sqlite:///{tmp_path}/tatu.db
[state]
directory = {tmp_path}
[keystore]
driver = castellan
[keystore_castellan]
timeout = 30
[key_manager]
backend = barbican
auth_type = keystone_password
auth_url = {identity_lab.keystone_url}
username = {users[name]}
password = {PASSWORD}
user_domain_id = default
project_name = {users["project"]}
project_domain_id = default
"""
        )
        return path

    return written


@pytest.fixture
def open_as(configured):
    """Return how to open the key store as a user does."""

    def opened(name="tatu", secrets=None):
        found = config.load([f"--config-file={configured(name)}"])
        bootstrap.check_config(found)
        ports = {
            "conf": found.conf,
            "secrets": FakeSecrets() if secrets is None else secrets,
            "randomness": os.urandom,
        }
        return loading.build(loading.find("keystore", "castellan"), found.conf, ports)

    return opened


@pytest.fixture
def keystore(open_as):
    return open_as()


@pytest.fixture
def stopped(identity_lab):
    """Return how to stop a service; it runs again after the test."""
    names = []

    def stop(name):
        identity_lab.stop(name)
        names.append(name)

    def start():
        while names:
            identity_lab.start_again(names.pop())

    stop.undo = start
    yield stop
    start()


def test_another_process_fetches_what_one_has_made(keystore, open_as):
    reference, public_key = keystore.create(KeyAlgorithm.ED25519)
    secret = keystore.secret("enrolment")
    other = open_as(secrets=keystore.secrets)
    assert public_key == other.signer(reference).public_key
    assert secret == other.secret("enrolment")


def test_a_deleted_key_is_gone_from_barbican(keystore, identity_lab, users):
    reference, _ = keystore.create(KeyAlgorithm.ED25519)
    tatu = identity_lab.cloud(users["project"], users["tatu"], PASSWORD).session
    url = f"{identity_lab.barbican_url}/v1/secrets/{reference}"
    assert tatu.get(url).json()["secret_type"] == "opaque"
    keystore.delete(reference)
    assert tatu.get(url, raise_exc=False).status_code == 404


@pytest.mark.parametrize("service", ["barbican", "keystone"])
def test_signing_goes_on_while_a_service_is_out_and_all_is_well_when_it_is_back(
    keystore, open_as, stopped, service
):
    reference, public_key = keystore.create(KeyAlgorithm.ED25519)
    secret = keystore.secret("enrolment")
    cold = open_as(secrets=keystore.secrets)
    stopped(service)
    assert public_key == keystore.signer(reference).public_key
    assert secret == keystore.secret("enrolment")
    for ask in (
        lambda: cold.create(KeyAlgorithm.ED25519),
        lambda: cold.signer(reference),
        lambda: cold.secret("enrolment"),
        lambda: cold.delete(reference),
        cold.check,
    ):
        with pytest.raises(Unavailable, match=r"the key manager \(barbican\) does not") as raised:
            ask()
        assert PASSWORD not in str(raised.value)
    stopped.undo()
    cold.check()
    assert public_key == cold.signer(reference).public_key
    cold.create(KeyAlgorithm.ED25519)


def test_a_user_who_may_not_keep_secrets_is_refused_with_the_reason(open_as, caplog):
    store = open_as("guest")
    for ask in (store.check, lambda: store.create(KeyAlgorithm.ED25519)):
        with pytest.raises(Unavailable, match=r"does not store a secret: .*not allowed"):
            ask()
    # the libraries log what they raise, and Barbican may quote what it was sent
    assert not [
        name for name, _, _ in caplog.record_tuples if "castellan" in name or "bar" in name
    ]


def test_an_authority_lives_in_barbican_and_its_keys_die_there(
    identity_lab, users, configured, stopped, capsys
):
    def manage(*words):
        assert main([f"--config-file={configured()}", *words]) == 0
        return capsys.readouterr().out

    def kept():
        secrets = identity_lab.cloud(users["project"], users["tatu"], PASSWORD).key_manager
        return {secret.secret_id for secret in secrets.secrets()}

    manage("db", "sync")
    found = config.load([f"--config-file={configured()}"])
    ledger = bootstrap.open_ledger(found)
    try:
        application = bootstrap.build(found, ledger)
        by = opening.operator(application)
        made = event("made", by=by, at=application.clock(), subject="member")
        ledger.directory.create_role(Role(id="m", name="member"), made)
        authority = application.authorities.create(by, "blue", "blue", request_id="")
        references = {key.reference for key in authority.keys}
        assert references <= kept()
        stopped("barbican")
        application.statements.newest("blue")
        with pytest.raises(Unavailable, match="key manager"):
            application.authorities.create(by, "red", "red", request_id="")
        stopped.undo()
        application.authorities.create(by, "red", "red", request_id="")
        gone = event("retired", by=SYSTEM, at=application.clock(), subject="blue")
        ledger.authorities.retire("blue", gone)
    finally:
        ledger.close()
    before = kept()
    assert "destroyed 3 keys" in manage("authority", "destroy-keys", "--yes", "blue")
    assert before - references == kept()


def test_a_wrong_password_is_refused_with_the_reason(open_as, monkeypatch):
    monkeypatch.setenv("OS_KEY_MANAGER__PASSWORD", "hunter2")
    with pytest.raises(Unavailable, match=r"401") as raised:
        open_as().check()
    assert "hunter2" not in str(raised.value)


def test_one_token_serves_until_it_is_refused(keystore, identity_lab, stopped):
    """Barbican starts again between, because it remembers tokens that it has seen."""
    keystore.check()
    before = identity_lab.requests("keystone").count("POST /v3/auth/tokens 201")
    reference, _ = keystore.create(KeyAlgorithm.ED25519)
    keystore.check()
    assert before == identity_lab.requests("keystone").count("POST /v3/auth/tokens 201")
    token = keystore.context.get_auth_plugin().auth_ref.auth_token
    cloud = identity_lab.cloud()
    cloud.session.delete(
        f"{identity_lab.keystone_url}/auth/tokens", headers={"X-Subject-Token": token}
    )
    stopped("barbican")
    stopped.undo()
    keystore.check()
    assert keystore.context.get_auth_plugin().auth_ref.auth_token != token
    keystore.delete(reference)
    with pytest.raises(NotFound):
        keystore.signer(reference)
