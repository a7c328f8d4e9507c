"""A cloud's machines, as tests make and change them."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime

from tatu.core.errors import NotFound, Unavailable
from tatu.ports import Instance, Inventory


class FakeInventory(Inventory):
    """Knows the instances that were put in; with `out` the cloud does not answer.

    Of those in `silent` it tells nothing.
    """

    def __init__(self) -> None:
        self.out = False
        self.silent: set[str] = set()
        self.asked = 0
        self._there: dict[str, Instance] = {}

    def put(
        self, instance_id: str, *, built_at: datetime, project="blue", name="db", addresses=()
    ) -> Instance:
        made = Instance(
            id=instance_id,
            project=project,
            name=name,
            addresses=tuple(addresses),
            built_at=built_at,
        )
        self._there[instance_id] = made
        return made

    def change(self, instance_id: str, **changed: object) -> None:
        self._there[instance_id] = replace(self._there[instance_id], **changed)

    def remove(self, instance_id: str) -> None:
        del self._there[instance_id]

    def instance(self, instance_id: str, *, project: str) -> Instance:
        self.check()
        if instance_id in self.silent:
            raise Unavailable("the cloud does not tell of this instance")
        self.asked += 1
        found = self._there.get(instance_id)
        if found is None or found.project != project:
            raise NotFound(f"the project has no instance {instance_id!r}")
        return found

    def instances(self) -> Iterator[str]:
        self.check()
        return iter(tuple(self._there))

    def check(self) -> None:
        if self.out:
            raise Unavailable("the cloud does not answer")
