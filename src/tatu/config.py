"""What an operator decides: oslo.config's options, parsed once into frozen dataclasses.

Files are `--config-file` and `--config-dir`, by default those that oslo.config finds for `tatu`
(/etc/tatu/tatu.conf, /etc/tatu/tatu.conf.d). The environment comes before files:
`OS_<SECTION>__<OPTION>`, as in OS_DATABASE__CONNECTION.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path
from urllib.parse import urlsplit

from oslo_config import cfg

from tatu.core import accounts, host, lint
from tatu.core.authority import MAX_HOST_VALIDITY, KeyAlgorithm, Profile, Purpose
from tatu.core.errors import Malformed
from tatu.core.keys import PublicKey
from tatu.core.policy import Network, network
from tatu.core.principals import RoleMap
from tatu.core.statement import MAX_LIFETIME, BreakGlass, Freshness, FreshnessPolicy

_ALGORITHMS = [str(algorithm) for algorithm in KeyAlgorithm]
METADATA = "169.254.169.254"
"""Where instances find their platform: what is sent there, the platform carries (S11)."""

_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_HOUR = 3600
_DAY = 24 * _HOUR
_DEFAULTS = Profile()

OPTIONS: Mapping[str, Sequence[cfg.Opt]] = {
    "DEFAULT": (
        cfg.StrOpt(
            "api_endpoint",
            sample_default="https://tatu.example.org",
            help="URL at which callers and hosts reach this deployment. A sign-in is bound to it,"
            " so that no other server can have one of ours signed. Required.",
        ),
        cfg.StrOpt(
            "log_level",
            default="info",
            choices=("debug", "info", "warning", "error"),
            help="What is logged, as one JSON object a line on standard output.",
        ),
    ),
    "api": (
        cfg.HostAddressOpt("bind_host", default="127.0.0.1", help="Address to listen on."),
        cfg.PortOpt("bind_port", default=8322, help="Port to listen on."),
        cfg.IntOpt(
            "workers",
            default=1,
            min=1,
            help="Processes. On SQLite exactly one, which is also the fastest; otherwise one a"
            " core.",
        ),
        cfg.IntOpt(
            "blocking_threads",
            default=64,
            min=1,
            max=1024,
            help="Requests that a process works on at once.",
        ),
        cfg.IntOpt(
            "max_connections",
            default=4096,
            min=128,
            help="Connections that wait or are served at once, per process.",
        ),
        cfg.IntOpt("max_body", default=2**20, min=1024, help="Bytes of a request's body."),
        cfg.ListOpt(
            "trusted_proxies",
            default=[],
            help="Networks (CIDR) of the proxies whose X-Forwarded-For is believed.",
        ),
        cfg.StrOpt("tls_certificate", help="PEM file with the server's TLS certificate chain."),
        cfg.StrOpt("tls_key", help="PEM file with its private key."),
    ),
    "watch": (
        cfg.StrOpt(
            "endpoint",
            sample_default="/watch",
            help="Where hosts reach `tatu-watch`, which tells them of news: a path below the"
            " URL by which they reach the API, where one proxy is before both; or a URL of the"
            " same host name. Without it hosts poll.",
        ),
        cfg.BoolOpt(
            "with_api", default=False, help="Let tatu-api run the door beside it, as its child."
        ),
        cfg.StrOpt(
            "api",
            sample_default="http://127.0.0.1:8322",
            help="Where the door reaches the API, of which it asks what statements are behind."
            " Default: api_endpoint.",
        ),
        cfg.HostAddressOpt("bind_host", default="127.0.0.1", help="Address to listen on."),
        cfg.PortOpt("bind_port", default=8323, help="Port to listen on."),
        cfg.IntOpt(
            "max_connections",
            default=16_384,
            min=128,
            help="Hosts that watch at once; others are turned away, and poll.",
        ),
        cfg.IntOpt(
            "told_per_second",
            default=500,
            min=1,
            help="Hosts that are told of news in a second, beyond as many that are told at once:"
            " as many as the API can answer.",
        ),
        cfg.IntOpt(
            "hold",
            default=55,
            min=1,
            max=600,
            help="Seconds until a host is told that there is no news, less some jitter. Proxies"
            " must be more patient.",
        ),
    ),
    "rates": tuple(
        cfg.IntOpt(name, default=default, min=1, help=f"{what}, a minute.")
        for name, default, what in (
            ("sign_in_user", 300, "Sign-ins of a user at an address"),
            ("sign_in_key", 60, "Sign-ins with a key at an address"),
            ("sign_in_address", 600, "Sign-ins from an address"),
            ("enrolment_host", 30, "Enrolments, and renewals, of a host that proved itself"),
            ("enrolment_address", 600, "Enrolments from an address"),
            ("requests_host", 600, "Requests that an enrolled host signed"),
            ("reports_host", 60, "Of them, reports of how it is, and as many of logins"),
            ("revoked_keys_address", 6000, "Revocation lists of /noauth, to an address"),
            ("denied_address", 600, "Tokens that Keystone refused, from an address"),
            ("certificates_account", 6000, "Certificates of a user"),
            ("revocations_account", 300, "Requests of a user to revoke"),
        )
    ),
    "database": (
        cfg.StrOpt(
            "connection",
            default="sqlite:////var/lib/tatu/tatu.db",
            secret=True,
            help="The ledger: sqlite:///FILE, postgresql://… or mariadb://…",
        ),
        cfg.IntOpt(
            "pool_size", default=16, min=2, help="Connections to the database, per process."
        ),
        cfg.ListOpt(
            "synchronous_standbys",
            default=[],
            help="Names (application_name) of the PostgreSQL replicas that must be synchronous;"
            " `tatu-manage check` fails when one is not.",
        ),
    ),
    "state": (
        cfg.StrOpt(
            "directory",
            default="/var/lib/tatu",
            help="Where the high-water marks and the copy of the audit chain are kept. It is not"
            " restored together with the database.",
        ),
    ),
    "identity": (cfg.StrOpt("driver", default="local", help="Where identities come from."),),
    "keystore": (cfg.StrOpt("driver", default="local", help="Where private keys live."),),
    "inventory": (
        cfg.StrOpt(
            "driver", default="none", help="What knows the cloud's instances, their addresses too."
        ),
    ),
    "events": (
        cfg.StrOpt("driver", default="none", help="What brings the cloud's notices to workers."),
    ),
    "original_wire": (
        cfg.BoolOpt(
            "enabled",
            default=False,
            help="Serve /v1, the wire of the first Tatu, to its clients. It asks no proof of the"
            " keys that it certifies.",
        ),
        cfg.BoolOpt(
            "noauth",
            default=False,
            help="Serve /noauth, where the instances of the first Tatu enrol. They send their"
            " token, in clear where api_endpoint_for_vms is http.",
        ),
        cfg.PortOpt(
            "ssh_port", default=2222, help="Second port on which sshd of such an instance listens."
        ),
    ),
    "agent": (
        cfg.StrOpt(
            "release_keys",
            help="File with the public keys, one a line, whose signature a host's operator may"
            " take a newer agent by; their private halves are kept offline. It goes into the"
            " agents that are packed here. Without it no agent can be upgraded in place.",
        ),
        cfg.StrOpt(
            "directory",
            help="Folder of agents that are served beside this version's: those that vendordata"
            " in use still names, and releases, with their signatures in files beside (.sig).",
        ),
    ),
    "vendordata": (
        cfg.StrOpt(
            "api_endpoint_for_vms",
            help="URL at which instances reach this deployment: api_endpoint unless it is set.",
        ),
        cfg.BoolOpt(
            "insecure_http",
            default=False,
            help="Let api_endpoint_for_vms be http beyond this machine: whoever is on the way may"
            " answer in its place.",
        ),
        cfg.IntOpt(
            "window",
            default=600,
            min=60,
            help="Seconds after an instance was created, or its rebuild began, in which it may"
            " enrol. Later an operator admits it.",
        ),
    ),
    "reconcile": (
        cfg.IntOpt(
            "interval",
            default=300,
            min=10,
            max=_HOUR,
            help="Seconds between two comparisons of the ledger with the cloud; less when a hold"
            " ends before.",
        ),
        cfg.FloatOpt(
            "share",
            default=0.2,
            min=0.0,
            max=1.0,
            help="The brake holds losses that only a comparison found, when they are more than"
            " this share of all holders and at least `minimum`.",
        ),
        cfg.IntOpt("minimum", default=10, min=1, help="See share."),
        cfg.IntOpt(
            "hold",
            default=30 * 60,
            min=0,
            max=30 * 60,
            help="Seconds that losses are held before they are applied after all, if the cloud"
            " still tells of them; whom they concern gets no new certificate meanwhile.",
        ),
    ),
    "authority": (
        cfg.BoolOpt(
            "create_for_projects",
            default=False,
            help="Make an authority for every project: when the cloud tells of it, a comparison"
            " finds it, or its first instance boots.",
        ),
        *(
            cfg.StrOpt(
                f"{purpose}_algorithm",
                default=str(KeyAlgorithm.ED25519),
                choices=_ALGORITHMS,
                help=f"Algorithm of new {purpose} keys.",
            )
            for purpose in Purpose
        ),
        cfg.IntOpt(
            "user_validity",
            default=int(_DEFAULTS.user_validity.total_seconds()),
            min=60,
            help="Seconds that a user certificate is valid, if its request does not say; for new"
            " authorities.",
        ),
        cfg.IntOpt(
            "max_user_validity",
            default=int(_DEFAULTS.max_user_validity.total_seconds()),
            min=60,
            help="Seconds that a request may ask for; for new authorities.",
        ),
        cfg.IntOpt(
            "host_validity",
            default=int(_DEFAULTS.host_validity.total_seconds()),
            min=_HOUR,
            max=int(MAX_HOST_VALIDITY.total_seconds()),
            help="Seconds that a host certificate is valid; for new authorities.",
        ),
        cfg.BoolOpt(
            "pam_sudo",
            default=_DEFAULTS.pam_sudo,
            help="Whether sudo asks for a proof by the key of the certificate that opened the"
            " session, which `tatu ssh` gives; otherwise it asks nothing. For new authorities.",
        ),
        cfg.StrOpt(
            "dns_suffix",
            default="",
            sample_default="{project}.example.org",
            help="DNS suffix of new authorities; {project} stands for the project's name. Hosts"
            " have names inside of it, or single labels only when it is empty.",
        ),
    ),
    "limits": (
        cfg.IntOpt(
            "max_user_validity",
            default=7 * _DAY,
            min=60,
            help="Seconds that no user certificate outlives, whatever its profile says.",
        ),
        cfg.IntOpt(
            "max_host_validity",
            default=int(MAX_HOST_VALIDITY.total_seconds()),
            min=_HOUR,
            max=int(MAX_HOST_VALIDITY.total_seconds()),
            help="Seconds that no host certificate outlives.",
        ),
        cfg.ListOpt(
            "reserved_accounts",
            default=[],
            help="More accounts that no certificate opens, besides those of systems and"
            " distributions.",
        ),
    ),
    "roles": (
        cfg.DictOpt(
            "accounts",
            default={},
            sample_default={"engineer": "eng"},
            help="Role names and the accounts that they open, where the names differ.",
        ),
        cfg.ListOpt(
            "without_account",
            default=sorted(RoleMap().without_account),
            help="Role names that open no account.",
        ),
        cfg.ListOpt(
            "sudo", default=sorted(RoleMap().sudo), help="Role names that may become root."
        ),
    ),
    "statement": (
        cfg.IntOpt(
            "lifetime",
            default=int(MAX_LIFETIME.total_seconds()),
            min=60,
            max=int(MAX_LIFETIME.total_seconds()),
            help="Seconds that a statement to hosts is valid; it is renewed at half of it.",
        ),
        cfg.StrOpt(
            "freshness_policy",
            default=str(FreshnessPolicy.WARN),
            choices=[str(policy) for policy in FreshnessPolicy],
            help="What a host does that has had no fresh statement for freshness_max_age.",
        ),
        cfg.IntOpt("freshness_max_age", default=_HOUR, min=60, help="Seconds."),
        cfg.BoolOpt(
            "end_at_expiry",
            default=False,
            help="End sessions when the certificate expires that opened them.",
        ),
        cfg.StrOpt(
            "break_glass_authorities",
            help="File with the public keys, one a line, whose certificates open"
            " break_glass_account on every host, even when all of Tatu is away (`tatu-manage"
            " breakglass`). Their private halves belong on no machine of this deployment.",
        ),
        cfg.StrOpt(
            "break_glass_account",
            default="breakglass",
            help="The account that they open; no role opens it.",
        ),
        cfg.StrOpt(
            "minimum_agent_version", default="0", help="Agents below say that they are too old."
        ),
        cfg.BoolOpt(
            "lockdown",
            default=False,
            help="Let statements take the last account, or sudo, from every host.",
        ),
    ),
}


@dataclass(frozen=True, kw_only=True)
class Api:
    """How HTTP is served; `tls` is the files of the certificate and its key."""

    bind_host: str
    bind_port: int
    workers: int
    blocking_threads: int
    max_connections: int
    max_body: int
    trusted_proxies: tuple[Network, ...]
    tls: tuple[Path, Path] | None


@dataclass(frozen=True, kw_only=True)
class Watch:
    """How hosts are told of news; without an `endpoint` they are not told where."""

    endpoint: str
    with_api: bool
    api: str
    bind_host: str
    bind_port: int
    max_connections: int
    told_per_second: int
    hold: timedelta


@dataclass(frozen=True, kw_only=True)
class Database:
    """Where the ledger is; the URL may hold a password."""

    connection: str = field(repr=False)
    pool_size: int
    synchronous_standbys: tuple[str, ...]

    @property
    def embedded(self) -> bool:
        """Whether it is SQLite, which one API process has to itself."""
        return self.connection.startswith("sqlite")


@dataclass(frozen=True, kw_only=True)
class NewAuthorities:
    """What a new authority is given."""

    algorithms: Mapping[Purpose, KeyAlgorithm]
    profile: Profile
    dns_suffix: str


@dataclass(frozen=True, kw_only=True)
class Statements:
    """How statements to hosts are made."""

    lifetime: timedelta
    end_at_expiry: bool
    break_glass: BreakGlass | None
    freshness: Freshness
    minimum_agent_version: str
    lockdown: bool


@dataclass(frozen=True, kw_only=True)
class OriginalWire:
    """Which doors of the first Tatu's wire are open, and what its instances are told."""

    enabled: bool
    noauth: bool
    ssh_port: int


