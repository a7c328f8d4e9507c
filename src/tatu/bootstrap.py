"""The composition root: the one module that knows every other."""

import os
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from tatu import agentfile
from tatu.agentfile import Agent
from tatu.config import Config, refuse_unknown
from tatu.core.audit import SYSTEM
from tatu.core.errors import Malformed, TatuError, Unavailable
from tatu.drivers import loading
from tatu.drivers.identity.local import Local
from tatu.drivers.keystore import kek
from tatu.drivers.keystore.local import Local as LocalKeys
from tatu.drivers.verifier.cryptography import CryptographyVerifier
from tatu.ports import (
    Clock,
    EventSource,
    IdentityProvider,
    Inventory,
    KeyStore,
    Ledger,
    Project,
    Randomness,
    Verifier,
)
from tatu.service import admission, instances, reconcile, statements
from tatu.service.admission import Admissions
from tatu.service.audit import Checkpoints
from tatu.service.authorities import Authorities, Defaults
from tatu.service.directory import Administration
from tatu.service.enrolment import Enrolment
from tatu.service.hostcertificates import HostCertificates
from tatu.service.hostrequests import HostRequests
from tatu.service.instances import Instances
from tatu.service.issuance import Issuance
from tatu.service.joining import Joining
from tatu.service.logins import Logins
from tatu.service.notices import Notices
from tatu.service.receipts import Receipts
from tatu.service.reconcile import Reconciliation
from tatu.service.renewal import Renewal
from tatu.service.reports import Reports
from tatu.service.revocation import Revocation
from tatu.service.signin import SignIn
from tatu.service.statements import Statements
from tatu.store import auditcopy

if TYPE_CHECKING:
    import falcon

    from tatu.api.parts import Parts
    from tatu.drivers.identity.registration import Registered as Registered  # noqa: PLC0414 - tatu-manage's name for it
    from tatu.store.upkeep import Upkeep

LOG = structlog.get_logger("tatu")
_MAINTENANCE = timedelta(minutes=1)


@dataclass(frozen=True, kw_only=True)
class Application:
    """Everything but HTTP."""

    config: Config
    deployment: str
    clock: Clock
    randomness: Randomness
    verifier: Verifier
    ledger: Ledger
    keystore: KeyStore
    identities: IdentityProvider
    inventory: Inventory
    events: EventSource
    statements: Statements
    authorities: Authorities
    issuance: Issuance
    admissions: Admissions
    instances: Instances
    enrolment: Enrolment
    host_requests: HostRequests
    renewal: Renewal
    receipts: Receipts
    reports: Reports
    logins: Logins
    revocation: Revocation
    checkpoints: Checkpoints
    administration: Administration | None
    sign_in: SignIn | None

    @property
    def checks(self) -> Mapping[str, Callable[[], None]]:
        """What tells whether each part works: it raises a `TatuError` with what is wrong."""
        return {
            "ledger": self.ledger.check,
            "keystore": self.keystore.check,
            "identity": self.identities.check,
            "inventory": self.inventory.check,
        }

    def out_of_sight(self) -> tuple[str, ...]:
        """Return the domains of a cloud whose instances cannot enrol: Tatu has no role there.

        Raises `Unavailable`.
        """
        return self.identities.out_of_sight() if self.config.inventory_driver == "nova" else ()

    @property
    def needed(self) -> frozenset[str]:
        """The checks without which nothing can be served.

        Another service's outage is waited out: what hosts obey is served without it.
        """
        drivers = {
            "identity": self.config.identity_driver,
            "keystore": self.config.keystore_driver,
        }
        return frozenset({"ledger", *(part for part, name in drivers.items() if name == "local")})

    @property
    def embedded_keys(self) -> LocalKeys:
        """The embedded key store. Raises `Malformed` when another is configured."""
        if not isinstance(self.keystore, LocalKeys):
            raise Malformed("[keystore] driver is not local: its keys are kept elsewhere")
        return self.keystore

    def check_standbys(self) -> None:
        """Raise `Unavailable` unless every configured replica is synchronous (S23)."""
        from tatu.store import standbys  # noqa: PLC0415

        database = self.config.database
        if database.synchronous_standbys:
            standbys.check(database.connection, database.synchronous_standbys)


def now() -> datetime:
    """Return the time now."""
    return datetime.now(UTC)


def open_ledger(config: Config, *, exclusive: bool = False) -> Ledger:
    """Open the ledger; `exclusive` for the one API process that SQLite has room for."""
    # Here and below, because SQLAlchemy is half of what there is to import: not for a --help.
    from tatu.store.ledger import SqlLedger  # noqa: PLC0415

    return SqlLedger.open(
        config.database.connection,
        state_dir=config.state_directory,
        clock=now,
        exclusive=exclusive,
        pool_size=config.database.pool_size,
    )


def upkeep(config: Config) -> "Upkeep":
    """Return what is done to the ledger's database beside the ledger."""
    from tatu.store.upkeep import Upkeep  # noqa: PLC0415

    return Upkeep(url=config.database.connection)


def new_kek(file: Path) -> bool:
    """Make a key-encryption key, the current one of a file; return whether it has older ones."""
    return kek.add_to_file(file, os.urandom)


