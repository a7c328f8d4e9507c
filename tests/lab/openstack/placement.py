"""Placement, which Nova asks where an instance fits."""

from tests.lab.openstack import conf
from tests.lab.openstack.process import wsgi
from tests.lab.openstack.venv import program


def service(site, processes):
    """Write Placement's configuration, and return it as a service."""
    home = site.folder / "placement"
    home.mkdir()
    settings = {
        "api": {"auth_strategy": "keystone"},
        "placement_database": {"connection": site.database("placement")},
        "keystone_authtoken": conf.authtoken(site, "placement"),
    }
    conf.write(home / "placement.conf", settings)
    environment = {"OS_PLACEMENT_CONFIG_DIR": str(home)}
    return wsgi(processes, "placement", "placement.wsgi.api", site.ports["placement"], environment)


def sync(site, processes):
    """Make Placement's tables."""
    file = site.folder / "placement/placement.conf"
    command = [program("placement-manage"), "--config-file", file, "db", "sync"]
    processes.run("placement-manage", command)
