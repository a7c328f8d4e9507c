"""RabbitMQ from Debian's package, run as whoever runs the tests, with a port mapper of its own."""

import shutil
import socket

import amqp

from tests.lab.openstack.process import Service, listens

_SERVER = "/usr/lib/rabbitmq/bin/rabbitmq-server"
"""The script that starts it as the caller; the one in the path changes to another user."""


def services(site, processes):
    """Return Erlang's port mapper and the broker, to be started in this order."""
    home = site.folder / "rabbitmq"
    (home / "mnesia").mkdir(parents=True)
    (home / "enabled_plugins").write_text("[].")
    mapper, broker = site.ports["epmd"], site.ports["rabbitmq"]
    environment = {
        "HOME": str(home),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "ERL_EPMD_PORT": str(mapper),
        "RABBITMQ_CONF_ENV_FILE": "/dev/null",
        "RABBITMQ_DIST_PORT": str(site.ports["rabbitmq-nodes"]),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(home / "enabled_plugins"),
        "RABBITMQ_LOG_BASE": str(home),
        "RABBITMQ_LOGS": "-",
        "RABBITMQ_MNESIA_BASE": str(home / "mnesia"),
        "RABBITMQ_NODENAME": f"tatu{broker}@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODE_PORT": str(broker),
        "RABBITMQ_PID_FILE": str(home / "pid"),
        # nodes of other machines cannot talk to it, and it does not spin while it waits
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
            "-kernel inet_dist_use_interface {127,0,0,1} +S 1:1 +sbwt none"
        ),
        "RABBITMQ_SERVER_ERL_ARGS": "+P 65536 +t 1048576 +stbt db",  # small tables start sooner
    }
    epmd = shutil.which("epmd") or "/usr/bin/epmd"
    return [
        Service(processes, "epmd", [epmd], ready=lambda: listens(mapper), extra=environment),
        Service(
            processes, "rabbitmq", [_SERVER], ready=lambda: _speaks(broker), extra=environment
        ),
    ]


def _speaks(port):
    """Whether a broker opens the protocol: its port may listen before it can serve."""
    try:
        with socket.create_connection(("127.0.0.1", port), 1) as connection:
            connection.sendall(b"AMQP\0\0\x09\x01")
            return bool(connection.recv(1))
    except OSError:
        return False


def consumed(site, queue):
    """Whether somebody takes the messages of a queue, as a service does when it is ready."""
    try:
        with amqp.Connection(f"127.0.0.1:{site.ports['rabbitmq']}") as connection:
            found = connection.channel().queue_declare(queue, passive=True)
    except (OSError, amqp.AMQPError):
        return False
    return found.consumer_count > 0
