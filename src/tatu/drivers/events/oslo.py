"""Events from OpenStack's message bus, by oslo.messaging: one queue that all workers share.

The services publish to a topic of our own (`topics = notifications,tatu`), so that its queue keeps
what is told while no worker runs, and nobody else takes messages from it.
"""

import json
import logging
import socket
import threading
import warnings
from collections.abc import Sequence
from typing import Any

from oslo_config import cfg

from tatu.core.errors import Malformed, Unavailable
from tatu.drivers.events import notifications
from tatu.drivers.loading import Driver
from tatu.ports import EventSource, NoticeHandler

with (
    warnings.catch_warnings()
):  # it loads eventlet, which it does not use, and which warns of that
    warnings.simplefilter("ignore")
    import oslo_messaging  # type: ignore[import-untyped]

LOG = logging.getLogger(__name__)

_PAUSE = 1.0
"""Seconds before a message that cannot be handled now goes back to the queue."""

_RETRY = 5.0
"""Seconds between two attempts to listen."""

_GRACE = 5.0
"""Seconds to hand back what was taken, when the source stops: the broker may be away."""

_PREFETCH = "64"
"""Messages that a worker takes at once; the others' share stays in the queue.

After a reconnect oslo.messaging leaves up to 16 that it has handled before unacknowledged.
"""

_PORT = 5672  # of AMQP, where the URL names none
_TIMEOUT = 2.0

_HANDLED = oslo_messaging.NotificationResult.HANDLED
_REQUEUE = oslo_messaging.NotificationResult.REQUEUE


class _Dispatcher:
    """Brings messages to the handler, in threads of oslo.messaging.

    The library's own calls for a message again at once, and for ever, that it fails to take apart.
    """

    supported_priorities = ("info",)

    def __init__(self, handler: NoticeHandler) -> None:
        self._handler = handler
        self._stopping = threading.Event()
        self._change = threading.Condition()
        self._busy = 0

    def dispatch(self, incoming: Any) -> Any:
        """Handle a message; it is done with, or comes again."""
        with self._change:
            if self._stopping.is_set():
                return _REQUEUE
            self._busy += 1
        try:
            self._handle(incoming.message)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with it, it is not lost
            LOG.warning("a notification has to wait: %r", error)
            self._stopping.wait(_PAUSE)
            return _REQUEUE
        finally:
            with self._change:
                self._busy -= 1
                self._change.notify_all()
        return _HANDLED

    def stop(self) -> None:
        """Take nothing more, and return when nothing is being handled."""
        self._stopping.set()
        with self._change:
            self._change.wait_for(lambda: not self._busy)

    def _handle(self, message: Any) -> None:
        told = {key: message.get(key) for key in ("event_type", "payload", "message_id")}
        try:
            for notice in notifications.read(**told):
                self._handler.handle(notice)
        except Unavailable:
            raise
        except Malformed as error:
            self._set_aside(told, str(error))
        except Exception as error:  # a mistake of ours: what was sent must not come for ever
            LOG.exception("a notification could not be handled")
            self._set_aside(told, type(error).__name__)

    def _set_aside(self, told: dict[str, Any], reason: str) -> None:
        self._handler.set_aside(str(told["message_id"]), json.dumps(told, default=repr), reason)


class Oslo(EventSource):
    """Listens to a topic on the exchanges of the services that publish to it."""

    def __init__(
        self, *, transport: Any, hosts: Sequence[tuple[str, int]], targets: Any, threads: int
    ) -> None:
        self._transport = transport
        self._hosts = hosts
        self._targets = targets
        self._threads = threads
        self._stopped = threading.Event()
        self._listening = threading.Event()
        self._dispatcher: _Dispatcher | None = None
        self._listener: threading.Thread | None = None

    def start(self, handler: NoticeHandler) -> None:
        """Begin to listen, as soon as the broker lets us."""
        self._dispatcher = _Dispatcher(handler)
        # Its own thread: connecting goes on for as long as the broker is away. And a daemon: so
        # does closing.
        self._listener = threading.Thread(
            target=self._listen, args=(self._dispatcher,), name="tatu-events", daemon=True
        )
        self._listener.start()

    def stop(self) -> None:
        """Wait for what is being handled; what was taken and not begun goes back."""
        self._stopped.set()
        if self._dispatcher is not None and self._listener is not None:
            self._dispatcher.stop()
            if self._listening.is_set():
                self._listener.join(_GRACE)

    def check(self) -> None:
        """Raise `Unavailable` when no broker answers, or none lets us listen."""
        if self._listener is not None and not self._listening.is_set():
            raise Unavailable("the message bus does not let us listen yet ([events_oslo])")
        reasons = [_refusal(*host) for host in self._hosts]
        if reasons and all(reasons):
            raise Unavailable(f"the message bus does not answer: {'; '.join(map(str, reasons))}")

    def _listen(self, dispatcher: _Dispatcher) -> None:
        while not self._stopped.is_set():
            server = oslo_messaging.notify.listener.NotificationServer(
                self._transport, self._targets, dispatcher
            )
            try:
                server.start(override_pool_size=self._threads)
            except Exception:  # the source goes on, whatever the library or the broker raise
                LOG.exception("listening to the message bus failed")
                self._stopped.wait(_RETRY)
                continue
            self._listening.set()
            self._stopped.wait()
            server.stop()
            server.wait()


def _refusal(host: str, port: int) -> str | None:
    """Return why a broker does not answer."""
    try:
        socket.create_connection((host, port), _TIMEOUT).close()
    except OSError as error:
        return f"{host}:{port}: {error.strerror or error}"
    return None


def _build(options: cfg.ConfigOpts.GroupAttr, *, conf: cfg.ConfigOpts) -> Oslo:
    if not options.transport_url:
        raise Malformed("[events_oslo] transport_url is missing")
    try:
        url = oslo_messaging.TransportURL.parse(conf, options.transport_url)
        if url.transport == "rabbit":
            url.query.setdefault("rabbit_qos_prefetch_count", _PREFETCH)
        transport = oslo_messaging.get_notification_transport(conf, url=url)
    except (oslo_messaging.InvalidTransportURL, oslo_messaging.DriverLoadFailure, ValueError):
        # not the cause: it shows the URL, which holds a password
        raise Malformed("[events_oslo] transport_url is none that oslo.messaging takes") from None
    return Oslo(
        transport=transport,
        hosts=[(host.hostname, host.port or _PORT) for host in url.hosts if host.hostname],
        targets=[
            # Each names its exchange: a broker that comes back empty is bound to it again by us,
            # not by a publisher that believes it still is.
            oslo_messaging.Target(exchange=exchange, topic=options.topic)
            for exchange in options.exchanges
        ],
        threads=options.threads,
    )


driver = Driver(
    section="events_oslo",
    options=(
        cfg.StrOpt(
            "transport_url",
            secret=True,
            help="The message bus: rabbit://user:password@host:5672/. How it is spoken to is read"
            " from [oslo_messaging_rabbit], whose amqp_durable_queues and rabbit_quorum_queue must"
            " be those of the services that publish.",
        ),
        cfg.StrOpt(
            "topic",
            default="tatu",
            help="The topic that Keystone, Nova and Neutron publish to for Tatu alone.",
        ),
        cfg.ListOpt(
            "exchanges",
            default=["keystone", "nova", "neutron"],
            help="The exchanges (control_exchange) of the services that publish.",
        ),
        cfg.IntOpt("threads", default=8, min=1, max=64, help="Notices handled at once."),
    ),
    build=_build,
)
