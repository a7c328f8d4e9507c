"""What this host obeys, as one signed statement (security.md S2), and when it may (S3).

The same rules as `tatu.core.statement`, which writes them; `tests/vectors/statement` holds both.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

from tatu.agent.errors import Malformed, Refused
from tatu.agent.keys import public_key
from tatu.agent.text import TIME

MAX_SIZE = 256 * 2**10
MAX_LIFETIME = timedelta(minutes=15)
MAX_AHEAD = timedelta(days=1)
"""How far a version may lie ahead of the clock: one further ahead would wedge this host."""
WARN = "warn"
REFUSE_NEW_LOGINS = "refuse-new-logins"

_FORMAT = 1
_EVERY_HOST = "*"
_MAX_KEYS = 16
_MAX_ACCOUNTS = 512
_MAX_PRINCIPALS = 256
_MAX_NUMBER = 2**63 - 1
_ID = re.compile(r"[!-~]{1,255}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_AGENT_VERSION = re.compile(r"[0-9]{1,6}(\.[0-9]{1,6}){0,3}")
_ACCOUNT = re.compile(r"[a-z_][a-z0-9_-]{0,31}")


@dataclass(frozen=True)
class BreakGlass:
    """Who gets in when nothing else does (S20): offline keys, and the account that they open."""

    authorities: tuple[str, ...]
    account: str


@dataclass(frozen=True)
class Statement:
    """All that a host obeys until `expires`; keys are lines without comment."""

    deployment: str
    authority: str
    host: str
    version: int
    issued: datetime
    expires: datetime
    krl_version: int
    krl_digest: str
    user_authorities: tuple[str, ...]
    host_authorities: tuple[str, ...]
    statement_keys: tuple[str, ...]
    accounts: dict[str, tuple[str, ...]]
    sudo: tuple[str, ...]
    pam_sudo: bool
    end_at_expiry: bool
    break_glass: BreakGlass | None
    freshness_policy: str
    max_age: timedelta
    minimum_agent_version: tuple[int, ...]
    lockdown: bool

    @property
    def managed(self) -> tuple[str, ...]:
        """The accounts that the agent manages: those of roles, and that of break-glass."""
        return (*self.accounts, *((self.break_glass.account,) if self.break_glass else ()))


@dataclass(frozen=True)
class Receiver:
    """Whom a statement must be for: this host, as it was enrolled."""

    deployment: str
    authority: str
    host: str


def decode(data: bytes) -> Statement:
    """Read a statement, or raise `Malformed`: anything but its one canonical form is refused."""
    if len(data) > MAX_SIZE:
        raise Malformed(f"the statement is over {MAX_SIZE} bytes")
    try:
        value = json.loads(data.decode("ascii"), parse_float=_refuse, parse_constant=_refuse)
        canonical = json.dumps(value, ensure_ascii=True, sort_keys=True, separators=(",", ":"))
    # RecursionError: brackets can nest as deep as the size allows
    except (ValueError, RecursionError) as error:
        raise Malformed("the statement is not ASCII JSON of whole numbers") from error
    # a key given twice, a space, an escape that need not be: two texts could say the same
    if canonical.encode() != data:
        raise Malformed("the statement is not in its canonical form")
    fields = _Fields(value, "the statement")
    if fields.number("format") != _FORMAT:
        raise Malformed(f"the statement's format is not {_FORMAT}")
    freshness = _Fields(fields.take("freshness", dict), "freshness")
    accounts = fields.take("accounts", dict)
    offline = fields.optional("break_glass")
    statement = Statement(
        deployment=fields.matching("deployment", _ID),
        authority=fields.matching("authority", _ID),
        host=fields.matching("host", _ID),
        version=fields.number("version"),
        issued=fields.time("issued"),
        expires=fields.time("expires"),
        krl_version=fields.number("krl_version"),
        krl_digest=fields.matching("krl_digest", _DIGEST),
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
            authorities=offline.keys("authorities"),
            account=offline.matching("account", _ACCOUNT),
        ),
        freshness_policy=str(freshness.take("policy", str)),
        max_age=_seconds(freshness.number("max_age_seconds")),
        minimum_agent_version=numbers(fields.matching("minimum_agent_version", _AGENT_VERSION)),
        lockdown=fields.take("lockdown", bool),
    )
    fields.end()
    freshness.end()
    if offline:
        offline.end()
    _check(statement)
    return statement


def _check(statement: Statement) -> None:
    """Raise `Malformed` for what no statement may say."""
    offline = statement.break_glass
    keys = (
        statement.user_authorities,
        statement.host_authorities,
        statement.statement_keys,
        offline.authorities if offline else (),
    )
    names = statement.accounts
    for rule, holds in (
        (
            f"it ends after it begins, and within {MAX_LIFETIME}",
            timedelta() < statement.expires - statement.issued <= MAX_LIFETIME,
        ),
        (
            "a key stands once, for one purpose; the keys are few",
            all(len(listed) <= _MAX_KEYS for listed in keys)
            and _distinct(key for listed in keys for key in listed),
        ),
        ("there is a statement key", statement.statement_keys),
        (
            "break-glass keys open one account that no role opens",
            offline is None or (offline.authorities and offline.account not in names),
        ),
        (
            "accounts and principals are names, each once",
            len(names) <= _MAX_ACCOUNTS and all(map(_is_account, names, names.values())),
        ),
        (
            "sudo names accounts, each once",
            set(statement.sudo) <= set(names) and _distinct(statement.sudo),
        ),
        (
            "the freshness policy is a known one",
            statement.freshness_policy in (WARN, REFUSE_NEW_LOGINS),
        ),
        (
            "only a lockdown empties accounts or user authorities",
            statement.lockdown or (names and statement.user_authorities),
        ),
    ):
        if not holds:
            raise Malformed(f"this is no statement: {rule}")


def _distinct(items: Iterable[str]) -> bool:
    listed = list(items)
    return len(set(listed)) == len(listed)


def _is_account(name: str, principals: tuple[str, ...]) -> bool:
    return (
        _ACCOUNT.fullmatch(name) is not None
        and 0 < len(principals) <= _MAX_PRINCIPALS
        and _distinct(principals)
        and all(map(_is_principal, principals))
    )


def _is_principal(text: str) -> bool:
    """Tell a principal from what sshd reads otherwise in a principals file.

    A blank ends an option, `#` begins a comment, a comma or a newline makes two of one
    (CVE-2026-35414).
    """
    return (
        0 < len(text) <= 256  # noqa: PLR2004 (what a certificate's principal may have)
        and text.isprintable()
        and not any(mark in text for mark in " ,")
        and not text.startswith("#")
    )


def numbers(version: str) -> tuple[int, ...]:
    """Return a version as what compares."""
    return tuple(map(int, version.split(".")))


def accept(new: Statement, last: Statement | None, receiver: Receiver, now: datetime) -> None:
    """Raise `Refused` unless the receiver may obey a verified statement after the last one.

    `now` is never before the last statement's `issued`: that is the time floor (S18).
    """
    if new.deployment != receiver.deployment:
        raise Refused("wrong-deployment", "the statement is for another deployment")
    if new.authority != receiver.authority:
        raise Refused("wrong-authority", "the statement is for another authority")
    if new.host not in (_EVERY_HOST, receiver.host):
        raise Refused("wrong-host", "the statement is for another host")
    newest = int((now + MAX_AHEAD).timestamp() * 1000)
    if max(new.version, new.krl_version) > newest or new.issued > now + MAX_AHEAD:
        raise Refused("too-far-ahead", f"statement {new.version} is over {MAX_AHEAD} ahead")
    if now >= new.expires:
        raise Refused("expired", f"the statement ended at {new.expires:{TIME}}")
    if last is None:
        return
    if new.version <= last.version:
        raise Refused("not-newer", f"statement {new.version} is not after {last.version}")
    if new.krl_version < last.krl_version:
        raise Refused("krl-went-back", f"KRL {new.krl_version} is before {last.krl_version}")
    if last.sudo and not new.sudo and not new.lockdown:
        raise Refused("needs-lockdown", "it takes sudo from every account without lockdown")


def _refuse(text: str) -> None:
    raise ValueError(f"{text} is no whole number")


def _seconds(number: int) -> timedelta:
    """Return the duration; one longer than any is as good as the longest."""
    return timedelta(seconds=min(number, 10**12))


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

    def optional(self, name: str) -> _Fields | None:
        """Take an object, or null, which has to stand there."""
        absent = name in self._left and self._left[name] is None
        value = self._left.pop(name) if absent else self.take(name, dict)
        return None if absent else _Fields(value, name)

    def matching(self, name: str, form: re.Pattern[str]) -> str:
        text = str(self.take(name, str))
        if not form.fullmatch(text):
            raise Malformed(f"{self._what} has no {name} of the right form")
        return text

    def number(self, name: str) -> int:
        number = int(self.take(name, int))
        if not 1 <= number <= _MAX_NUMBER:
            raise Malformed(f"{self._what} has a {name} that is out of range")
        return number

    def time(self, name: str) -> datetime:
        """Take an RFC 3339 time, in UTC to the second."""
        text = str(self.take(name, str))
        try:
            time = datetime.strptime(text, TIME).replace(tzinfo=timezone.utc)
        except ValueError as error:
            raise Malformed(f"{self._what} has no {name} that is a time") from error
        # strptime takes 2026-1-1 as well
        if time.strftime(TIME) != text:
            raise Malformed(f"{self._what} has no {name} in the canonical form")
        return time

    def keys(self, name: str) -> tuple[str, ...]:
        return tuple(map(public_key, _texts(self.take(name, list), name)))

    def end(self) -> None:
        """Refuse fields that nobody took: to pass over them would not be to obey them."""
        if self._left:
            raise Malformed(f"{self._what} has an unknown field {ascii(min(self._left))[:64]}")
