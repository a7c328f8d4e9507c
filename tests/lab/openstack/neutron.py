"""Neutron's API with routers, so that floating IPs can be had; of agents the metadata's alone, so that no packet flows."""

import json
import shutil
import subprocess

from tests.lab.openstack import conf, rabbitmq
from tests.lab.openstack.process import Service, wsgi
from tests.lab.openstack.site import POLICIES, REGION
from tests.lab.openstack.venv import VENV, program

_AGENT = {
    "id": "'00000000-0000-0000-0000-000000000001'",
    "agent_type": "'Open vSwitch agent'",
    "binary": "'neutron-openvswitch-agent'",
    "topic": "'N/A'",
    "host": "'localhost'",
    "admin_state_up": "1",
    "created_at": "'2026-01-01'",
    "started_at": "'2026-01-01'",
    "heartbeat_timestamp": "'2099-01-01'",
    "configurations": f"'{json.dumps({'tunnel_types': ['vxlan'], 'bridge_mappings': {}})}'",
}

AGENT = "INSERT INTO neutron.agents SET " + ", ".join(
    f"`{name}` = {_AGENT[name]}" for name in _AGENT
)
"""An agent that is alive for ever: without one no port of an instance can be bound."""


def service(site, processes):
    """Write Neutron's configuration, and return its API as a service."""
    home = site.folder / "neutron"
    (home / "lock").mkdir(parents=True)
    pipeline = shutil.copy(VENV / "etc/neutron/api-paste.ini", home)
    settings = {
        "DEFAULT": {
            "state_path": home,
            "api_paste_config": pipeline,
            "core_plugin": "ml2",
            "service_plugins": "router,port_forwarding",
            "auth_strategy": "keystone",
            "transport_url": site.transport_url,
            "notify_nova_on_port_status_changes": True,
            "notify_nova_on_port_data_changes": True,  # else Nova learns of a floating IP too late
            "send_events_interval": 1,
            "host": "localhost",
            "dhcp_agent_notification": False,
            "rpc_workers": 1,
            "rpc_state_report_workers": 0,
        },
        "oslo_messaging_notifications": conf.NOTIFY,
        "database": {"connection": site.database("neutron")},
        "oslo_policy": {"policy_file": POLICIES / "neutron-policy.yaml"},
        "keystone_authtoken": conf.authtoken(site, "neutron"),
        "nova": {**conf.sign_in(site, "nova"), "region_name": REGION},
        "oslo_concurrency": {"lock_path": home / "lock"},
        "quotas": {f"quota_{what}": -1 for what in ("network", "port", "router", "floatingip")},
    }
    conf.write(home / "neutron.conf", settings)
    plugin = {
        "ml2": {
            "type_drivers": "local,flat,vxlan",
            "tenant_network_types": "vxlan",
            "mechanism_drivers": "openvswitch",
            "extension_drivers": "port_security",
        },
        "ml2_type_flat": {"flat_networks": "public"},
        "ml2_type_vxlan": {"vni_ranges": "1:1000"},
        "securitygroup": {"enable_security_group": True, "firewall_driver": "openvswitch"},
    }
    conf.write(home / "ml2_conf.ini", plugin)
    environment = {
        "OS_NEUTRON_CONFIG_DIR": str(home),
        "OS_NEUTRON_CONFIG_FILES": "neutron.conf;ml2_conf.ini",
    }
    return wsgi(processes, "neutron", "neutron.wsgi.api", site.ports["neutron"], environment)


def sync(site, processes):
    """Make Neutron's tables."""
    home = site.folder / "neutron"
    files = ["--config-file", home / "neutron.conf", "--config-file", home / "ml2_conf.ini"]
    command = [program("neutron-db-manage"), *files, "upgrade", "heads"]
    processes.run("neutron-db-manage", command)


_PROXY = """\
import sys
from oslo_config import cfg
from neutron.agent.metadata import driver
from neutron.conf.agent.metadata import config as known
from oslo_log import log

log.register_options(cfg.CONF)
cfg.CONF([])
known.register_meta_conf_opts(known.METADATA_RATE_LIMITING_OPTS, group=known.RATE_LIMITING_GROUP)
known.register_meta_conf_opts(known.METADATA_HAPROXY_OPTS, group=known.HAPROXY_GROUP)
network, socket, address, folder = sys.argv[1:]
print(driver.HaproxyConfigurator(
    network, None, socket, address, 80, "0", "0", folder, f"{folder}/proxy.pid",
    cfg.CONF.metadata_rate_limiting, cfg.CONF.metadata_haproxy,
).haproxy_cfg)
"""


def metadata_services(site, processes, port):
    """Return what brings instances to the metadata service at that port: Neutron's agent, and the server that it asks."""
    home = site.folder / "neutron"
    settings = {
        "DEFAULT": {
            "nova_metadata_host": "127.0.0.1",
            "nova_metadata_port": port,
            "metadata_proxy_shared_secret": site.metadata_secret,
            "metadata_proxy_socket": metadata_socket(site),
        }
    }
    conf.write(home / "metadata_agent.ini", settings)

    def service(name, file, ready):
        command = [program(name), "--config-file", home / "neutron.conf"]
        return Service(processes, name, [*command, "--config-file", home / file], ready=ready)

    return [
        service("neutron-rpc-server", "ml2_conf.ini", lambda: rabbitmq.consumed(site, "q-plugin")),
        service("neutron-metadata-agent", "metadata_agent.ini", metadata_socket(site).exists),
    ]


def metadata_socket(site):
    """Return where Neutron's metadata agent listens."""
    return site.folder / "neutron/metadata_proxy"


def metadata_proxy(site, network, address):
    """Return the configuration of the haproxy that Neutron has in a network, at an address there; it is Neutron's own."""
    python = program("python")
    words = [network, metadata_socket(site), address, site.folder / "neutron"]
    done = subprocess.run(
        [python, "-c", _PROXY, *map(str, words)], capture_output=True, text=True, check=True
    )
    return done.stdout
