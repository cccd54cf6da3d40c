"""Notices that the log of a project has grown, for all in this process who wait for that.

One task looks at the heads of all these logs together. It holds no connection between two looks, so
this works behind a pooler, and it does not run while no one waits.
"""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import Context
from time import monotonic
from uuid import UUID

import structlog

from shared.database.pool import Connection
from shared.database.transaction import Database
from shared.errors import Refusal
from shared.events import news as commits
from task_service.events import queries

log = structlog.get_logger()

LOOK_SECONDS = 0.1
# Without news for so long, looks are rarer.
CALM_SECONDS = 10.0
CALM_LOOK_SECONDS = 1.0
# This process commits often: it looks at most so often.
HURRY_SECONDS = 0.005


class News:
    """The number of the latest event of one log, as far as it is known here; at first it is 0."""

    def __init__(self) -> None:
        self.last = 0
        self.is_known = False
        self.subscribers = 0
        self._waiters: dict[asyncio.Future[None], int] = {}

    async def wait(self, after: int, seconds: float) -> int:
        """The number once it is above `after`, or when `seconds` have passed.

        It is returned at once, too, when it turns out to be below: the log was removed (0) or
        replaced, or, which happens at most once, a look had begun before `after` was read.
        """
        if self.last <= after and seconds > 0:
            loop = asyncio.get_running_loop()
            waiter = loop.create_future()
            self._waiters[waiter] = after
            timer = loop.call_later(seconds, release, waiter)
            try:
                await waiter
            finally:
                timer.cancel()
                self._waiters.pop(waiter, None)
        return self.last

    def tell(self, last: int) -> None:
        """This is the number now."""
        self.last, self.is_known = last, True
        for waiter, after in self._waiters.items():
            if last != after:
                release(waiter)


class Pulse:
    """Looks at the logs that have subscribers."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._logs: dict[UUID, News] = {}
        self._task: asyncio.Task[None] | None = None
        self._is_sooner = asyncio.Event()
        # By time.monotonic: the next look, the begin of the latest one, and the latest news.
        self._due = self._looked = self._calm_since = 0.0

    @contextmanager
    def subscribed(self, project_id: UUID) -> Iterator[News]:
        """What is known of the log of a project, kept up to date within the block.

        It may be out of date at first: whoever comes reads the log after that, and then waits.
        """
        if not self._logs:
            self._start()
        news = self._logs.setdefault(project_id, News())
        news.subscribers += 1
        self._look_by(monotonic() + LOOK_SECONDS)
        try:
            yield news
        finally:
            news.subscribers -= 1
            if not news.subscribers:
                del self._logs[project_id]
            if not self._logs:
                commits.ignore(self.committed)
                self._is_sooner.set()

    def latest(self, project_id: UUID) -> int:
        """The number of the latest event that is known of a log; 0 if it has no subscriber."""
        news = self._logs.get(project_id)
        return news.last if news else 0

    def committed(self) -> None:
        """Look at once: this process has changed something.

        A look that is under way may have begun before, so there will be another one.
        """
        self._look_by(self._looked + HURRY_SECONDS)

    async def close(self) -> None:
        """Look no more."""
        if self._task:
            self._task.cancel()
            await asyncio.wait([self._task])

    def _look_by(self, when: float) -> None:
        self._calm_since = monotonic()
        if when < self._due:
            self._due = when
            self._is_sooner.set()

    def _start(self) -> None:
        commits.listen(self.committed)
        self._due = monotonic() + LOOK_SECONDS
        if self._task is None or self._task.done():
            # Not the call's context: it is no part of the call that begins it.
            self._task = asyncio.create_task(self._run(), context=Context())

    async def _run(self) -> None:
        while self._logs:
            if (seconds := self._due - monotonic()) > 0:
                await self._pause(seconds)
            else:
                await self._look()

    async def _pause(self, seconds: float) -> None:
        """Until it is due, or due sooner, or no one is left."""
        self._is_sooner.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._is_sooner.wait()

    async def _look(self) -> None:
        """Look, and say when to look again. An outage lasts until a later look finds its end."""
        self._looked = monotonic()
        self._due = self._looked + CALM_LOOK_SECONDS  # or sooner, as is said meanwhile
        asked = dict(self._logs)
        try:
            found = await self._database.read(lambda c: _heads(c, asked))
        except Refusal:
            return
        except Exception as error:
            log.error("fault", exc_info=error)
            return
        for project_id, news in asked.items():
            last = found.get(project_id, 0)
            if last != news.last or not news.is_known:
                self._calm_since = monotonic()
                news.tell(last)
        if monotonic() - self._calm_since < CALM_SECONDS:
            self._due = min(self._due, self._looked + LOOK_SECONDS)


async def _heads(connection: Connection, asked: Mapping[UUID, News]) -> dict[UUID, int]:
    rows = await queries.HEADS.rows(connection, project_ids=list(asked))
    return {row["project_id"]: row["last"] for row in rows}


def release(waiter: "asyncio.Future[None]") -> None:
    """Let go on what awaits it, if it still does."""
    if not waiter.done():
        waiter.set_result(None)
