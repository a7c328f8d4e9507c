"""Loss against issue: no certificate of a permission that has ended escapes (S4)."""

import threading
from dataclasses import replace
from datetime import timedelta

import pytest

from tatu.core import losses
from tatu.core.audit import SYSTEM
from tatu.core.errors import Denied, Gone, Unauthenticated
from tatu.ports import Assignment, CertificateFilter, Group, Held, User
from tatu.service.reconcile import Reconciliation, Settings
from tests.fakes.deployment import Key
from tests.fakes.identities import request
from tests.fakes.threads import together

USERS = 2
ASKED = 16
ROUNDS = 625  # in each a loss meets 16 certificates: 10,000 interleavings
ENDED = 42  # the same with eight, three times: a thousand
ADMIN = "id-admin"


def escaped(deployment, origin=None):
    """The live certificates that still hold the role, or have the origin, which was lost."""
    wanted = CertificateFilter(authorities=("blue",), live_at=deployment.clock(), origin=origin)
    found = deployment.ledger.certificates.list(wanted, limit=2 * ASKED, marker=None).items
    if origin is not None:
        return [held.serial for held in found]
    return [held.serial for held in found if ADMIN in held.roles or "admin" in held.principals]


def lose(deployment, user="id-ann"):
    deployment.administration.unassign(
        deployment.admin, Assignment(project="blue", role=ADMIN, user=user), request_id="r"
    )


@pytest.fixture
def racing(deployment):
    deployment.admin = deployment.who("ann")
    return deployment


STEPS = {
    "while the caller is looked up": ("identities", "effective_roles"),
    "before the authority is read": ("ledger.authorities", "snapshot"),
    "while the key is looked up": ("ledger", "purposes_of"),
    "before a serial is reserved": ("ledger.certificates", "reserve"),
    "while it is signed": ("keystore", "signer"),
    "before it is recorded": ("ledger.certificates", "record"),
}


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("step", list(STEPS))
def test_a_loss_at_any_step_leaves_no_certificate_with_the_lost_role(racing, step, after):
    path, name = STEPS[step]
    part = racing
    for attribute in path.split("."):
        part = getattr(part, attribute)
    real = getattr(part, name)

    def with_a_loss(*args, **kwargs):
        setattr(part, name, real)
        if not after:
            lose(racing)
        found = real(*args, **kwargs)
        if after:
            lose(racing)
        return found

    setattr(part, name, with_a_loss)
    racing.issue("ann", Key())

    assert escaped(racing) == []
    assert racing.ledger.cut_offs.unswept() == ()


@pytest.mark.parametrize("how", ["user", "project", "role"])
def test_every_kind_of_loss_reaches_a_certificate_that_is_being_made(racing, how):
    directory = racing.ledger.directory
    ends = {
        "user": lambda: directory.enable_user("id-ann", racing.event(), enabled=False),
        "project": lambda: directory.enable_project("blue", racing.event(), enabled=False),
        "role": lambda: directory.delete_role(ADMIN, racing.event()),
    }
    real = racing.keystore.signer

    def signer(reference):
        racing.keystore.signer = real
        ends[how]()
        racing.revocation.sweep()
        return real(reference)

    racing.keystore.signer = signer
    found = attempt(lambda: racing.issue("ann", Key()))

    assert escaped(racing) == []
    assert (found is None) == (how != "role")


def attempt(work):
    try:
        return work()
    except (Denied, Gone, Unauthenticated):
        return None


# --- losses of a cloud, which has its users elsewhere


TRUST = "trust:t1"


class Cloud:
    """Takes the role, or what the caller brought, away where the ledger does not see it."""

    def __init__(self, deployment):
        self.deployment = deployment
        self.lost = False
        self.origin = ""
        self._roles = deployment.identities.effective_roles
        self._authenticate = deployment.identities.authenticate
        deployment.identities.effective_roles = self.effective_roles
        deployment.identities.authenticate = self.authenticate
        self.reconciliation = Reconciliation(
            ledger=deployment.ledger,
            identities=deployment.identities,
            inventory=deployment.inventory,
            revocation=deployment.revocation,
            clock=deployment.clock,
            settings=Settings(share=0, minimum=1, hold=timedelta()),
            holder="one",
        )

    def effective_roles(self, subject, project):
        held = self._roles(subject, project)
        return frozenset(role for role in held if not (self.lost and role.id == ADMIN))

    def authenticate(self, request, *, cached=True, strange=None):
        found = self._authenticate(request, cached=cached)
        if self.origin and self.lost:
            raise Unauthenticated("what the token was got by is gone")
        return replace(found, origin=self.origin)

    def lose(self, *topics):
        self.lost = True
        self.deployment.revocation.lose(topics, "told")

    def retire(self):
        self.deployment.ledger.authorities.retire("blue", self.deployment.event())

    def hold(self):
        """Hold ann, of whom the cloud says that she lost a role which it still gives her."""
        held = Held(authority="blue", kind="user", value="id-ann", since=self.deployment.clock())
        self.deployment.ledger.holds.hold([held], self.deployment.event())

    def reconcile(self):
        """Find by comparing what nobody told, hold it, and apply it in the next comparison."""
        self.lost = True
        self.reconciliation.run()
        self.reconciliation.run()


