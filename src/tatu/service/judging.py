"""Who has lost what: a certificate is compared with what its holder has now (S4, S9)."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

from tatu.core.errors import NotFound, Unavailable
from tatu.core.identity import FEDERATION, LENT, Role
from tatu.core.principals import RoleMap
from tatu.ports import IdentityProvider, LedgerCertificate, Project, User

T = TypeVar("T")


@dataclass(kw_only=True)
class Judge:
    """Judges certificates by what the cloud says after `since`, and asks nothing twice.

    A listing is believed in what it has; what it lacks is asked for by itself. Every method raises
    `Unavailable`; when the whole source does not answer, then without asking it again. `asked`
    counts the questions.
    """

    identities: IdentityProvider
    role_map: RoleMap
    since: datetime
    _listed: dict[str, Mapping[str, frozenset[Role]]] = field(default_factory=dict, init=False)
    _held: dict[tuple[str, str], frozenset[Role]] = field(default_factory=dict, init=False)
    _enabled: dict[tuple[str, str], bool] = field(default_factory=dict, init=False)
    _federated: dict[str, bool] = field(default_factory=dict, init=False)
    _lent: dict[tuple[str, str], bool] = field(default_factory=dict, init=False)
    _out: Unavailable | None = field(default=None, init=False)
    asked: int = field(default=0, init=False)

    def know(self, project: Project) -> None:
        """Take a project from a listing, which is believed when it says that it is enabled."""
        if project.enabled:
            self._enabled["project", project.id] = True

    def has_lost(self, certificate: LedgerCertificate, *, listed: bool) -> bool:
        """Whether a user's certificate says more than its holder has now.

        `listed` when others of its project are judged too: a listing tells of most at once. Of
        what is known from a federated token alone, or was lent by whom such a token made known,
        the cloud's assignments say nothing (S9).
        """
        if certificate.origin.startswith(FEDERATION):
            return self._has_lost_federated(certificate)
        if not self._has_lost_assigned(certificate, listed=listed):
            return False
        if certificate.origin.startswith(LENT) and self._is_federated(certificate.subject):
            return self._has_lost_federated(certificate)
        return True

    def project_stands(self, project_id: str) -> bool:
        """Whether a project is there and enabled, by its own answer."""
        return self._stands("project", project_id, self.identities.project)

    def has_taken_back(self, subject: str, origin: str) -> bool:
        """Whether what a user lent is no more, by its own answer."""
        loan = subject, origin
        if loan not in self._lent:
            try:
                self._ask(lambda: self.identities.lent(*loan))
                self._lent[loan] = True
            except NotFound:
                self._lent[loan] = False
        return not self._lent[loan]

    def _has_lost_assigned(self, certificate: LedgerCertificate, *, listed: bool) -> bool:
        project, subject = certificate.authority, certificate.subject
        if listed:
            if not self.project_stands(project):
                return True
            if self._covers(certificate, self._listing(project).get(subject, frozenset())):
                return False
        return not self._covers(certificate, self._effective(subject, project))

    def _has_lost_federated(self, certificate: LedgerCertificate) -> bool:
        there = self._ask(lambda: self.identities.roles(since=self.since))
        return not (
            self.project_stands(certificate.authority)
            and self._stands("user", certificate.subject, self.identities.user)
            and self._covers(certificate, {r for r in there if r.id in certificate.roles})
        )

    def _is_federated(self, subject: str) -> bool:
        """Whether a user is federated: what such a one lent says no word of it."""
        if subject not in self._federated:
            try:
                found = self._ask(lambda: self.identities.user(subject))
                self._federated[subject] = found.federated
            except NotFound:
                self._federated[subject] = False
        return self._federated[subject]

    def _covers(self, certificate: LedgerCertificate, roles: Iterable[Role]) -> bool:
        """Whether these roles give all that a certificate says.

        The principals too: a renamed role is a loss of the old name (S5).
        """
        held = frozenset(roles)
        return set(certificate.roles) <= {role.id for role in held} and set(
            certificate.principals
        ) <= set(self.role_map.of(held).given)

    def _listing(self, project: str) -> Mapping[str, frozenset[Role]]:
        if project not in self._listed:
            self._listed[project] = self._ask(
                lambda: self.identities.holders(project, since=self.since)
            )
        return self._listed[project]

    def _effective(self, subject: str, project: str) -> frozenset[Role]:
        holder = subject, project
        if holder not in self._held:
            self._held[holder] = self._ask(lambda: self.identities.effective_roles(*holder))
        return self._held[holder]

    def _stands(self, kind: str, id_: str, find: Callable[[str], Project | User]) -> bool:
        if (kind, id_) not in self._enabled:
            try:
                self._enabled[kind, id_] = self._ask(lambda: find(id_)).enabled
            except NotFound:
                self._enabled[kind, id_] = False
        return self._enabled[kind, id_]

    def _ask(self, question: Callable[[], T]) -> T:
        if self._out is not None:
            raise self._out
        self.asked += 1
        try:
            return question()
        except Unavailable:
            self.asked += 1
            try:  # one answer that cannot be had holds up no other; but nobody waits for each
                self.identities.check()
            except Unavailable as error:
                self._out = error
            raise
