"""A call is cut off at its last lock, or its answer is lost: it has happened once or not at all."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias
from uuid import UUID, uuid4

import asyncpg
import grpc
import pytest

from tandem.task.v1 import task_service_pb2 as pb
from task_service.sweep.rules import sweep
from tests.client.wire import Wire
from tests.coordination.invariants import broken
from tests.coordination.test_interleavings import EXPIRE, HEAD, ROW, SILENCE, Case
from tests.databases import execute
from tests.locks import CUT_OFF, under_way
from tests.refusals import outcome
from tests.waiting import until
from tests.world import Channels, Client, World

Again: TypeAlias = Callable[[], Awaitable[Any]]
LEASE = "SELECT FROM task_leases WHERE task_id = $1 FOR UPDATE"
TASK = "SELECT FROM tasks WHERE id = $1 FOR UPDATE"
PRESENCE = "LOCK TABLE agent_presence IN EXCLUSIVE MODE"
EXPIRES = "SELECT expires_at FROM task_leases WHERE task_id = $1"
WAIT = pb.DEPENDENCY_POLICY_WAIT


async def cut_off(world: World, call: Awaitable[Any], lock: str, *arguments: Any) -> str:
    """The outcome of a call whose connection to the database ends while it waits for a lock."""
    async with under_way(world.url, lock, *arguments) as blocked:
        waits = asyncio.ensure_future(outcome(call))
        await blocked.wait()
        await execute(world.url, CUT_OFF)
        return await waits


async def row_of(case: Case) -> Any:
    return await case.world.owner.read(lambda c: c.fetchrow(ROW, UUID(case.task.id)))


async def is_whole(case: Case) -> None:
    """All that has to hold of the project holds."""
    project_id = case.project.id
    assert await case.world.owner.read(lambda c: broken(c, project_id)) == []


async def free(world: World) -> Case:
    owner = await world.user()
    return await Case.free(world, owner, await owner.project())


async def test_a_claim_that_is_cut_off_has_not_happened_and_happens_once(
    fresh_world: World,
) -> None:
    case = await free(fresh_world)
    request = pb.ClaimTasksRequest(
        project_id=case.project.id, agent_id=case.agent.id, request_id=str(uuid4())
    )
    claim, before = case.owner.tasks.ClaimTasks, await row_of(case)
    found = await cut_off(fresh_world, claim(request), HEAD, UUID(case.project.id))
    assert found == "DATABASE_UNAVAILABLE"
    assert await row_of(case) == before
    await is_whole(case)
    answer = await claim(request)
    assert [each.lease.fencing_token for each in answer.tasks] == [1]
    assert await claim(request) == answer
    await is_whole(case)


@pytest.mark.parametrize("step", [Case.complete, Case.fail, Case.release, Case.cancel])
async def test_the_end_of_a_lease_that_is_cut_off_has_not_happened_and_happens_once(
    fresh_world: World, step: Callable[[Case], Awaitable[None]]
) -> None:
    case = await free(fresh_world)
    await case.claim()
    before = await row_of(case)
    found = await cut_off(fresh_world, step(case), HEAD, UUID(case.project.id))
    assert found == "DATABASE_UNAVAILABLE"
    assert await row_of(case) == before
    await is_whole(case)
    assert await outcome(step(case)) == "OK"
    assert await row_of(case) != before
    await is_whole(case)


async def test_a_completion_that_is_cut_off_at_what_it_frees_frees_it_the_next_time(
    fresh_world: World,
) -> None:
    case = await free(fresh_world)
    waits = await case.owner.task(case.project, dependencies=[case.task.id], dependency_policy=WAIT)
    await case.claim()
    before = await row_of(case)
    found = await cut_off(fresh_world, case.complete(), TASK, UUID(waits.id))
    assert found == "DATABASE_UNAVAILABLE"
    assert await row_of(case) == before
    await is_whole(case)
    await case.complete()
    freed = await case.owner.tasks.GetTask(pb.GetTaskRequest(task_id=waits.id))
    assert (freed.status, freed.open_dependencies) == (pb.TASK_STATUS_PENDING, 0)
    await is_whole(case)


async def test_a_heartbeat_that_is_cut_off_renews_nothing_and_loses_nothing(
    fresh_world: World,
) -> None:
    case = await free(fresh_world)
    await case.claim()
    before = await fresh_world.value(EXPIRES, UUID(case.task.id))
    found = await cut_off(fresh_world, case.heartbeat(), LEASE, UUID(case.task.id))
    assert found == "DATABASE_UNAVAILABLE"
    assert await fresh_world.value(EXPIRES, UUID(case.task.id)) == before
    assert await outcome(case.heartbeat()) == "OK"
    assert await fresh_world.value(EXPIRES, UUID(case.task.id)) > before
    await is_whole(case)


async def test_what_a_sweep_was_cut_off_from_the_next_one_takes(fresh_world: World) -> None:
    case = await free(fresh_world)
    await case.claim()
    await fresh_world.execute(EXPIRE, UUID(case.task.id))
    before = await row_of(case)
    async with under_way(fresh_world.url, HEAD, UUID(case.project.id)) as blocked:
        sweeping = asyncio.ensure_future(sweep(fresh_world.database, SILENCE))
        await blocked.wait()
        await execute(fresh_world.url, CUT_OFF)
        await asyncio.wait([sweeping])
        sweeping.exception()
    assert await row_of(case) == before
    await is_whole(case)
    await case.sweep()
    row = await row_of(case)
    assert (row["status"], row["leased"]) == ("pending", False)
    await is_whole(case)


async def test_a_hand_out_whose_answer_is_lost_is_the_answer_again(world: World) -> None:
    case = await free(world)
    request = pb.ClaimTasksRequest(
        project_id=case.project.id, agent_id=case.agent.id, request_id=str(uuid4())
    )
    async with Wire.before(world.settings.task_address) as wire:
        async with grpc.aio.insecure_channel(wire.address) as channel:
            client = Client(Channels(world.channels.agents, channel), case.owner.token)
            await client.tasks.GetTask(pb.GetTaskRequest(task_id=case.task.id))  # it is connected
            wire.hold()
            lost = asyncio.ensure_future(_answer(client.tasks.ClaimTasks(request)))
            await until(lambda: _is_leased(case))
            wire.cut()
            with pytest.raises(grpc.aio.AioRpcError):
                await lost
        answer = await case.owner.tasks.ClaimTasks(request)
    assert [each.lease.fencing_token for each in answer.tasks] == [1]
    await is_whole(case)


async def _answer(call: Awaitable[Any]) -> Any:
    return await call


async def _is_leased(case: Case) -> bool:
    row: asyncpg.Record = await row_of(case)
    return bool(row["leased"])
