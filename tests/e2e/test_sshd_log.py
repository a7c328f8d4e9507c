"""What sshd logs of a login is enough to find its certificate in the ledger, and no other (S19)."""

import re

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tatu.core.authority import Purpose
from tatu.core.certificate import Certificate
from tests.api.deployment import deployed, template
from tests.api.keys import ClientKey
from tests.interop.test_sshd import Sshd

pytestmark = pytest.mark.slow

# Read from the right: a key ID may hold nearly anything.
ACCEPTED = re.compile(
    r"Accepted publickey for .* (?P<key>SHA256:\S+) ID (?P<id>.*)"
    r" \(serial (?P<serial>\d+)\) CA \S+ (?P<ca>SHA256:\S+)\s*$",
    re.MULTILINE,
)


@pytest.fixture
def deployment(tmp_path):
    (tmp_path / "template").mkdir()
    with deployed(template(tmp_path / "template"), tmp_path / "deployment") as running:
        yield running


@pytest.fixture
def sshd(tmp_path, deployment):
    """sshd of a host that obeys the authority of `blue` and lets `member` in."""
    (tmp_path / "sshd").mkdir()
    running = Sshd(tmp_path / "sshd")
    authority = deployment.ledger.authorities.get("blue")
    line = f"{authority.active(Purpose.USER).public_key}\n"
    (running.folder / "authorities.pub").write_text(line)
    (running.folder / "principals").write_text("member\n")
    yield running
    running.stop()


def issue(deployment, sshd):
    """Issue a certificate for the key that ssh will use."""
    key = ClientKey()
    path = sshd.folder / "id_ssh-ed25519"
    path.write_bytes(
        key._private.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    )
    path.with_suffix(".pub").unlink(missing_ok=True)
    answer = deployment.call(
        "POST",
        "/v2/authorities/blue/user-certificates",
        "blue-member",
        json=deployment.wanted(key, "blue-member"),
    )
    assert answer.status_code == 201, answer.text
    return Certificate.parse(answer.json["certificate"])


def test_a_login_is_joined_with_its_certificate_until_that_is_revoked(deployment, sshd):
    certificate = issue(deployment, sshd)
    logged = ACCEPTED.search(sshd.accepts(certificate))
    row = deployment.ledger.certificates.get("blue", int(logged["serial"]), scope=None)
    assert (row.key_id, row.subject_key, row.signature_key) == (
        logged["id"],
        logged["key"],
        logged["ca"],
    )
    assert row.key_id == f"blue-member-name_{row.serial}"
    answer = deployment.call(
        "POST",
        "/v2/authorities/blue/revocations",
        "blue-member",
        json={"serial": row.serial, "reason": "lost"},
    )
    assert answer.status_code == 200, answer.text
    published = deployment.call("GET", "/v2/authorities/blue/krl").content
    (sshd.folder / "new").write_bytes(published)
    (sshd.folder / "new").rename(sshd.folder / "revoked.krl")
    log = sshd.refuses(certificate)
    assert f"Authentication key ED25519-CERT {row.subject_key} revoked by file" in log
    assert f"ID {row.key_id} (serial {row.serial}) CA" in log
    sshd.accepts(issue(deployment, sshd))
