"""An inventory that reads a file, as a cloud's driver that is installed beside Tatu: `write` adds to it."""

import json
from datetime import datetime
from pathlib import Path

from oslo_config import cfg

from tatu.core.errors import NotFound
from tatu.drivers.loading import Driver
from tatu.ports import Instance, Inventory

_METADATA = "Metadata-Version: 2.1\nName: tatu-lab-inventory\nVersion: 1\n"
_ENTRY_POINTS = "[tatu.inventory]\nfile = tests.lab.hosts.inventory:driver\n"


def install(folder: Path) -> None:
    """Make the driver one that is found when this folder is on Python's path."""
    package = folder / "tatu_lab_inventory-1.dist-info"
    package.mkdir(parents=True)
    (package / "METADATA").write_text(_METADATA)
    (package / "entry_points.txt").write_text(_ENTRY_POINTS)


class FileInventory(Inventory):
    """Knows the instances that a file lists, as it is now."""

    def __init__(self, file):
        self._file = Path(file)

    def instance(self, instance_id, *, project):
        found = json.loads(self._file.read_text()).get(instance_id)
        if found is None or found["project"] != project:
            raise NotFound(f"the project has no instance {instance_id!r}")
        return Instance(
            id=instance_id,
            project=project,
            name=found["name"],
            addresses=tuple(found["addresses"]),
            built_at=datetime.fromisoformat(found["built_at"]),
        )

    def instances(self):
        return iter(json.loads(self._file.read_text()))

    def check(self):
        pass


driver = Driver(
    section="inventory_file",
    options=(cfg.StrOpt("path", required=True, help="The file."),),
    build=lambda options: FileInventory(options.path),
)
