"""Tatu in a real OpenStack: the lab of the tests, and a deployment by the installation guide.

The lab's Keystone keeps what it looked up from one request to the next, as those of operators do.
Keys are in Tatu's own key store, as in the other measurements: Barbican is asked once for each.
"""

import configparser
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from tests.lab.openstack.lab import Lab
from tests.openstack.clouds import Cloud

from bench.report import Context
from bench.tatu import CONFIGURATION, Caller, Tatu
from tatu import bootstrap
from tatu.bootstrap import Application
from tatu.config import load
from tatu.core.audit import SYSTEM

ROLE = "member"

_KEPT = {
    "identity": ("identity", "identity_keystone"),
    "compute": ("identity", "identity_keystone", "inventory", "inventory_nova"),
}
"""Of what registering writes, the sections that a tier has services for."""

_MORE = """\
[events]
driver = oslo
[events_oslo]
transport_url = {transport_url}
"""


@contextmanager
def lab(context: Context, name: str, tier: str = "identity") -> Iterator[Lab]:
    """Keep an OpenStack running inside of the block."""
    context.say(f"{name}: starting an OpenStack")
    with Lab.start(context.folder / f"{name}-lab", tier) as running:
        yield running


@dataclass(frozen=True, kw_only=True)
class CloudTatu(Tatu):
    """A deployment of a lab's cloud, on SQLite."""

    lab: Lab
    tier: str = "identity"
    database: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "database", f"sqlite:///{self.folder}/tatu.db")

    @cached_property
    def cloud(self) -> Cloud:
        """The cloud's administrator."""
        return Cloud(self.lab)

    @property
    def vendordata_user(self) -> Mapping[str, str]:
        """What Nova asks for vendordata with."""
        return _sections(self.folder / "nova.conf")["vendordata_dynamic_auth"]

    def prepare(self) -> None:
        """Register with the cloud; make keys, configuration and ledger."""
        self.folder.mkdir(parents=True)
        registered = self.folder / "openstack.conf"
        self.manage(
            *("openstack", "register", "--endpoint", f"http://127.0.0.1:{self.port}"),
            *("--tatu-file", str(registered), "--nova-file", str(self.folder / "nova.conf")),
            environment=self.lab.exports,
        )
        settings = CONFIGURATION + _MORE
        self.config.write_text(
            settings.format(
                port=self.port,
                workers=self.workers,
                database=self.database,
                folder=self.folder,
                transport_url=self.lab.transport_url,
            )
        )
        written = _sections(registered)
        with self.config.open("a") as file:
            for name in _KEPT[self.tier]:
                options = "".join(f"{each} = {value}\n" for each, value in written[name].items())
                file.write(f"[{name}]\n{options}")
        self.manage("keystore", "new-key", str(self.folder / "kek"))
        self.manage("db", "sync")

    def credentials(self, token: str) -> Mapping[str, str]:
        """Return the headers of whoever has this token."""
        return {"X-Auth-Token": token}

    def caller(self) -> Caller:
        """Make a project with an authority, and a member of it who may ask for certificates."""
        project, user = self.cloud.make("project"), self.cloud.make("user")
        self.cloud.assign(ROLE, f"projects/{project}", user=user)
        with self.opened() as application:
            application.authorities.create(SYSTEM, project, project, request_id="")
        return Caller(
            tatu=self,
            deployment=self.ask("GET", "/v2")["deployment"],
            token=self.cloud.token(user, project_id=project),
            subject=user,
            authority=project,
        )

    @contextmanager
    def opened(self) -> Iterator[Application]:
        """Open all but HTTP inside of the block, in this process."""
        config = load([f"--config-file={self.config}"])
        ledger = bootstrap.open_ledger(config)
        try:
            yield bootstrap.build(config, ledger)
        finally:
            ledger.close()


def _sections(file: Path) -> Mapping[str, Mapping[str, str]]:
    parser = configparser.RawConfigParser()
    parser.read_string(file.read_text())
    return {name: dict(parser[name]) for name in parser.sections()}
