"""Certificates that we get: what comes back is what was asked for, or is not written."""

import subprocess
import threading
import time
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from tatu.client import certify, refresh
from tatu.client.clouds import Cloud
from tatu.client.ready import Ready
from tatu.client.state import Session, State
from tatu.core.certificate import Certificate, CertificateType
from tatu.core.errors import Conflict, Denied, Malformed, NotFound, Unavailable
from tests.fakes.tatu_api import ONE, TWO, FakeApi


@pytest.fixture(autouse=True)
def _home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)


@pytest.fixture
def connection(tmp_path):
    """A signed-in cloud whose API is a fake."""
    now = datetime.now(UTC).replace(microsecond=0)
    api = FakeApi(issued=now, expires=now + timedelta(minutes=10))
    cloud = Cloud(
        name="blue",
        url="https://t",
        user="u",
        project="p",
        key=str(tmp_path / "login"),
        deployment="d",
        project_id="p",
    )
    session = Session(token="t", expires_at=now, subject="u", name="u", project="p")
    return SimpleNamespace(
        cloud=cloud, state=State.of(cloud.folder), api=api, session=lambda: session
    )


def test_a_certificate_is_kept_with_its_key(connection):
    certificate, _ = refresh.renew(connection, {})
    state = connection.state
    key, kept = state.held()
    assert (kept, key) == (certificate, certificate.contents.subject_key)
    shown = subprocess.run(
        ["ssh-keygen", "-y", "-f", state.subject_key], capture_output=True, text=True, check=True
    ).stdout
    assert shown.split()[:2] == key.line.split()
    assert Ready.load(str(state.ready)).principals == ["admin"]


def test_a_key_file_is_certified_again_rather_than_replaced(connection):
    first, _ = refresh.renew(connection, {})
    again, _ = refresh.renew(connection, {})
    assert first.contents.subject_key == again.contents.subject_key
    assert first.contents.serial != again.contents.serial


@pytest.mark.parametrize(
    ("wanted", "made"),
    [
        ({}, {"subject_key": ONE.public_key}),
        ({}, {"type": CertificateType.HOST}),
        ({}, {"principals": ()}),
        ({}, {"principals": ("\x1b[2Jadmin",)}),
        ({}, {"principals": ("-oProxyCommand=x",)}),
        ({}, {"principals": ("admin", "a$(id)")}),
        ({}, {"signature_key": ONE.public_key}),
        ({}, {"critical_options": {"force-command": "sh"}}),
        ({"principals": frozenset({"a"})}, {"principals": ("a", "b")}),
        ({"force_command": "ls"}, {"critical_options": {}}),
        ({"source_addresses": ("192.0.2.0/24",)}, {"critical_options": {}}),
        ({"validity": timedelta(minutes=5)}, {"valid_before": datetime(2100, 1, 1, tzinfo=UTC)}),
    ],
)
def test_what_was_not_asked_for_is_not_written(connection, wanted, made):
    connection.api.certificate = made
    with pytest.raises(Denied):
        refresh.renew(connection, wanted)
    assert connection.state.held() is None
    assert not connection.state.ready.exists()


def test_a_certificate_that_names_the_authority_but_is_signed_by_another_is_not_written(
    connection,
):
    connection.api.certificate_signer = ONE
    with pytest.raises(Denied, match="the signature is not by"):
        refresh.renew(connection, {})
    assert connection.state.held() is None
    assert not connection.state.ready.exists()


def test_source_addresses_are_compared_in_their_canonical_form(connection):
    connection.api.certificate = {"critical_options": {"source-address": "192.0.2.1/32"}}
    refresh.renew(connection, {"source_addresses": ("192.0.2.1",)})


def test_a_key_is_certified_beside_its_file(connection, tmp_path):
    path = tmp_path / "mine"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
    beside, _ = certify.certify_file(connection, path.with_suffix(".pub"), {})
    assert beside == tmp_path / "mine-cert.pub"
    assert Certificate.parse(beside.read_text()).contents.principals == ("admin",)
    with pytest.raises(Malformed, match="public key file"):
        certify.certify_file(connection, path, {})
    path.unlink()
    with pytest.raises(NotFound, match="neither"):
        certify.certify_file(connection, path.with_suffix(".pub"), {})


def test_the_key_that_signs_in_is_not_certified(connection, tmp_path):
    path = tmp_path / "login"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
    with pytest.raises(Conflict, match="no key serves two purposes"):
        certify.certify_file(connection, path.with_suffix(".pub"), {})


def test_many_at_once_ask_once(connection):
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(refresh.refresh(connection)))
        for _ in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 20
    assert len(set(map(repr, found))) == 1
    assert connection.api.asked == 1


def out(*_):
    raise Unavailable("no answer")


def aged(connection, **facts):
    path = str(connection.state.ready)
    Ready.load(path)._replace(**facts).save(path)


def test_an_outage_does_not_end_a_valid_certificate(connection, caplog):
    refresh.refresh(connection)
    aged(connection, asked_at=0)
    connection.api.statement = out
    assert refresh.refresh(connection).asked_at > time.time() - 60
    assert "still valid" in caplog.text


def test_an_outage_is_said_when_the_certificate_has_ended(connection):
    refresh.refresh(connection)
    aged(connection, valid_before=1)
    connection.api.statement = out
    with pytest.raises(Unavailable):
        refresh.refresh(connection)


def test_a_statement_that_is_not_believed_stops_the_login(connection):
    refresh.refresh(connection)
    aged(connection, asked_at=0)
    connection.api.signer = TWO
    with pytest.raises(Denied):
        refresh.refresh(connection)


def test_known_hosts_are_written_for_the_suffix_even_without_hosts(connection):
    def denied(_):
        raise Denied("not you")

    connection.api.hosts = denied
    assert refresh.trusted(connection) == ({}, "b.example")
    assert connection.state.known_hosts.read_text().startswith("@cert-authority *.b.example ssh-")


def test_revoking_our_own_certificate_has_it_replaced(connection):
    certificate, _ = refresh.renew(connection, {})
    connection.state.drop([certificate.contents.serial + 1])
    assert connection.state.ready.exists()
    connection.state.drop([certificate.contents.serial])
    assert not connection.state.ready.exists()
