"""A task that waits is woken, whatever meets the move of what it waits for.

Calls are stopped when they have done everything but to write to the log, whose head they lock last.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import asyncpg

from tandem.agent.v1.project_service_pb2 import Project
from tandem.task.v1.task_service_pb2 import Task
from tests.locks import WAITING
from tests.task_service.dependents.waits import moved, state, waiting
from tests.task_service.tasks.test_edges import add, remove
from tests.waiting import until
from tests.world import World

PENDING = ("PENDING", "", 0)


@asynccontextmanager
async def log_held(world: World, project: Project) -> AsyncIterator[None]:
    """The head of the log of a project is locked until the end of the block."""
    connection = await asyncpg.connect(world.url)
    try:
        async with connection.transaction():
            head = "SELECT FROM event_heads WHERE project_id = $1 FOR UPDATE"
            await connection.execute(head, UUID(project.id))
            yield
    finally:
        await connection.close()


async def stopped(world: World, number: int, call: Awaitable[Any]) -> "asyncio.Future[Any]":
    """A call, when it is one of `number` that wait for a lock."""
    future = asyncio.ensure_future(call)

    async def waits() -> bool:
        return bool(await world.value(WAITING) == number)

    await until(waits)
    return future


async def three(world: World) -> tuple[Any, Project, Task, Task]:
    alice = await world.user()
    project = await alice.project()
    one, two = await alice.task(project), await alice.task(project)
    await moved(alice, one, "in_progress")
    await moved(alice, two, "in_progress")
    return alice, project, one, two


async def test_who_completes_a_task_sees_one_that_was_created_upon_it_meanwhile(
    world: World,
) -> None:
    alice, project, first, _ = await three(world)
    async with log_held(world, project):
        created = await stopped(world, 1, waiting(alice, project, first))
        completes = await stopped(world, 2, moved(alice, first, "completed"))
    await completes
    assert await state(alice, await created) == PENDING


async def test_who_completes_a_task_sees_one_that_began_to_wait_for_it_meanwhile(
    world: World,
) -> None:
    alice, project, first, _ = await three(world)
    task = await waiting(alice, project)
    async with log_held(world, project):
        added = await stopped(world, 1, add(alice, task, first))
        completes = await stopped(world, 2, moved(alice, first, "completed"))
    await added
    await completes
    assert await state(alice, task) == PENDING


async def test_a_task_that_is_created_waits_for_the_end_of_a_move(world: World) -> None:
    alice, project, first, _ = await three(world)
    async with log_held(world, project):
        completes = await stopped(world, 1, moved(alice, first, "completed"))
        created = await stopped(world, 2, waiting(alice, project, first))
    await completes
    assert await state(alice, await created) == PENDING


async def test_two_that_are_completed_at_once_both_count(world: World) -> None:
    alice, project, one, two = await three(world)
    task = await waiting(alice, project, one, two)
    async with log_held(world, project):
        completes = await stopped(world, 1, moved(alice, one, "completed"))
        too = await stopped(world, 2, moved(alice, two, "completed"))
    await asyncio.gather(completes, too)
    assert await state(alice, task) == PENDING


async def test_two_that_are_retried_at_once_are_both_seen(world: World) -> None:
    alice, project, one, two = await three(world)
    task = await waiting(alice, project, one, two)
    await moved(alice, one, "failed")
    await moved(alice, two, "failed")
    async with log_held(world, project):
        retried = await stopped(world, 1, moved(alice, one, "pending"))
        too = await stopped(world, 2, moved(alice, two, "pending"))
    await asyncio.gather(retried, too)
    assert await state(alice, task) == ("BLOCKED", "DEPENDENCIES", 2)


async def test_a_dependency_that_is_removed_meanwhile_does_not_count(world: World) -> None:
    alice, project, one, two = await three(world)
    task = await waiting(alice, project, one, two)
    async with log_held(world, project):
        removed = await stopped(world, 1, remove(alice, task, one))
        completes = await stopped(world, 2, moved(alice, one, "completed"))
    await asyncio.gather(removed, completes)
    assert await state(alice, task) == ("BLOCKED", "DEPENDENCIES", 1)
