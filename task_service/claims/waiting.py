"""Calls that wait for tasks to claim: a queue for each project with such calls.

One task for each queue follows the log of its project. At news, and when a task is ready that was
not before, it looks once at what is there, and hands a baton to the first call in the queue that
can do some of it. This call claims; then the next one gets the baton, until nothing is left that
one of them can do. So there is one claim at a time, and no call looks in vain for what another one
could not do either.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import Context
from time import monotonic
from typing import Any
from uuid import UUID

import structlog

from shared.auth.authenticator import Authenticator
from shared.auth.caller import Call, Caller, User
from shared.database.pool import Record
from shared.database.transaction import Database
from shared.errors import Refusal
from task_service.claims import queries
from task_service.claims.claim import Claim, Worker
from task_service.claims.ready import Ready
from task_service.events.pulse import News, Pulse, release
from task_service.events.waiting import RETRY_SECONDS, Check

log = structlog.get_logger()

# The log does not tell if a task is left that another call had locked: it is looked for so often.
CALM_SECONDS = 5.0
# Looks are so far apart, or longer: they take a part of the time, however long they take.
LOOK_SECONDS = 0.02
PAUSE_PER_LOOK = 4
# Who has the baton for longer, because its turn does not come, is not waited for by others.
BATON_SECONDS = 0.5
# Calls that are compared with what is ready before others have a turn.
AT_ONCE = 100

Baton = asyncio.Future[None]


class Waiter:
    """A call that waits for tasks."""

    def __init__(self, call: Call, claim: Claim) -> None:
        assert call.caller is not None, "the interceptor has refused all others"
        self.call, self.claim = call, claim
        self.caller: Caller = call.caller
        self.worker: Worker | None = None
        """As its last claim has found it."""
        self.has_nothing = False
        """Whether it has claimed nothing with the baton although the agent could hold more."""
        self._is_woken = asyncio.Event()
        self._handed: Baton | None = None
        self._held: Baton | None = None

    @property
    def standing(self) -> tuple[UUID, UUID | None]:
        """The agent, and the user, if any, whose role counts."""
        return self.claim.agent_id, self.caller.id if isinstance(self.caller, User) else None

    def begin(self) -> None:
        """It claims: what wakes it from now on is about what this may not see."""
        self._is_woken.clear()
        self._held, self._handed = self._handed, None

    def has_found_nothing(self, worker: Worker) -> None:
        """It has claimed nothing, and gives the baton back, if it has it."""
        self.worker = worker
        self.has_nothing = self._held is not None and worker.free > 0
        self._give_back()

    def hand(self, baton: Baton) -> None:
        """Let it claim. It gives the baton back when it has, by a claim that begins from now on."""
        self.has_nothing, self._handed = False, baton
        self.wake()

    def leave(self) -> None:
        """It waits no more."""
        self.has_nothing = False
        self._give_back()
        self._held = self._handed
        self._give_back()

    def wake(self) -> None:
        """Let it claim again, for no one else's sake."""
        self._is_woken.set()

    async def woken(self, seconds: float) -> bool:
        """Whether it is to claim again, once that is so, or these seconds have passed."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._is_woken.wait()
        return self._is_woken.is_set()

    def notice(self, found: Record | None) -> None:
        """Wake it if this, found by CLAIMING, is not how the last claim has found it."""
        worker = self.worker
        if worker and (found is None or not self._is_as_before(found, worker)):
            self.wake()

    def _is_as_before(self, found: Record, worker: Worker) -> bool:
        is_permitted = (
            not isinstance(self.caller, User)
            or self.caller.is_superuser
            or found["found_role"] in queries.CLAIM_ROLES
        )
        return bool(found["is_ready"] and is_permitted and found["revision"] == worker.revision)

    def _give_back(self) -> None:
        if self._held is not None:
            release(self._held)
        self._held = None


class Queue:
    """The calls that wait for tasks of a project, those that came first at first."""

    def __init__(self, project_id: UUID, news: News, database: Database) -> None:
        self.waiters: dict[Waiter, None] = {}
        self._project_id = project_id
        self._news = news
        self._database = database
        self._task: asyncio.Task[None] | None = None
        # What the latest look was for, and the wait for the next one.
        self._sought: set[tuple[UUID, ...]] = set()
        self._pause: asyncio.Task[int] | None = None

    def begin(self, waiter: Waiter) -> None:
        """A call parks: from now on it is told, beginning with what is there now."""
        if self._task is None:
            # Not the call's context: it is no part of the call that begins it.
            self._task = asyncio.create_task(self._follow(), context=Context())
        elif self._pause and _sought(waiter.claim) not in self._sought:
            self._pause.cancel()

    def end(self) -> None:
        """No call is left."""
        for task in (self._task, self._pause):
            if task:
                task.cancel()

    async def _follow(self) -> None:
        while True:
            known, began = self._news.last, monotonic()
            try:
                ready = await self._look()
                pause = max(LOOK_SECONDS, PAUSE_PER_LOOK * (monotonic() - began))
                await self._hand_out(ready)
            except Refusal:
                await asyncio.sleep(RETRY_SECONDS)
            except Exception as error:
                log.error("fault", exc_info=error)
                await asyncio.sleep(RETRY_SECONDS)
            else:
                await asyncio.sleep(max(0.0, began + pause - monotonic()))
                await self._wait(known, min(CALM_SECONDS, ready.soonest))

    async def _wait(self, known: int, seconds: float) -> None:
        """Until there is news, these seconds have passed, or a call waits for something else."""
        if not {_sought(waiter.claim) for waiter in self.waiters} <= self._sought:
            return
        self._pause = asyncio.create_task(self._news.wait(known, seconds))
        await asyncio.wait([self._pause])
        self._pause = None

    async def _look(self) -> Ready:
        claims = [waiter.claim for waiter in self.waiters]
        self._sought = set(map(_sought, claims))
        parameters: dict[str, Any] = {
            "project_id": self._project_id,
            "agent_ids": list({claim.agent_id for claim in claims if not claim.task_ids}),
            "task_ids": list({each for claim in claims for each in claim.task_ids}),
        }
        return Ready(await self._database.read(lambda c: queries.CLAIMABLE.rows(c, **parameters)))

    async def _hand_out(self, ready: Ready) -> None:
        """Let them claim one after the other, each at most once, as long as there is something."""
        full: set[UUID] = set()
        for number, waiter in enumerate(tuple(self.waiters)):
            if not ready:
                break
            if number % AT_ONCE == AT_ONCE - 1:
                await asyncio.sleep(0)
            if waiter.claim.agent_id in full or not ready.concerns(waiter.claim, waiter.worker):
                continue
            if waiter in self.waiters:
                await self._pass_to(waiter)
                if waiter.has_nothing:
                    ready.is_not_for(waiter.claim, waiter.worker)
                elif waiter in self.waiters and waiter.worker and not waiter.worker.free:
                    full.add(waiter.claim.agent_id)

    async def _pass_to(self, waiter: Waiter) -> None:
        baton = asyncio.get_running_loop().create_future()
        waiter.hand(baton)
        with suppress(TimeoutError):
            async with asyncio.timeout(BATON_SECONDS):
                await baton


def _sought(claim: Claim) -> tuple[UUID, ...]:
    """What a look is for, if it is for this claim."""
    return (claim.agent_id, *claim.task_ids)


class Queues:
    """All calls of this process that wait for tasks to claim."""

    def __init__(self, database: Database, pulse: Pulse, authenticator: Authenticator) -> None:
        self._database = database
        self._pulse = pulse
        self._queues: dict[UUID, Queue] = {}
        self._check = Check(authenticator, self._all, self._notice)

    @contextmanager
    def join(self, waiter: Waiter) -> Iterator[Queue]:
        """Let the call be in the queue of its project within the block."""
        project_id = waiter.claim.project_id
        with self._pulse.subscribed(project_id) as news:
            queue = self._queues.get(project_id)
            if queue is None:
                queue = self._queues[project_id] = Queue(project_id, news, self._database)
            queue.waiters[waiter] = None
            self._check.begin()
            try:
                yield queue
            finally:
                del queue.waiters[waiter]
                waiter.leave()
                if not queue.waiters:
                    queue.end()
                    del self._queues[project_id]
                if not self._queues:
                    self._check.end()

    def _all(self) -> list[Waiter]:
        return [waiter for queue in self._queues.values() for waiter in queue.waiters]

    async def _notice(self, waiters: list[Waiter]) -> None:
        """Wake those of whom something has changed. Raises Refusal(DATABASE_UNAVAILABLE)."""
        agent_ids, user_ids = map(list, zip(*{w.standing for w in waiters}, strict=True))
        rows = await self._database.read(
            lambda c: queries.CLAIMING.rows(c, agent_ids=agent_ids, user_ids=user_ids)
        )
        found = {(row["agent_id"], row["user_id"]): row for row in rows}
        for waiter in waiters:
            waiter.notice(found.get(waiter.standing))
