"""Whom we believe: statements by keys that we know from before (security.md S2, S3).

The statement keys are pinned when an authority is first seen. Later ones count only when a
statement that one of the known keys signed has announced them. The DNS suffix, which no statement
has, is pinned as they are, until the next `tatu login`.
"""

import json
from dataclasses import dataclass
from datetime import datetime

from tatu.client import files, knownhosts, verifying
from tatu.client.connection import Connection
from tatu.client.state import State
from tatu.core import krl as krls
from tatu.core import statement as statements
from tatu.core.errors import Denied, Malformed
from tatu.core.sshsig import Namespace, SshSignature
from tatu.core.statement import EVERY_HOST, Receiver, Statement


@dataclass(frozen=True, kw_only=True)
class Trust:
    """An authority's newest verified statement, and the KRL that goes with it."""

    statement: Statement
    krl: bytes


@dataclass(frozen=True, kw_only=True)
class _Pinned:
    """What we knew before: of which deployment, and the last statement."""

    deployment: str
    last: Statement

    @property
    def encoded(self) -> str:
        text = statements.encode(self.last).decode()
        return json.dumps({"deployment": self.deployment, "statement": text}) + "\n"


def refresh(connection: Connection, now: datetime) -> Trust:
    """Fetch, verify and keep the newest statement of our project's authority, with its KRL.

    Raises `Denied` when it is not by a key that we know, is older than one that we saw, or goes
    with another KRL; and as `http.request` does.
    """
    api, state, authority = connection.api, connection.state, connection.session().project
    pinned = _pinned(state, authority)
    answer = api.statement(authority)
    data = answer.statement.encode()
    signature = SshSignature.parse(answer.signature)
    new = statements.decode(data)
    known = new.statement_keys if pinned is None else pinned.last.statement_keys
    if signature.public_key not in known:
        raise Denied(
            f"the statement is signed by {signature.public_key.fingerprint}, which no statement"
            f" before has announced; if you know why, remove {state.trust(authority)}"
        )
    signed = signature.signed_bytes(Namespace.STATEMENT, data)
    verifying.verify(signature.public_key, signature.signature, signed)
    deployment = connection.cloud.deployment if pinned is None else pinned.deployment
    receiver = Receiver(deployment=deployment, authority=authority, host=EVERY_HOST)
    last = None if pinned is None or pinned.last == new else pinned.last
    statements.accept(new, last, receiver, now)
    krl = api.krl(authority, new.krl_version)
    if statements.digest(krl) != new.krl_digest:
        raise Denied("the KRL is not the one that the statement names")
    krls.decode(krl)  # ssh would refuse every host over a list that it cannot read
    files.write(state.krl, krl)
    files.write(state.trust(authority), _Pinned(deployment=deployment, last=new).encoded)
    return Trust(statement=new, krl=krl)


def last(state: State, authority: str) -> Statement | None:
    """Return the newest statement that was verified, or None before the first."""
    pinned = _pinned(state, authority)
    return None if pinned is None else pinned.last


def dns_suffix(connection: Connection) -> str:
    """Return the suffix that our project's authority speaks for, or "" for none.

    Raises `Denied` when it is not the one that we know from before, and for what is no suffix of
    one project: whoever answers in Tatu's place would speak for `com`.
    """
    state, authority = connection.state, connection.session().project
    said = connection.api.public_keys(authority).dns_suffix
    if said and not knownhosts.is_suffix(said):
        raise Denied(f"the server says that the project's hosts are all under {said!r}")
    path = state.dns_suffix(authority)
    if not path.exists():
        files.write(path, f"{said}\n")
    elif (known := files.read(path).strip()) != said:
        raise Denied(
            f"the project's DNS suffix was {known!r}, and the server says {said!r} now:"
            f" if you know why, remove {path}"
        )
    return said


def _pinned(state: State, authority: str) -> _Pinned | None:
    path = state.trust(authority)
    if not path.exists():
        return None
    try:
        facts = json.loads(files.read(path))
        text, deployment = facts["statement"], facts["deployment"]
        return _Pinned(deployment=str(deployment), last=statements.decode(text.encode()))
    except (ValueError, TypeError, KeyError, AttributeError, Malformed) as error:
        raise Malformed(f"{path} is damaged; removing it pins whatever comes next") from error