@dataclass(frozen=True, kw_only=True)
class Agents:
    """What agents are packed with, and where others are."""

    release_keys: Path | None
    directory: Path | None


@dataclass(frozen=True, kw_only=True)
class Vendordata:
    """Where instances reach us, and how long after they were built they may enrol."""

    api_endpoint_for_vms: str
    window: timedelta


@dataclass(frozen=True, kw_only=True)
class Reconcile:
    """How often the ledger is compared with the cloud, and when its losses are not believed."""

    interval: timedelta
    share: float
    minimum: int
    hold: timedelta


@dataclass(frozen=True, kw_only=True)
class Config:
    """A whole configuration; `conf` is for drivers and oslo's libraries, which parse their own."""

    conf: cfg.ConfigOpts = field(repr=False)
    api_endpoint: str
    log_level: str
    api: Api
    watch: Watch
    rates: Mapping[str, int]
    database: Database
    state_directory: Path
    identity_driver: str
    keystore_driver: str
    inventory_driver: str
    events_driver: str
    create_authorities: bool
    original_wire: OriginalWire
    agents: Agents
    vendordata: Vendordata
    reconcile: Reconcile
    authority: NewAuthorities
    limits: lint.Limits
    role_map: RoleMap
    statement: Statements

    @property
    def warnings(self) -> Iterator[str]:
        """What is wrong unless something outside of the configuration makes it right."""
        api = self.api
        if api.tls is None and not api.trusted_proxies and api.bind_host not in _LOOPBACK:
            yield "[api] listens beyond this machine without TLS: tokens cross it in clear"
        if self.original_wire.enabled:
            yield "[original_wire] /v1 is open: it certifies keys that nobody proved to hold"
        if self.original_wire.noauth:
            yield "[original_wire] /noauth is open: hosts send their token, and prove no key"
        if self.identity_driver == "keystone" and self.inventory_driver == "none":
            yield (
                "[inventory] driver is none: no instance can enrol by vendordata; set it to nova,"
                " with [inventory_nova], or run `tatu-manage openstack register` again when the"
                " catalog has compute"
            )


