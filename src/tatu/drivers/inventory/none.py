"""No inventory: hosts are admitted by operators alone."""

from collections.abc import Iterator

from oslo_config import cfg

from tatu.core.errors import Unavailable
from tatu.drivers.loading import Driver
from tatu.ports import Instance, Inventory


class NoInventory(Inventory):
    """Knows no instance."""

    def instance(self, instance_id: str, *, project: str) -> Instance:
        """Raise `Unavailable`: nobody says that it is not there."""
        raise Unavailable("no inventory is configured ([inventory] driver)")

    def instances(self) -> Iterator[str]:
        """Yield nothing."""
        return iter(())

    def check(self) -> None:
        """Be always well."""


def _build(options: cfg.ConfigOpts.GroupAttr) -> NoInventory:
    return NoInventory()


driver = Driver(section="inventory_none", options=(), build=_build)
