"""MariaDB for the bigger tiers, its databases made once and copied."""

import contextlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pymysql

from tests.lab import databases
from tests.lab.openstack import designate, glance, neutron, nova, placement, templates
from tests.lab.openstack.process import Service

_COMPUTE = ("glance", "neutron", "nova", "nova_api", "nova_cell0", "placement")


def for_compute(site, processes):
    """Return the server of the compute tier, whose services' configuration must have been written."""
    syncs = (glance.sync, neutron.sync, nova.sync, placement.sync)
    rows = (nova.HOST, neutron.AGENT)
    return _service(site, processes, "mariadb", _Content(_COMPUTE, syncs, rows))


def for_dns(site, processes):
    """Return the server of the dns tier, whose services' configuration must have been written."""
    content = _Content(("designate",), (designate.sync,))
    return _service(site, processes, designate.DATABASE, content)


@dataclass(frozen=True)
class _Content:
    """The databases of a server, what makes their tables, and rows that are in them."""

    names: tuple
    syncs: tuple
    rows: tuple = ()


def _service(site, processes, server_name, content):
    home = site.folder / server_name
    home.mkdir()
    command = [
        *databases.mariadb_command(home, site.ports[server_name]),
        *("--innodb-log-file-size=16M", "--skip-innodb-doublewrite"),
        *("--character-set-server=utf8mb3", "--collation-server=utf8mb3_general_ci"),
    ]
    server = Service(processes, server_name, command, ready=lambda: _answers(site, server_name))

    def make(folder):
        databases.install_mariadb(home)
        server.start()
        for name in content.names:
            _run(site, server_name, f"CREATE DATABASE {name}")
        with ThreadPoolExecutor(len(content.syncs)) as pool:
            for done in [pool.submit(sync, site, processes) for sync in content.syncs]:
                done.result()
        for row in content.rows:
            _run(site, server_name, row)
        server.stop()
        (home / "data").rename(folder / "data")

    templates.copy(server_name, make, home, content.names, *content.syncs, *content.rows)
    return server


def _run(site, server_name, statement):
    connection = pymysql.connect(
        host="127.0.0.1", port=site.ports[server_name], user="root", connect_timeout=1
    )
    with contextlib.closing(connection), connection.cursor() as cursor:
        cursor.execute(statement)
        connection.commit()


def _answers(site, server_name):
    try:
        _run(site, server_name, "SELECT 1")
    except pymysql.err.OperationalError:
        return False
    return True
