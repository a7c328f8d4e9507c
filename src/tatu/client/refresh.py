"""Keeping what ssh needs up to date: certificate, known hosts, revocations.

One process at a time asks.
"""

import logging
import time
from dataclasses import dataclass
from datetime import UTC, datetime

from tatu.client import certify, files, knownhosts, resources, trust
from tatu.client.certify import NewKey
from tatu.client.connection import Connection
from tatu.client.ready import Ready
from tatu.client.signing import FileKey, SigningKey
from tatu.client.sshagent import Agent
from tatu.client.state import State
from tatu.core.certificate import Certificate
from tatu.core.errors import Denied, TooMany, Unavailable
from tatu.core.policy import Wanted

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class _Found:
    """Which hosts there are: `knownhosts.aliases`, the ids not yet enrolled, the DNS suffix."""

    hosts: dict[str, str]
    waiting: list[str]
    suffix: str


def refresh(connection: Connection, host: str | None = None) -> Ready:
    """Bring up to date what is due; of many at once one asks, and the others use its answer.

    A login needs no Tatu: while the certificate is valid, an outage is only warned of. Raises
    `Unauthenticated` when a sign-in is needed, and as `certify` and `trust.refresh` do.
    """
    state = connection.state
    with files.locked(state.lock):
        ready = Ready.load(str(state.ready))
        now = time.time()
        if ready and not ready.certificate_is_due(now) and not ready.trust_is_due(now, host):
            return ready
        try:
            return _ask(connection, ready, now)
        except (Unavailable, TooMany) as error:
            if ready is None or now >= ready.valid_before:
                raise
            _log.warning("%s; the certificate is still valid", error)
            return _keep(state, ready._replace(asked_at=int(now)))


def renew(
    connection: Connection, wanted: dict[str, object]
) -> tuple[Certificate, resources.Certificate]:
    """Get a new certificate for our own subject key, whatever there is; raises as `certify` does.

    `wanted` are fields of `Wanted`.
    """
    with files.locked(connection.state.lock):
        found = _refresh_trust(connection)
        certificate, answer = _renew(connection, wanted)
        _keep(connection.state, _ready(certificate, found, time.time()))
        return certificate, answer


def trusted(connection: Connection) -> tuple[dict[str, str], str]:
    """Ask for revocations and hosts anew; return `knownhosts.aliases` and the DNS suffix."""
    with files.locked(connection.state.lock):
        found = _refresh_trust(connection)
        if ready := Ready.load(str(connection.state.ready)):
            _keep(connection.state, _again(ready, found, time.time()))
        return found.hosts, found.suffix


def expect_host(connection: Connection) -> None:
    """Have the next login ask for the hosts again: there will be one that is not known yet."""
    with files.locked(connection.state.lock):
        if ready := Ready.load(str(connection.state.ready)):
            _keep(connection.state, ready._replace(asked_at=0))


def _ask(connection: Connection, ready: Ready | None, now: float) -> Ready:
    found = _refresh_trust(connection)
    if ready is not None and not ready.certificate_is_due(now):
        return _keep(connection.state, _again(ready, found, now))
    certificate, _ = _renew(connection, {})
    return _keep(connection.state, _ready(certificate, found, now))


def _again(ready: Ready, found: _Found, now: float) -> Ready:
    return ready._replace(hosts=found.hosts, waiting=found.waiting, asked_at=int(now))


def _ready(certificate: Certificate, found: _Found, now: float) -> Ready:
    contents = certificate.contents
    return Ready(
        valid_after=int(contents.valid_after.timestamp()),
        valid_before=int(contents.valid_before.timestamp()),
        principals=list(contents.principals),
        hosts=found.hosts,
        waiting=found.waiting,
        asked_at=int(now),
        forwards="permit-agent-forwarding" in contents.extensions,
    )


def _keep(state: State, ready: Ready) -> Ready:
    ready.save(str(state.ready))
    return ready


def _refresh_trust(connection: Connection) -> _Found:
    authority, api = connection.session().project, connection.api
    believed = trust.refresh(connection, datetime.now(UTC))
    suffix = trust.dns_suffix(connection)
    try:
        listed = api.hosts(authority)
    except Denied:
        listed = []  # who may not see the hosts still has those under the suffix
    hosts = knownhosts.aliases(listed, suffix)
    text = knownhosts.lines(
        knownhosts.patterns(hosts, suffix),
        believed.statement.host_authorities,
        connection.cloud.name,
    )
    files.write(connection.state.known_hosts, text)
    waiting = [host.id for host in listed if host.state == "admitted"]
    return _Found(hosts=hosts, waiting=waiting, suffix=suffix)


def _renew(
    connection: Connection, fields: dict[str, object]
) -> tuple[Certificate, resources.Certificate]:
    state, key = connection.state, _subject_key(connection)
    wanted = Wanted(subject_key=key.public_key, **fields)  # type: ignore[arg-type]
    certificate, answer = certify.certify(connection, wanted, key)
    comment = f"tatu:{connection.cloud.name}"
    if isinstance(key, NewKey):
        _place(state, key, certificate, comment, in_agent=connection.cloud.agent)
    files.write(state.public_key, f"{key.public_key.line} {comment}\n")
    files.write(state.certificate, f"{certificate.line} {comment}\n")
    return certificate, answer


def _subject_key(connection: Connection) -> SigningKey:
    """Return our key file, or a new key: one in ssh-agent ends with its certificate."""
    path = connection.state.subject_key
    if connection.cloud.agent:
        Agent.of_environment().identities()  # before a certificate is made that it could not take
    elif path.exists():
        return FileKey(path=path)
    return NewKey.generate()


def _place(
    state: State, key: NewKey, certificate: Certificate, comment: str, *, in_agent: bool
) -> None:
    if not in_agent:
        files.write(state.subject_key, key.openssh())
        return
    agent = Agent.of_environment()
    lifetime = certificate.contents.valid_before - datetime.now(UTC)
    key.add_to(agent, comment, lifetime)
    state.forget_key(agent)