def list_opts() -> Iterator[tuple[str, Sequence[cfg.Opt]]]:
    """Return our options (entry point `oslo.config.opts`)."""
    yield from OPTIONS.items()


_NO_FILE = (
    "no configuration file was found (~/.tatu/tatu.conf, ~/tatu.conf, /etc/tatu/tatu.conf,"
    " /etc/tatu.conf): name yours with --config-file"
)


def load(
    arguments: Sequence[str], *, flags: Sequence[cfg.Opt] = (), description: str | None = None
) -> Config:
    """Read a configuration from files, the environment and a command line.

    The command line may have `flags` of its own, and its help a `description`. Raises `Malformed`
    with what is wrong, and where.
    """
    conf = cfg.ConfigOpts()
    conf.register_cli_opts(flags)
    for section, options in OPTIONS.items():
        conf.register_opts(options, group=None if section == "DEFAULT" else section)
    try:
        conf(list(arguments), project="tatu", version=version("tatu"), description=description)
    except (cfg.Error, ValueError) as error:
        raise Malformed(f"the configuration is wrong: {error}") from error
    try:
        return _parsed(conf)
    except (cfg.Error, ValueError, Malformed) as error:
        why = "" if conf.config_file or _of_directories(conf) else f"; {_NO_FILE}"
        raise Malformed(f"the configuration is wrong: {error}{why}") from error


