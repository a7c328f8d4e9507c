"""Keystone on SQLite, with its events on the bus."""

import base64
import collections
import contextlib
import secrets
import sqlite3

from tests.lab.openstack import conf, templates
from tests.lab.openstack.process import wsgi
from tests.lab.openstack.site import REGION
from tests.lab.openstack.venv import program

_NOWHERE = "http://127.0.0.1:0/v3"
"""Keystone's own address in the first database: each lab has another."""

SERVICES = {
    "barbican": "key-manager",
    "designate": "dns",
    "glance": "image",
    "neutron": "network",
    "nova": "compute",
    "placement": "placement",
}


def service(site, processes, *, notification_format, token_expiration):
    """Return Keystone, with all service accounts made."""
    home = site.folder / "keystone"
    home.mkdir()
    for keys in ("fernet", "credential"):
        (home / keys).mkdir(mode=0o700)
        for number in (0, 1):
            key = home / keys / str(number)
            key.write_bytes(base64.urlsafe_b64encode(secrets.token_bytes(32)))
            key.chmod(0o600)
    settings = {
        "DEFAULT": {
            "notification_format": notification_format,
            "transport_url": site.transport_url,
        },
        "oslo_messaging_notifications": conf.NOTIFY,
        "database": {"connection": f"sqlite:///{home}/keystone.db"},
        "token": {"provider": "fernet", "expiration": token_expiration},
        "fernet_tokens": {"key_repository": home / "fernet"},
        "fernet_receipts": {"key_repository": home / "fernet"},
        "credential": {"key_repository": home / "credential"},
        "identity": {"password_hash_rounds": 4},
        # As those of operators it keeps what it looked up from one request to the next; it is one process.
        "cache": {"enabled": True, "backend": "dogpile.cache.memory"},
    }
    file = conf.write(home / "keystone.conf", settings)
    environment = {"OS_KEYSTONE_CONFIG_FILES": str(file), "OS_KEYSTONE_CONFIG_DIR": str(home)}
    server = wsgi(processes, "keystone", "keystone.wsgi.api", site.ports["keystone"], environment)

    def make(folder):
        manage = [program("keystone-manage"), "--config-file", file]
        processes.run("keystone-manage", [*manage, "db_sync"])
        bootstrap = {
            "OS_BOOTSTRAP_PASSWORD": site.admin_password,
            "OS_BOOTSTRAP_REGION_ID": REGION,
            "OS_BOOTSTRAP_PUBLIC_URL": _NOWHERE,
            "OS_BOOTSTRAP_INTERNAL_URL": _NOWHERE,
            "OS_BOOTSTRAP_ADMIN_URL": _NOWHERE,
        }
        processes.run("keystone-manage", [*manage, "bootstrap"], bootstrap)
        server.start()
        _make_accounts(site)
        server.stop()
        with contextlib.closing(sqlite3.connect(home / "keystone.db")) as database:
            database.execute("PRAGMA journal_mode=WAL")  # readers need not wait for writers
            _cascade(database)
        (home / "keystone.db").rename(folder / "keystone.db")

    templates.copy("keystone", make, home, _cascade, _make_accounts, SERVICES)
    with contextlib.closing(sqlite3.connect(home / "keystone.db")) as database, database:
        database.execute("UPDATE endpoint SET url = ?", (site.keystone_url,))
    return server


def _cascade(database):
    """Have the database delete what its foreign keys say goes with a row.

    SQLite does so only when a connection asks, and Keystone's does not: the roles of a deleted
    application credential would be those of the next one, which gets its number.
    """
    for (table,) in database.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table'"
    ).fetchall():
        wheres = collections.defaultdict(list)
        for number, _, parent, column, key, _, on_delete, _ in database.execute(
            f'PRAGMA foreign_key_list("{table}")'
        ).fetchall():
            if on_delete == "CASCADE":
                wheres[number, parent].append(f'"{column}" = OLD."{key}"')
        for (number, parent), where in wheres.items():
            database.execute(
                f'CREATE TRIGGER "cascade_{table}_{number}" AFTER DELETE ON "{parent}" '
                f'BEGIN DELETE FROM "{table}" WHERE {" AND ".join(where)}; END'
            )


def admin(site):
    """Return a session of the cloud's administrator."""
    return site.session()


def add_endpoint(site, name, url):
    """Put a service's address into the catalog."""
    asking = admin(site)
    found = asking.get(f"{site.keystone_url}/services", params={"name": name}).json()["services"]
    for interface in ("public", "internal"):
        body = {
            "service_id": found[0]["id"],
            "interface": interface,
            "url": url,
            "region_id": REGION,
        }
        asking.post(f"{site.keystone_url}/endpoints", json={"endpoint": body})


def _make_accounts(site):
    asking, base = admin(site), site.keystone_url

    def make(noun, **body):
        made = asking.post(f"{base}/{noun}s", json={noun: body}).json()
        return made[noun]["id"]

    project = make("project", name="service", domain_id="default")
    roles = {role["name"]: role["id"] for role in asking.get(f"{base}/roles").json()["roles"]}
    for name in {"creator", "observer", "service"} - set(roles):
        roles[name] = make("role", name=name)
    for name, kind in SERVICES.items():
        user = make("user", name=name, password=site.service_password, domain_id="default")
        for role in ("admin", "service"):
            asking.put(f"{base}/projects/{project}/users/{user}/roles/{roles[role]}")
        make("service", name=name, type=kind)
