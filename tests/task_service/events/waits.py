"""Waits for tasks, on a task service of one's own, and changes of tasks that are in the log."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from shared.database.pool import Connection
from shared.database.transaction import Database
from shared.grpc_server.server import Server
from tandem.task.v1.task_service_pb2 import Task, WaitTaskRequest
from task_service import __main__ as main
from task_service.events.waiting import Waiters
from tests.event_log import append
from tests.waiting import SECONDS, until
from tests.world import Channels, Client, World, running

CHANGE = """
UPDATE tasks SET status = $2, revision = revision + 1, updated_at = now() WHERE id = $1
RETURNING project_id
"""


async def wait(client: Client, task: Task, seconds: int = 60, **fields: Any) -> Task:
    request: Any = WaitTaskRequest(task_id=task.id, **fields)
    request.timeout.seconds = seconds
    answer: Task = await client.tasks.WaitTask(request, timeout=90.0)
    return answer


async def told(call: Awaitable[Task]) -> Task:
    """The answer, which has to come before the time of the wait is over."""
    return await asyncio.wait_for(call, SECONDS / 2)


async def change(world: World, task: Task, status: str = "in_progress") -> None:
    """Change a task, in another process: this one is not told."""

    async def unit_of_work(connection: Connection) -> None:
        project_id = await connection.fetchval(CHANGE, UUID(task.id), status)
        await append(connection, project_id, resource_id=UUID(task.id))

    await world.owner.transaction(unit_of_work)


class Waits:
    """The server."""

    def __init__(self, server: Server, waiters: Waiters, channels: Channels) -> None:
        self._parking = server._interceptor._parking
        self._channels = channels
        self.server = server
        self.waiters = waiters

    def client(self, client: Client) -> Client:
        return Client(self._channels, client.token)

    async def begun(self, *calls: Coroutine[Any, Any, Task]) -> "list[asyncio.Task[Task]]":
        """These calls, which are parked; one after the other, or some would be refused."""
        begun = []
        for call in calls:
            before = len(self._parking)
            begun.append(task := asyncio.create_task(call))
            await until(lambda n=before, t=task: len(self._parking) > n or t.done())  # type: ignore[misc]
            assert not task.done()
        await until(lambda: len(self._parking._parked) == len(self._parking))
        return begun

    async def gone(self) -> None:
        """Return when no call is parked."""
        await until(lambda: not self._parking._parked and not len(self._parking))


@asynccontextmanager
async def opened(world: World, database: Database | None = None) -> AsyncIterator[Waits]:
    """A task service of its own, so that what a test changes in it is no other test's."""
    settings = replace(world.settings, pool_size=1)
    with pytest.MonkeyPatch.context() as patch:
        made: list[Waiters] = []

        def waiters(*given: Any) -> Waiters:
            made.append(Waiters(*given))
            return made[0]

        patch.setattr(main, "Waiters", waiters)
        server = main.build(database or world.database, settings)
    async with running(server) as (channel, _):
        yield Waits(server, made[0], Channels(world.channels.agents, channel))
