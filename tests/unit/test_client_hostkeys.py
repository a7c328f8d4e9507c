"""Host keys that are certified from elsewhere: proven, and written only as asked for."""

import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from tatu.client import hostkeys
from tatu.client.clouds import Cloud
from tatu.client.state import State
from tatu.core.certificate import Certificate, CertificateType
from tatu.core.errors import Denied, Malformed, NotFound
from tests.fakes.tatu_api import ONE, USER, FakeApi


@pytest.fixture(autouse=True)
def _no_agent(monkeypatch):
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)


@pytest.fixture
def connection(tmp_path):
    now = datetime.now(UTC).replace(microsecond=0)
    cloud = Cloud(name="blue", url="https://t", user="u", project="p", key="", deployment="d")
    return SimpleNamespace(
        cloud=cloud,
        state=State.of(tmp_path / "state"),
        api=FakeApi(issued=now, expires=now + timedelta(minutes=10)),
        session=lambda: SimpleNamespace(project="p"),
    )


@pytest.fixture
def keys(tmp_path):
    made = [tmp_path / f"ssh_host_{kind}_key" for kind in ("ed25519", "ecdsa")]
    for kind, path in zip(("ed25519", "ecdsa"), made, strict=True):
        subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", path], check=True)
    return [str(path) for path in made]


def test_each_key_has_its_certificate_beside_it(connection, keys):
    made = hostkeys.certify(connection, {"host": "db-1"}, keys)
    assert [str(file) for file, _ in made] == [f"{key}-cert.pub" for key in keys]
    for key, (file, certificate) in zip(keys, made, strict=True):
        assert Certificate.parse(file.read_text()) == certificate
        public = Path(f"{key}.pub").read_text()
        assert certificate.contents.subject_key.line == " ".join(public.split()[:2])
        assert file.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize(
    ("lie", "problem"),
    [
        ({"certificate": {"subject_key": ONE.public_key}}, "it is for another key"),
        ({"certificate": {"type": CertificateType.USER}}, "it is no host certificate"),
        ({"certificate": {"principals": ("other",)}}, "it does not name the host"),
        ({"certificate": {"signature_key": USER.public_key}}, "not by the project's authority"),
        ({"host_signer": ONE}, "the signature is not by"),
        ({"secret": bytes(32)}, "does not come from who made the enrolment token"),
        ({"enrolled": {"host": "other"}}, "not for the host and the keys"),
        ({"enrolled": {"deployment": "other"}}, "not for the host and the keys"),
        ({"enrolled": {"certificates": []}}, "not for the host and the keys"),
    ],
)
def test_what_was_not_asked_for_is_not_written(connection, keys, lie, problem):
    vars(connection.api).update(lie)
    with pytest.raises(Denied, match=problem):
        hostkeys.certify(connection, {"host": "db-1"}, keys)
    assert not any(Path(f"{key}-cert.pub").exists() for key in keys)


def test_an_answer_that_is_none_is_said(connection, keys):
    connection.api.enrolled = {"certificates": 7}
    with pytest.raises(Malformed, match="did not answer as Tatu does"):
        hostkeys.certify(connection, {"host": "db-1"}, keys)


def test_without_its_private_half_no_host_is_admitted(connection, keys):
    Path(keys[1]).unlink()
    connection.api.create_enrolment_token = None
    with pytest.raises(NotFound, match="private half"):
        hostkeys.certify(connection, {"host": "db-1"}, keys)
