"""What every `EventSource` promises, on a message bus in this process, and with none that answers."""

import logging
import socket
import threading
import uuid
from collections import Counter

import pytest
from oslo_config import cfg

from tatu.core.errors import Conflict, Malformed, Unavailable
from tatu.drivers import loading
from tatu.drivers.events import oslo
from tatu.ports import NoticeHandler

TIMEOUT = 10
oslo_messaging = oslo.oslo_messaging  # imported there without the warnings of what it imports


class Handler(NoticeHandler):
    """Keeps what it is brought; `fails` are errors to raise first, by id."""

    def __init__(self):
        self.handled = []
        self.aside = []
        self.fails = {}
        self.asking = None
        self.change = threading.Condition()

    def handle(self, notice):
        if self.asking is not None:
            self.asking.wait(TIMEOUT)
        if self.fails.get(notice.id):
            raise self.fails[notice.id].pop()
        self._keep(self.handled, notice.id)

    def set_aside(self, message, content, reason):
        if self.fails.get("aside"):
            raise self.fails["aside"].pop()
        self._keep(self.aside, (message, content, reason))

    def _keep(self, where, what):
        with self.change:
            where.append(what)
            self.change.notify_all()

    def wait(self, *, handled=0, aside=0):
        with self.change:
            assert self.change.wait_for(
                lambda: len(self.handled) >= handled and len(self.aside) >= aside, TIMEOUT
            )


class Bus:
    """A message bus of its own, and sources that listen to it."""

    def __init__(self):
        self.exchange = uuid.uuid4().hex
        self.sources = []
        conf = cfg.ConfigOpts()
        conf([], default_config_files=[], default_config_dirs=[])
        oslo_messaging.get_notification_transport(conf, url="fake://")  # registers its options
        conf.set_override("control_exchange", self.exchange)
        transport = oslo_messaging.get_notification_transport(conf, url="fake://")
        self.notifier = oslo_messaging.Notifier(
            transport, "identity.here", driver="messagingv2", topics=["tatu"]
        )

    def tell(self, id_, event_type="identity.user.deleted"):
        self.notifier.info({}, event_type, {"resource_info": id_})

    def start(self, handler):
        found = source("fake://", exchanges=self.exchange)
        self.sources.append(found)
        found.start(handler)
        return found


def source(url, **options):
    conf = cfg.ConfigOpts()
    loading.register(oslo.driver, conf)
    conf([], default_config_files=[], default_config_dirs=[])
    for name, value in {"transport_url": url, **options}.items():
        conf.set_override(name, value.split(",") if name == "exchanges" else value, "events_oslo")
    return loading.build(oslo.driver, conf, {"conf": conf})


@pytest.fixture
def bus(monkeypatch):
    monkeypatch.setattr(oslo, "_PAUSE", 0.1)
    found = Bus()
    yield found
    for started in found.sources:
        started.stop()


@pytest.fixture
def handler():
    return Handler()


def test_what_is_told_is_brought(bus, handler):
    bus.start(handler)
    bus.tell("ann")
    handler.wait(handled=1)
    assert handler.handled == ["ann"]


def test_what_was_told_before_the_start_is_brought(bus, handler):
    bus.tell("ann")
    bus.start(handler)
    handler.wait(handled=1)


def test_what_cannot_be_handled_now_is_brought_again_and_holds_nothing_up(bus, handler):
    handler.fails["ann"] = [Unavailable("the ledger does not answer")] * 3
    bus.start(handler)
    bus.tell("ann")
    bus.tell("bob")
    handler.wait(handled=2)
    assert handler.handled == ["bob", "ann"]
    assert handler.aside == []


def test_what_does_not_concern_us_is_not_brought(bus, handler):
    bus.start(handler)
    bus.tell("x", "identity.endpoint.created")
    bus.tell("ann")
    handler.wait(handled=1)
    assert handler.handled == ["ann"]


def test_what_nobody_can_read_is_set_aside_once(bus, handler):
    bus.start(handler)
    bus.tell(["no", "id"])
    bus.tell("ann")
    handler.wait(handled=1, aside=1)
    ((message, content, reason),) = handler.aside
    assert len(message) == 36
    assert '"no", "id"' in content
    assert "no id as resource_info" in reason


def test_what_cannot_be_set_aside_now_is_brought_again(bus, handler):
    handler.fails["aside"] = [Unavailable("the ledger does not answer")]
    bus.start(handler)
    bus.tell(None)
    handler.wait(aside=1)


@pytest.mark.parametrize("mistake", [Conflict("why"), ZeroDivisionError("by token-123")])
def test_what_a_mistake_keeps_from_being_handled_is_set_aside(bus, handler, mistake):
    handler.fails["ann"] = [mistake]
    bus.start(handler)
    bus.tell("ann")
    bus.tell("bob")
    handler.wait(handled=1, aside=1)
    assert handler.aside[0][2] == type(mistake).__name__


def test_many_share_one_stream(bus):
    handler, other = Handler(), Handler()
    other.handled, other.change = handler.handled, handler.change
    bus.start(handler)
    bus.start(other)
    for number in range(100):
        bus.tell(f"user-{number}")
    handler.wait(handled=100)
    assert {f"user-{number}": 1 for number in range(100)} == Counter(handler.handled)


def test_stopping_waits_for_what_is_being_handled_and_takes_no_more(bus, handler):
    handler.asking = threading.Event()
    started = bus.start(handler)
    bus.tell("ann")
    while not started._dispatcher._busy:
        threading.Event().wait(0.01)
    stopping = threading.Thread(target=started.stop)
    stopping.start()
    stopping.join(0.2)
    assert stopping.is_alive()
    bus.tell("bob")
    handler.asking.set()
    stopping.join(TIMEOUT)
    assert not stopping.is_alive()
    assert handler.handled == ["ann"]
    other = Handler()
    bus.start(other)
    other.wait(handled=1)
    assert other.handled == ["bob"]


def test_a_source_that_answers_is_well(bus, handler):
    started = bus.start(handler)
    bus.tell("ann")
    handler.wait(handled=1)
    started.check()


def test_stopping_what_never_started_is_nothing():
    source("fake://").stop()


# --- a broker that is away


@pytest.fixture
def nowhere():
    """A URL at which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        yield f"rabbit://tatu:hidden-word@127.0.0.1:{probe.getsockname()[1]}/"


def test_a_broker_that_is_away_is_named_without_the_password(nowhere):
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1:\d+: Connection refused") as caught:
        source(nowhere).check()
    assert "hidden-word" not in str(caught.value)


def test_a_source_starts_and_stops_while_the_broker_is_away(nowhere, handler, caplog):
    found = source(nowhere)
    with caplog.at_level(logging.ERROR):
        found.start(handler)
        with pytest.raises(Unavailable, match="does not let us listen yet"):
            found.check()
        found.stop()
    assert "hidden-word" not in caplog.text


@pytest.mark.parametrize("url", ["rabbit://a:hidden-word@h:port/", "carrier-pigeon://hidden-word"])
def test_a_url_of_no_bus_is_refused_and_not_shown(url):
    with pytest.raises(Malformed, match=r"\[events_oslo\] transport_url") as caught:
        source(url)
    assert "hidden-word" not in str(caught.value)
    assert caught.value.__suppress_context__


def test_a_url_is_needed():
    with pytest.raises(Malformed, match="transport_url is missing"):
        source(None)
