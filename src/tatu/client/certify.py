"""Getting user certificates: the subject key proves itself, and what comes back is checked."""

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from tatu.client import files, resources, signing, trust, verifying
from tatu.client.connection import Connection
from tatu.client.signing import SigningKey
from tatu.client.sshagent import Agent
from tatu.core import wire
from tatu.core.accounts import ACCOUNT
from tatu.core.certificate import Certificate, CertificateType
from tatu.core.errors import Conflict, Denied, Malformed, TatuError
from tatu.core.keys import PublicKey
from tatu.core.policy import Wanted
from tatu.core.sshsig import Namespace, SshSignature, to_be_signed

_SKEW = timedelta(minutes=10)


@dataclass(frozen=True, kw_only=True)
class NewKey:
    """An Ed25519 key made here, in memory until `keep` or an agent takes it."""

    private: Ed25519PrivateKey

    @classmethod
    def generate(cls) -> Self:
        """Make a key."""
        return cls(private=Ed25519PrivateKey.generate())

    @property
    def public_key(self) -> PublicKey:
        """The public half."""
        line = self.private.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
        return PublicKey.parse(line.decode())

    def sign(self, namespace: Namespace, message: bytes) -> str:
        """Return the armored SSHSIG over a message (RFC 8709)."""
        made = self.private.sign(to_be_signed(namespace, message))
        blob = wire.string("ssh-ed25519") + wire.string(made)
        return SshSignature(self.public_key, namespace, "sha512", blob).armored

    def openssh(self) -> bytes:
        """Return the private key file's text."""
        return self.private.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())

    def add_to(self, agent: Agent, comment: str, lifetime: timedelta) -> None:
        """Put the key into ssh-agent for this long; raises as `Agent.add_ed25519` does."""
        seed = self.private.private_bytes_raw()
        agent.add_ed25519(seed, self.private.public_key().public_bytes_raw(), comment, lifetime)


def certify(
    connection: Connection, wanted: Wanted, key: SigningKey
) -> tuple[Certificate, resources.Certificate]:
    """Return a certificate for a key, checked to be what was asked for.

    Raises `Denied` when it is not, `Conflict` for the key that we sign in with (S1), and as
    `http.request` does.
    """
    session = connection.session()
    if _is_sign_in_key(connection, key.public_key):
        raise Conflict("this key signs in: no key serves two purposes, certify another one")
    message = wanted.proof_message(
        deployment=connection.cloud.deployment,
        authority=session.project,
        subject=session.subject,
    )
    proof = key.sign(Namespace.SUBJECT, message)
    answer = connection.api.create_user_certificate(session.project, wanted, proof)
    if answer.certificate is None:
        raise Malformed("the server's answer holds no certificate")
    certificate = Certificate.parse(answer.certificate)
    _check(certificate, wanted, datetime.now(UTC))
    if not _is_by_authority(connection, certificate):
        # a key may have been made active since we last asked
        trust.refresh(connection, datetime.now(UTC))
        if not _is_by_authority(connection, certificate):
            raise Denied("the certificate is not by the project's authority")
    # naming that key proves nothing: it must have signed these very bytes
    verifying.verify(
        certificate.contents.signature_key,
        certificate.signature,
        certificate.contents.to_be_signed,
    )
    return certificate, answer


def certify_file(
    connection: Connection, path: Path, fields: dict[str, object]
) -> tuple[Path, resources.Certificate]:
    """Certify the key of a public key file; return where the certificate is: beside it.

    `fields` are fields of `Wanted`. Raises as `certify` and `signing.of_public_key` do.
    """
    if path.suffix != ".pub":
        raise Malformed(f"{path} is no public key file (.pub)")
    key = signing.of_public_key(PublicKey.parse(files.read(path)), path.with_suffix(""))
    certificate, answer = _certify(connection, key, fields)
    beside = path.with_name(f"{path.stem}-cert.pub")
    files.write(beside, f"{certificate.line}\n", 0o644)
    return beside, answer


def certify_line(
    connection: Connection, line: str, fields: dict[str, object]
) -> resources.Certificate:
    """Certify a public key whose private half is in ssh-agent; raises as `certify_file` does."""
    key = signing.in_agent(PublicKey.parse(line))
    return _certify(connection, key, fields)[1]


def _certify(
    connection: Connection, key: SigningKey, fields: dict[str, object]
) -> tuple[Certificate, resources.Certificate]:
    trust.refresh(connection, datetime.now(UTC))
    wanted = Wanted(subject_key=key.public_key, **fields)  # type: ignore[arg-type]
    return certify(connection, wanted, key)


def _is_by_authority(connection: Connection, certificate: Certificate) -> bool:
    """Say whether a statement that we verified names the key that signed the certificate."""
    known = trust.last(connection.state, connection.session().project)
    return known is not None and certificate.contents.signature_key in known.user_authorities


def _is_sign_in_key(connection: Connection, key: PublicKey) -> bool:
    if not connection.cloud.key:
        return False  # no SSH key signs in there
    try:
        return signing.find(connection.cloud.key).public_key == key
    except TatuError:
        return False  # not at hand now: the server knows it too


def _check(certificate: Certificate, wanted: Wanted, now: datetime) -> None:
    """Raise `Denied` unless the certificate is for our key and within what we asked for."""
    contents = certificate.contents
    asked = wanted.principals
    options = contents.critical_options
    for problem, is_so in (
        ("it is for another key", contents.subject_key != wanted.subject_key),
        ("it is no user certificate", contents.type is not CertificateType.USER),
        ("it names no principals", not contents.principals),
        (
            # one of them becomes the user that ssh is told
            "it names a principal that is no account",
            not all(ACCOUNT.fullmatch(name) for name in contents.principals),
        ),
        (
            "it names principals that were not asked for",
            asked is not None and not set(contents.principals) <= asked,
        ),
        (
            "it lasts longer than was asked for",
            wanted.validity is not None and contents.valid_before > now + wanted.validity + _SKEW,
        ),
        (
            "its force-command is not what was asked for",
            options.get("force-command") != wanted.force_command,
        ),
        (
            "its source addresses are not what was asked for",
            wanted.source_addresses is not None
            and options.get("source-address") != _networks(wanted.source_addresses),
        ),
    ):
        if is_so:
            raise Denied(f"the certificate is not what was asked for: {problem}")


def _networks(addresses: tuple[str, ...]) -> str:
    return ",".join(str(ipaddress.ip_network(address)) for address in addresses)
