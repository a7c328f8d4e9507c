"""MariaDB for the compute tier, its databases made once and copied."""

import contextlib
from concurrent.futures import ThreadPoolExecutor

import pymysql

from tests.lab import databases
from tests.lab.openstack import glance, neutron, nova, placement, templates
from tests.lab.openstack.process import Service

_DATABASES = ("glance", "neutron", "nova", "nova_api", "nova_cell0", "placement")

_SYNCS = (glance.sync, neutron.sync, nova.sync, placement.sync)

_ROWS = (nova.HOST, neutron.AGENT)


def service(site, processes):
    """Return MariaDB with the databases of all services, whose configuration must have been written."""
    home = site.folder / "mariadb"
    home.mkdir()
    command = [
        *databases.mariadb_command(home, site.ports["mariadb"]),
        *("--innodb-log-file-size=16M", "--skip-innodb-doublewrite"),
        *("--character-set-server=utf8mb3", "--collation-server=utf8mb3_general_ci"),
    ]
    server = Service(processes, "mariadb", command, ready=lambda: _answers(site))

    def make(folder):
        databases.install_mariadb(home)
        server.start()
        for name in _DATABASES:
            _run(site, f"CREATE DATABASE {name}")
        with ThreadPoolExecutor(len(_SYNCS)) as pool:
            for done in [pool.submit(sync, site, processes) for sync in _SYNCS]:
                done.result()
        for row in _ROWS:
            _run(site, row)
        server.stop()
        (home / "data").rename(folder / "data")

    templates.copy("mariadb", make, home, *_SYNCS, *_ROWS)
    return server


def _run(site, statement):
    connection = pymysql.connect(
        host="127.0.0.1", port=site.ports["mariadb"], user="root", connect_timeout=1
    )
    with contextlib.closing(connection), connection.cursor() as cursor:
        cursor.execute(statement)
        connection.commit()


def _answers(site):
    try:
        _run(site, "SELECT 1")
    except pymysql.err.OperationalError:
        return False
    return True