def refuse_unknown(conf: cfg.ConfigOpts) -> None:
    """Raise `Malformed` when a file has a section or an option that nobody reads.

    To be called when all drivers have registered theirs. A misspelt limit would be no limit.
    """
    for path in [Path(name) for name in conf.config_file or ()] + _of_directories(conf):
        sections: dict[str, dict[str, list[str]]] = {}
        try:
            cfg.ConfigParser(str(path), sections).parse()
        except (cfg.ParseError, OSError) as error:
            raise Malformed(f"{path} cannot be read: {error}") from error
        for section, options in sections.items():
            if section.startswith("oslo_"):  # a library's own, with options that were renamed
                continue
            if not options:  # a heading alone, as the sample has them of every driver
                continue
            if section != "DEFAULT" and section not in conf:
                raise Malformed(f"{path}: no part that is in use reads the section [{section}]")
            for option in options:
                if option not in (conf if section == "DEFAULT" else conf[section]):
                    raise Malformed(f"{path}: [{section}] has no option {option!r}")


def _of_directories(conf: cfg.ConfigOpts) -> list[Path]:
    return [path for name in conf.config_dir or () for path in sorted(Path(name).glob("*.conf"))]


def _parsed(conf: cfg.ConfigOpts) -> Config:
    reserved = frozenset((*conf.limits.reserved_accounts, conf.statement.break_glass_account))
    return Config(
        conf=conf,
        api_endpoint=_endpoint(conf.api_endpoint or ""),
        log_level=conf.log_level,
        api=_api(conf.api),
        watch=_watch(conf.watch, conf.api_endpoint),
        rates={option.name: conf.rates[option.name] for option in OPTIONS["rates"]},
        database=Database(
            connection=conf.database.connection,
            pool_size=conf.database.pool_size,
            synchronous_standbys=tuple(conf.database.synchronous_standbys),
        ),
        state_directory=Path(conf.state.directory),
        identity_driver=conf.identity.driver,
        keystore_driver=conf.keystore.driver,
        inventory_driver=conf.inventory.driver,
        events_driver=conf.events.driver,
        create_authorities=conf.authority.create_for_projects,
        original_wire=OriginalWire(
            enabled=conf.original_wire.enabled,
            noauth=conf.original_wire.noauth,
            ssh_port=conf.original_wire.ssh_port,
        ),
        agents=Agents(
            release_keys=_path_or_none(conf.agent.release_keys),
            directory=_path_or_none(conf.agent.directory),
        ),
        vendordata=_vendordata(conf),
        reconcile=Reconcile(
            interval=timedelta(seconds=conf.reconcile.interval),
            share=conf.reconcile.share,
            minimum=conf.reconcile.minimum,
            hold=timedelta(seconds=conf.reconcile.hold),
        ),
        authority=_authority(conf.authority),
        limits=lint.Limits(
            max_user_validity=timedelta(seconds=conf.limits.max_user_validity),
            max_host_validity=timedelta(seconds=conf.limits.max_host_validity),
            reserved=accounts.RESERVED_ACCOUNTS | reserved,
        ),
        role_map=_role_map(conf.roles, reserved),
        statement=_statement(conf.statement),
    )


