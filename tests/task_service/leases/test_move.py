"""UpdateTaskStatus on a task that an agent holds by a lease."""

from collections.abc import Awaitable
from typing import Any

import pytest

from shared.errors import Reason
from tandem.task.v1.task_service_pb2 import (
    ASSIGNEE_TYPE_AGENT,
    TASK_STATUS_BLOCKED,
    TASK_STATUS_CANCELLED,
    TASK_STATUS_COMPLETED,
    TASK_STATUS_FAILED,
    TASK_STATUS_IN_PROGRESS,
    TASK_STATUS_PENDING,
    TASK_STATUS_REASON_EXTERNAL,
    TASK_STATUS_REVIEW,
    CompleteTaskRequest,
    Task,
    UpdateTaskStatusRequest,
)
from tests.refusals import refused
from tests.task_service.leases.held import STATE
from tests.task_service.team import Team, Worker
from tests.world import Client, World

OUTCOME = "SELECT outcome FROM task_attempts WHERE task_id = $1 AND ended_at IS NOT NULL"
LEASES = "SELECT count(*) FROM task_leases"


async def held(team: Team) -> tuple[Worker, str]:
    """An agent, and the task that it holds under its first lease."""
    worker = await team.worker()
    await team.owner.task(team.project)
    [claimed] = await worker.claim()
    return worker, claimed.task.id


def move(client: Client, task_id: str, status: Any, **fields: Any) -> Awaitable[Task]:
    request = UpdateTaskStatusRequest(task_id=task_id, status=status, **fields)
    call: Awaitable[Task] = client.tasks.UpdateTaskStatus(request)
    return call


async def test_the_holder_has_to_give_its_token(team: Team, world: World) -> None:
    worker, task_id = await held(team)
    call = move(worker.client, task_id, TASK_STATUS_COMPLETED)
    assert (await refused(call, Reason.LEASE_REQUIRED)).metadata == {"task_id": task_id}
    call = move(worker.client, task_id, TASK_STATUS_COMPLETED, fencing_token=2)
    await refused(call, Reason.LEASE_LOST)
    assert await world.value(LEASES) == 1


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (TASK_STATUS_COMPLETED, "completed"),
        (TASK_STATUS_FAILED, "failed"),
        (TASK_STATUS_CANCELLED, "cancelled"),
        (TASK_STATUS_REVIEW, "released"),
        (TASK_STATUS_BLOCKED, "released"),
        (TASK_STATUS_PENDING, "released"),
    ],
)
async def test_what_the_holder_moves_is_held_no_more(
    team: Team, world: World, status: int, outcome: str
) -> None:
    worker, task_id = await held(team)
    task = await move(worker.client, task_id, status, fencing_token=1)
    assert task.status == status
    assert not task.leased
    assert await world.value(LEASES) == 0
    assert await world.value(OUTCOME, task_id) == outcome
    # It was for all, and if it is pending it is again.
    assert bool(await (await team.worker()).claim()) is (status == TASK_STATUS_PENDING)


async def test_what_others_move_is_taken_from_the_holder(team: Team, world: World) -> None:
    worker, task_id = await held(team)
    task = await move(team.owner, task_id, TASK_STATUS_BLOCKED)
    assert task.status_reason == TASK_STATUS_REASON_EXTERNAL
    assert await world.value(OUTCOME, task_id) == "overridden"
    request = CompleteTaskRequest(task_id=task_id, fencing_token=1)
    found = await refused(worker.client.tasks.CompleteTask(request), Reason.LEASE_LOST)
    assert found.metadata["outcome"] == "ATTEMPT_OUTCOME_OVERRIDDEN"


async def test_what_is_refused_ends_no_lease(team: Team, world: World) -> None:
    _, task_id = await held(team)
    call = move(team.owner, task_id, TASK_STATUS_IN_PROGRESS)
    await refused(call, Reason.INVALID_STATUS_TRANSITION)
    call = move(team.owner, task_id, TASK_STATUS_COMPLETED, revision=1)
    await refused(call, Reason.REVISION_MISMATCH)
    assert await world.value(LEASES) == 1


async def test_an_agent_that_does_not_claim_needs_no_token(team: Team) -> None:
    worker = await team.worker()
    assigned = {"assigned_to": worker.agent.id, "assigned_to_type": ASSIGNEE_TYPE_AGENT}
    task = await team.owner.task(team.project, **assigned)
    for status in (TASK_STATUS_IN_PROGRESS, TASK_STATUS_REVIEW, TASK_STATUS_COMPLETED):
        moved = await move(worker.client, task.id, status)
        assert moved.status == status


@pytest.mark.parametrize("status", [TASK_STATUS_IN_PROGRESS, TASK_STATUS_CANCELLED])
async def test_the_token_of_a_lease_that_is_lost_moves_nothing(
    team: Team, world: World, status: int
) -> None:
    worker = await team.worker()
    assigned = {"assigned_to": worker.agent.id, "assigned_to_type": ASSIGNEE_TYPE_AGENT}
    task = await team.owner.task(team.project, **assigned)
    await worker.claim()
    await move(team.owner, task.id, TASK_STATUS_PENDING)
    before = await world.value(STATE)
    await refused(move(worker.client, task.id, status, fencing_token=1), Reason.LEASE_LOST)
    assert await world.value(STATE) == before
    assert (await move(worker.client, task.id, status)).status == status
