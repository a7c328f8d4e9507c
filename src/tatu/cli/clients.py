"""What commands reach the world by; in `openstack`, its client manager has the same attribute."""

from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tatu.client.connection import KeyConnection


class ClientManager:
    """Opens a cloud's connection when a command first asks for it."""

    def __init__(self, cloud: str | None) -> None:
        self.cloud = cloud

    @cached_property
    def ssh(self) -> "KeyConnection":
        """The connection of the chosen cloud; raises `Unauthenticated` when not signed in."""
        from tatu.client import clouds  # noqa: PLC0415 -- help and completion load no HTTP
        from tatu.client.connection import KeyConnection  # noqa: PLC0415

        return KeyConnection.open(clouds.find(self.cloud))