def _path_or_none(name: str | None) -> Path | None:
    return Path(name) if name else None


def _vendordata(conf: cfg.ConfigOpts) -> Vendordata:
    section = conf.vendordata
    url = section.api_endpoint_for_vms
    return Vendordata(
        api_endpoint_for_vms=_endpoint(conf.api_endpoint)
        if url is None
        else _endpoint(
            url,
            "[vendordata] api_endpoint_for_vms",
            insecure_http=section.insecure_http or urlsplit(url).hostname == METADATA,
        ),
        window=timedelta(seconds=section.window),
    )


def _endpoint(
    url: str, option: str = "[DEFAULT] api_endpoint", *, insecure_http: bool = False
) -> str:
    """Return the URL without a slash at its end; off loopback tokens need TLS under them."""
    parts = urlsplit(url)
    if (
        parts.scheme not in ("http", "https")
        or not parts.hostname
        or parts.query
        or parts.fragment
    ):
        raise ValueError(f"{option} is required: the http(s) URL that callers use")
    if parts.username or parts.password:
        raise ValueError(f"{option} holds a user or a password")
    if parts.scheme == "http" and parts.hostname not in _LOOPBACK and not insecure_http:
        raise ValueError(f"{option} must be https off this machine")
    return url.rstrip("/")


