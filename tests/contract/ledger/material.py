"""What the ledger's tests put into it."""

import hashlib
import secrets
from datetime import UTC, datetime, timedelta

import pytest

from tatu.core import losses, wire
from tatu.core.audit import Actor, Event
from tatu.core.authority import Authority, AuthorityKey, KeyState, Profile, Purpose
from tatu.core.certificate import CertificateToSign, CertificateType, signed
from tatu.core.claims import ClaimedCertificate, Login, LoginKind, Receipt
from tatu.core.host import Host
from tatu.core.keys import PublicKey
from tatu.ports import IssuedCertificate, LedgerLogin, Nonce


def slow(database: str):
    """Return a parameter for a database that must be started."""
    return pytest.param(database, marks=pytest.mark.slow)


SQLITE = pytest.mark.parametrize("url", ["sqlite"], indirect=True)
SERVERS = pytest.mark.parametrize("url", [slow("postgresql"), slow("mariadb")], indirect=True)
MARIADB = pytest.mark.parametrize("url", [slow("mariadb")], indirect=True)
"""What is true of, or can be tried on, some of the databases only."""

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
ACTOR = Actor(kind="user", issuer="local", id="u-admin", name="admin")


def key(name: str) -> PublicKey:
    """Return a public key whose private half nobody knows."""
    point = hashlib.sha256(name.encode()).digest()
    return PublicKey("ssh-ed25519", wire.string("ssh-ed25519") + wire.string(point))


def event(
    action: str = "tested", *, authority: str | None = None, at: datetime = NOW, **facts: object
) -> Event:
    return Event(action=action, actor=ACTOR, authority=authority, subject="it", at=at, facts=facts)


def authority_key(name: str, purpose=Purpose.USER, state=KeyState.ACTIVE) -> AuthorityKey:
    return AuthorityKey(
        reference=f"ref-{name}", purpose=purpose, state=state, public_key=key(name), created_at=NOW
    )


def authority(authority_id: str = "blue") -> Authority:
    return Authority(
        id=authority_id,
        name=f"Project {authority_id}",
        profile=Profile(dns_suffix="blue.example", source_addresses=("10.0.0.0/8",)),
        keys=(
            authority_key(f"{authority_id}-user"),
            authority_key(f"{authority_id}-host", Purpose.HOST),
            authority_key(f"{authority_id}-statement", Purpose.STATEMENT),
        ),
        created_at=NOW,
    )


def user_certificate(
    serial: int,
    *,
    authority_id: str = "blue",
    subject: str = "u1",
    subject_key: str = "alice",
    mark: int = 0,
    topics: frozenset[str] | None = None,
    signature_key: str | None = None,
    lasts: timedelta = timedelta(hours=24),
    origin: str = "",
    roles: tuple[str, ...] = ("r1", "r2"),
) -> IssuedCertificate:
    own = {
        losses.user(subject),
        losses.project(authority_id),
        losses.user_in_project(subject, authority_id),
    }
    return IssuedCertificate(
        authority=authority_id,
        certificate=_certificate(
            serial,
            CertificateType.USER,
            ("member",),
            subject_key,
            signature_key or f"{authority_id}-user",
            lasts,
        ),
        mark=mark,
        topics=frozenset(own) if topics is None else topics,
        issued_at=NOW,
        issuer="local",
        subject=subject,
        user_name=f"name of {subject}",
        roles=roles,
        origin=origin,
    )


def host_certificate(
    serial: int, host_id: str = "db", *, mark: int = 0, principals: tuple[str, ...] = ()
) -> IssuedCertificate:
    return IssuedCertificate(
        authority="blue",
        certificate=_certificate(
            serial,
            CertificateType.HOST,
            principals or (host_id,),
            host_id,
            "blue-host",
            timedelta(days=7),
        ),
        mark=mark,
        topics=frozenset({losses.host("blue", host_id)}),
        issued_at=NOW,
        host=host_id,
    )


def host(
    host_id: str = "db",
    *,
    names: tuple[str, ...] = (),
    addresses: tuple[str, ...] = (),
    **parts: object,
) -> Host:
    return Host(
        id=host_id,
        authority="blue",
        names=names,
        addresses=addresses,
        epoch=1,
        admitted_until=NOW + timedelta(minutes=15),
        created_at=NOW,
        **parts,
    )


def receipt(host_id: str = "db", krl_version: int = 1, **parts: object) -> Receipt:
    values = {
        "authority": "blue",
        "host": host_id,
        "statement_version": krl_version,
        "krl_version": krl_version,
        "krl_digest": "sha256:" + "0" * 64,
        "at": NOW,
        "received_at": NOW,
    }
    return Receipt(**{**values, **parts})


def once(text: str = "", *, until: datetime = NOW) -> Nonce:
    """Return a nonce; without a text one that nobody has used."""
    return Nonce(text=text or secrets.token_hex(16), until=until)


def claimed(serial: int = 7, **parts: object) -> ClaimedCertificate:
    values = {"serial": serial, "key_id": "alice", "subject_key": "SHA256:s", "signature_key": "c"}
    return ClaimedCertificate(**{**values, **parts})


def login(
    login_id: str,
    *,
    authority: str = "blue",
    host: str = "db",
    received_at: datetime = NOW,
    subject: str = "",
    alarm: str = "",
    **parts: object,
) -> LedgerLogin:
    values = {"at": NOW, "kind": LoginKind.ACCEPTED, "account": "member", "certificate": claimed()}
    return LedgerLogin(
        authority=authority,
        host=host,
        received_at=received_at,
        login=Login(id=login_id, **{**values, **parts}),
        subject=subject,
        alarm=alarm,
    )


def _certificate(  # noqa: PLR0917 (all are given where it is called, right above)
    serial, kind, principals, subject_key, signature_key, lasts
):
    contents = CertificateToSign(
        subject_key=key(subject_key),
        type=kind,
        serial=serial,
        key_id=f"{subject_key}_{serial}",
        principals=principals,
        valid_after=NOW - timedelta(minutes=5),
        valid_before=NOW + lasts,
        critical_options={},
        extensions={"permit-pty": ""} if kind is CertificateType.USER else {},
        signature_key=key(signature_key),
        nonce=serial.to_bytes(32),
    )
    return signed(contents, wire.string("ssh-ed25519") + wire.string(bytes(64)))
