"""What events of the chain tell the ledger itself: enough to do again what a restore took back."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any, Self, TypeVar

from tatu.core.audit import Actor
from tatu.core.errors import Malformed

BATCH = 1000
"""Rows, links or serials in one go; databases bound the number of parameters."""

_RUN = r"[0-9]{1,20}(-[0-9]{1,20})?"
_RANGES = re.compile(rf"({_RUN}(,{_RUN})*)?")

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Told:
    """The facts that the ledger put in an event; each is empty or None in most."""

    action: str
    authority: str | None
    at: datetime
    by: str
    reason: str
    mark: int
    certificate: Mapping[str, Any] | None
    revoked: Mapping[str, str]
    blocked: tuple[str, str] | None
    cleared: tuple[str, str] | None
    retired: bool

    @classmethod
    def of(cls, body: str) -> Self:
        """Read an event's body; raises `Malformed`."""
        try:
            event = json.loads(body)
            facts, actor = event["facts"], event["actor"]
            return cls(
                action=str(event["action"]),
                authority=None if event["authority"] is None else str(event["authority"]),
                at=_aware(event["at"]),
                by=by(Actor(kind=actor["kind"], id=actor["id"])),
                reason=str(facts.get("reason", "")),
                mark=int(facts.get("mark", 0)),
                certificate=_mapping(facts.get("certificate")),
                revoked=_mapping(facts.get("revoked", {}), _RANGES) or {},
                blocked=_pair(facts.get("blocked")),
                cleared=_pair(facts.get("cleared")),
                retired=bool(facts.get("retired")),
            )
        except (
            ValueError,
            LookupError,
            TypeError,
            AttributeError,
            OverflowError,
            RecursionError,
        ) as error:
            raise Malformed("an event of the audit copy cannot be read") from error

    @property
    def redoable(self) -> bool:
        """Whether all that the event did can be done again from what it tells."""
        return bool(
            self.certificate or self.revoked or self.blocked or self.cleared or self.retired
        )


def by(actor: Actor) -> str:
    """Return who revokes, as a certificate's row names them."""
    return actor.id or actor.kind


def ranges(serials: Iterable[int]) -> str:
    """Write serials as `1-3,7`."""
    runs: list[list[int]] = []
    for serial in sorted(serials):
        if runs and serial == runs[-1][1] + 1:
            runs[-1][1] = serial
        else:
            runs.append([serial, serial])
    return ",".join(f"{first}-{last}" if last > first else str(first) for first, last in runs)


def listed(written: str) -> Iterator[int]:
    """Read what `ranges` wrote; raises ValueError."""
    for run in filter(None, written.split(",")):
        first, _, last = run.partition("-")
        yield from range(int(first), int(last or first) + 1)


def batches(items: Iterable[T]) -> Iterator[list[T]]:
    """Yield the items in lists of `BATCH`."""
    rest = iter(items)
    while batch := list(islice(rest, BATCH)):
        yield batch


def _aware(text: str) -> datetime:
    """Read a time; raises ValueError also for one that could be anywhere."""
    found = datetime.fromisoformat(text)
    if found.tzinfo is None:
        raise ValueError("a time knows its zone")
    return found


def _mapping(value: Any, texts: re.Pattern[str] | None = None) -> Mapping[str, Any] | None:
    """Return a JSON object, whose values all match; raises TypeError or ValueError."""
    if not isinstance(value, dict | None):
        raise TypeError("what must be an object is none")
    if texts is not None and not all(map(texts.fullmatch, (value or {}).values())):
        raise ValueError("the serials are no ranges")
    return value


def _pair(value: Any) -> tuple[str, str] | None:
    return None if value is None else (str(value[0]), str(value[1]))
