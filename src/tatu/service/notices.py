"""What follows when the cloud tells that something happened (security.md S4, S8).

A loss commits its cut-off at once; the sweep that follows takes all losses that came meanwhile, so
that a thousand at a time cost little more than one. What only gives something, or only changes
what hosts are called, must not stand in the way of losses: it is remembered and done afterwards,
and left to reconciliation while the cloud does not answer.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial

import structlog

from tatu.core import losses
from tatu.core.audit import SYSTEM, Event
from tatu.core.errors import Conflict, NotFound, Unavailable
from tatu.core.notices import Notice, NoticeKind
from tatu.ports import (
    CertificateFilter,
    Clock,
    IdentityProvider,
    Ledger,
    NoticeHandler,
    Project,
    User,
)
from tatu.service.audit import append_some, event
from tatu.service.authorities import Authorities
from tatu.service.instances import Instances
from tatu.service.paging import every
from tatu.service.sharing import Shared

LOG = structlog.get_logger("tatu.notices")

PAUSE = 0.25
CROWD = 4
"""Seconds between cut-offs that anybody can cause, and how many notices wait for one at most.

Who may make groups can end them without end. Each ends everyone's permission until it is decided
about anew, which takes some time; and other losses need the threads in which the notices wait.
"""

MAX_MESSAGE = 255
MAX_CONTENT = 2048
"""Characters that the audit chain keeps of a message that nobody can read, and of its id."""

MAX_WAITING = 10_000
"""Notices that may wait to be done: more are left to reconciliation."""


@dataclass(frozen=True, kw_only=True)
class Notices(NoticeHandler):
    """Acts on what the cloud tells.

    `lost` is called after each loss, so that it is swept soon; `later` when something is
    remembered that `catch_up` does.
    """

    ledger: Ledger
    identities: IdentityProvider
    authorities: Authorities
    instances: Instances
    clock: Clock
    lost: Callable[[], None]
    later: Callable[[], None]
    create_authorities: bool
    _waiting: dict[Notice, Notice] = field(default_factory=dict, init=False, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)
    _shared: Shared[Notice] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Let those share a cut-off whom nobody can tell apart."""
        shared = Shared(self._cut_off, pause=PAUSE, crowd=CROWD)
        object.__setattr__(self, "_shared", shared)

    def handle(self, notice: Notice) -> None:
        """Act on a notice, or remember it.

        Raises `Unavailable` when the ledger does not answer, or nobody tells whether a project is
        deleted.
        """
        LOG.info("notice", kind=notice.kind, id=notice.id, message=notice.message)
        if notice.kind in self._put_off:
            self._remember(notice)
            return
        acts: Mapping[NoticeKind, Callable[[Notice], None]] = {
            NoticeKind.PROJECT_DELETED: self._end_project,
            NoticeKind.ROLE_CHANGED: self._change_role,
            NoticeKind.ROLE_DELETED: self._change_role,
            NoticeKind.INSTANCE_DELETED: self._delete_host,
        }
        acts.get(notice.kind, self._lose)(notice)

    def catch_up(self) -> None:
        """Do what was remembered, each thing once, however often it was told meanwhile.

        Raises `Unavailable` when the ledger does not answer: what is left is done the next time.
        """
        with self._lock:
            keys = list(self._waiting)
        for key in keys:
            with self._lock:
                notice = self._waiting.pop(key, None)
            if notice is not None:
                self._catch_up(notice)

    def _catch_up(self, notice: Notice) -> None:
        try:
            self._put_off[notice.kind](notice)
        except Unavailable as error:
            try:
                self.ledger.check()
            except Unavailable:
                self._remember(notice)
                raise
            LOG.warning("notice.left", kind=notice.kind, id=notice.id, error=str(error))

    @property
    def _put_off(self) -> Mapping[NoticeKind, Callable[[Notice], None]]:
        return {
            NoticeKind.PROJECT_CREATED: self._create_authority,
            NoticeKind.INSTANCE_CHANGED: self._refresh,
            NoticeKind.INSTANCE_REBUILT: self._refresh,
            NoticeKind.ADDRESS_CHANGED: self._refresh_holders,
        }

    def _remember(self, notice: Notice) -> None:
        with self._lock:
            full = len(self._waiting) >= MAX_WAITING
            if not full:
                self._waiting[replace(notice, message="")] = notice
        if full:
            LOG.warning("notice.left", kind=notice.kind, id=notice.id, error="too many wait")
        self.later()

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
        if not notice.topics or not self._is_loss(notice):
            return
        if losses.everyone() in notice.topics or self._ends_nothing(notice):
            self._shared.bring(notice)
        else:
            self._cut_off([notice])

    def _cut_off(self, notices: Sequence[Notice]) -> None:
        """Commit the cut-offs of notices: one commit and one link for all of a kind."""
        for kind in dict.fromkeys(notice.kind for notice in notices):
            same = [notice for notice in notices if notice.kind is kind]
            topics = dict.fromkeys(topic for notice in same for topic in notice.topics)
            told = self._event("permission.ended", same[0], None)
            if len(same) > 1:
                told = replace(told, facts={**told.facts, "shared_by": len(same)})
            self.ledger.cut_offs.commit(list(topics), kind, told)
        self.lost()

    def _ends_nothing(self, notice: Notice) -> bool:
        """Whether it ends an origin of no live certificate: maybe one is being made by it."""
        if notice.kind is not NoticeKind.ORIGIN_DELETED:
            return False
        live = CertificateFilter(
            authorities=None, origin=notice.id, live_at=self.clock(), revoked=False
        )
        return not self.ledger.certificates.list(live, limit=1, marker=None).items

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
        self.instances.refresh(notice.id, project=notice.project, called=notice.name)

    def _refresh_holders(self, notice: Notice) -> None:
        """Ask about whoever has the address so far; whoever has it now is told of by itself."""
        authorities = (notice.project,) if notice.project else None
        held = partial(self.ledger.hosts.list, authorities=authorities, holding=notice.id)
        for holder in list(every(held)):
            self.instances.refresh(holder.id, project=holder.authority)

    # --- what is only given

    def _create_authority(self, notice: Notice) -> None:
        if not self.create_authorities:
            return
        with suppress(NotFound):
            project = self.identities.project(notice.id)
            try:
                self.authorities.create(
                    SYSTEM, project.id, project.name, request_id=notice.message
                )
            except Conflict as error:  # it has one, or another has its DNS suffix
                LOG.info("notice.no-authority", id=notice.id, error=str(error))

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
