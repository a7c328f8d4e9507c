"""What the cloud tells by itself."""

from abc import abstractmethod
from typing import Protocol

from tatu.core.notices import Notice


class NoticeHandler(Protocol):
    """What takes notices from an event source."""

    @abstractmethod
    def handle(self, notice: Notice) -> None:
        """Act on a notice; a second time is harmless. Raises `Unavailable`: bring it again."""

    @abstractmethod
    def set_aside(self, message: str, content: str, reason: str) -> None:
        """Keep what nobody can read, or some of it when it is much, for people.

        Raises `Unavailable`: bring it again.
        """


class EventSource(Protocol):
    """Brings what the cloud tells, at least once each; many processes share one stream."""

    @abstractmethod
    def start(self, handler: NoticeHandler) -> None:
        """Begin to bring notices, in threads of its own, and go on whatever happens.

        A notice is done with only when the handler returned. An outage of the source is waited
        out.
        """

    @abstractmethod
    def stop(self) -> None:
        """Return when nothing is being handled and nothing more will come."""

    @abstractmethod
    def check(self) -> None:
        """Raise `Unavailable` with what is wrong when the source does not answer."""
