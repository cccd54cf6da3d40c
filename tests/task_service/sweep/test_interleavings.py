"""The sweep against what happens at the same time, step by step."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from shared.database.pool import Connection, Record
from shared.errors import Reason
from shared.events.recording import SYSTEM, Change
from tandem.task.v1.task_service_pb2 import (
    ATTEMPT_OUTCOME_EXPIRED,
    CompleteTaskRequest,
    Heartbeat,
    HeartbeatTasksRequest,
)
from task_service.sweep.queries import CANCEL_HELD, EXPIRE, EXPIRED, GO_OFFLINE
from tests.locks import WAITING, under_way
from tests.refusals import refused
from tests.task_service.sweep.swept import checked, events_of, expire, outcomes, state, swept
from tests.task_service.sweep.test_due import SEEN
from tests.task_service.team import Team, Worker
from tests.waiting import until
from tests.world import World

# As a heartbeat renews a lease.
RENEW = "UPDATE task_leases SET expires_at = now() + interval '1 minute' WHERE task_id = $1"


async def expired(team: Team, world: World) -> tuple[Worker, str]:
    """An agent that has held a task for longer than it may."""
    task = await team.owner.task(team.project)
    worker = await team.worker()
    assert await worker.claim()
    await expire(world, task.id)
    return worker, task.id


async def act(world: World, change: Change, project_id: str, *ids: str) -> list[Record]:
    """What the sweep does when it has found these."""
    of: dict[str, Any] = {"project_id": UUID(project_id), "ids": [UUID(each) for each in ids]}
    return await world.database.single(partial(change.alone.rows, offered=SYSTEM, **of))


async def act_in_turn(url: str, change: Change, project_id: str, *ids: str) -> list[Record]:
    """The same, if it waited for what others have locked."""
    sql = change.alone.sql.replace("SKIP LOCKED", "")
    of = {"project_id": UUID(project_id), "ids": [UUID(each) for each in ids]}
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetch(sql, *change.alone.arguments(SYSTEM, of))
    finally:
        await connection.close()


async def test_a_heartbeat_between_the_look_and_the_act_counts(team: Team, world: World) -> None:
    _, task_id = await expired(team, world)
    found = await world.database.read(EXPIRED.rows)
    assert [str(row["id"]) for row in found] == [task_id]
    await world.execute(RENEW, UUID(task_id))
    assert await act(world, EXPIRE.alone, team.project.id, task_id) == []
    assert (await state(team, task_id))[1] == "IN_PROGRESS"
    await checked(world, team)


@pytest.mark.parametrize("how", [act, act_in_turn])
async def test_a_heartbeat_that_is_under_way_counts(team: Team, world: World, how: Any) -> None:
    _, task_id = await expired(team, world)
    of = world if how is act else world.url
    async with under_way(world.url, RENEW, UUID(task_id)) as blocked:
        swept = asyncio.create_task(how(of, EXPIRE.alone, team.project.id, task_id))
        await (blocked.wait() if how is act_in_turn else swept)
    assert await swept == []
    assert (await state(team, task_id))[1] == "IN_PROGRESS"
    await checked(world, team)


@pytest.mark.parametrize("how", [act, act_in_turn])
async def test_a_task_that_is_changed_meanwhile_is_swept_later(
    team: Team, world: World, how: Any
) -> None:
    _, task_id = await expired(team, world)
    of = world if how is act else world.url
    lock = "SELECT FROM tasks WHERE id = $1 FOR NO KEY UPDATE"
    async with under_way(world.url, lock, UUID(task_id)) as blocked:
        swept_then = asyncio.create_task(how(of, EXPIRE.alone, team.project.id, task_id))
        await (blocked.wait() if how is act_in_turn else swept_then)
    await swept_then
    await swept(world, team)
    assert (await state(team, task_id))[1] == "PENDING"
    assert await outcomes(world, task_id) == ["expired"]
    assert (await events_of(world, task_id)).count("task.lease_expired system") == 1


@pytest.mark.parametrize("number", [1, 2])
async def test_a_task_is_completed_or_swept(team: Team, world: World, number: int) -> None:
    """The call and the statement meet at the head of the log, in either order."""
    worker, task_id = await expired(team, world)
    request = CompleteTaskRequest(task_id=task_id, fencing_token=1)
    async with log_held(world, team) as blocked:
        if number == 1:
            first = asyncio.ensure_future(worker.client.tasks.CompleteTask(request))
            await blocked.wait()
            assert await act(world, EXPIRE.alone, team.project.id, task_id) == []
        else:
            first = asyncio.ensure_future(act(world, EXPIRE.alone, team.project.id, task_id))
            await blocked.wait()
            second = asyncio.ensure_future(worker.client.tasks.CompleteTask(request))
    await first
    if number == 2:
        await refused(second, Reason.LEASE_LOST)
    wanted = ("COMPLETED", ["completed"]) if number == 1 else ("PENDING", ["expired"])
    assert ((await state(team, task_id))[1], await outcomes(world, task_id)) == wanted
    await checked(world, team)


async def test_of_two_sweeps_at_once_one_acts(team: Team, world: World) -> None:
    for _ in range(20):
        await team.owner.task(team.project)
    worker = await team.worker()
    ids = [each.task.id for each in await worker.claim(max_tasks=20)]
    await expire(world, *ids)
    both = [act(world, EXPIRE.alone, team.project.id, *ids) for _ in range(2)]
    found = [row["id"] for rows in await asyncio.gather(*both) for row in rows]
    assert len(found) == len(set(found)) == 20
    await checked(world, team)


async def test_of_two_sweeps_at_once_that_wait_one_acts(team: Team, world: World) -> None:
    _, task_id = await expired(team, world)
    async with log_held(world, team) as blocked:
        first = asyncio.ensure_future(act(world, EXPIRE.alone, team.project.id, task_id))
        await blocked.wait()
        second = asyncio.ensure_future(
            act_in_turn(world.url, EXPIRE.alone, team.project.id, task_id)
        )
        third = await act(world, EXPIRE.alone, team.project.id, task_id)
    assert [len(await first), len(await second), len(third)] == [1, 0, 0]
    await checked(world, team)


async def test_a_lease_that_was_claimed_anew_is_not_ended(team: Team, world: World) -> None:
    _, task_id = await expired(team, world)
    await swept(world, team)
    await world.execute("UPDATE tasks SET ready_at = now() WHERE id = $1", UUID(task_id))
    assert await (await team.worker()).claim()
    for due in (EXPIRE, CANCEL_HELD):
        assert await act(world, due.alone, team.project.id, task_id) == []
    await checked(world, team)


async def test_a_sign_of_life_between_the_look_and_the_act_counts(team: Team, world: World) -> None:
    agent = (await team.worker()).agent
    await world.execute("UPDATE agents SET status = 'busy' WHERE id = $1", UUID(agent.id))
    await world.execute(SEEN, UUID(team.project.id), UUID(agent.id), 100.0)

    async def offline(connection: Connection) -> list[Record]:
        of: dict[str, Any] = {"project_id": UUID(team.project.id), "ids": [UUID(agent.id)]}
        return await GO_OFFLINE.alone.alone.rows(connection, SYSTEM, **of, silence=90.0)

    seen = "UPDATE agent_presence SET last_seen_at = now() WHERE agent_id = $1"
    async with under_way(world.url, seen, UUID(agent.id)):
        assert await world.database.single(offline) == []
    assert await world.database.single(offline) == []


@asynccontextmanager
async def log_held(world: World, team: Team) -> AsyncIterator[asyncio.Event]:
    """The head of the log of a project is locked until the end of the block."""
    head = "SELECT FROM event_heads WHERE project_id = $1 FOR UPDATE"
    async with under_way(world.url, head, UUID(team.project.id)) as blocked:
        yield blocked


async def test_a_heartbeat_does_not_revive_a_lease_that_is_swept(team: Team, world: World) -> None:
    worker, task_id = await expired(team, world)
    request = HeartbeatTasksRequest(
        project_id=team.project.id,
        agent_id=worker.agent.id,
        heartbeats=[Heartbeat(task_id=task_id, fencing_token=1)],
    )

    async def both_wait() -> bool:
        return bool(await world.value(WAITING) == 2)

    async with log_held(world, team) as blocked:
        first = asyncio.ensure_future(act(world, EXPIRE.alone, team.project.id, task_id))
        await blocked.wait()
        beat = asyncio.ensure_future(worker.client.tasks.HeartbeatTasks(request))
        await until(both_wait)
    assert len(await first) == 1
    [found] = (await beat).leases
    assert found.lost.outcome == ATTEMPT_OUTCOME_EXPIRED
    assert (await state(team, task_id))[1] == "PENDING"
    await checked(world, team)