read_audit_copy = auditcopy.read
audit_line = auditcopy.line


def register(
    *,
    endpoint: str,
    region: str,
    project: str,
    domain: str,
    known: Mapping[str, str],
    renew: bool,
    keep: Callable[["Registered"], None],
) -> "Registered":
    """Register Tatu with the cloud that the environment names (`Registration.register`)."""
    from tatu.drivers.identity import registration  # noqa: PLC0415 - OpenStack's SDK

    return registration.Registration().register(
        registration.Wanted(endpoint=endpoint, region=region, project=project, domain=domain),
        registration.Users(known=known, renew=renew, keep=keep),
    )


def check_config(config: Config) -> None:
    """Find the drivers, and refuse what nobody reads of the configuration.

    Raises `Malformed`.
    """
    for port, name in _driver_names(config).items():
        loading.register(loading.find(port, name), config.conf)
    refuse_unknown(config.conf)


def build(config: Config, ledger: Ledger) -> Application:
    """Put all parts together. Raises `Malformed` or `Unavailable`."""
    check_config(config)
    ports = {
        "conf": config.conf,
        "clock": now,
        "randomness": os.urandom,
        "directory": ledger.directory,
        "sign_ins": ledger.sign_ins,
        "cut_offs": ledger.cut_offs,
        "secrets": ledger.secrets,
    }
    drivers = {
        port: loading.build(loading.find(port, name), config.conf, ports)
        for port, name in _driver_names(config).items()
    }
    identities: IdentityProvider = drivers["identity"]
    keystore: KeyStore = drivers["keystore"]
    inventory: Inventory = drivers["inventory"]
    events: EventSource = drivers["events"]
    verifier = CryptographyVerifier()
    deployment = _deployment(ledger)
    stated = Statements(
        ledger=ledger,
        keystore=keystore,
        identities=identities,
        clock=now,
        role_map=config.role_map,
        settings=statements.Settings(
            lifetime=config.statement.lifetime,
            end_at_expiry=config.statement.end_at_expiry,
            break_glass=config.statement.break_glass,
            freshness=config.statement.freshness,
            minimum_agent_version=config.statement.minimum_agent_version,
            lockdown=config.statement.lockdown,
        ),
        deployment=deployment,
    )
    revocation = Revocation(
        ledger=ledger,
        identities=identities,
        statements=stated,
        role_map=config.role_map,
        clock=now,
    )
    authorities = Authorities(
        ledger=ledger,
        keystore=keystore,
        statements=stated,
        clock=now,
        limits=config.limits,
        defaults=Defaults(
            algorithms=config.authority.algorithms,
            profile=config.authority.profile,
            dns_suffix=config.authority.dns_suffix,
        ),
    )
    machines = Instances(
        ledger=ledger,
        inventory=inventory,
        identities=identities,
        authorities=authorities,
        keystore=keystore,
        clock=now,
        settings=instances.Settings(
            url=config.vendordata.api_endpoint_for_vms,
            window=config.vendordata.window,
            create_authorities=config.create_authorities,
        ),
    )
    certificates = HostCertificates(
        ledger=ledger,
        keystore=keystore,
        clock=now,
        randomness=os.urandom,
        limits=config.limits,
    )
    offline = config.statement.break_glass
    joining = Joining(
        ledger=ledger,
        break_glass=frozenset(key.fingerprint for key in offline.authorities)
        if offline
        else frozenset(),
    )
    # Only the embedded directory is ours to administer; other clouds sign their users in.
    embedded = identities if isinstance(identities, Local) else None
    return Application(
        config=config,
        deployment=deployment,
        clock=now,
        randomness=os.urandom,
        verifier=verifier,
        ledger=ledger,
        keystore=keystore,
        identities=identities,
        inventory=inventory,
        events=events,
        statements=stated,
        authorities=authorities,
        issuance=Issuance(
            ledger=ledger,
            keystore=keystore,
            identities=identities,
            verifier=verifier,
            clock=now,
            randomness=os.urandom,
            role_map=config.role_map,
            limits=config.limits,
            deployment=deployment,
        ),
        admissions=Admissions(
            ledger=ledger,
            keystore=keystore,
            clock=now,
            settings=admission.Settings(url=config.api_endpoint),
        ),
        instances=machines,
        enrolment=Enrolment(
            ledger=ledger,
            keystore=keystore,
            verifier=verifier,
            statements=stated,
            certificates=certificates,
            clock=now,
            url=config.api_endpoint,
            deployment=deployment,
        ),
        host_requests=HostRequests(
            ledger=ledger, verifier=verifier, clock=now, deployment=deployment
        ),
        renewal=Renewal(ledger=ledger, certificates=certificates, instances=machines, clock=now),
        receipts=Receipts(ledger=ledger, verifier=verifier, clock=now, deployment=deployment),
        reports=Reports(ledger=ledger, joining=joining),
        logins=Logins(ledger=ledger, joining=joining, clock=now),
        revocation=revocation,
        checkpoints=Checkpoints(ledger=ledger, keystore=keystore, clock=now),
        administration=None
        if embedded is None
        else Administration(ledger=ledger, revocation=revocation, clock=now),
        sign_in=None
        if embedded is None
        else SignIn(
            ledger=ledger,
            verifier=verifier,
            clock=now,
            randomness=os.urandom,
            url=config.api_endpoint,
            hardware_keys_for_administrators=embedded.hardware_keys_for_administrators,
            forget=embedded.forget,
        ),
    )


