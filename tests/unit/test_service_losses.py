"""Loss against issue: no certificate of a permission that has ended escapes (S4)."""

import threading

import pytest

from tatu.core.errors import Denied, Unauthenticated
from tatu.ports import Assignment, CertificateFilter, Group, User
from tests.fakes.deployment import Key
from tests.fakes.identities import request
from tests.fakes.threads import together

USERS = 2
ASKED = 16
ROUNDS = 625  # in each a loss meets 16 certificates: 10,000 interleavings
ADMIN = "id-admin"


def escaped(deployment):
    """The live certificates that still hold the role which was lost."""
    wanted = CertificateFilter(authorities=("blue",), live_at=deployment.clock())
    found = deployment.ledger.certificates.list(wanted, limit=2 * ASKED, marker=None).items
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
    losses = {
        "user": lambda: directory.enable_user("id-ann", racing.event(), enabled=False),
        "project": lambda: directory.enable_project("blue", racing.event(), enabled=False),
        "role": lambda: directory.delete_role(ADMIN, racing.event()),
    }
    real = racing.keystore.signer

    def signer(reference):
        racing.keystore.signer = real
        losses[how]()
        racing.revocation.sweep()
        return real(reference)

    racing.keystore.signer = signer
    found = attempt(lambda: racing.issue("ann", Key()))

    assert escaped(racing) == []
    assert (found is None) == (how != "role")


def attempt(work):
    try:
        return work()
    except (Denied, Unauthenticated):
        return None


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
