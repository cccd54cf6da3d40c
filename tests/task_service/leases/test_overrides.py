"""Whatever else takes a task from the agent that holds it ends the lease, and says why."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import pytest

from shared.errors import Reason
from tandem.agent.v1.agent_service_pb2 import Agent, DeleteAgentRequest, UpdateAgentRequest
from tandem.agent.v1.auth_service_pb2 import RevokeApiKeyRequest, RevokeApiKeysRequest
from tandem.agent.v1.project_service_pb2 import DeleteProjectRequest
from tandem.task.v1.task_service_pb2 import (
    ASSIGNEE_TYPE_AGENT,
    ASSIGNEE_TYPE_USER,
    AssignTaskRequest,
    CompleteTaskRequest,
    DeleteTaskRequest,
    UnassignTaskRequest,
)
from tests.locks import WAITING, under_way
from tests.refusals import refused
from tests.task_service.sweep.swept import checked, events_of, outcomes, state
from tests.task_service.team import Team, Worker
from tests.waiting import until
from tests.world import World

LEASES = "SELECT count(*) FROM task_leases"
CLAIMED = "task.claimed agent"


async def held(team: Team, **fields: Any) -> tuple[Worker, str]:
    """An agent, and the task that it holds."""
    task = await team.owner.task(team.project, **fields)
    worker = await team.worker()
    assert await worker.claim()
    return worker, task.id


def assign(team: Team, task_id: str, agent: Agent) -> Awaitable[Any]:
    request = AssignTaskRequest(
        task_id=task_id, assigned_to=agent.id, assigned_to_type=ASSIGNEE_TYPE_AGENT
    )
    call: Awaitable[Any] = team.owner.tasks.AssignTask(request)
    return call


def assign_to_owner(team: Team, task_id: str) -> Awaitable[Any]:
    owner = str(team.owner.id)
    request = AssignTaskRequest(
        task_id=task_id, assigned_to=owner, assigned_to_type=ASSIGNEE_TYPE_USER
    )
    call: Awaitable[Any] = team.owner.tasks.AssignTask(request)
    return call


def unassign(team: Team, task_id: str) -> Awaitable[Any]:
    call: Awaitable[Any] = team.owner.tasks.UnassignTask(UnassignTaskRequest(task_id=task_id))
    return call


def deactivate(team: Team, worker: Worker) -> Awaitable[Any]:
    request = UpdateAgentRequest(agent=Agent(id=worker.agent.id, is_active=False))
    request.update_mask.paths.append("is_active")
    call: Awaitable[Any] = team.owner.agents.UpdateAgent(request)
    return call


def delete(team: Team, worker: Worker) -> Awaitable[Any]:
    call: Awaitable[Any] = team.owner.agents.DeleteAgent(
        DeleteAgentRequest(agent_id=worker.agent.id)
    )
    return call


def revoke_all(team: Team, worker: Worker) -> Awaitable[Any]:
    call: Awaitable[Any] = team.owner.auth.RevokeApiKeys(
        RevokeApiKeysRequest(agent_id=worker.agent.id)
    )
    return call


def revoke_project(team: Team, _worker: Worker) -> Awaitable[Any]:
    call: Awaitable[Any] = team.owner.auth.RevokeApiKeys(
        RevokeApiKeysRequest(project_id=team.project.id)
    )
    return call


async def lost(world: World, team: Team, worker: Worker, task_id: str) -> None:
    """Check that the lease has ended, and that the agent is told so."""
    assert await world.value(LEASES) == 0
    assert await outcomes(world, task_id) == ["overridden"]
    late = CompleteTaskRequest(task_id=task_id, fencing_token=1)
    await refused(worker.client.tasks.CompleteTask(late), Reason.LEASE_LOST)
    await checked(world, team)


@pytest.mark.parametrize("to", ["agent", "user", "none"])
async def test_another_assignee_ends_it(team: Team, world: World, to: str) -> None:
    worker, task_id = await held(team)
    other = await team.worker()
    if to == "agent":
        task = await assign(team, task_id, other.agent)
        assert task.assigned_to == other.agent.id
    else:
        task = await (assign_to_owner if to == "user" else unassign)(team, task_id)
        assert task.assigned_to == (str(team.owner.id) if to == "user" else "")
    assert not task.leased
    assert not task.HasField("started_at")
    assert (await state(team, task_id))[1:] == ("PENDING", "UNSPECIFIED")
    assert task.attempt == 0, "it does not count"
    event = "task.unassigned" if to == "none" else "task.assigned"
    assert await events_of(world, task_id) == [CLAIMED, f"{event} user"]
    await lost(world, team, worker, task_id)


async def test_the_agent_that_holds_it_keeps_it(team: Team, world: World) -> None:
    worker, task_id = await held(team)
    before, *_ = await state(team, task_id)
    assert await assign(team, task_id, worker.agent) == before
    assert await world.value(LEASES) == 1
    done = CompleteTaskRequest(task_id=task_id, fencing_token=1)
    await worker.client.tasks.CompleteTask(done)
    await checked(world, team)


async def test_a_refused_assignment_ends_nothing(team: Team, world: World) -> None:
    worker, task_id = await held(team)
    other = await team.worker()
    request = AssignTaskRequest(
        task_id=task_id,
        assigned_to=other.agent.id,
        assigned_to_type=ASSIGNEE_TYPE_AGENT,
        revision=1,
    )
    await refused(team.owner.tasks.AssignTask(request), Reason.REVISION_MISMATCH)
    assert await world.value(LEASES) == 1
    await worker.client.tasks.CompleteTask(CompleteTaskRequest(task_id=task_id, fencing_token=1))


async def test_an_assignment_ends_a_preference(team: Team, world: World) -> None:
    task = await team.owner.task(team.project)
    agent = (await team.worker()).agent
    prefer = "UPDATE tasks SET assigned_agent_id = $2, preferred_until = now() WHERE id = $1"
    await world.execute(prefer, UUID(task.id), UUID(agent.id))
    await assign(team, task.id, agent)
    until = "SELECT preferred_until FROM tasks WHERE id = $1"
    assert await world.value(until, UUID(task.id)) is None


@pytest.mark.parametrize("ends", [deactivate, revoke_all, revoke_project, delete])
@pytest.mark.parametrize("is_assigned", [False, True])
async def test_an_agent_that_must_not_work_any_more_loses_its_tasks(
    team: Team,
    world: World,
    ends: Callable[[Team, Worker], Awaitable[Any]],
    is_assigned: bool,
) -> None:
    worker = await team.worker()
    fields = {"assigned_to": worker.agent.id, "assigned_to_type": ASSIGNEE_TYPE_AGENT}
    task = await team.owner.task(team.project, **(fields if is_assigned else {}))
    assert await worker.claim()
    await ends(team, worker)
    found, *status = await state(team, task.id)
    assert status == ["PENDING", "UNSPECIFIED"]
    stays = is_assigned and ends is not delete
    assert found.assigned_to == (worker.agent.id if stays else "")
    assert found.attempt == 0
    events = [CLAIMED, "task.released user"]
    if is_assigned and ends is delete:
        events.append("task.unassigned user")
    assert await events_of(world, task.id) == events
    assert await world.value(LEASES) == 0
    assert await outcomes(world, task.id) == ["overridden"]
    await checked(world, team)


async def test_a_key_that_is_revoked_ends_what_was_claimed_under_it(
    team: Team, world: World
) -> None:
    worker, task_id = await held(team)
    key = await team.owner.api_key(worker.agent)
    other = await team.owner.task(team.project)
    second = Worker(worker.agent, await team.owner.exchanged(key.secret))
    assert await second.claim()
    await team.owner.auth.RevokeApiKey(RevokeApiKeyRequest(api_key_id=key.api_key.id))
    assert (await state(team, task_id))[1] == "IN_PROGRESS"
    assert (await state(team, other.id))[1] == "PENDING"
    assert await events_of(world, other.id) == [CLAIMED, "task.released user"]
    await checked(world, team)


async def test_a_deletion_takes_the_lease_along(team: Team, world: World) -> None:
    worker, task_id = await held(team)
    await team.owner.tasks.DeleteTask(DeleteTaskRequest(task_id=task_id))
    assert await world.value(LEASES) == 0
    late = CompleteTaskRequest(task_id=task_id, fencing_token=1)
    await refused(worker.client.tasks.CompleteTask(late), Reason.TASK_NOT_FOUND)


async def test_a_project_can_be_deleted_in_which_agents_work(team: Team, world: World) -> None:
    await held(team)
    request = DeleteProjectRequest(project_id=team.project.id)
    await team.owner.projects.DeleteProject(request)
    assert await world.value(LEASES) == 0


@asynccontextmanager
async def log_held(world: World, team: Team) -> AsyncIterator[asyncio.Event]:
    """The head of the log of the project is locked until the end of the block."""
    head = "SELECT FROM event_heads WHERE project_id = $1 FOR UPDATE"
    async with under_way(world.url, head, UUID(team.project.id)) as blocked:
        yield blocked


@pytest.mark.parametrize("ends", [assign, assign_to_owner, unassign])
async def test_a_claim_that_is_under_way_is_overridden(
    team: Team, world: World, ends: Callable[..., Awaitable[Any]]
) -> None:
    """The statement waits for the task, does not see the lease, and declines."""
    task = await team.owner.task(team.project)
    worker, other = await team.worker(), await team.worker()
    async with log_held(world, team) as blocked:
        claim = asyncio.ensure_future(worker.claim())
        await blocked.wait()
        of = (other.agent,) if ends is assign else ()
        call = asyncio.ensure_future(ends(team, task.id, *of))
        await waiting(world, 2)
    assert await claim
    await call
    await lost(world, team, worker, task.id)


@pytest.mark.parametrize("ends", [deactivate, delete, revoke_all])
async def test_an_agent_that_claims_meanwhile_loses_that_too(
    team: Team, world: World, ends: Callable[[Team, Worker], Awaitable[Any]]
) -> None:
    task = await team.owner.task(team.project)
    worker = await team.worker()
    async with log_held(world, team) as blocked:
        claim = asyncio.ensure_future(worker.claim())
        await blocked.wait()
        call = asyncio.ensure_future(ends(team, worker))
        await waiting(world, 2)
    assert await claim
    await call
    assert await world.value(LEASES) == 0
    assert await outcomes(world, task.id) == ["overridden"]
    assert (await state(team, task.id))[1] == "PENDING"
    await checked(world, team)


async def test_a_task_that_is_claimed_meanwhile_is_deleted(team: Team, world: World) -> None:
    task = await team.owner.task(team.project)
    worker = await team.worker()
    async with log_held(world, team) as blocked:
        claim = asyncio.ensure_future(worker.claim())
        await blocked.wait()
        request = DeleteTaskRequest(task_id=task.id)
        call = asyncio.ensure_future(team.owner.tasks.DeleteTask(request))
        await waiting(world, 2)
    assert await claim
    await call
    assert await world.value(LEASES) == 0


async def waiting(world: World, number: int) -> None:
    """Return when so many sessions wait for a lock."""

    async def wait() -> bool:
        return bool(await world.value(WAITING) == number)

    await until(wait)
