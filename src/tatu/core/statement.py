"""What a host obeys, as one signed statement (security.md S2), and when it may (S3).

The form is canonical JSON: ASCII, keys sorted, no spaces, whole numbers only, so that the bytes
that are signed are the only bytes that say it. The agent has its own reader; the vectors in
`tests/vectors/statement` hold both to the same rules.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from tatu.core import canonical
from tatu.core.accounts import ACCOUNT
from tatu.core.errors import Denied, Malformed
from tatu.core.keys import PublicKey, shown

FORMAT = 1
EVERY_HOST = "*"
MAX_SIZE = 256 * 2**10
"""Bytes of a statement: every host fetches it every few minutes."""
MAX_LIFETIME = timedelta(minutes=15)
MAX_AHEAD = timedelta(days=1)
"""How far a version may lie ahead of the receiver's clock: one far ahead would wedge a host."""

_MAX_KEYS = 16
_MAX_ACCOUNTS = 512
_MAX_PRINCIPALS = 256
_MAX_PRINCIPAL = 256
_MAX_NUMBER = 2**63 - 1
_ID = re.compile(r"[!-~]{1,255}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_AGENT_VERSION = re.compile(r"[0-9]{1,6}(\.[0-9]{1,6}){0,3}")
_TIME = "%Y-%m-%dT%H:%M:%SZ"


class FreshnessPolicy(StrEnum):
    """What a host does when its newest statement is older than it should be."""

    WARN = "warn"
    REFUSE_NEW_LOGINS = "refuse-new-logins"


@dataclass(frozen=True, kw_only=True)
class Freshness:
    """How old the newest verified statement may be, and what follows."""

    policy: FreshnessPolicy
    max_age_seconds: int


@dataclass(frozen=True, kw_only=True)
class BreakGlass:
    """Who gets in when nothing else does (S20): offline keys, and the one account they open."""

    authorities: tuple[PublicKey, ...]
    account: str


@dataclass(frozen=True, kw_only=True)
class Statement:
    """All that a host obeys until `expires`; making one raises ValueError for what none may say.

    `host` is a host's id, or `*` for every host of the authority. `accounts` gives the principals
    that open each managed account; `sudo` names those of the accounts that may become root.
    `statement_keys` are the current and the next key that statements are signed with.
    With `pam_sudo` an account becomes root only by its certificate's key, with `end_at_expiry`
    sessions end with their certificate.
    Without `lockdown` no statement leaves a host without accounts or user authorities.
    """

    deployment: str
    authority: str
    host: str
    version: int
    issued: datetime
    expires: datetime
    krl_version: int
    krl_digest: str
    user_authorities: tuple[PublicKey, ...]
    host_authorities: tuple[PublicKey, ...]
    statement_keys: tuple[PublicKey, ...]
    accounts: Mapping[str, tuple[str, ...]]
    sudo: tuple[str, ...]
    pam_sudo: bool
    end_at_expiry: bool
    break_glass: BreakGlass | None
    freshness: Freshness
    minimum_agent_version: str
    lockdown: bool

    def __post_init__(self) -> None:
        """Refuse what no receiver would obey."""
        for rule, holds in (
            ("ids are 1 to 255 printable ASCII characters without blanks", self._ids_are_plain()),
            ("numbers are from 1 to 2^63 - 1", self._numbers_fit()),
            ("times are whole seconds in UTC", self._times_are_whole()),
            (
                f"it ends after it begins, and within {MAX_LIFETIME}",
                timedelta() < self.expires - self.issued <= MAX_LIFETIME,
            ),
            ("the digest is sha256:<hex>", _DIGEST.fullmatch(self.krl_digest)),
            ("a key stands once, for one purpose; the keys are few", self._keys_are_apart()),
            ("there is a statement key", self.statement_keys),
            (
                "break-glass keys open one account that no role opens",
                self.break_glass is None
                or (
                    self.break_glass.authorities
                    and ACCOUNT.fullmatch(self.break_glass.account)
                    and self.break_glass.account not in self.accounts
                ),
            ),
            ("accounts and principals are names, each once", self._names_are_names()),
            (
                "sudo names accounts, each once",
                set(self.sudo) <= set(self.accounts) and len(set(self.sudo)) == len(self.sudo),
            ),
            (
                "the agent's version is numbers and dots",
                _AGENT_VERSION.fullmatch(self.minimum_agent_version),
            ),
            (
                "only a lockdown empties accounts or user authorities",
                self.lockdown or (self.accounts and self.user_authorities),
            ),
        ):
            if not holds:
                raise ValueError(f"this is no statement: {rule}")

    def _ids_are_plain(self) -> bool:
        return all(map(_ID.fullmatch, (self.deployment, self.authority, self.host)))

    def _numbers_fit(self) -> bool:
        numbers = self.version, self.krl_version, self.freshness.max_age_seconds
        return all(1 <= number <= _MAX_NUMBER for number in numbers)

    def _times_are_whole(self) -> bool:
        times = self.issued, self.expires
        return all(time.utcoffset() == timedelta() and not time.microsecond for time in times)

    def _keys_are_apart(self) -> bool:
        offline = self.break_glass.authorities if self.break_glass else ()
        sets = self.user_authorities, self.host_authorities, self.statement_keys, offline
        return all(len(keys) <= _MAX_KEYS for keys in sets) and _distinct(
            key for keys in sets for key in keys
        )

    def _names_are_names(self) -> bool:
        return len(self.accounts) <= _MAX_ACCOUNTS and all(
            ACCOUNT.fullmatch(account)
            and 0 < len(principals) <= _MAX_PRINCIPALS
            and _distinct(principals)
            and all(map(_is_principal, principals))
            for account, principals in self.accounts.items()
        )


def _distinct(items: Iterable[object]) -> bool:
    listed = list(items)
    return len(set(listed)) == len(listed)


def _is_principal(text: str) -> bool:
    """Tell a principal from what sshd reads otherwise in a principals file.

    A blank ends an option, `#` begins a comment, a comma or a newline makes two of one
    (CVE-2026-35414).
    """
    return (
        0 < len(text) <= _MAX_PRINCIPAL
        and text.isprintable()
        and " " not in text
        and "," not in text
        and not text.startswith("#")
    )


def digest(krl: bytes) -> str:
    """Return how a statement names the very bytes of a revocation list."""
    return f"sha256:{hashlib.sha256(krl).hexdigest()}"


def encode(statement: Statement) -> bytes:
    """Return the one form of the statement: the bytes that are signed and served."""
    value = {
        "format": FORMAT,
        "deployment": statement.deployment,
        "authority": statement.authority,
        "host": statement.host,
        "version": statement.version,
        "issued": statement.issued.strftime(_TIME),
        "expires": statement.expires.strftime(_TIME),
        "krl_version": statement.krl_version,
        "krl_digest": statement.krl_digest,
        "user_authorities": [key.line for key in statement.user_authorities],
        "host_authorities": [key.line for key in statement.host_authorities],
        "statement_keys": [key.line for key in statement.statement_keys],
        "accounts": {account: list(names) for account, names in statement.accounts.items()},
        "sudo": list(statement.sudo),
        "pam_sudo": statement.pam_sudo,
        "end_at_expiry": statement.end_at_expiry,
        "break_glass": statement.break_glass
        and {
            "authorities": [key.line for key in statement.break_glass.authorities],
            "account": statement.break_glass.account,
        },
        "freshness": {
            "policy": statement.freshness.policy,
            "max_age_seconds": statement.freshness.max_age_seconds,
        },
        "minimum_agent_version": statement.minimum_agent_version,
        "lockdown": statement.lockdown,
    }
    data = canonical.data(value)
    if len(data) > MAX_SIZE:
        raise ValueError(f"a statement is at most {MAX_SIZE} bytes")
    return data


def decode(data: bytes) -> Statement:
    """Read a statement, or raise `Malformed`: anything but what `encode` writes is refused."""
    if len(data) > MAX_SIZE:
        raise Malformed(f"the statement is over {MAX_SIZE} bytes")
    try:
        value = json.loads(data.decode("ascii"), parse_float=_refuse, parse_constant=_refuse)
    # RecursionError: brackets can nest as deep as the size allows
    except (ValueError, RecursionError) as error:
        raise Malformed("the statement is not ASCII JSON of whole numbers") from error
    fields = _Fields(value, "the statement")
    if fields.number("format") != FORMAT:
        raise Malformed(f"the statement's format is not {FORMAT}")
    freshness = _Fields(fields.take("freshness", dict), "freshness")
    accounts = fields.take("accounts", dict)
    offline = fields.optional("break_glass")
    try:
        statement = Statement(
            deployment=fields.text("deployment"),
            authority=fields.text("authority"),
            host=fields.text("host"),
            version=fields.number("version"),
            issued=fields.time("issued"),
            expires=fields.time("expires"),
            krl_version=fields.number("krl_version"),
            krl_digest=fields.text("krl_digest"),
            user_authorities=fields.keys("user_authorities"),
            host_authorities=fields.keys("host_authorities"),
            statement_keys=fields.keys("statement_keys"),
            accounts={name: _texts(listed, "accounts") for name, listed in accounts.items()},
            sudo=_texts(fields.take("sudo", list), "sudo"),
            pam_sudo=fields.take("pam_sudo", bool),
            end_at_expiry=fields.take("end_at_expiry", bool),
            break_glass=None
            if offline is None
            else BreakGlass(
                authorities=offline.keys("authorities"), account=offline.text("account")
            ),
            freshness=Freshness(
                policy=FreshnessPolicy(freshness.text("policy")),
                max_age_seconds=freshness.number("max_age_seconds"),
            ),
            minimum_agent_version=fields.text("minimum_agent_version"),
            lockdown=fields.take("lockdown", bool),
        )
        # twice the same key, a space, an escape that need not be: `encode` wrote none of it
        canonical = encode(statement) == data
    except ValueError as error:
        raise Malformed(str(error)) from error
    fields.end()
    freshness.end()
    if offline:
        offline.end()
    if not canonical:
        raise Malformed("the statement is not in its canonical form")
    return statement


def _refuse(text: str) -> None:
    raise ValueError(f"{text} is no whole number")


def _texts(value: object, what: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise Malformed(f"{what} does not list texts")
    return tuple(value)


class _Fields:
    """A JSON object whose every field is taken once; one that is missing raises `Malformed`."""

    def __init__(self, value: object, what: str) -> None:
        if not isinstance(value, dict):
            raise Malformed(f"{what} is no object")
        self._left = dict(value)
        self._what = what

    def take(self, name: str, kind: type) -> Any:
        """Take a value of just this type: to `isinstance`, true would be a number."""
        value = self._left.pop(name, None)
        if type(value) is not kind:
            raise Malformed(f"{self._what} has no {name} that is {kind.__name__}")
        return value

    def optional(self, name: str) -> "_Fields | None":
        """Take an object, or null, which has to stand there."""
        absent = name in self._left and self._left[name] is None
        value = self._left.pop(name) if absent else self.take(name, dict)
        return None if absent else _Fields(value, name)

    def text(self, name: str) -> str:
        """Take a text."""
        return str(self.take(name, str))

    def number(self, name: str) -> int:
        """Take a whole number."""
        return int(self.take(name, int))

    def time(self, name: str) -> datetime:
        """Take an RFC 3339 time, in UTC to the second; raises ValueError when it is none."""
        return datetime.strptime(self.text(name), _TIME).replace(tzinfo=UTC)

    def keys(self, name: str) -> tuple[PublicKey, ...]:
        """Take a list of public keys."""
        return tuple(map(PublicKey.parse, _texts(self.take(name, list), name)))

    def end(self) -> None:
        """Refuse fields that nobody took: a receiver that passed over them would not obey them."""
        if self._left:
            raise Malformed(f"{self._what} has an unknown field {shown(min(self._left))}")


def next_version(last: int, now: datetime) -> int:
    """Return the version after `last`; after a restored old database it still grows."""
    return max(last + 1, int(now.timestamp() * 1000))


class Reason(StrEnum):
    """Why a receiver refuses a statement; the slugs of the common vectors."""

    MALFORMED = "malformed"
    WRONG_DEPLOYMENT = "wrong-deployment"
    WRONG_AUTHORITY = "wrong-authority"
    WRONG_HOST = "wrong-host"
    TOO_FAR_AHEAD = "too-far-ahead"
    EXPIRED = "expired"
    NOT_NEWER = "not-newer"
    KRL_WENT_BACK = "krl-went-back"
    NEEDS_LOCKDOWN = "needs-lockdown"


class Refused(Denied):
    """A receiver may not obey this statement."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, kw_only=True)
class Receiver:
    """Whom a statement must be for: a host, as it was enrolled."""

    deployment: str
    authority: str
    host: str


def check_version(version: int, now: datetime) -> None:
    """Refuse a version over a day ahead: a host that obeyed it would refuse all that follow."""
    if version > int((now + MAX_AHEAD).timestamp() * 1000):
        raise Refused(Reason.TOO_FAR_AHEAD, f"version {version} is over {MAX_AHEAD} ahead")


def accept(new: Statement, last: Statement | None, receiver: Receiver, now: datetime) -> None:
    """Say whether a receiver may obey a verified statement, after the last one; raises `Refused`.

    The first reason in the order of `Reason` is the one that is given.
    """
    if new.deployment != receiver.deployment:
        raise Refused(Reason.WRONG_DEPLOYMENT, "the statement is for another deployment")
    if new.authority != receiver.authority:
        raise Refused(Reason.WRONG_AUTHORITY, "the statement is for another authority")
    if new.host not in (EVERY_HOST, receiver.host):
        raise Refused(Reason.WRONG_HOST, "the statement is for another host")
    check_version(new.version, now)
    check_version(new.krl_version, now)
    if new.issued > now + MAX_AHEAD:
        raise Refused(Reason.TOO_FAR_AHEAD, f"the statement was issued over {MAX_AHEAD} ahead")
    if now >= new.expires:
        raise Refused(Reason.EXPIRED, f"the statement ended at {new.expires:{_TIME}}")
    if last is None:
        return
    if new.version <= last.version:
        raise Refused(Reason.NOT_NEWER, f"version {new.version} is not after {last.version}")
    if new.krl_version < last.krl_version:
        raise Refused(Reason.KRL_WENT_BACK, f"its KRL {new.krl_version} is before the last one's")
    if last.sudo and not new.sudo and not new.lockdown:
        raise Refused(Reason.NEEDS_LOCKDOWN, "it takes sudo from every account without lockdown")
