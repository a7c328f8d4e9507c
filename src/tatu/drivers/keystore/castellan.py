"""Keys in a key manager that castellan knows: Barbican, Vault.

A key is kept there as PKCS #8 (an opaque object: every backend takes those, of any algorithm); its
reference is the key manager's id. What was opened stays in memory, so that signing goes on while
the key manager is out. Castellan is configured by its own sections, `[key_manager]` and that of
its backend.
"""

import base64
import logging
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

from castellan import key_manager
from castellan.common import utils
from castellan.common.exception import ManagedObjectNotFoundError
from castellan.common.objects.opaque_data import OpaqueData
from castellan.key_manager.key_manager import KeyManager
from keystoneauth1 import identity
from keystoneauth1.access import AccessInfo
from keystoneauth1.exceptions import ConnectTimeout
from keystoneauth1.session import Session
from oslo_config import cfg
from oslo_context.context import RequestContext

from tatu.core.authority import KeyAlgorithm
from tatu.core.errors import Conflict, Malformed, NotFound, Unavailable
from tatu.core.keys import PublicKey
from tatu.drivers.keystore.castellan_line import TimedLine
from tatu.drivers.keystore.signer import generate
from tatu.drivers.keystore.signers import Signers, encode
from tatu.drivers.loading import Driver
from tatu.ports import KeyStore, Randomness, Secrets, Signer

SECRET_SIZE = 32

_SECRET = "castellan:secret:"  # noqa: S105 - a prefix of names
_PROBE = "probe"
_MAX_REASON = 300
_CREDENTIAL = (
    "auth_url",
    "username",
    "password",
    "user_id",
    "user_domain_id",
    "user_domain_name",
    "trust_id",
    "domain_id",
    "domain_name",
    "project_id",
    "project_name",
    "project_domain_id",
    "project_domain_name",
    "reauthenticate",
)

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Castellan(KeyStore):
    """Keeps keys and secrets in a key manager, the ids of the secrets in the ledger."""

    manager: KeyManager
    context: RequestContext = field(repr=False)
    backend: str
    secrets: Secrets
    randomness: Randomness
    ticks: Callable[[], float] = field(default=time.monotonic, repr=False)
    _line: TimedLine = field(init=False, repr=False)
    _signers: Signers = field(default_factory=Signers, init=False, repr=False)
    _opened: dict[str, bytes] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        """Take the key manager for one that answers, until it does not."""
        object.__setattr__(self, "_line", TimedLine(self._who, self.ticks))

    def create(self, algorithm: KeyAlgorithm) -> tuple[str, PublicKey]:
        """Make a key; durable on return."""
        private_key = generate(algorithm)
        reference = self._store(encode(private_key), f"tatu {algorithm} key")
        return reference, self._signers.keep(reference, private_key).public_key

    def signer(self, reference: str) -> Signer:
        """Return the signer of a key, fetched at the first call."""
        return self._signers.get(reference, self._get)

    def delete(self, reference: str) -> None:
        """Destroy a key."""
        self._signers.forget(reference)
        if _is_id(reference):
            with suppress(NotFound):
                self._ask("delete a secret", lambda: self.manager.delete(self.context, reference))

    def secret(self, name: str) -> bytes:
        """Return the deployment's secret of this name, made at the first call."""
        opened = self._opened.get(name)
        if opened is None:
            opened = self._opened[name] = self._secret(name)
        return opened

    def check(self) -> None:
        """Fetch a secret of its own: the key manager answers, and lets us in."""
        self._secret(_PROBE)

    def _secret(self, name: str) -> bytes:
        kept = _SECRET + name
        try:
            reference = self.secrets.get(kept).decode()
        except NotFound:
            return self._new_secret(name)
        try:
            return self._get(reference)
        except NotFound as error:  # never made anew: what was derived from it would not come back
            raise Unavailable(f"{self._who} has lost the secret {name!r} ({reference})") from error

    def _new_secret(self, name: str) -> bytes:
        secret = self.randomness(SECRET_SIZE)
        reference = self._store(secret, f"tatu secret {name}")
        # When the ledger fails, it may have kept the id all the same: the object is left there.
        try:
            self.secrets.put(_SECRET + name, reference.encode())
        except Conflict:  # another process was faster: its secret is the one
            with suppress(Unavailable):
                self.delete(reference)
            return self._secret(name)
        return secret

    def _store(self, secret: bytes, name: str) -> str:
        """Return the id under which the key manager keeps a secret, and gives it back.

        That is tried at once: castellan takes some refusals of Vault for a success.
        """
        reference = self._ask(
            "store a secret",
            lambda: self.manager.store(self.context, OpaqueData(secret, name=name)),
            sent=secret,
        )
        try:
            kept = self._get(reference) == secret
        except NotFound:
            kept = False
        if not kept:
            raise Unavailable(f"{self._who} took a secret, and does not give it back")
        return reference

    def _get(self, reference: str) -> bytes:
        if not _is_id(reference):
            raise NotFound(f"there is no key {reference!r}")
        found = self._ask("give a secret", lambda: self.manager.get(self.context, reference))
        secret = found.get_encoded()
        if secret is None:
            raise Unavailable(f"{self._who} gives a secret without contents ({reference})")
        return secret

    def _ask(self, what: str, ask: Callable[[], T], *, sent: bytes = b"") -> T:
        try:
            with self._line.asking():
                return ask()
        except Unavailable:  # of the line
            raise
        except ManagedObjectNotFoundError as error:
            raise NotFound(f"{self._who} has no such secret") from error
        except Exception as error:
            # Each backend lets out its library's own, down to the KeyError of an odd answer.
            reason = " ".join(str(error).split()) or type(error).__name__
            failed = f"{self._who} does not {what}: {reason[:_MAX_REASON]}"
            spelled = base64.b64encode(sent).decode(), sent.hex()
            if sent and any(text in reason for text in spelled):  # Barbican may quote the request
                raise Unavailable(f"{self._who} does not {what}, and quotes it") from None
            raise Unavailable(failed) from error

    @property
    def _who(self) -> str:
        return f"the key manager ({self.backend})"


