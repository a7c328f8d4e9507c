"""What the watch door knows: the newest version of each authority that somebody waits for."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import structlog

from tatu.core.errors import TatuError
from tatu.ports import NewestVersion

LOG = structlog.get_logger("tatu.watch")

_PAUSE = 0.25
"""Seconds between two looks at the ledger, while anybody waits."""

_BUILDERS = 4
_SHORTEST_REST = 0.1
_LONGEST_REST = 32.0
"""Seconds after which a statement that was not built yet is asked for again."""


class Full(Exception):
    """As many wait as there is room for."""


@dataclass(kw_only=True)
class _Watched:
    """An authority, who waits for it with the version that they have, and what is known of it."""

    waiting: dict[asyncio.Future[int], int] = field(default_factory=dict)
    known: NewestVersion | None = None
    building: bool = False
    rest: float = 0.0
    again: float = 0.0


class Feed:
    """Hands versions of the ledger to those who wait, and has built what nobody built yet.

    `versions` and `build` block, and are called in threads of the feed's own. `build` is given an
    authority and the version that there is; whether it built another, the next look shows. Of news
    `per_second` are told at once, and then so many a second: all of them ask the API for it.
    """

    def __init__(
        self,
        *,
        versions: Callable[[Sequence[str]], Mapping[str, NewestVersion]],
        build: Callable[[str, int], None],
        most: int,
        per_second: int,
        pause: float = _PAUSE,
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        self._versions = versions
        self._build = build
        self.most = most
        self._per_second = per_second
        self.waiting = 0
        self.failing = False
        self._pause = pause
        self._ticks = ticks
        self._watched: dict[str, _Watched] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._look = asyncio.Event()
        self._looking = ThreadPoolExecutor(1, "tatu-look")
        self._building = ThreadPoolExecutor(_BUILDERS, "tatu-build")

    async def newer(self, authority: str, after: int, hold: float) -> int | None:
        """Return a version after that one, as soon as there is one within so many seconds.

        Of a statement that only was signed anew only those are told who come after it: a whole
        fleet would fetch it in one moment, and nobody's access hangs on it. Raises `Full`.
        """
        if self.waiting >= self.most:
            raise Full
        watched = self._watched.setdefault(authority, _Watched())
        if watched.known and watched.known.version > after:
            return watched.known.version
        news: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        watched.waiting[news] = after
        self.waiting += 1
        self._look.set()
        try:
            return await asyncio.wait_for(news, hold)
        except TimeoutError:
            return None
        finally:
            self.waiting -= 1
            del watched.waiting[news]
            self._forget(authority, watched)

    async def follow(self) -> None:
        """Look at the ledger for those who wait, for ever."""
        while True:
            await self._look.wait()
            if not self._watched:
                self._look.clear()
                continue
            await self._hear()
            await asyncio.sleep(self._pause)

    def _forget(self, authority: str, watched: _Watched) -> None:
        if not watched.waiting and not watched.building:
            self._watched.pop(authority, None)

    async def _hear(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            found = await loop.run_in_executor(self._looking, self._versions, list(self._watched))
        except Exception as error:  # a mistake in one look must not be the end of all that follow
            if not self.failing:
                LOG.warning("watch", error=str(error), exc_info=not isinstance(error, TatuError))
            self.failing = True
            return
        self.failing = False
        for authority, newest in found.items():
            watched = self._watched.get(authority)
            if watched is not None:
                self._tell(watched, newest)
                if newest.published != newest.revision:
                    self._have_built(authority, watched, newest.version)

    def _tell(self, watched: _Watched, newest: NewestVersion) -> None:
        before, watched.known = watched.known, newest
        if before is not None and before.published == newest.published:
            return
        watched.rest = watched.again = 0.0
        behind = [news for news, after in watched.waiting.items() if newest.version > after]
        for place, news in enumerate(behind):
            seconds = max(0.0, place / self._per_second - 1)
            asyncio.get_running_loop().call_later(seconds, _set, news, newest.version)

    def _have_built(self, authority: str, watched: _Watched, version: int) -> None:
        if watched.building or self._ticks() < watched.again:
            return
        watched.building = True
        task = asyncio.create_task(self._built(authority, watched, version))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _built(self, authority: str, watched: _Watched, version: int) -> None:
        """Have it built; as long as it is not, that is tried after longer and longer rests."""
        loop = asyncio.get_running_loop()
        watched.rest = min(max(_SHORTEST_REST, 2 * watched.rest), _LONGEST_REST)
        try:
            await loop.run_in_executor(self._building, self._build, authority, version)
        except Exception as error:  # whatever it was, nobody else would hear of it
            LOG.warning(
                "build",
                authority=authority,
                error=str(error),
                exc_info=not isinstance(error, TatuError),
            )
        finally:
            watched.again = self._ticks() + watched.rest
            watched.building = False
            self._forget(authority, watched)
        await self._hear()


def _set(news: asyncio.Future[int], version: int) -> None:
    if not news.done():
        news.set_result(version)
