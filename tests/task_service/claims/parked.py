"""Calls of ClaimTasks that wait, on a task service of one's own."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import pytest

from shared.database.transaction import Database
from tandem.agent.v1.project_service_pb2 import Project
from tandem.task.v1.task_service_pb2 import ASSIGNEE_TYPE_USER, ClaimedTask, Task
from task_service import __main__ as main
from task_service.claims import rules, waiting
from task_service.claims.ready import Ready
from task_service.claims.waiting import Queue, Queues
from task_service.events import waiting as checks
from tests.task_service.events.waits import Waits, opened
from tests.task_service.team import Team, Worker
from tests.waiting import SECONDS, until
from tests.world import Client, World

Call: TypeAlias = "asyncio.Task[list[ClaimedTask]]"


class Here:
    """The task service, what was claimed on it by which agents, and how often it has looked."""

    def __init__(self, world: World, team: Team) -> None:
        self.world, self.team = world, team
        self.service: Waits
        self.queues: Queues
        self.claims: list[tuple[str, int]] = []
        self.rounds = 0

    @property
    def owner(self) -> Client:
        return self.service.client(self.team.owner)

    def claim(
        self, worker: Worker, seconds: int = 60, **fields: Any
    ) -> Coroutine[Any, Any, list[ClaimedTask]]:
        """A call that waits."""
        calling = Worker(worker.agent, self.service.client(worker.client))
        return calling.claim(**{"deadline": 90.0, "wait": {"seconds": seconds}, **fields})

    async def waiting(self, *calls: Coroutine[Any, Any, list[ClaimedTask]]) -> list[Call]:
        """These calls, which are parked. What they have claimed until then is not counted."""
        begun: Any = await self.service.begun(*calls)  # type: ignore[arg-type]
        await self.looked()
        self.claims.clear()
        found: list[Call] = begun
        return found

    async def task(self, project: Project | None = None, **fields: Any) -> Task:
        """A new task, by a call of this process."""
        return await self.owner.task(project or self.team.project, **fields)

    async def looked(self) -> None:
        """Return when it has looked at all that has happened: at the second of two looks."""
        for _ in range(2):
            rounds = self.rounds
            await self.task(
                assigned_to=str(self.team.owner.id), assigned_to_type=ASSIGNEE_TYPE_USER
            )
            await until(lambda n=rounds: self.rounds > n)  # type: ignore[misc]


async def told(call: Call) -> list[ClaimedTask]:
    """The answer, which has to come before the time of the wait is over."""
    return await asyncio.wait_for(call, SECONDS / 2)


@asynccontextmanager
async def serving(
    world: World, team: Team, patch: pytest.MonkeyPatch, database: Database | None = None
) -> AsyncIterator[Here]:
    """A task service that notices only what the log tells."""
    here = Here(world, team)
    attempt, hand_out = rules._attempt, Queue._hand_out

    def queues(*given: Any) -> Queues:
        here.queues = Queues(*given)
        return here.queues

    async def counted(*arguments: Any) -> Any:
        found = await attempt(*arguments)
        here.claims.append((str(arguments[-1].agent_id), len(found.rows)))
        return found

    async def ended(self: Queue, ready: Ready) -> None:
        await hand_out(self, ready)
        here.rounds += 1

    patch.setattr(rules, "_attempt", counted)
    patch.setattr(Queue, "_hand_out", ended)
    patch.setattr(main, "Queues", queues)
    patch.setattr(waiting, "CALM_SECONDS", 3600.0)
    patch.setattr(checks, "CHECK_SECONDS", 3600.0)
    async with opened(world, database) as here.service:
        yield here
