"""Certifying the keys of a host that is made here, by enrolment (security.md S11)."""

import hmac
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from tatu.client import files, resources, signing, trust, verifying
from tatu.client.connection import Connection
from tatu.client.signing import SigningKey
from tatu.core import enrolment
from tatu.core.certificate import Certificate, CertificateType
from tatu.core.enrolment import EnrolmentToken
from tatu.core.errors import Denied, Malformed
from tatu.core.keys import PublicKey
from tatu.core.sshsig import Namespace


def certify(
    connection: Connection, facts: dict[str, object], paths: Sequence[str]
) -> list[tuple[Path, Certificate]]:
    """Admit a host to our project, enrol these private keys, and put the certificates beside them.

    Raises `Denied` when what comes back is not what was asked for, and as `signing.find` and
    `http.request` do; a host that is enrolled already is admitted again.
    """
    keys = {path: signing.find(path) for path in paths}
    believed = trust.refresh(connection, datetime.now(UTC)).statement
    made = connection.api.create_enrolment_token(connection.session().project, facts)
    token = EnrolmentToken.parse(made.token)
    lines = _redeem(connection, token, list(keys.values()))
    found = []
    for (path, key), line in zip(keys.items(), lines, strict=True):
        certificate = Certificate.parse(line)
        _check(certificate, key.public_key, token.host, believed.host_authorities)
        found.append((_beside(Path(path)), certificate))
    for beside, certificate in found:
        files.write(beside, f"{certificate.line}\n", 0o644)
    return found


def _redeem(
    connection: Connection, token: EnrolmentToken, keys: Sequence[SigningKey]
) -> list[str]:
    deployment, nonce = connection.cloud.deployment, secrets.token_hex(32)
    message = enrolment.message(
        deployment=deployment,
        authority=token.authority,
        host=token.host,
        nonce=nonce,
        host_keys=[key.public_key for key in keys],
    )
    enrolled = connection.api.enrol(
        {
            "authority": token.authority,
            "host": token.host,
            "nonce": nonce,
            "host_keys": [key.public_key.line for key in keys],
            "mac": enrolment.request_mac(token.secret, message),
            "signatures": [key.sign(Namespace.ENROL, message) for key in keys],
        }
    )
    body = enrolled.answer.encode()
    expected = enrolment.answer_mac(token.secret, nonce, body)
    if not hmac.compare_digest(expected.encode(), enrolled.mac.encode()):
        raise Denied("the answer does not come from who made the enrolment token")
    try:
        answer = msgspec.json.decode(body, type=resources.HostCertificates)
    except msgspec.DecodeError as error:
        raise Malformed("the server did not answer as Tatu does") from error
    said = (answer.deployment, answer.authority, answer.host, len(answer.certificates))
    if said != (deployment, token.authority, token.host, len(keys)):
        raise Denied("the answer is not for the host and the keys that were asked for")
    return answer.certificates


def _check(
    certificate: Certificate, key: PublicKey, host: str, authorities: Sequence[PublicKey]
) -> None:
    contents = certificate.contents
    for problem, is_so in (
        ("it is for another key", contents.subject_key != key),
        ("it is no host certificate", contents.type is not CertificateType.HOST),
        ("it does not name the host", host not in contents.principals),
        ("it is not by the project's authority", contents.signature_key not in authorities),
    ):
        if is_so:
            raise Denied(f"the certificate is not what was asked for: {problem}")
    verifying.verify(contents.signature_key, certificate.signature, contents.to_be_signed)


def _beside(path: Path) -> Path:
    """Return where sshd looks for the certificate of a key file."""
    private = path.with_suffix("") if path.suffix == ".pub" else path
    return private.with_name(f"{private.name}-cert.pub")
