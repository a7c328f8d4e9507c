"""What all drivers share that ask a service of OpenStack as Tatu's own user.

An outage is no answer and must be no wait; an absence is believed only from the service itself, in
its answer about the very thing that was asked for.
"""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec
from keystoneauth1 import exceptions, loading
from keystoneauth1.access import AccessInfo
from keystoneauth1.identity import BaseIdentityPlugin
from keystoneauth1.session import Session
from msgspec import Struct
from oslo_config import cfg

from tatu.core.errors import Malformed, NotFound, Unavailable
from tatu.drivers.line import Line

TIMEOUT = 5.0
"""Seconds to connect, and between two reads, where the operator says nothing else."""

_RETRIES = 1  # of a connection that was closed just then
_OK = 200
_NOT_FOUND = 404

T = TypeVar("T")


class CloudLine(Line):
    """The line to one service of the cloud, by Tatu's own user."""

    def __init__(self, service: str) -> None:
        super().__init__(f"{service} does not answer Tatu's own user")

    @contextmanager
    def asking(self) -> Iterator[bool]:
        """Ask in here, as in `turn`; raises `Unavailable` for each error of keystoneauth."""
        try:
            with self.turn(self._breaks) as tries:
                yield tries
        except exceptions.ClientException as error:
            # Not its text: that may have the address, with whatever an operator wrote into it.
            raise self.unavailable(type(error).__name__) from error

    def _breaks(self, error: BaseException) -> bool:
        if isinstance(error, exceptions.ClientException):
            return isinstance(error, exceptions.ConnectionError)
        return self.broken  # of the service it says nothing


class SignIn:
    """Tatu's own user in one scope; `line` is that to Keystone."""

    def __init__(self, auth: BaseIdentityPlugin, line: CloudLine) -> None:
        self.auth = auth
        self._line = line
        self._lock = threading.Lock()

    def access(self, session: Session) -> AccessInfo:
        """Return what a token says that is good for a while.

        keystoneauth lets one caller after the other sign in, each in the full time: of those who
        queue up, the first that fails speaks for all. Raises `Unavailable`; `Unauthorized` of
        keystoneauth when Keystone lets the user not in.
        """
        kept = self.auth.auth_ref
        if kept and not kept.will_expire_soon(self.auth.MIN_TOKEN_LIFE_SECONDS):
            return kept
        with self._line.asking() as tries, self._lock:
            if self._line.broken and not tries:
                raise self._line.unavailable("it lets nobody sign in")
            try:
                return self.auth.get_access(session)
            except exceptions.Unauthorized as error:
                refused = error  # which is an answer
        raise refused


class _Error(Struct):
    code: int
    message: str


@dataclass(frozen=True, kw_only=True)
class Service:
    """One service, as Tatu's own user asks it.

    `where` is what of the catalog is asked. `absence` is the key in a 404's body under which the
    service says what it has not.
    """

    name: str
    session: Session
    line: CloudLine
    where: Mapping[str, Any]
    absence: str = "error"
    headers: Mapping[str, str] = field(default_factory=dict)

    def get(
        self,
        path: str,
        shape: type[T],
        *,
        auth: BaseIdentityPlugin,
        headers: Mapping[str, str] | None = None,
        named: str | None = None,
        foreign: bool = False,
        patience: float | None = None,
    ) -> T:
        """GET a path, with `patience` in seconds for what takes longer than other questions.

        What is `foreign` carries something that a stranger wrote: a server may close its
        connection for that, and the service is away only if it leaves Tatu's own question
        unanswered, too. Raises `NotFound` for a 404 that speaks of what is `named` (of anything
        when that is empty, never when None), and `Unavailable` for all that is no answer.
        """
        answer = None
        with self.line.asking():
            try:
                answer = self._send(
                    path,
                    auth,
                    headers or {},
                    retries=0 if foreign else _RETRIES,
                    timeout=patience or self.session.timeout,
                )
            except exceptions.ConnectionError:
                if not foreign:
                    raise
                self._send("/", auth, {}, retries=0, timeout=self.session.timeout)
        if answer is None:
            raise Unavailable(f"{self.name} broke off over what a caller sent")
        if answer.status_code == _NOT_FOUND and self._is_absence(answer.content, named):
            raise NotFound(f"{self.name} has none of the id {named!r}")
        if answer.status_code != _OK:
            raise Unavailable(f"{self.name} answered {answer.status_code} to Tatu's own user")
        try:
            return msgspec.json.decode(answer.content, type=shape)
        except msgspec.DecodeError as error:
            raise Unavailable(f"{self.name}'s answer cannot be read: {error}") from error

    def _send(
        self,
        path: str,
        auth: BaseIdentityPlugin,
        headers: Mapping[str, str],
        *,
        retries: int,
        timeout: float | None,
    ) -> Any:
        return self.session.get(
            path,
            auth=auth,
            endpoint_filter=dict(self.where),
            headers={"Accept": "application/json", **self.headers, **headers},
            connect_retries=retries,
            timeout=timeout,
            raise_exc=False,
            redirect=False,  # what answers elsewhere must not get a token
        )

    def _is_absence(self, body: bytes, named: str | None) -> bool:
        """Tell whether a 404 is the service's word on this very thing, and not a lost path."""
        if named is None:
            return False
        try:
            error = msgspec.json.decode(body, type=dict[str, _Error]).get(self.absence)
        except msgspec.DecodeError:
            return False
        if error is None or error.code != _NOT_FOUND:
            return False
        # A path that leads nowhere is told with the address, in which the id stands, too.
        return not named or (named in error.message and f"/{named}" not in error.message)


def aware(time: datetime) -> datetime:
    """Return a time as UTC; services leave that unsaid."""
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def auth_section(conf: cfg.ConfigOpts, section: str) -> str:
    """Return the section that says how Tatu's own user signs in."""
    return str(conf[section].auth_section or section)


def prepare(conf: cfg.ConfigOpts, section: str, *, needs: str | None = None) -> None:
    """Register what the way of signing in reads, which must have an option `needs`.

    Raises `Malformed`.
    """
    where = auth_section(conf, section)
    loading.register_auth_conf_options(conf, where)
    name = conf[where].auth_type
    if not name:
        raise Malformed(f"[{where}] auth_type is required: how Tatu's own user signs in")
    try:
        loader: loading.BaseLoader[Any] = loading.get_plugin_loader(name)
    except exceptions.NoMatchingPlugin as error:
        raise Malformed(f"[{where}] auth_type = {name}: there is no such plugin") from error
    options: Sequence[Any] = loading.get_auth_plugin_conf_options(loader)
    if needs is not None and needs not in {option.dest for option in options}:
        raise Malformed(f"[{where}] auth_type = {name} takes no {needs}")
    conf.register_opts(options, group=where)


def sign_in(conf: cfg.ConfigOpts, section: str, **scope: str | None) -> BaseIdentityPlugin:
    """Return how Tatu's own user signs in, to another scope if one is given.

    Raises `Malformed`.
    """
    where = auth_section(conf, section)
    try:
        found = loading.load_auth_from_conf_options(conf, section, **scope)
    except exceptions.ClientException as error:
        raise Malformed(f"[{where}] {error}") from error
    if not isinstance(found, BaseIdentityPlugin):
        raise Malformed(f"[{where}] auth_type asks no Keystone")
    return found


def session(conf: cfg.ConfigOpts, section: str) -> Session:
    """Return the session by which a section's driver asks."""
    return loading.load_session_from_conf_options(
        conf, section, timeout=conf[section].timeout or TIMEOUT
    )
