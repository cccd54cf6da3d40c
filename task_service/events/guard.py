"""Ends watches whose caller may read no longer.

One task looks after all watches of the process, by one statement for all users and one for all
agents, and by the ends of their tokens. A client that reads nothing is found as well.
"""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import Context
from dataclasses import dataclass, field
from time import monotonic
from typing import Any
from uuid import UUID

import structlog

from shared.auth.caller import Agent, Call, Caller
from shared.auth.verifier import Claims, Verifier
from shared.database.pool import Record
from shared.database.transaction import Database, unavailable
from shared.errors import Reason, Refusal
from shared.grpc_server.watches import Watch
from task_service.events import queries, standing
from task_service.events.assembly import Entry
from task_service.events.pulse import release
from task_service.events.standing import Standing

log = structlog.get_logger()

CHECK_SECONDS = 1.0
# Nothing is sent on a check that is older.
FRESH_SECONDS = 2.0
# Within so long a client has to take the events up to the deletion of the project.
LAST_WORD_SECONDS = 1.0
# Between two checks that events have made urgent.
HURRY_SECONDS = 0.2
# A watch waits so long for the database to come back.
OUTAGE_SECONDS = 60.0
# What may end the rights of a caller.
URGENT = frozenset(
    {
        "project.transferred",
        "project.deleted",
        "member.updated",
        "member.removed",
        "key.rotated",
        "key.revoked",
        "agent.updated",
        "agent.deleted",
        "user.updated",
        "user.deleted",
    }
)


@dataclass(eq=False)
class Watcher:
    """A watch, and what was found about its caller when."""

    call: Call
    project_id: UUID
    watch: Watch
    standing: Standing
    checked: float = field(default_factory=monotonic)
    last_word_by: float | None = None
    _waiter: "asyncio.Future[None] | None" = None

    @property
    def caller(self) -> Caller:
        assert self.call.caller
        return self.call.caller

    async def pause(self, waiting: "set[asyncio.Future[None]]", seconds: float) -> None:
        """Wait, among those who are `waiting`, until woken, or so long."""
        loop = asyncio.get_running_loop()
        self._waiter = waiter = loop.create_future()
        waiting.add(waiter)
        timer = loop.call_later(seconds, release, waiter)
        try:
            await waiter
        finally:
            timer.cancel()
            waiting.discard(waiter)

    def wake(self) -> None:
        """End a pause."""
        if self._waiter:
            release(self._waiter)


