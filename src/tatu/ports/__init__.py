"""All that Tatu needs from the world outside, and nothing else.

Each method says what it raises and what is durable when it returns, so that one contract suite
holds the fake and every driver to it.  Whatever a library raises, a driver turns into a class of
`core.errors`.  The methods are abstract: a bare `Protocol` would answer None for a forgotten one.

The ledger is one thing in several parts.  Its facts are totally ordered by the audit chain: a
method that changes something takes the chain's head, appends its event and commits both as one.
`mark` counts cut-offs along that order (see `core.losses`).
"""

from tatu.ports.audit import Audit
from tatu.ports.authorities import Authorities, Snapshot
from tatu.ports.certificates import (
    CertificateFilter,
    Certificates,
    IssuedCertificate,
    LedgerCertificate,
)
from tatu.ports.common import Clock, Page, Randomness
from tatu.ports.directory import Assignment, Directory, Group, Project, User, UserKey
from tatu.ports.events import EventSource, NoticeHandler
from tatu.ports.hosts import HostReceipt, Hosts, Lag, Nonce, Nonces, Receipts, Reports
from tatu.ports.identity import IdentityProvider, Request
from tatu.ports.inventory import Instance, Inventory
from tatu.ports.keystore import KeyStore, Signer, Verifier
from tatu.ports.leases import Leases
from tatu.ports.ledger import Ledger
from tatu.ports.logins import LedgerLogin, LoginFilter, Logins
from tatu.ports.publications import NewestVersion, Publication, Publications
from tatu.ports.requests import Idempotency, Limits, StoredAnswer
from tatu.ports.revocations import (
    Block,
    CutOffs,
    Held,
    Holds,
    RevocationFacts,
    Revocations,
    RevocationSelector,
)
from tatu.ports.secrets import Secrets
from tatu.ports.sign_ins import BearerToken, SignIns

__all__ = [
    "Assignment",
    "Audit",
    "Authorities",
    "BearerToken",
    "Block",
    "CertificateFilter",
    "Certificates",
    "Clock",
    "CutOffs",
    "Directory",
    "EventSource",
    "Group",
    "Held",
    "Holds",
    "HostReceipt",
    "Hosts",
    "Idempotency",
    "IdentityProvider",
    "Instance",
    "Inventory",
    "IssuedCertificate",
    "KeyStore",
    "Lag",
    "Leases",
    "Ledger",
    "LedgerCertificate",
    "LedgerLogin",
    "Limits",
    "LoginFilter",
    "Logins",
    "NewestVersion",
    "Nonce",
    "Nonces",
    "NoticeHandler",
    "Page",
    "Project",
    "Publication",
    "Publications",
    "Randomness",
    "Receipts",
    "Reports",
    "Request",
    "RevocationFacts",
    "RevocationSelector",
    "Revocations",
    "Secrets",
    "SignIns",
    "Signer",
    "Snapshot",
    "StoredAnswer",
    "User",
    "UserKey",
    "Verifier",
]
