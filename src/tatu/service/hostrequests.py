"""Requests of enrolled hosts: whose they are, each good once (security.md S12)."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from tatu.core import hostrequest
from tatu.core.errors import Conflict, NotFound, TatuError, Unauthenticated
from tatu.core.host import Host
from tatu.core.hostrequest import Credentials
from tatu.core.keys import PublicKey
from tatu.core.sshsig import Namespace
from tatu.ports import Clock, Ledger, Nonce, Verifier
from tatu.service.audit import append_host_denial

_UNPROVEN = "no enrolled host signed this request, for this deployment and as it came"
REPEATED = "this request was sent before"


@dataclass(frozen=True, kw_only=True)
class HostCaller:
    """The host that asks, as the ledger has it, and its proof: whoever keeps it can show it.

    Its `nonce` is unused as far as is known.
    """

    host: Host
    nonce: Nonce
    message: bytes
    signature: str
    body: bytes


@dataclass(frozen=True, kw_only=True)
class HostRequests:
    """Tells which host asks."""

    ledger: Ledger
    verifier: Verifier
    clock: Clock
    deployment: str

    def authenticate(
        self,
        credentials: Credentials,
        *,
        method: str,
        path: str,
        body: bytes,
        count: Callable[[], None] = lambda: None,
        request_id: str,
    ) -> HostCaller:
        """Return the host that signed this very request, whose nonce is then to be used.

        What `count` raises refuses it; it is called when the request is proven and new, for anyone
        may name any host, or send again what they saw. Raises one and the same `Unauthenticated`
        for a host that is not there, is only admitted, or came over the original's wire, which
        proves no key; for a key that is not enrolled, and for another request. Raises it in other
        words for a request of another time, or that came before; `Unavailable`.
        """
        credentials.check_time(self.clock())
        try:
            found = self.ledger.hosts.get(credentials.authority, credentials.host, scope=None)
        except NotFound as error:
            raise Unauthenticated(_UNPROVEN) from error
        message = hostrequest.message(
            deployment=self.deployment,
            authority=found.authority,
            host=found.id,
            method=method,
            path=path,
            body_digest=hashlib.sha256(body).hexdigest(),
            time=credentials.time,
            nonce=credentials.nonce,
        )
        try:
            self._check_signed(found, credentials, message)
        except TatuError as error:
            self._audit_denial(found, request_id)
            raise Unauthenticated(_UNPROVEN) from error
        nonce = Nonce(
            text=f"{found.authority}/{found.id}/{credentials.nonce}",
            # twice the window: the clocks of two processes of ours may be apart, too
            until=credentials.time + 2 * hostrequest.WINDOW,
        )
        if self.ledger.nonces.used(nonce):
            raise Unauthenticated(REPEATED)
        count()
        signature = credentials.signature.armored
        return HostCaller(host=found, nonce=nonce, message=message, signature=signature, body=body)

    @contextmanager
    def once(self, caller: HostCaller, *, itself: bool) -> Iterator[None]:
        """Use up the caller's request, before it has any effect.

        `itself`: what is done uses its nonce, in the commit of its effect; here it is used when
        that fails, for what is refused must not be counted again each time somebody repeats it.
        Raises `Unauthenticated` when it was used.
        """
        if not itself:
            try:
                self.ledger.nonces.use(caller.nonce)
            except Conflict as error:
                raise Unauthenticated(REPEATED) from error
        try:
            yield
        except Exception:
            if itself:
                with suppress(TatuError):
                    self.ledger.nonces.use(caller.nonce)
            raise

    def _check_signed(self, found: Host, credentials: Credentials, message: bytes) -> None:
        """Raise a `TatuError` unless a key of this enrolment signed the message."""
        signature = credentials.signature
        keys = () if found.legacy else tuple(map(PublicKey.parse, found.host_keys))
        if signature.public_key not in keys:
            raise Unauthenticated("the key is not enrolled")
        signed = signature.signed_bytes(Namespace.HOST, message)
        self.verifier.verify(signature.public_key, signature.signature, signed)

    def _audit_denial(self, found: Host, request_id: str) -> None:
        append_host_denial(
            self.ledger, "host.request-denied", found, at=self.clock(), request_id=request_id
        )