@pytest.fixture
def cloud(racing):
    racing.issue("ann", Key())  # there is something to be swept, too
    return Cloud(racing)


ENDS = {
    "origin": lambda cloud: cloud.lose(losses.origin(TRUST)),
    "everyone": lambda cloud: cloud.lose(losses.everyone()),
    "project": lambda cloud: cloud.lose(losses.project("blue")),
    "retired": Cloud.retire,
    "held": Cloud.hold,
    "reconciled": Cloud.reconcile,
}


@pytest.mark.parametrize("end", list(ENDS))
@pytest.mark.parametrize("step", list(STEPS))
def test_what_a_cloud_ends_at_any_step_is_not_issued(cloud, step, end):
    cloud.origin = TRUST if end == "origin" else ""
    path, name = STEPS[step]
    part = cloud.deployment
    for attribute in path.split("."):
        part = getattr(part, attribute)
    real = getattr(part, name)

    def ended(*args, **kwargs):
        setattr(part, name, real)
        ENDS[end](cloud)
        return real(*args, **kwargs)

    before = cloud.deployment.ledger.audit.head()[0]
    setattr(part, name, ended)
    found = attempt(lambda: cloud.deployment.issue("ann", Key()))

    if end in {"origin", "retired", "held"}:
        assert found is None
    if end == "held":  # nothing is revoked by it, but nothing is issued either
        links = cloud.deployment.ledger.audit.read(after=before, limit=100)
        assert not any('"action":"certificate.issued"' in link.body for link in links)
    elif end == "origin":
        assert escaped(cloud.deployment, origin=TRUST) == []
    else:
        assert escaped(cloud.deployment) == []


@pytest.mark.slow
@pytest.mark.parametrize("end", ["origin", "everyone", "reconciled"])
def test_a_thousand_races_with_what_a_cloud_ends_leave_nothing_of_it(cloud, end):
    deployment, key, asked = cloud.deployment, Key(), 8
    escapes, first_by_loss = [], set()

    def race(at):
        if at == asked:
            for _ in range(first):
                done.acquire()
            ENDS[end](cloud)
            return None
        try:
            return attempt(lambda: deployment.issue("ann", key))
        finally:
            done.release()

    for round_ in range(ENDED):
        cloud.lost, cloud.origin = False, TRUST if end == "origin" else ""
        done, first = threading.Semaphore(0), round_ % asked
        answers = together(asked + 1, race)
        escapes += escaped(deployment, origin=TRUST if end == "origin" else None)
        first_by_loss |= {
            answer is not None and "admin" in answer.certificate.principals
            for answer in answers[:asked]
        }
        release_all(cloud)
        deployment.clock.forward(days=2)

    assert escapes == []
    assert first_by_loss == {True, False}  # each side was first at times


def release_all(cloud):
    cloud.reconciliation.release(cloud.reconciliation.held(), SYSTEM)


@pytest.mark.slow
def test_ten_thousand_races_of_loss_and_issue_leave_no_lost_role(racing):
    directory = racing.ledger.directory
    directory.create_group(Group(id="ops", name="Ops"), racing.event())
    users = [f"u{number}" for number in range(USERS)]
    for user in users:
        directory.create_user(User(id=user, name=user), racing.event())
        directory.add_member("ops", user, racing.event())
        directory.assign(Assignment(project="blue", role="id-member", user=user), racing.event())
    admin = Assignment(project="blue", role=ADMIN, group="ops")
    key = Key()
    escapes, admins = [], 0

    def race(at):
        if at == ASKED:
            for _ in range(first):  # some are certified by then, the others in the midst
                done.acquire()
            racing.administration.unassign(racing.admin, admin, request_id="r")
            return False
        user = users[at % USERS]
        try:
            answer = racing.issuance.user_certificate(
                request(user, "blue"),
                racing.who(user),
                "blue",
                *proofs[user],
                request_id="r",
            )
        finally:
            done.release()
        return "admin" in answer.certificate.principals

    proofs = {user: racing.wanted(racing.who(user), key) for user in users}
    for round_ in range(ROUNDS):
        done, first = threading.Semaphore(0), round_ % ASKED
        directory.assign(admin, racing.event())
        admins += sum(together(ASKED + 1, race))
        escapes += escaped(racing)
        racing.clock.forward(days=2)  # so that sweeps do not walk what no longer lives

    assert escapes == []
    # each side was first at times: else nothing was raced
    assert 0 < admins < ROUNDS * ASKED