def _api(section: cfg.ConfigOpts.GroupAttr) -> Api:
    files = [Path(name) for name in (section.tls_certificate, section.tls_key) if name]
    if len(files) == 1:
        raise ValueError("[api] tls_certificate and tls_key go together")
    return Api(
        bind_host=section.bind_host,
        bind_port=section.bind_port,
        workers=section.workers,
        blocking_threads=section.blocking_threads,
        max_connections=section.max_connections,
        max_body=section.max_body,
        trusted_proxies=tuple(map(network, section.trusted_proxies)),
        tls=(files[0], files[1]) if files else None,
    )


def _watch(section: cfg.ConfigOpts.GroupAttr, api_endpoint: str) -> Watch:
    endpoint = (section.endpoint or "").rstrip("/")
    if endpoint and not endpoint.startswith("/"):
        _endpoint(endpoint, "[watch] endpoint", insecure_http=True)
    return Watch(
        endpoint=endpoint,
        with_api=section.with_api,
        api=_endpoint(section.api or api_endpoint, "[watch] api"),
        bind_host=section.bind_host,
        bind_port=section.bind_port,
        max_connections=section.max_connections,
        told_per_second=section.told_per_second,
        hold=timedelta(seconds=section.hold),
    )


def _authority(section: cfg.ConfigOpts.GroupAttr) -> NewAuthorities:
    profile = Profile(
        user_validity=timedelta(seconds=section.user_validity),
        max_user_validity=timedelta(seconds=section.max_user_validity),
        host_validity=timedelta(seconds=section.host_validity),
        pam_sudo=section.pam_sudo,
    )
    if profile.user_validity > profile.max_user_validity:
        raise ValueError("[authority] user_validity is over max_user_validity")
    if section.dns_suffix:
        host.name(section.dns_suffix.replace("{project}", "project"))
    return NewAuthorities(
        algorithms={purpose: KeyAlgorithm(section[f"{purpose}_algorithm"]) for purpose in Purpose},
        profile=profile,
        dns_suffix=section.dns_suffix,
    )


def _role_map(section: cfg.ConfigOpts.GroupAttr, reserved: frozenset[str]) -> RoleMap:
    for role, account in section.accounts.items():
        if reason := accounts.refusal(account):
            raise ValueError(f"[roles] accounts: {role}:{account}: {reason}")
        if account in reserved:
            raise ValueError(f"[roles] accounts: {role}:{account}: it is reserved")
    if len(set(section.accounts.values())) < len(section.accounts):
        raise ValueError("[roles] accounts: two roles would share an account")
    return RoleMap(
        accounts=dict(section.accounts),
        without_account=frozenset(section.without_account),
        sudo=frozenset(section.sudo),
        reserved=reserved,
    )


def _statement(section: cfg.ConfigOpts.GroupAttr) -> Statements:
    return Statements(
        lifetime=timedelta(seconds=section.lifetime),
        freshness=Freshness(
            policy=FreshnessPolicy(section.freshness_policy),
            max_age_seconds=section.freshness_max_age,
        ),
        minimum_agent_version=section.minimum_agent_version,
        lockdown=section.lockdown,
        end_at_expiry=section.end_at_expiry,
        break_glass=_break_glass(section),
    )


def _break_glass(section: cfg.ConfigOpts.GroupAttr) -> BreakGlass | None:
    file, account = section.break_glass_authorities, section.break_glass_account
    if reason := accounts.refusal(account):
        raise ValueError(f"[statement] break_glass_account: {reason}")
    if not file:
        return None
    try:
        lines = Path(file).read_text().splitlines()
    except (OSError, ValueError) as error:
        raise ValueError(f"[statement] break_glass_authorities: {file}: {error}") from error
    keys = tuple(PublicKey.parse(line) for line in lines if line.strip())
    if not keys or len(set(keys)) < len(keys):
        raise ValueError(f"[statement] break_glass_authorities: {file} has no key, or one twice")
    return BreakGlass(authorities=keys, account=account)
