"""All services over a ledger in SQLite, with a clock that tests move."""

import os
import threading
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self

from tatu.core import lint
from tatu.core.accounts import RESERVED_ACCOUNTS
from tatu.core.audit import SYSTEM
from tatu.core.authority import (
    MAX_HOST_VALIDITY,
    Authority,
    KeyAlgorithm,
    Profile,
    Purpose,
)
from tatu.core.identity import Identity, Role
from tatu.core.policy import Wanted
from tatu.core.principals import RoleMap
from tatu.core.sshsig import Namespace, SshSignature, to_be_signed
from tatu.core.statement import Freshness, FreshnessPolicy
from tatu.drivers.keystore.signer import MemorySigner, generate
from tatu.drivers.verifier.cryptography import CryptographyVerifier
from tatu.ports import Assignment, Project, User
from tatu.service import admission, authorities, instances, statements
from tatu.service.admission import Admissions
from tatu.service.audit import Checkpoints, event
from tatu.service.authorities import Authorities
from tatu.service.directory import Administration
from tatu.service.enrolment import Enrolment
from tatu.service.hostcertificates import HostCertificates
from tatu.service.instances import Instances
from tatu.service.issuance import Issuance, Issued
from tatu.service.renewal import Renewal
from tatu.service.revocation import Revocation
from tatu.service.statements import Statements
from tatu.store.ledger import SqlLedger
from tests.fakes.identities import FakeIdentities, request
from tests.fakes.inventory import FakeInventory
from tests.fakes.keystore import FakeKeyStore

START = datetime(2026, 1, 1, 12, 0, 0, 500_000, tzinfo=UTC)


@dataclass
class FakeClock:
    """Goes a millisecond forward each time it is asked, and as far as it is told."""

    now: datetime = START
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self) -> datetime:
        with self._lock:
            self.now += timedelta(milliseconds=1)
            return self.now

    def forward(self, **by: float) -> None:
        with self._lock:
            self.now += timedelta(**by)


class Key:
    """A private key of a user or a host, which signs SSHSIGs."""

    def __init__(self, algorithm: KeyAlgorithm = KeyAlgorithm.ED25519) -> None:
        self._signer = MemorySigner(generate(algorithm))
        self.public = self._signer.public_key

    def sign(self, namespace: Namespace, message: bytes) -> str:
        signature = self._signer._sign(to_be_signed(namespace, message))
        return SshSignature(self.public, namespace, "sha512", signature).armored


