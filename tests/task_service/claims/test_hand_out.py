"""ClaimTasks: for whom an agent may work, what is handed over, and what others hold."""

import asyncio
from typing import Any
from uuid import UUID

import pytest

from shared.errors import Reason
from tandem.agent.v1 import auth_service_pb2 as auth
from tandem.task.v1 import task_service_pb2 as pb
from tests.locks import under_way
from tests.refusals import refused
from tests.task_service.team import Team, Worker
from tests.world import World

WAIT: dict[str, Any] = {"wait": {"seconds": 60}}
LOCK = "SELECT FROM tasks WHERE id = $1 FOR UPDATE"


@pytest.mark.parametrize("fields", [{}, WAIT])
async def test_an_agent_claims_for_no_other(team: Team, fields: Any) -> None:
    one, other = await team.worker(), await team.worker()
    claim = Worker(other.agent, one.client).claim(**fields)
    await refused(claim, Reason.NOT_ALLOWED_FOR_AGENT)


@pytest.mark.parametrize("fields", [{}, WAIT])
async def test_a_key_without_the_scope_claims_nothing(team: Team, fields: Any) -> None:
    agent = await team.owner.agent(team.project)
    scopes = [auth.API_KEY_SCOPE_READ_PROJECT]
    key = await team.owner.api_key(agent, scopes=scopes)
    worker = Worker(agent, await team.owner.exchanged(key.secret))
    await refused(worker.claim(**fields), Reason.SCOPE_MISSING)


async def test_an_admin_claims_for_an_agent_and_an_editor_does_not(
    world: World, team: Team
) -> None:
    admin, editor = await world.user(), await world.user()
    await world.member(team.project.id, admin, "admin")
    await world.member(team.project.id, editor, "editor")
    worker, task = await team.worker(), await team.owner.task(team.project)
    await refused(Worker(worker.agent, editor).claim(), Reason.INSUFFICIENT_ROLE)
    [got] = await Worker(worker.agent, admin).claim()
    assert (got.task.id, got.lease.agent_id) == (task.id, worker.agent.id)


@pytest.mark.parametrize("fields", [{}, WAIT])
async def test_an_agent_that_is_not_active_gets_nothing(
    world: World, team: Team, fields: Any
) -> None:
    worker = await team.worker()
    await team.owner.task(team.project)
    off = "UPDATE agents SET is_active = false WHERE id = $1"
    await world.execute(off, UUID(worker.agent.id))
    await refused(Worker(worker.agent, team.owner).claim(**fields), Reason.ASSIGNEE_INACTIVE)


@pytest.mark.parametrize("fields", [{}, WAIT])
async def test_a_project_that_is_suspended_hands_nothing_out(
    world: World, team: Team, fields: Any
) -> None:
    worker = await team.worker()
    await team.owner.task(team.project)
    suspend = "UPDATE projects SET status = 'suspended' WHERE id = $1"
    await world.execute(suspend, UUID(team.project.id))
    await refused(worker.claim(**fields), Reason.PROJECT_NOT_ACTIVE)


@pytest.mark.parametrize("fields", [{}, WAIT])
async def test_an_agent_of_another_project_gets_nothing(team: Team, fields: Any) -> None:
    other = await team.owner.project()
    agent = await team.owner.agent(other)
    await team.owner.task(team.project)
    claim = Worker(agent, team.owner).claim(project_id=team.project.id, **fields)
    await refused(claim, Reason.AGENT_NOT_FOUND)


async def test_the_attempts_before_are_handed_over(team: Team) -> None:
    worker = await team.worker()
    task = await team.owner.task(team.project, max_attempts=10)
    for number in range(1, 8):
        [got] = await worker.claim()
        known = [each.fencing_token for each in got.previous]
        assert known == [*range(number - 1, max(0, number - 6), -1)]
        assert {each.outcome for each in got.previous} <= {pb.ATTEMPT_OUTCOME_RELEASED}
        give_back = pb.ReleaseTaskRequest(task_id=task.id, fencing_token=number)
        await worker.client.tasks.ReleaseTask(give_back)


async def test_what_another_has_locked_is_skipped(world: World, team: Team) -> None:
    first, second = [await team.owner.task(team.project) for _ in range(2)]
    worker = await team.worker()
    async with under_way(world.url, LOCK, UUID(first.id)):
        [got] = await worker.claim()
        assert got.task.id == second.id
        assert await worker.claim() == []
    assert await worker.claim()


async def test_of_tasks_with_one_lock_key_many_calls_at_once_get_one(
    world: World, team: Team
) -> None:
    for number in range(20):
        await team.owner.task(team.project, lock_key=f"key {number % 4}")
    workers = [await team.worker() for _ in range(4)]
    claims = [worker.claim(max_tasks=3) for worker in workers for _ in range(5)]
    held = [each.task.lock_key for got in await asyncio.gather(*claims) for each in got]
    assert sorted(held) == [f"key {number}" for number in range(4)]
    assert await world.value("SELECT count(*) FROM task_leases") == 4


async def test_many_calls_at_once_hold_no_more_than_the_agent_can(world: World, team: Team) -> None:
    for _ in range(20):
        await team.owner.task(team.project)
    worker = await team.worker(max_leases=3)
    found = await asyncio.gather(*(worker.claim() for _ in range(20)))
    assert sum(map(len, found)) == 3
    slots = "SELECT array_agg(agent_slot ORDER BY agent_slot) FROM task_leases"
    assert await world.value(slots) == [1, 2, 3]


async def test_several_are_given_the_most_urgent_first(team: Team) -> None:
    priorities = [pb.TASK_PRIORITY_LOW, pb.TASK_PRIORITY_CRITICAL, pb.TASK_PRIORITY_HIGH]
    for priority in priorities:
        await team.owner.task(team.project, priority=priority)
    got = await (await team.worker()).claim(max_tasks=3)
    assert [each.task.priority for each in got] == sorted(priorities, reverse=True)
