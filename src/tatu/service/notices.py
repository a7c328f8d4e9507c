"""What follows when the cloud tells that something happened (security.md S4, S8).

A loss commits its cut-off at once; the sweep that follows takes all losses that came meanwhile, so
that a thousand at a time cost little more than one. What only gives something, or only changes
what hosts are called, is left to reconciliation while the cloud does not answer: it must not stand
in the way of losses.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial

import structlog

from tatu.core.audit import SYSTEM, Event
from tatu.core.errors import Conflict, NotFound, Unavailable
from tatu.core.notices import Notice, NoticeKind
from tatu.ports import Clock, IdentityProvider, Ledger, NoticeHandler, Project, User
from tatu.service.audit import append_some, event
from tatu.service.authorities import Authorities
from tatu.service.instances import Instances
from tatu.service.paging import every

LOG = structlog.get_logger("tatu.notices")

MAX_MESSAGE = 255
MAX_CONTENT = 2048
"""Characters that the audit chain keeps of a message that nobody can read, and of its id."""


@dataclass(frozen=True, kw_only=True)
class Notices(NoticeHandler):
    """Acts on what the cloud tells; `lost` is called after each loss, so that it is swept soon."""

    ledger: Ledger
    identities: IdentityProvider
    authorities: Authorities
    instances: Instances
    clock: Clock
    lost: Callable[[], None]
    create_authorities: bool

    def handle(self, notice: Notice) -> None:
        """Act on a notice.

        Raises `Unavailable` when the ledger does not answer, or nobody tells whether a project is
        deleted.
        """
        LOG.info("notice", kind=notice.kind, id=notice.id, message=notice.message)
        acts: Mapping[NoticeKind, Callable[[Notice], None]] = {
            NoticeKind.PROJECT_CREATED: self._create_authority,
            NoticeKind.PROJECT_DELETED: self._end_project,
            NoticeKind.ROLE_CHANGED: self._change_role,
            NoticeKind.ROLE_DELETED: self._change_role,
            NoticeKind.INSTANCE_DELETED: self._delete_host,
            NoticeKind.INSTANCE_CHANGED: self._refresh,
            NoticeKind.INSTANCE_REBUILT: self._refresh,
            NoticeKind.ADDRESS_CHANGED: self._refresh_holders,
        }
        acts.get(notice.kind, self._lose)(notice)

    def set_aside(self, message: str, content: str, reason: str) -> None:
        """Keep what nobody can read in the audit chain, or only log it when there is much."""
        message = message[:MAX_MESSAGE]
        unread = event(
            "notice.set-aside",
            by=SYSTEM,
            at=self.clock(),
            subject=message,
            content=content[:MAX_CONTENT],
            reason=reason,
        )
        kept = append_some(self.ledger, unread)
        LOG.warning("notice.set-aside", message=message, reason=reason, kept=kept)

    # --- losses

    def _lose(self, notice: Notice) -> None:
        if notice.topics and self._is_loss(notice):
            self.ledger.cut_offs.commit(
                notice.topics, notice.kind, self._event("permission.ended", notice, None)
            )
            self.lost()

    def _is_loss(self, notice: Notice) -> bool:
        """Whether a permission ended: most changes are none, and the chain is kept for ever.

        What nobody can tell now is a loss: the sweep finds who lost nothing.
        """
        asked: Mapping[NoticeKind, Callable[[str], Project | User]] = {
            NoticeKind.USER_CHANGED: self.identities.user,
            NoticeKind.PROJECT_CHANGED: self.identities.project,
            NoticeKind.DOMAIN_CHANGED: self.identities.project,  # a domain acts as one
        }
        if notice.kind not in asked:
            return True
        try:
            return not asked[notice.kind](notice.id).enabled
        except (NotFound, Unavailable):
            return True

    def _end_project(self, notice: Notice) -> None:
        """End the authority of a deleted project, when the cloud says that it has none such.

        An authority does not come back: who can write to the message bus must not end one. While
        the cloud does not answer, what was lost is cut off, and the notice comes again.
        """
        # once, however often it comes: the chain is kept for ever, and `retire` cuts off by itself
        if not {found.topic for found in self.ledger.cut_offs.unswept()} & set(notice.topics):
            self._lose(notice)
        try:
            self.identities.project(notice.id)
        except NotFound:
            with suppress(NotFound):
                self.ledger.authorities.retire(
                    notice.id, self._event("authority.retired", notice, notice.id)
                )
        else:
            LOG.warning("notice.contradicted", kind=notice.kind, id=notice.id)

    def _change_role(self, notice: Notice) -> None:
        """Also let hosts have the accounts that follow from the roles there are."""
        self._lose(notice)
        self.ledger.authorities.touch()

    # --- hosts

    def _delete_host(self, notice: Notice) -> None:
        with suppress(NotFound):
            self.ledger.hosts.delete(
                notice.project, notice.id, self._event("host.deleted", notice, notice.project)
            )
            self.lost()

    def _refresh(self, notice: Notice) -> None:
        with self._left_to_reconciliation(notice):
            self.instances.refresh(notice.id)

    def _refresh_holders(self, notice: Notice) -> None:
        """Ask about whoever has the address so far; whoever has it now is told of by itself."""
        authorities = (notice.project,) if notice.project else None
        with self._left_to_reconciliation(notice):
            held = partial(self.ledger.hosts.list, authorities=authorities, holding=notice.id)
            for holder in every(held):
                self.instances.refresh(holder.id)

    # --- what is only given

    def _create_authority(self, notice: Notice) -> None:
        if not self.create_authorities:
            return
        with self._left_to_reconciliation(notice), suppress(NotFound):
            project = self.identities.project(notice.id)
            try:
                self.authorities.create(
                    SYSTEM, project.id, project.name, request_id=notice.message
                )
            except Conflict as error:  # it has one, or another has its DNS suffix
                LOG.info("notice.no-authority", id=notice.id, error=str(error))

    @contextmanager
    def _left_to_reconciliation(self, notice: Notice) -> Iterator[None]:
        """Give up when the cloud does not answer; raises `Unavailable` for the ledger alone."""
        try:
            yield
        except Unavailable as error:
            self.ledger.check()
            LOG.warning("notice.left", kind=notice.kind, id=notice.id, error=str(error))

    def _event(self, action: str, notice: Notice, authority: str | None) -> Event:
        return event(
            action,
            by=SYSTEM,
            at=self.clock(),
            subject=notice.id,
            authority=authority,
            notice=str(notice.kind),
            message=notice.message,
        )