class Guard:
    """Looks after the watches of a process."""

    def __init__(self, database: Database, verifier: Verifier) -> None:
        self._database = database
        self._verifier = verifier
        self._watchers: set[Watcher] = set()
        self._task: asyncio.Task[None] | None = None
        self._is_urgent = asyncio.Event()
        self._checked: asyncio.Future[None] | None = None

    def __len__(self) -> int:
        return len(self._watchers)

    def notice(self, event: Entry) -> None:
        """An event of a log that is watched: check at once if it may end the rights of a caller."""
        if event.facts.type in URGENT:
            self._is_urgent.set()

    async def admit(self, caller: Caller, project_id: UUID) -> Standing:
        """What the caller of a new watch may read. Raises a Refusal as `sight`."""
        row = await self._database.read(
            lambda c: queries.LOG.row(c, caller.rights, project_id=project_id)
        )
        return standing.begin(caller, project_id, row)

    @contextmanager
    def watching(self, watcher: Watcher) -> Iterator[None]:
        """Look after a watch."""
        self._watchers.add(watcher)
        if self._task is None or self._task.done():
            # Not the call's context: it is no part of the call that begins it.
            self._task = asyncio.create_task(self._run(), context=Context())
        try:
            yield
        finally:
            self._watchers.discard(watcher)

    async def fresh(self, watcher: Watcher) -> None:
        """Wait until the watch was checked lately."""
        while monotonic() - watcher.checked > FRESH_SECONDS:
            if self._checked is None or self._checked.done():
                self._checked = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._checked)

    async def close(self) -> None:
        """Check no more."""
        if self._task:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        while self._watchers:
            await self._check()
            if self._checked and not self._checked.done():
                self._checked.set_result(None)
            await asyncio.sleep(HURRY_SECONDS)
            with suppress(TimeoutError):
                async with asyncio.timeout(CHECK_SECONDS - HURRY_SECONDS):
                    await self._is_urgent.wait()
            self._is_urgent.clear()

    async def _check(self) -> None:
        try:
            asked = monotonic()
            proven = await self._proven()
            found = await self._ask(
                [(claims, w.caller, w.project_id) for w, claims in proven.items()]
            )
            for watcher, row in zip(proven, found, strict=True):
                self._judge(watcher, row, asked)
        except Refusal as refusal:
            self._end_what_waits_too_long(refusal)
        except Exception as error:
            log.error("fault", exc_info=error)
            self._end_what_waits_too_long(unavailable())

    def _end_what_waits_too_long(self, refusal: Refusal) -> None:
        for watcher in tuple(self._watchers):
            if monotonic() - watcher.checked > OUTAGE_SECONDS:
                watcher.watch.cut(refusal)

    async def _proven(self) -> dict[Watcher, Claims]:
        """The watches whose tokens are valid; the others are ended."""
        proven = {}
        for watcher in tuple(self._watchers):
            try:
                proven[watcher] = await self._verifier.verify(watcher.call.token)
            except Refusal as refusal:
                if refusal.reason is not Reason.ISSUER_UNAVAILABLE:
                    watcher.watch.cut(refusal)
        return proven

    def _judge(self, watcher: Watcher, row: Record, asked: float) -> None:
        if watcher not in self._watchers:
            return
        caller, project_id, was = watcher.caller, watcher.project_id, watcher.standing
        if standing.saw_the_end(was, caller, project_id, row):
            watcher.standing = standing.at_the_end(was, row)
            watcher.last_word_by = asked + LAST_WORD_SECONDS
            watcher.wake()
        if watcher.last_word_by:
            if watcher.last_word_by < monotonic():
                watcher.watch.cut(standing.gone(project_id))
            watcher.checked = asked
            return
        try:
            now = standing.go_on(caller, project_id, row)
        except Refusal as refusal:
            watcher.watch.cut(refusal)
            return
        watcher.standing, watcher.checked = now, asked
        if now.sight != was.sight:
            watcher.watch.end()  # to be opened again, with other rights

    async def _ask(self, asked: Sequence[tuple[Claims, Caller, UUID]]) -> list[Record]:
        """What is known of callers and projects, in this order."""
        keys = [_key(claims, caller, project_id) for claims, caller, project_id in asked]
        users = list(dict.fromkeys(k for k in keys if isinstance(k, _UserKey)))
        agents = list(dict.fromkeys(k for k in keys if isinstance(k, _AgentKey)))
        found: dict[Any, Record] = {}
        if users:
            found |= zip(users, await self._rows(queries.USERS_STANDING, users), strict=True)
        if agents:
            found |= zip(agents, await self._rows(queries.AGENTS_STANDING, agents), strict=True)
        return [found[key] for key in keys]

    async def _rows(self, statement: Any, keys: Sequence[Any]) -> list[Record]:
        names = keys[0].__slots__
        columns = {f"{name}s": [getattr(key, name) for key in keys] for name in names}
        return await self._database.read(lambda c: statement.rows(c, **columns))


@dataclass(frozen=True, slots=True)
class _UserKey:
    project_id: UUID
    user_id: UUID
    issuer: str | None
    subject: str | None


@dataclass(frozen=True, slots=True)
class _AgentKey:
    project_id: UUID
    agent_id: UUID
    api_key_id: UUID | None


def _key(claims: Claims, caller: Caller, project_id: UUID) -> _UserKey | _AgentKey:
    if isinstance(caller, Agent):
        return _AgentKey(project_id, caller.id, claims.api_key_id)
    profile = claims.profile
    issuer, subject = (profile.issuer, profile.subject) if profile else (None, None)
    return _UserKey(project_id, caller.id, issuer, subject)
