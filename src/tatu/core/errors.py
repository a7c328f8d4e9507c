"""What can go wrong, in the few ways that a caller can act upon.

Each class has a stable slug; `api.problems` is the one table from these to HTTP.
"""

from typing import ClassVar


class TatuError(Exception):
    """Anything that Tatu refuses or cannot do; its text may be shown to the caller."""

    slug: ClassVar[str]


class Malformed(TatuError):
    """What was sent is not what it should be; sending it again will not help."""

    slug = "malformed"


class Unauthenticated(TatuError):
    """Who asks is not proven."""

    slug = "unauthenticated"


class Denied(TatuError):
    """Who asks is known, and may not."""

    slug = "denied"


class NotFound(TatuError):
    """There is no such thing, or the caller may not know of it: both read the same."""

    slug = "not-found"


class Conflict(TatuError):
    """What is asked contradicts what stands already."""

    slug = "conflict"


class Taken(Conflict):
    """Another live host of the authority, the `holder`, has a name or an address."""

    def __init__(self, principal: str, *, holder: str) -> None:
        super().__init__(f"{principal!r} is held by host {holder!r}")
        self.principal = principal
        self.holder = holder


class Standing(Conflict):
    """A live certificate says the same as one that nobody proved to need: its `serial`."""

    def __init__(self, serial: int) -> None:
        super().__init__(f"certificate {serial} says the same")
        self.serial = serial


class Gone(TatuError):
    """It was there, and will not come back: an expired token, a revoked certificate."""

    slug = "gone"


class TooMany(TatuError):
    """A limit is reached; the same request may succeed after `retry_after` seconds."""

    slug = "too-many"

    def __init__(self, message: str, *, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Unavailable(TatuError):
    """Something that Tatu depends on did not answer; the same request may succeed later."""

    slug = "unavailable"


class PermissionEnded(Denied):
    """A permission ended after it was looked up: ask again who the caller is, uncached (S4)."""


class RolledBack(Unavailable):
    """The ledger is older than what left it: `tatu-manage db restored` is called for (S3)."""
