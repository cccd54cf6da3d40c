"""The recipe for effects exactly once, as the example is: a program that is killed at any point.

It writes to another database of the same PostgreSQL, through a wire that is cut now and then.
TANDEM_TEST_KILLS says how often it is killed.
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from examples.exactly_once import BEGIN, TABLES
from examples.exactly_once import Consumer as Example
from tandem.agent.v1.project_service_pb2 import Project
from tandem.event.v1.event_service_pb2 import Event, Resource
from tandem.task.v1.task_service_pb2 import (
    DeleteTaskRequest,
    Task,
    UpdateTaskRequest,
)
from tandem_client import Batch, SnapshotComplete
from tests.client.wire import Wire
from tests.databases import execute, fresh
from tests.events.estate import CHANCE
from tests.events.log import compact
from tests.locks import CUT_OFF, WAITING, under_way
from tests.waiting import until
from tests.world import User, World

EXAMPLE = Path(__file__).parents[2] / "clients" / "python" / "examples" / "exactly_once.py"
KILLS = int(os.environ.get("TANDEM_TEST_KILLS", "5"))
EVENTS = "SELECT last FROM event_heads WHERE project_id = $1"
# Consumers that have had a bookmark from their watch, and wait for what comes.
IN_PLACE = """
SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'COMMIT%'
"""
TASKS = "SELECT id, revision, title, status FROM tasks ORDER BY id"
COPIES = "SELECT id, revision, title, status FROM copies ORDER BY id"


@pytest.fixture
def other_database(postgres_url: str) -> Iterator[str]:
    """The database of the consumer, in which there is nothing."""
    with fresh(postgres_url) as url:
        yield url


@pytest.mark.long
async def test_every_event_has_its_effect_once_however_often_the_consumer_is_killed(
    world: World, other_database: str
) -> None:
    alice = await world.user()
    project = await alice.project()
    writing = asyncio.create_task(write(alice, project))
    async with Wire.before(world.settings.task_address) as wire:
        consumer = Consumer(other_database, alice, project, wire.address)
        for number in range(KILLS):
            async with consumer.running():
                seen = len(await consumer.notes())
                await until(partial(consumer.has_noted, seen + CHANCE.randint(1, 20)))
                if number % 2:
                    wire.cut()
                await compact(world.owner, project.id, len(await consumer.notes()) - 3)
                await asyncio.sleep(CHANCE.uniform(0.0, 0.1))
        writing.cancel()
        await asyncio.wait([writing])
        last = await world.value(EVENTS, UUID(project.id))
        async with consumer.running():
            await until(lambda: consumer.has_noted(last))
    assert await consumer.notes() == list(range(1, last + 1))
    assert await consumer.agrees_with(world)()


@pytest.mark.parametrize("table", ["bookmarks", "notes", "copies"])
async def test_a_kill_between_number_and_effect_leaves_neither(
    world: World, other_database: str, table: str
) -> None:
    alice = await world.user()
    project = await alice.project()
    consumer = Consumer(other_database, alice, project, world.settings.task_address)
    async with consumer.running() as process:
        await until(lambda: consumer.has_noted(1))
        lock = f"LOCK TABLE {table} IN EXCLUSIVE MODE"
        async with under_way(other_database, lock) as blocked:
            await alice.task(project)
            await blocked.wait()
            process.kill()
            await process.wait()
            await execute(other_database, CUT_OFF)
    async with consumer.running():
        await alice.task(project)
        await until(lambda: consumer.has_noted(3))
    assert await consumer.notes() == [1, 2, 3]
    assert await consumer.agrees_with(world)()


async def test_events_that_are_lost_are_made_up_for_by_a_snapshot(
    world: World, other_database: str
) -> None:
    alice = await world.user()
    project = await alice.project()
    tasks = [await alice.task(project, title=f"Task {number}") for number in range(5)]
    consumer = Consumer(other_database, alice, project, world.settings.task_address)
    async with consumer.running():
        await until(lambda: consumer.has_noted(6))
    await alice.tasks.DeleteTask(DeleteTaskRequest(task_id=tasks[0].id))
    await alice.task(project, title="Made while nobody watched")
    await compact(world.owner, project.id, 8)
    async with consumer.running():
        await until(consumer.agrees_with(world))
        await alice.task(project, title="Made after the snapshot")
        await until(lambda: consumer.has_noted(7))
    assert await consumer.notes() == [1, 2, 3, 4, 5, 6, 9]
    assert await consumer.agrees_with(world)()


async def test_two_consumers_of_one_bookmark_have_no_effect_twice(
    world: World, other_database: str
) -> None:
    alice = await world.user()
    project = await alice.project()
    consumer = Consumer(other_database, alice, project, world.settings.task_address)
    async with consumer.running() as one:
        await until(lambda: consumer.has_noted(1))
        async with consumer.running() as other:
            await until(partial(consumer.counts, 2, IN_PLACE))
            async with under_way(other_database, "LOCK TABLE bookmarks IN EXCLUSIVE MODE"):
                await alice.task(project)
                await until(partial(consumer.counts, 2, WAITING))
            await until(lambda: ended(one, other))
            await alice.task(project)
            await until(lambda: consumer.has_noted(3))
    assert await consumer.notes() == [1, 2, 3]


async def test_a_snapshot_that_is_newer_than_an_event_stays(other_database: str) -> None:
    connection = await asyncpg.connect(other_database)
    try:
        await connection.execute(TABLES)
        consumer = Example(connection, str(uuid4()))
        await connection.execute(BEGIN, consumer.project_id)
        task = Task(id=str(uuid4()), title="new", revision=3)
        newer = [Resource(task=task)]
        await consumer.replace(newer, SnapshotComplete(7, log_id := str(uuid4())))
        for revision, title in ((2, "old"), (3, "the same"), (4, "newest")):
            after = Resource(task=Task(id=task.id, title=title, revision=revision))
            event = Event(sequence=6 + revision, revision=revision, after=after)
            await consumer.apply(Batch((event,), event.sequence, log_id))
            copy = await connection.fetchrow("SELECT revision, title FROM copies")
            assert copy
            assert tuple(copy) == ((3, "new") if revision < 4 else (4, "newest"))
    finally:
        await connection.close()


def ended(*processes: asyncio.subprocess.Process) -> bool:
    """Whether one of them has ended by itself."""
    return any(process.returncode is not None for process in processes)


class Consumer:
    """The example, as a process that is killed at the end of a block."""

    def __init__(self, url: str, user: User, project: Project, address: str) -> None:
        assert user.token
        self._url = url
        self._environment = {
            **os.environ,
            "DATABASE_URL": url,
            "PROJECT_ID": project.id,
            "TOKEN": user.token,
            "TANDEM_TASK_ADDRESS": address,
        }

    @asynccontextmanager
    async def running(self) -> AsyncIterator[asyncio.subprocess.Process]:
        process = await asyncio.create_subprocess_exec(
            sys.executable, EXAMPLE, env=self._environment, stderr=asyncio.subprocess.DEVNULL
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()

    async def counts(self, count: int, statement: str) -> bool:
        """Whether a statement counts so many."""
        return bool((await self._ask(statement))[0][0] == count)

    async def has_noted(self, count: int) -> bool:
        return len(await self.notes()) >= count

    async def notes(self) -> list[int]:
        """The numbers of the events whose effects there are."""
        try:
            return [row["sequence"] for row in await self._ask("SELECT sequence FROM notes")]
        except asyncpg.UndefinedTableError:
            return []

    async def copies(self) -> list[Any]:
        rows = await self._ask(COPIES)
        return [(*row[:3], row["status"].removeprefix("TASK_STATUS_").lower()) for row in rows]

    async def _ask(self, statement: str) -> list[Any]:
        connection = await asyncpg.connect(self._url)
        try:
            found: list[Any] = await connection.fetch(statement)
            return found
        finally:
            await connection.close()

    def agrees_with(self, world: World) -> Callable[[], Awaitable[bool]]:
        """Whether the copies are what the tasks are."""

        async def agrees() -> bool:
            tasks = await world.owner.read(lambda connection: connection.fetch(TASKS))
            return await self.copies() == [tuple(row) for row in tasks]

        return agrees


async def write(user: User, project: Project) -> None:
    """Create, change and delete tasks for as long as the task runs."""
    tasks: list[str] = []
    while True:
        tasks.append((await user.task(project)).id)
        task = Task(id=CHANCE.choice(tasks), title=f"Task {CHANCE.random()}")
        request = UpdateTaskRequest(task=task, update_mask=FieldMask(paths=["title"]))
        await user.tasks.UpdateTask(request)
        if len(tasks) > 5:
            gone = tasks.pop(CHANCE.randrange(len(tasks)))
            await user.tasks.DeleteTask(DeleteTaskRequest(task_id=gone))
        await asyncio.sleep(0.02)
