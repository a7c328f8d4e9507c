"""What may be lost in a Keystone: each way makes certificates, and says which shall end with it.

A loss returns the certificates that shall end, those that shall not, and how to lose.
"""

import configparser
import contextlib
import json
import time
from dataclasses import dataclass, field

from tatu import bootstrap
from tatu.config import load
from tatu.core.audit import SYSTEM
from tatu.core.policy import Wanted
from tatu.core.sshsig import Namespace
from tatu.ports import Request
from tests.fakes.deployment import Key
from tests.openstack.clouds import Cloud

PATIENCE = 60.0


def start(tatu, label="worker"):
    """Start a worker, and wait until it works."""
    log = tatu.folder / f"{label}.log"
    before = log.read_text().count('"working"') if log.exists() else 0
    tatu.start("worker", label)
    tatu.wait(lambda: log.read_text().count('"working"') > before, label, seconds=2 * PATIENCE)


def keep_keys_at_home(tatu):
    """Have no Barbican in the way: many projects are made here, and keys are another's test."""
    parser = configparser.RawConfigParser()
    parser.read(tatu.cloud_conf)
    for section in ("keystore", "key_manager", "barbican"):
        parser.remove_section(section)
    with tatu.cloud_conf.open("w") as file:
        parser.write(file)
    with tatu.conf.open("a") as file:
        file.write(f"[keystore_local]\nkek_file = {tatu.folder}/kek\n")


@dataclass
class World:
    """A cloud with one project that has an authority, and the service itself, in this process."""

    cloud: Cloud
    app: bootstrap.Application
    kept: set = field(default_factory=set)

    def __post_init__(self):
        self.project = self.new_project()

    def new_project(self, **parts):
        """A project with an authority."""
        project = self.cloud.make("project", **parts)
        self.app.authorities.create(SYSTEM, project, project, request_id="")
        return project

    def user(self, *roles, project=None, **parts):
        """A user with roles in a project."""
        user = self.cloud.make("user", **parts)
        for role in roles:
            self.cloud.assign(role, f"projects/{project or self.project}", user=user)
        return user

    def group(self, *users):
        group = self.cloud.make("group")
        for user in users:
            self.cloud.put(f"/groups/{group}/users/{user}")
        return group

    def certificate(self, user, project=None, *, token=None):
        """Certify a new key of a user; return where the certificate is in the ledger."""
        project = project or self.project
        request = Request(
            method="POST",
            path=f"/v2/authorities/{project}/user-certificates",
            body_digest="",
            headers={"x-auth-token": token or self.cloud.token(user, project_id=project)},
        )
        identity = self.app.identities.authenticate(request)
        key = Key()
        wanted = Wanted(subject_key=key.public)
        proof = wanted.proof_message(
            deployment=self.app.deployment, authority=project, subject=identity.subject
        )
        issued = self.app.issuance.user_certificate(
            request,
            identity,
            project,
            wanted,
            key.sign(Namespace.SUBJECT, proof),
            request_id="",
        )
        return project, issued.certificate.serial

    def revoked(self, certificate):
        """Whether a certificate is in the KRL that a host would get now."""
        project, serial = certificate
        facts = self.app.ledger.revocations.facts(project, self.app.clock())
        return any(serial in serials for serials in facts.serials.values())

    def wait(self, *certificates):
        """Wait until certificates are revoked; return the seconds that it took."""
        began = time.monotonic()
        while not all(map(self.revoked, certificates)):
            assert time.monotonic() - began < PATIENCE, [*map(self.revoked, certificates)]
            time.sleep(0.02)
        return time.monotonic() - began

    def events(self, action):
        found, after = [], 0
        while links := self.app.ledger.audit.read(after=after, limit=1000):
            after = links[-1].sequence
            found += [json.loads(link.body) for link in links]
        return [event for event in found if event["action"] == action]


@contextlib.contextmanager
def opened(lab, tatu):
    """Open the world of a deployment in a lab's cloud for the time of the block."""
    config = load(tatu.config)
    with contextlib.closing(bootstrap.open_ledger(config)) as ledger:
        yield World(Cloud(lab), bootstrap.build(config, ledger))


def a_role_of_a_user(w):
    lost, kept = w.user("member"), w.user("member")
    doomed, spared = [w.certificate(lost)], [w.certificate(kept)]
    return doomed, spared, lambda: w.cloud.unassign("member", f"projects/{w.project}", user=lost)


def one_of_two_roles(w):
    user = w.user("member", "manager")
    both = w.certificate(user)
    return [both], [], lambda: w.cloud.unassign("manager", f"projects/{w.project}", user=user)


def a_role_of_a_group(w):
    inside, both = w.user(), w.user("member")
    group = w.group(inside, both)
    where = f"projects/{w.project}"
    w.cloud.assign("member", where, group=group)
    doomed, spared = [w.certificate(inside)], [w.certificate(both)]
    path = f"/{where}/groups/{group}/roles/{w.cloud.role('member')}"
    return doomed, spared, lambda: w.cloud.delete(path)


