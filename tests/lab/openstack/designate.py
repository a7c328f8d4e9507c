"""Designate, which keeps zones for tenants and has BIND answer for them."""

import json
import shutil

from tests.lab.openstack import bind, conf
from tests.lab.openstack.process import Service, listens, wsgi
from tests.lab.openstack.rabbitmq import consumed
from tests.lab.openstack.venv import VENV, program

DATABASE = "dns-database"
"""A server of its own: on SQLite Designate locks itself out."""

_POOL = "794ccc2c-d751-44fe-b57f-8894c9f5c842"
"""The id that Designate knows its first pool by."""


def services(site, processes):
    """Write Designate's configuration, and return its services by name."""
    home = _home(site)
    for folder in ("coordination", "locks"):
        (home / folder).mkdir(parents=True)
    shutil.copy(VENV / "etc/designate/api-paste.ini", home)
    file = conf.write(
        home / "designate.conf",
        {
            "DEFAULT": {
                "state_path": home,
                "transport_url": site.transport_url,
                "default_pool_id": _POOL,
                "root_helper": "",
                "host": "localhost",
            },
            "service:api": {"auth_strategy": "keystone", "enable_api_v2": True},
            "service:central": {"workers": 1, "managed_resource_email": "hostmaster@example.com"},
            "service:mdns": {"workers": 1, "listen": f"127.0.0.1:{site.ports['designate-mdns']}"},
            "service:worker": {
                "workers": 1,
                "poll_timeout": 5,
                "poll_retry_interval": 1,
                "poll_delay": 1,
            },
            "service:producer": {"workers": 1},
            # without it a changed zone keeps its serial, and nobody fetches it
            "producer_task:increment_serial": {"interval": 1},
            "coordination": {"backend_url": f"file://{home}/coordination"},
            "storage:sqlalchemy": {"connection": site.database("designate", DATABASE)},
            "oslo_concurrency": {"lock_path": home / "locks"},
            "oslo_policy": {"enforce_scope": True},
            "keystone_authtoken": conf.authtoken(site, "designate"),
            "heartbeat_emitter": {"emitter_type": "noop"},
        },
    )
    made = {}
    for name in ("central", "worker", "producer"):
        made[name] = _service(processes, name, file, lambda name=name: consumed(site, name))
    made["mdns"] = _service(processes, "mdns", file, lambda: listens(site.ports["designate-mdns"]))
    environment = {"OS_DESIGNATE_CONFIG_DIR": str(home)}
    made["api"] = wsgi(
        processes,
        "designate-api",
        "designate.wsgi.api",
        site.ports["designate-api"],
        environment,
    )
    return made


def sync(site, processes):
    """Make Designate's tables."""
    _manage(site, processes, "database", "sync")


def update_pool(site, processes):
    """Tell Designate, whose central service must run, where BIND is."""
    server = {"host": "127.0.0.1", "port": site.ports["bind"]}
    target = {
        "type": "bind9",
        "masters": [{"host": "127.0.0.1", "port": site.ports["designate-mdns"]}],
        "options": {
            **server,
            "rndc_host": "127.0.0.1",
            "rndc_port": site.ports["bind-control"],
            "rndc_key_file": str(bind.key_file(site)),
            "clean_zonefile": True,
        },
    }
    pool = {
        "name": "default",
        "attributes": {},
        "ns_records": [{"hostname": "ns1.example.org.", "priority": 1}],
        "nameservers": [server],
        "targets": [target],
    }
    file = _home(site) / "pools.yaml"
    file.write_text(json.dumps([pool]))  # which is YAML
    _manage(site, processes, "pool", "update", "--file", file)


def _service(processes, name, file, ready):
    command = [program(f"designate-{name}"), "--config-file", file]
    return Service(processes, f"designate-{name}", command, ready=ready)


def _manage(site, processes, *words):
    file = _home(site) / "designate.conf"
    command = [program("designate-manage"), "--config-file", file, *words]
    processes.run("designate-manage", command)


def _home(site):
    return site.folder / "designate"
