"""The newest publication of each authority, known without asking for a quarter of a second.

Every host asks every few seconds whether there is news; nearly always there is none, and the
answer must cost neither a signature nor much of a query.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from tatu.api.schemas import KrlReference, StatementShown
from tatu.core import statement
from tatu.ports import Clock, Ledger, Publication
from tatu.service.statements import Statements

UNASKED = 0.25
"""Seconds for which another process's revocation may go unseen; this process's own never does."""

_MAX = 4096
_MAX_KEPT = 16_384
"""Bytes of a KRL that is kept: the ledger gives larger ones quickly, for what they are."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Known:
    """A publication as it is answered, and until when nothing need be asked."""

    publication: Publication
    statement_etag: str
    krl_etag: str
    body: bytes
    unasked_until: float


class Newest:
    """Remembers publications, never past the half of their lives."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        statements: Statements,
        clock: Clock,
        api_endpoint: str,
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ledger = ledger
        self._statements = statements
        self._clock = clock
        self._api_endpoint = api_endpoint
        self._ticks = ticks
        self._known: dict[str, Known] = {}
        self._krls: dict[str, tuple[int, bytes]] = {}
        self._changes = 0

    def get(self, authority: str) -> Known:
        """Return the newest publication. Raises `NotFound` or `Unavailable`."""
        changes = self._changes
        known = self._known.get(authority)
        ticks = self._ticks()
        if known is not None and self._is_young(known.publication):
            if ticks < known.unasked_until:
                return known
            if self._ledger.publications.revision(authority) == known.publication.revision:
                return self._keep(authority, known.publication, ticks, known.body, changes)
        publication = self._statements.newest(authority)
        return self._keep(authority, publication, ticks, self._body(publication), changes)

    def krl(self, authority: str, version: int) -> bytes:
        """Return a KRL, which its version names for ever. Raises as `Statements.krl`.

        A whole fleet fetches the newest within a second or two.
        """
        kept = self._krls.get(authority)
        if kept is not None and kept[0] == version:
            return kept[1]
        found = self._statements.krl(authority, version)
        if len(found) <= _MAX_KEPT:
            if len(self._krls) >= _MAX:
                self._krls.clear()
            self._krls[authority] = version, found
        return found

    def forget(self) -> None:
        """Ask again at the next request: something was changed by this process."""
        self._changes += 1
        self._known.clear()

    def _is_young(self, publication: Publication) -> bool:
        half = (publication.expires_at - publication.issued_at) / 2
        # A clock that was set back must not keep a publication for longer.
        return abs(self._clock() - publication.issued_at) < half

    def _keep(
        self, authority: str, publication: Publication, ticks: float, body: bytes, changes: int
    ) -> Known:
        known = Known(
            publication=publication,
            statement_etag=f'"{publication.version}"',
            krl_etag=f'"{publication.krl_version}"',
            body=body,
            unasked_until=ticks + UNASKED,
        )
        if len(self._known) >= _MAX:
            self._known.clear()
        if changes == self._changes:  # else what was read may be from before the change
            self._known[authority] = known
        return known

    def _body(self, publication: Publication) -> bytes:
        version = publication.krl_version
        return msgspec.json.encode(
            StatementShown(
                statement=publication.statement.decode(),
                signature=publication.signature,
                krl=KrlReference(
                    version=version,
                    digest=statement.decode(publication.statement).krl_digest,
                    url=f"{self._api_endpoint}/v2/authorities/{publication.authority}/krl/{version}",
                ),
            )
        )
