"""Calls that wait for tasks, and what wakes them.

One task for each project with such calls follows its log, and finds out with one statement which of
the tasks that are waited for have events. Another task looks every second at what has no event in
the log of the project: whether callers may still read what they wait for. Both only wake a call,
which then looks by itself, as its caller.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from contextvars import Context
from itertools import islice
from typing import Any, Generic, Protocol, TypeVar
from uuid import UUID

import structlog

from shared.auth.authenticator import Authenticator
from shared.auth.caller import Call, Caller, User
from shared.database.pool import Connection, Record
from shared.database.transaction import Database
from shared.errors import Refusal
from task_service.events import queries
from task_service.events.pulse import News, Pulse

log = structlog.get_logger()

# A change of a caller is known within another second, see CALLER_SECONDS: two in all.
CHECK_SECONDS = 1.0
# After that long it only looks whether there is anything to do.
FOREVER_SECONDS = 3600.0
# After an outage, or a fault.
RETRY_SECONDS = 1.0
# If there are more events at once, every waiter's task is looked at instead.
MAXIMUM_EVENTS = 1000
# So many waits are looked at with one statement.
AT_ONCE = 1000


class Waits(Protocol):
    """A call that waits."""

    @property
    def call(self) -> Call: ...
    @property
    def caller(self) -> Caller: ...
    def wake(self) -> None: ...


W = TypeVar("W", bound=Waits)


class Waiter:
    """A call that waits until `is_enough` says so of a task."""

    def __init__(self, call: Call, task_id: UUID, is_enough: Callable[[Record], bool]) -> None:
        assert call.caller is not None, "the interceptor has refused all others"
        self.call = call
        self.caller: Caller = call.caller
        self.task_id = task_id
        self.is_enough = is_enough
        self._is_woken = asyncio.Event()
        self._seen: Any = None

    @property
    def user_id(self) -> UUID | None:
        """The user whose role counts."""
        return self.caller.id if isinstance(self.caller, User) else None

    def begin_to_look(self) -> None:
        """What wakes it from now on is about what this look may not see."""
        self._is_woken.clear()
        self._seen = None

    def has_seen(self, row: Record) -> None:
        """This is what the look has found, which was not enough."""
        self._seen = _decisive(row)

    def wake(self) -> None:
        """Let it look again."""
        self._is_woken.set()

    def notice(self, found: Record | None) -> None:
        """Wake it if this, found by AWAITED, tells something new."""
        if found is None or _decisive(found) != self._seen or self.is_enough(found):
            self.wake()

    async def woken(self, seconds: float) -> None:
        """Return when it is to look again, or when these seconds have passed."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._is_woken.wait()


class Followed:
    """The log of a project, and the calls that wait for tasks of this project."""

    def __init__(self, project_id: UUID, news: News, database: Database) -> None:
        self.waiters: set[Waiter] = set()
        self._project_id = project_id
        self._news = news
        self._database = database
        self._known = 0
        self._begun = asyncio.Event()
        # Not the call's context: it is no part of the call that begins it.
        self.task = asyncio.create_task(self._follow(), context=Context())

    async def begin(self, connection: Connection) -> None:
        """Follow the log from here on: what is read after this misses nothing."""
        if not self._begun.is_set():
            row = await queries.HEADS.row(connection, project_ids=[self._project_id])
            if not self._begun.is_set():  # else another call was faster
                self._known = row["last"] if row else 0
                self._begun.set()

    async def _follow(self) -> None:
        await self._begun.wait()
        while True:
            last = await self._news.wait(self._known, FOREVER_SECONDS)
            if last != self._known:
                try:
                    await self._notice(last)
                except Refusal:
                    await asyncio.sleep(RETRY_SECONDS)
                except Exception as error:
                    log.error("fault", exc_info=error)
                    await asyncio.sleep(RETRY_SECONDS)

    async def _notice(self, last: int) -> None:
        changed = await self._changed(last)
        concerned = [w for w in self.waiters if changed is None or w.task_id in changed]
        await notice(self._database, concerned)
        self._known = last

    async def _changed(self, last: int) -> Collection[UUID] | None:
        """What has events up to this one; None if there are too many, or not all are there."""
        after, project_id = self._known, self._project_id
        if not 0 <= last - after <= MAXIMUM_EVENTS:
            return None
        rows = await self._database.read(
            lambda c: queries.CHANGED.rows(c, project_id=project_id, after=after, through=last)
        )
        return {row["resource_id"] for row in rows} if len(rows) == last - after else None