def parts(application: Application) -> "Parts":
    """Return what the HTTP API is made of."""
    # Here, because HTTP and its policy are half of what there is to import, and tatu-manage needs
    # neither.
    from tatu.api.access import Access  # noqa: PLC0415
    from tatu.api.parts import Parts, Rate, Rates, Settings  # noqa: PLC0415

    config = application.config
    return Parts(
        deployment=application.deployment,
        settings=Settings(
            api_endpoint=config.api_endpoint,
            identity_driver=config.identity_driver,
            max_body=config.api.max_body,
            threads=config.api.blocking_threads,
            watch=config.watch.endpoint,
            trusted_proxies=config.api.trusted_proxies,
            rates=Rates(**{name: Rate(count=count) for name, count in config.rates.items()}),
            original_wire=config.original_wire,
        ),
        access=Access(config.conf),
        clock=application.clock,
        identities=application.identities,
        ledger=application.ledger,
        issuance=application.issuance,
        authorities=application.authorities,
        admissions=application.admissions,
        instances=application.instances,
        enrolment=application.enrolment,
        host_requests=application.host_requests,
        renewal=application.renewal,
        receipts=application.receipts,
        reports=application.reports,
        logins=application.logins,
        revocation=application.revocation,
        statements=application.statements,
        administration=application.administration,
        sign_in=application.sign_in,
        checks=application.checks,
        needed=application.needed,
        agents=agents(config),
    )


def agents(config: Config) -> tuple[Agent, ...]:
    """Return the agents that hosts may fetch, this version's first. Raises `Malformed`."""
    try:
        return agentfile.offered(config.agents.release_keys, config.agents.directory)
    except (OSError, ValueError) as error:
        raise Malformed(f"[agent] cannot be read: {error}") from error


def notices(
    application: Application, *, lost: Callable[[], None], later: Callable[[], None]
) -> Notices:
    """Return what acts on the cloud's notices, and says when something was lost or is put off."""
    return Notices(
        ledger=application.ledger,
        identities=application.identities,
        authorities=application.authorities,
        instances=application.instances,
        clock=application.clock,
        lost=lost,
        later=later,
        create_authorities=application.config.create_authorities,
    )


def reconciliation(application: Application) -> Reconciliation:
    """Return what compares the ledger with the cloud."""
    config = application.config

    def create(project: Project) -> None:
        application.authorities.create(SYSTEM, project.id, project.name, request_id="")

    return Reconciliation(
        ledger=application.ledger,
        identities=application.identities,
        inventory=application.inventory,
        revocation=application.revocation,
        clock=application.clock,
        settings=reconcile.Settings(
            share=config.reconcile.share,
            minimum=config.reconcile.minimum,
            hold=config.reconcile.hold,
        ),
        holder=f"{socket.gethostname()}:{os.getpid()}",
        create=create if config.create_authorities else None,
        refresh=application.instances.refresh,
    )


class Server:
    """One API process: the application, its HTTP, and the thread that looks after it."""

    def __init__(self, config: Config) -> None:
        """Raise a `TatuError` when it cannot serve."""
        from tatu.api.app import create_app  # noqa: PLC0415

        self._ledger = open_ledger(config, exclusive=True)
        try:
            self._application = build(config, self._ledger)
            self._check()
            self.wsgi: falcon.App[Any, Any] = create_app(parts(self._application))
        except BaseException:
            self._ledger.close()
            raise
        self._stopped = threading.Event()
        self._maintenance = threading.Thread(
            target=self._maintain, name="tatu-maintenance", daemon=True
        )
        self._maintenance.start()

    def close(self) -> None:
        """Finish what is being done."""
        self._stopped.set()
        self._maintenance.join()
        self._ledger.close()

    def _check(self) -> None:
        for name, check in self._application.checks.items():
            try:
                check()
            except TatuError as error:
                if name in self._application.needed:
                    raise
                LOG.warning("degraded", part=name, error=str(error))

    def _maintain(self) -> None:
        """Do what a process that was killed left undone, then what is due."""
        application = self._application
        while True:
            try:
                application.revocation.sweep()
                application.ledger.sign_ins.expire(application.clock())
                application.ledger.nonces.expire(application.clock())
            except TatuError as error:
                LOG.warning("maintenance", error=str(error))
            if self._stopped.wait(_MAINTENANCE.total_seconds()):
                return


def _deployment(ledger: Ledger) -> str:
    try:
        return ledger.deployment()
    except Unavailable:
        ledger.check()  # knows the reason better: a database without tables
        raise


def _driver_names(config: Config) -> dict[str, str]:
    return {
        "events": config.events_driver,
        "identity": config.identity_driver,
        "inventory": config.inventory_driver,
        "keystore": config.keystore_driver,
    }
