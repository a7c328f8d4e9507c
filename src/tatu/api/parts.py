"""What the API is made of: handed over whole by whoever composes it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta

from tatu.agentfile import Agent
from tatu.api.access import Access
from tatu.config import OriginalWire
from tatu.core.policy import Network
from tatu.ports import Clock, IdentityProvider, Ledger
from tatu.service.admission import Admissions
from tatu.service.authorities import Authorities
from tatu.service.directory import Administration
from tatu.service.enrolment import Enrolment
from tatu.service.hostrequests import HostRequests
from tatu.service.instances import Instances
from tatu.service.issuance import Issuance
from tatu.service.logins import Logins
from tatu.service.receipts import Receipts
from tatu.service.renewal import Renewal
from tatu.service.reports import Reports
from tatu.service.revocation import Revocation
from tatu.service.signin import SignIn
from tatu.service.statements import Statements


@dataclass(frozen=True, kw_only=True)
class Rate:
    """So many in a window."""

    count: int
    window: timedelta = timedelta(minutes=1)


@dataclass(frozen=True, kw_only=True)
class Rates:
    """How often things may be asked for.

    Those by address are wide: hosts share the metadata proxy's, people their office's (S10).
    Below them, those by user and key count at each address for itself, and those by host count
    what a token proved: anyone may name any user, key or host, and must lock none out by it.
    """

    sign_in_user: Rate
    sign_in_key: Rate
    sign_in_address: Rate
    enrolment_host: Rate
    enrolment_address: Rate
    requests_host: Rate
    reports_host: Rate
    revoked_keys_address: Rate
    denied_address: Rate
    certificates_account: Rate
    revocations_account: Rate


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What an operator decides about HTTP.

    `api_endpoint` is the URL that callers use, with no slash at its end; `watch` is where hosts
    wait for news, if anywhere. `X-Forwarded-For` counts
    only when it comes from one of `trusted_proxies`. `max_body` is in bytes; `threads` answer
    requests.
    """

    api_endpoint: str
    identity_driver: str
    max_body: int
    threads: int = 64
    watch: str = ""
    trusted_proxies: tuple[Network, ...]
    rates: Rates
    original_wire: OriginalWire


@dataclass(frozen=True, kw_only=True)
class Parts:
    """All that the routes call.

    `administration` and `sign_in` are None when the identities are not ours to administer; what
    needs them is then not there. `checks` are what `/readyz` asks: each raises a `TatuError` with
    what is wrong. Without those in `needed` nothing is served; other parts may come back.
    The first of `agents` is this version's.
    """

    deployment: str
    settings: Settings
    access: Access
    clock: Clock
    identities: IdentityProvider
    ledger: Ledger
    issuance: Issuance
    authorities: Authorities
    admissions: Admissions
    instances: Instances
    enrolment: Enrolment
    host_requests: HostRequests
    renewal: Renewal
    receipts: Receipts
    reports: Reports
    logins: Logins
    revocation: Revocation
    statements: Statements
    administration: Administration | None
    sign_in: SignIn | None
    checks: Mapping[str, Callable[[], None]]
    needed: frozenset[str]
    agents: tuple[Agent, ...]
