"""ClaimTasks: who gets which task, and in which order."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from shared.errors import Reason
from tandem.agent.v1.agent_service_pb2 import Agent, UpdateAgentRequest
from tandem.task.v1.task_service_pb2 import (
    TASK_PRIORITY_CRITICAL,
    TASK_PRIORITY_HIGH,
    TASK_PRIORITY_LOW,
    TASK_PRIORITY_MEDIUM,
    TASK_STATUS_COMPLETED,
    TASK_STATUS_IN_PROGRESS,
    CompleteTaskRequest,
)
from tests.refusals import refused
from tests.task_service.team import Team
from tests.world import World


async def test_a_task_is_claimed_and_completed(team: Team) -> None:
    task = await team.owner.task(team.project)
    worker = await team.worker()
    [claimed] = await worker.claim()
    assert claimed.task.id == task.id == claimed.lease.task_id
    assert claimed.task.status == TASK_STATUS_IN_PROGRESS
    assert claimed.task.assigned_to == worker.agent.id == claimed.lease.agent_id
    assert claimed.task.leased
    assert claimed.task.attempt == 1 == claimed.lease.fencing_token
    assert claimed.lease.expires_in.seconds == 60
    request = CompleteTaskRequest(task_id=task.id, fencing_token=1)
    done = await worker.client.tasks.CompleteTask(request)
    assert done.status == TASK_STATUS_COMPLETED
    assert not done.leased
    assert await worker.client.tasks.CompleteTask(request) == done
    assert await worker.claim() == []


async def test_the_most_urgent_comes_first_and_then_the_first_that_was_ready(
    world: World, team: Team
) -> None:
    begin = datetime.now(UTC) - timedelta(days=1)
    # Without a priority a task is as urgent as one with medium.
    wanted = [
        (TASK_PRIORITY_CRITICAL, 1),
        (TASK_PRIORITY_CRITICAL, 2),
        (TASK_PRIORITY_HIGH, 0),
        (TASK_PRIORITY_MEDIUM, 3),
        (0, 4),
        (TASK_PRIORITY_MEDIUM, 5),
        (TASK_PRIORITY_LOW, 0),
    ]
    tasks = {}
    for priority, minutes in reversed(wanted):
        task = await team.owner.task(team.project, priority=priority)
        ready = "UPDATE tasks SET ready_at = $2 WHERE id = $1"
        await world.execute(ready, UUID(task.id), begin + timedelta(minutes=minutes))
        tasks[task.id] = priority, minutes
    worker = await team.worker()
    assert [tasks[each.task.id] for _ in wanted for each in await worker.claim()] == wanted


async def test_only_what_the_agent_can_do(team: Team) -> None:
    for words in (["böse"], ["böse", "gut"], ["type:coder"], []):
        await team.owner.task(
            team.project, title=",".join(words) or "-", required_capabilities=words
        )
    worker = await team.worker(capabilities=["böse", "x"], agent_type="coder")
    found = {each.task.title for each in await worker.claim(max_tasks=10)}
    assert found == {"böse", "type:coder", "-"}
    assert (await (await team.worker()).claim(max_tasks=10)) == []


async def test_claims_narrow_what_an_agent_can_do(team: Team) -> None:
    await team.owner.task(team.project, required_capabilities=["a"])
    worker = await team.worker(capabilities=["a", "b"])
    assert await worker.claim(capabilities=["b", "c"]) == []
    assert await worker.claim(capabilities=["a", "c"])


async def test_what_is_assigned_is_for_its_agent_only(team: Team) -> None:
    one, other = await team.worker(), await team.worker()
    fields = {"assigned_to": one.agent.id, "assigned_to_type": 1, "required_capabilities": ["x"]}
    await team.owner.task(team.project, **fields)
    assert await other.claim() == []
    assert await one.claim()


async def test_what_is_not_ready_is_not_claimed(team: Team) -> None:
    later = datetime.now(UTC) + timedelta(hours=1)
    task = await team.owner.task(team.project, ready_at=later)
    worker = await team.worker()
    assert await worker.claim() == []
    await refused(worker.claim(task_ids=[task.id]), Reason.NOT_CLAIMABLE)


async def test_of_a_lock_key_one_is_held(team: Team) -> None:
    for _ in range(3):
        await team.owner.task(team.project, lock_key="repo")
    await team.owner.task(team.project, lock_key="other")
    one, other = await team.worker(), await team.worker()
    held = await one.claim(max_tasks=10)
    assert sorted(each.task.lock_key for each in held) == ["other", "repo"]
    assert await other.claim() == []


async def test_an_agent_holds_no_more_than_it_can(team: Team) -> None:
    for _ in range(5):
        await team.owner.task(team.project)
    worker = await team.worker(max_leases=2)
    assert len(await worker.claim(max_tasks=10)) == 2
    assert await worker.claim() == []


async def test_what_it_holds_already_counts_towards_a_limit_that_was_lowered(team: Team) -> None:
    for _ in range(30):
        await team.owner.task(team.project)
    worker = await team.worker()
    held = await worker.claim(max_tasks=10)
    request = UpdateAgentRequest(agent=Agent(id=worker.agent.id, max_leases=10))
    await team.owner.agents.UpdateAgent(request)
    assert await worker.claim(max_tasks=10) == []
    for each in held[:2]:
        done = CompleteTaskRequest(task_id=each.task.id, fencing_token=1)
        await worker.client.tasks.CompleteTask(done)
    assert len(await worker.claim(max_tasks=10)) == 2


async def test_of_many_calls_at_once_each_gets_another_task(team: Team, world: World) -> None:
    for _ in range(40):
        await team.owner.task(team.project)
    workers = [await team.worker() for _ in range(2)]
    claims = [worker.claim() for worker in workers for _ in range(20)]
    found = [each.task.id for got in await asyncio.gather(*claims) for each in got]
    assert len(found) == len(set(found)) == 40
    assert await world.value("SELECT count(*) FROM task_leases") == 40


@pytest.mark.parametrize("named", [False, True])
async def test_a_lost_answer_is_given_again(team: Team, named: bool) -> None:
    tasks = [await team.owner.task(team.project) for _ in range(2)]
    worker = await team.worker()
    fields: dict[str, Any] = {"task_ids": [tasks[1].id]} if named else {}
    request_id = "7b0a1f2e-9d3c-4c5b-8a6f-0123456789ab"
    first = await worker.claim(request_id=request_id, **fields)
    assert await worker.claim(request_id=request_id, **fields) == first
    assert first[0].task.id == tasks[named].id


async def test_an_answer_without_tasks_is_not_kept(team: Team) -> None:
    worker = await team.worker()
    request_id = "7b0a1f2e-9d3c-4c5b-8a6f-0123456789ab"
    assert await worker.claim(request_id=request_id) == []
    await team.owner.task(team.project)
    assert await worker.claim(request_id=request_id)
