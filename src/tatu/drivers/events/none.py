"""No events: what a cloud takes away is found by reconciliation alone."""

from oslo_config import cfg

from tatu.drivers.loading import Driver
from tatu.ports import EventSource, NoticeHandler


class NoEvents(EventSource):
    """Brings nothing."""

    def start(self, handler: NoticeHandler) -> None:
        """Begin to bring nothing."""

    def stop(self) -> None:
        """Have nothing to wait for."""

    def check(self) -> None:
        """Be always well."""


def _build(options: cfg.ConfigOpts.GroupAttr) -> NoEvents:
    return NoEvents()


driver = Driver(section="events_none", options=(), build=_build)
