"""Nova with a driver that only pretends to run instances; metadata and vendordata are real."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from tests.lab.openstack import conf, rabbitmq
from tests.lab.openstack.process import Service, wsgi
from tests.lab.openstack.site import POLICIES, REGION
from tests.lab.openstack.venv import VENV, program

HOST = (
    "INSERT INTO nova_api.host_mappings (host, cell_id) "
    "SELECT 'localhost', id FROM nova_api.cell_mappings WHERE name = 'cell1'"
)
"""What `nova-manage cell_v2 discover_hosts` does, without its seconds."""

_HERE = "{scheme}://{username}@{hostname}:{port}/"
"""Cells are where the configuration says, at whatever port."""


@dataclass(frozen=True, kw_only=True)
class Vendordata:
    """What Nova adds to an instance's metadata: a file's content, and what a service answers."""

    url: str = ""
    """Where Nova posts to; nowhere if empty."""

    file: Path | None = None

    user: str = "nova"
    """Who posts; empty: nobody, without a token."""

    password: str = ""
    """By default the one of Nova's own account."""

    project: str = "service"


def services(site, processes, vendordata):
    """Write Nova's configuration, and return its services by name."""
    home = site.folder / "nova"
    for folder in ("lock", "instances"):
        (home / folder).mkdir(parents=True)
    shutil.copy(VENV / "etc/nova/api-paste.ini", home)
    settings = _settings(site, home)
    conf.write(home / "nova.conf", settings)
    # compute must not see a database
    conf.write(
        home / "nova-compute.conf",
        {name: settings[name] for name in settings if not name.endswith("database")},
    )
    configure_vendordata(site, vendordata)

    def api(name, module, file):
        environment = {
            "OS_NOVA_CONFIG_DIR": str(home),
            "OS_NOVA_CONFIG_FILES": f"api-paste.ini;{file}",
        }
        return wsgi(processes, name, module, site.ports[name], environment)

    def daemon(name, file, queue):
        command = [program(name), "--config-file", home / file]
        return Service(processes, name, command, ready=lambda: rabbitmq.consumed(site, queue))

    made = [
        api("nova-api", "nova.wsgi.osapi_compute", "nova.conf"),
        api("nova-metadata", "nova.wsgi.metadata", "nova-metadata.conf"),
        daemon("nova-conductor", "nova.conf", "conductor"),
        daemon("nova-scheduler", "nova.conf", "scheduler"),
        daemon("nova-compute", "nova-compute.conf", "compute.localhost"),
    ]
    return {service.name: service for service in made}


def configure_vendordata(site, vendordata):
    """Write the configuration of the metadata service."""
    home = site.folder / "nova"
    settings = _settings(site, home)
    providers = []
    if vendordata.file:
        providers.append("StaticJSON")
        settings["api"]["vendordata_jsonfile_path"] = vendordata.file
    if vendordata.url:
        providers.append("DynamicJSON")
        settings["api"]["vendordata_dynamic_targets"] = f"tatu@{vendordata.url}"
    settings["api"]["vendordata_providers"] = ",".join(providers)
    if vendordata.user:
        settings["vendordata_dynamic_auth"] = conf.sign_in(
            site, vendordata.user, password=vendordata.password, project=vendordata.project
        )
    conf.write(home / "nova-metadata.conf", settings)


def sync(site, processes):
    """Make Nova's tables and cells."""
    manage = [program("nova-manage"), "--config-file", site.folder / "nova/nova.conf"]
    for words in (
        ["api_db", "sync"],
        ["cell_v2", "map_cell0", "--database_connection", f"{_HERE}nova_cell0"],
        [
            *("cell_v2", "create_cell", "--name", "cell1"),
            *("--database_connection", f"{_HERE}nova"),
            *("--transport-url", "{scheme}://{username}:{password}@{hostname}:{port}/"),
        ],
        ["db", "sync"],
    ):
        processes.run("nova-manage", [*manage, *words])


def _settings(site, home):
    def sign_in(user):
        return {**conf.sign_in(site, user), "region_name": REGION}

    return {
        "DEFAULT": {
            "host": "localhost",
            "my_ip": "127.0.0.1",
            "state_path": home,
            "instances_path": home / "instances",
            "transport_url": site.transport_url,
            "compute_driver": "fake.PredictableNodeUUIDDriver",
            "vif_plugging_is_fatal": False,
            "vif_plugging_timeout": 0,
            # as many as a test likes
            "cpu_allocation_ratio": 1000,
            "ram_allocation_ratio": 1000,
            "reserved_host_memory_mb": 0,
        },
        "quota": {"instances": -1, "cores": -1, "ram": -1},
        "notifications": {
            "notification_format": "versioned",
            "notify_on_state_change": "vm_state",
            "versioned_notifications_topics": "versioned_notifications,tatu",
        },
        "oslo_messaging_notifications": {"driver": "messagingv2"},
        "api_database": {"connection": site.database("nova_api")},
        "database": {"connection": site.database("nova")},
        "api": {
            "auth_strategy": "keystone",
            "vendordata_dynamic_connect_timeout": 5,
            "vendordata_dynamic_read_timeout": 10,
        },
        "oslo_policy": {"policy_file": POLICIES / "nova-policy.yaml"},
        "keystone_authtoken": conf.authtoken(site, "nova"),
        "service_user": {"send_service_user_token": True, **sign_in("nova")},
        "placement": sign_in("placement"),
        "neutron": {
            "service_metadata_proxy": True,
            "metadata_proxy_shared_secret": site.metadata_secret,
            **sign_in("neutron"),
        },
        "glance": {"api_servers": site.glance_url},
        "oslo_concurrency": {"lock_path": home / "lock"},
        "scheduler": {"workers": 1},
        "conductor": {"workers": 1},
        "vnc": {"enabled": False},
        "spice": {"enabled": False},
    }