class Waiters:
    """All calls of this process that wait for tasks."""

    def __init__(self, database: Database, pulse: Pulse, authenticator: Authenticator) -> None:
        self._database = database
        self._pulse = pulse
        self._projects: dict[UUID, Followed] = {}
        self._check = Check(authenticator, self._all, lambda found: notice(database, found))

    @contextmanager
    def join(self, project_id: UUID, waiter: Waiter) -> Iterator[Followed]:
        """Let the waiter be woken within the block."""
        with self._pulse.subscribed(project_id) as news:
            followed = self._projects.get(project_id)
            if followed is None:
                followed = self._projects[project_id] = Followed(project_id, news, self._database)
            self._check.begin()
            followed.waiters.add(waiter)
            try:
                yield followed
            finally:
                followed.waiters.remove(waiter)
                if not followed.waiters:
                    followed.task.cancel()
                    del self._projects[project_id]
                if not self._projects:
                    self._check.end()

    def _all(self) -> list[Waiter]:
        return [waiter for each in self._projects.values() for waiter in each.waiters]


class Check(Generic[W]):
    """Looks every second after calls that wait, of one kind: whether their callers still may."""

    def __init__(
        self,
        authenticator: Authenticator,
        waiters: Callable[[], list[W]],
        notice: Callable[[list[W]], Awaitable[None]],
    ) -> None:
        """`notice` wakes those for whom something has changed that is in no log of theirs."""
        self._authenticator = authenticator
        self._waiters = waiters
        self._notice = notice
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Someone waits."""
        if self._task is None:
            # Not the call's context: it is no part of the call that begins it.
            self._task = asyncio.create_task(self._run(), context=Context())

    def end(self) -> None:
        """No one waits."""
        if self._task:
            self._task.cancel()
            self._task = None

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            waiters = self._waiters()
            try:
                await self._wake_lapsed(waiters)
                await self._notice(waiters)
            except Refusal:
                pass  # an outage, during which nothing can be known
            except Exception as error:
                log.error("fault", exc_info=error)

    async def _wake_lapsed(self, waiters: list[W]) -> None:
        """Wake those whose callers have proved by a token who they are which is good no more."""
        callers = {waiter.call.token: waiter.caller for waiter in waiters}
        lapsed = await self._authenticator.lapsed(callers)
        for waiter in waiters:
            if waiter.call.token in lapsed:
                waiter.wake()


async def notice(database: Database, waiters: Iterable[Waiter]) -> None:
    """Wake those for whom something has changed. Raises Refusal(DATABASE_UNAVAILABLE)."""
    left = iter(waiters)
    while some := list(islice(left, AT_ONCE)):
        waits = {(waiter.task_id, waiter.user_id) for waiter in some}
        task_ids, user_ids = map(list, zip(*waits, strict=True))
        rows = await database.read(
            lambda c, t=task_ids, u=user_ids: queries.AWAITED.rows(c, task_ids=t, user_ids=u)  # type: ignore[misc]
        )
        found = {(row["id"], row["user_id"]): row for row in rows}
        for waiter in some:
            waiter.notice(found.get((waiter.task_id, waiter.user_id)))


def _decisive(row: Record) -> tuple[Any, ...]:
    return row["found_role"], row["assigned_agent_id"], row["assigned_user_id"]