class Deployment:
    """A deployment with its services; `blue` and `red` are projects, `ann` and `bob` users."""

    def __init__(self, database: Path) -> None:
        self.clock = FakeClock()
        self.ledger = SqlLedger.open(f"sqlite:///{database}", state_dir=None, clock=self.clock)
        self.id = self.ledger.deployment()
        self.keystore = FakeKeyStore()
        self.identities = FakeIdentities(self.ledger, self.clock)
        self.inventory = FakeInventory()
        self.role_map = RoleMap()
        self.limits = lint.Limits(
            max_user_validity=timedelta(days=1),
            max_host_validity=MAX_HOST_VALIDITY,
            reserved=RESERVED_ACCOUNTS,
        )
        self.compose()

    def compose(self, **settings: object) -> Self:
        """Build the services, with other settings of statements when some are given."""
        self.statements = Statements(
            ledger=self.ledger,
            keystore=self.keystore,
            identities=self.identities,
            clock=self.clock,
            role_map=self.role_map,
            settings=replace(
                statements.Settings(
                    lifetime=timedelta(minutes=10),
                    end_at_expiry=False,
                    break_glass=None,
                    freshness=Freshness(policy=FreshnessPolicy.WARN, max_age_seconds=3600),
                    minimum_agent_version="0",
                    lockdown=False,
                ),
                **settings,
            ),
            deployment=self.id,
        )
        self.issuance = Issuance(
            ledger=self.ledger,
            keystore=self.keystore,
            identities=self.identities,
            verifier=CryptographyVerifier(),
            clock=self.clock,
            randomness=os.urandom,
            role_map=self.role_map,
            limits=self.limits,
            deployment=self.id,
        )
        self.authorities = Authorities(
            ledger=self.ledger,
            keystore=self.keystore,
            statements=self.statements,
            clock=self.clock,
            limits=self.limits,
            defaults=authorities.Defaults(
                algorithms=dict.fromkeys(Purpose, KeyAlgorithm.ED25519),
                profile=Profile(),
                dns_suffix="{project}.example",
            ),
        )
        self.admissions = Admissions(
            ledger=self.ledger,
            keystore=self.keystore,
            clock=self.clock,
            settings=admission.Settings(url="https://tatu.example"),
        )
        self.instances = Instances(
            ledger=self.ledger,
            inventory=self.inventory,
            identities=self.identities,
            authorities=self.authorities,
            keystore=self.keystore,
            clock=self.clock,
            settings=instances.Settings(url="https://vms.tatu.example"),
        )
        certificates = HostCertificates(
            ledger=self.ledger,
            keystore=self.keystore,
            clock=self.clock,
            randomness=os.urandom,
            limits=self.limits,
        )
        self.renewal = Renewal(
            ledger=self.ledger,
            certificates=certificates,
            instances=self.instances,
            clock=self.clock,
        )
        self.enrolment = Enrolment(
            ledger=self.ledger,
            keystore=self.keystore,
            verifier=CryptographyVerifier(),
            statements=self.statements,
            certificates=certificates,
            clock=self.clock,
            url="https://tatu.example",
            deployment=self.id,
        )
        self.revocation = Revocation(
            ledger=self.ledger,
            identities=self.identities,
            statements=self.statements,
            role_map=self.role_map,
            clock=self.clock,
        )
        self.administration = Administration(
            ledger=self.ledger, revocation=self.revocation, clock=self.clock
        )
        self.checkpoints = Checkpoints(
            ledger=self.ledger, keystore=self.keystore, clock=self.clock
        )
        return self

    def populate(self) -> Self:
        """Add two projects with authorities, four roles, and two users."""
        directory = self.ledger.directory
        for project in ("blue", "red"):
            directory.create_project(Project(id=project, name=project.title()), self.event())
        for role in ("admin", "manager", "member", "reader"):
            directory.create_role(Role(id=f"id-{role}", name=role), self.event())
        for user in ("ann", "bob"):
            directory.create_user(User(id=f"id-{user}", name=user), self.event())
        self.assign("ann", "admin", "member", "reader")
        self.assign("bob", "member")
        for project in ("blue", "red"):
            self.authority(project)
        return self

    def event(self):
        return event("test", by=SYSTEM, at=self.clock(), subject="test")

    def assign(self, user: str, *roles: str, project: str = "blue") -> None:
        for role in roles:
            self.ledger.directory.assign(
                Assignment(project=project, role=f"id-{role}", user=f"id-{user}"), self.event()
            )

    def authority(self, project: str) -> Authority:
        return self.authorities.create(self.who("ann"), project, project, request_id="r")

    def who(self, user: str, project: str = "blue", *, fresh: bool = True) -> Identity:
        return replace(self.identities.authenticate(request(user, project)), fresh=fresh)

    def wanted(self, identity: Identity, key: Key, authority: str = "blue", **parts: object):
        """What a user asks for, and the proof of the key."""
        wanted = Wanted(subject_key=key.public, **parts)
        message = wanted.proof_message(
            deployment=self.id, authority=authority, subject=identity.subject
        )
        return wanted, key.sign(Namespace.SUBJECT, message)

    def issue(
        self, user: str, key: Key | None = None, project: str = "blue", **parts: object
    ) -> Issued:
        """Issue a certificate to a user, as the API does."""
        identity = self.who(user, project)
        return self.issuance.user_certificate(
            request(user, project),
            identity,
            project,
            *self.wanted(identity, key or Key(), project, **parts),
            request_id="r",
        )