class _Password(identity.Password):
    """Signs in to Keystone once for all requests, and lets none of them wait for ever.

    Castellan makes a session for each request and sets no timeout; it is set here, because every
    request asks for a token first.
    """

    def __init__(self, *, timeout: int, **credential: Any) -> None:
        super().__init__(**credential)
        self._timeout = timeout
        self._turn = threading.RLock()

    def get_access(self, session: Session, **kwargs: object) -> AccessInfo:
        """Return a token that is valid, as the plugins' interface says."""
        session.timeout = self._timeout
        # One at a time signs in: behind a Keystone that hangs, the others would wait in a row.
        if not self._turn.acquire(timeout=self._timeout):
            raise ConnectTimeout(f"Keystone ({self.auth_url}) does not answer")
        try:
            return super().get_access(session, **kwargs)
        finally:
            self._turn.release()


class _Context(RequestContext):
    """Castellan's context of every request."""

    def __init__(self, auth: identity.BaseIdentityPlugin | None) -> None:
        super().__init__(overwrite=False)
        self._auth = auth

    def get_auth_plugin(self) -> identity.BaseIdentityPlugin | None:
        """Return how to sign in: castellan asks a context for it that has one."""
        return self._auth


def _is_id(reference: str) -> bool:
    """Tell whether this may be an id of castellan's: clients are not asked about anything else."""
    try:
        uuid.UUID(reference)
    except ValueError:
        return False
    return True


OPTIONS = (
    cfg.IntOpt(
        "timeout",
        default=3,  # of several that a request may wait for in turn
        min=1,
        max=30,
        help="Seconds to wait for each answer of the key manager and of its Keystone. Castellan"
        " itself is configured in [key_manager] and in the section of its backend, [barbican] or"
        " [vault]; where those have a timeout, it goes before this one.",
    ),
)


def _prepare(conf: cfg.ConfigOpts) -> None:
    """Register [key_manager] and the section of the backend in use."""
    conf.register_opts(utils.credential_opts, group=utils.OPT_GROUP)
    _manager(conf)
    for section in ("barbican", "vault"):
        if section in conf:
            conf.set_default("timeout", conf.keystore_castellan.timeout, group=section)


def _build(
    options: cfg.ConfigOpts.GroupAttr,
    *,
    conf: cfg.ConfigOpts,
    secrets: Secrets,
    randomness: Randomness,
) -> Castellan:
    # They log what they raise, and at that what they sent: here it is said once, without secrets.
    for library in ("castellan", "barbicanclient"):
        logging.getLogger(library).setLevel(logging.CRITICAL)
    return Castellan(
        manager=_manager(conf),
        context=_Context(_auth(conf)),
        backend=conf.key_manager.backend,
        secrets=secrets,
        randomness=randomness,
    )


def _manager(conf: cfg.ConfigOpts) -> KeyManager:
    try:
        return key_manager.API(conf)
    except (ImportError, ValueError) as error:
        raise Malformed(f"[key_manager] backend = {conf.key_manager.backend}: {error}") from error


def _auth(conf: cfg.ConfigOpts) -> _Password | None:
    """Return how to sign in to Barbican; other backends do it by what is in their section."""
    if "barbican" not in conf:
        return None
    section = conf.key_manager
    if section.auth_type != "keystone_password":
        raise Malformed("[key_manager] auth_type must be keystone_password: a token would end")
    if not section.auth_url or not section.password:
        raise Malformed("[key_manager] auth_url and password are required")
    credential = {name: section[name] for name in _CREDENTIAL}
    return _Password(timeout=conf.barbican.timeout, **credential)


driver = Driver(section="keystore_castellan", options=OPTIONS, build=_build, prepare=_prepare)