def _inherited(w, who):
    role = w.cloud.role("member")
    path = f"/OS-INHERIT/domains/default/{who}/roles/{role}/inherited_to_projects"
    w.cloud.put(path)
    return lambda: w.cloud.delete(path)


def an_inherited_role_of_a_user(w):
    lost, kept = w.user(), w.user("member")
    lose = _inherited(w, f"users/{lost}")
    return [w.certificate(lost)], [w.certificate(kept)], lose


def an_inherited_role_of_a_group(w):
    lost, kept = w.user(), w.user("member")
    lose = _inherited(w, f"groups/{w.group(lost, kept)}")
    return [w.certificate(lost)], [w.certificate(kept)], lose


def a_membership(w):
    lost, kept = w.user(), w.user()
    group = w.group(lost, kept)
    w.cloud.assign("member", f"projects/{w.project}", group=group)
    doomed, spared = [w.certificate(lost)], [w.certificate(kept)]
    return doomed, spared, lambda: w.cloud.delete(f"/groups/{group}/users/{lost}")


def a_group(w):
    inside, both = w.user(), w.user("member")
    group = w.group(inside, both)
    w.cloud.assign("member", f"projects/{w.project}", group=group)
    doomed, spared = [w.certificate(inside)], [w.certificate(both)]
    return doomed, spared, lambda: w.cloud.delete(f"/groups/{group}")


def an_enabled_user(w):
    lost, kept = w.user("member"), w.user("member")
    doomed, spared = [w.certificate(lost), w.certificate(lost)], [w.certificate(kept)]
    return doomed, spared, lambda: w.cloud.change("user", lost, enabled=False)


def a_user(w):
    lost, kept = w.user("member"), w.user("member")
    doomed, spared = [w.certificate(lost)], [w.certificate(kept)]
    return doomed, spared, lambda: w.cloud.delete(f"/users/{lost}")


def _engineers(w):
    role = w.cloud.make("role", name=f"eng{time.monotonic_ns() % 10**9}")
    name = w.cloud.get(f"/roles/{role}")["role"]["name"]
    return role, [w.certificate(w.user(name))], [w.certificate(w.user("member"))]


def a_role(w):
    role, doomed, spared = _engineers(w)
    return doomed, spared, lambda: w.cloud.delete(f"/roles/{role}")


def a_roles_name(w):
    role, doomed, spared = _engineers(w)
    return doomed, spared, lambda: w.cloud.change("role", role, name=f"x{role[:8]}")


def _other_project(w, **parts):
    other = w.new_project(**parts)
    user = w.user("member", project=other)
    w.cloud.assign("member", f"projects/{w.project}", user=user)
    return other, [w.certificate(user, other)], [w.certificate(user)]


def an_enabled_project(w):
    other, doomed, spared = _other_project(w)
    return doomed, spared, lambda: w.cloud.change("project", other, enabled=False)


def a_project(w):
    other, doomed, spared = _other_project(w)
    return doomed, spared, lambda: w.cloud.delete(f"/projects/{other}")


def _domain(w):
    domain = w.cloud.make("domain")
    _, doomed, spared = _other_project(w, domain_id=domain)
    inside = w.user("member", domain_id=domain)
    return domain, [*doomed, w.certificate(inside)], spared


def an_enabled_domain(w):
    domain, doomed, spared = _domain(w)
    return doomed, spared, lambda: w.cloud.change("domain", domain, enabled=False)


def a_domain(w):
    domain, doomed, spared = _domain(w)

    def lose():
        w.cloud.change("domain", domain, enabled=False)
        w.cloud.delete(f"/domains/{domain}")

    return doomed, spared, lose


def an_application_credential(w):
    user = w.user("member")
    credential, token = w.cloud.credential(user, w.project, roles=[{"name": "member"}])
    doomed, spared = [w.certificate(user, token=token)], [w.certificate(user)]
    session = w.cloud.session(user, project_id=w.project)
    path = f"{w.cloud.url}/users/{user}/application_credentials/{credential}"
    return doomed, spared, lambda: session.delete(path)


def a_trust(w):
    user, other = w.user("member"), w.user("member")
    trust, token = w.cloud.trust(user, other, w.project, impersonation=True)
    doomed, spared = [w.certificate(user, token=token)], [w.certificate(user)]
    session = w.cloud.session(user, project_id=w.project)
    return doomed, spared, lambda: session.delete(f"{w.cloud.url}/OS-TRUST/trusts/{trust}")


LOSSES = [
    an_application_credential,
    a_role_of_a_user,
    one_of_two_roles,
    a_role_of_a_group,
    an_inherited_role_of_a_user,
    an_inherited_role_of_a_group,
    a_membership,
    a_group,
    an_enabled_user,
    a_user,
    a_role,
    a_roles_name,
    an_enabled_project,
    a_project,
    an_enabled_domain,
    a_domain,
    a_trust,
]
