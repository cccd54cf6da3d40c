"""Tasks whose leases have ended, and what they then wait for."""

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from tandem.task.v1.task_service_pb2 import (
    DEPENDENCY_POLICY_WAIT,
    ON_DEPENDENCY_FAILURE_FAIL,
    CancelTaskRequest,
    FailTaskRequest,
    GetTaskRequest,
    ReleaseTaskRequest,
    RequestInputRequest,
    RetryTaskRequest,
    TaskStatus,
    TaskStatusReason,
)
from tests.task_service.dependents.waits import moved
from tests.task_service.steps import move
from tests.task_service.team import Team


@pytest.mark.parametrize(
    ("moves", "reason"),
    [
        (["in_progress"], "DEPENDENCIES"),
        (["in_progress", "failed"], "DEPENDENCY_FAILED"),
        (["in_progress", "cancelled"], "DEPENDENCY_FAILED"),
    ],
)
async def test_a_task_waits_for_what_was_reopened_meanwhile(
    team: Team, moves: list[str], reason: str
) -> None:
    first = await team.owner.task(team.project)
    await moved(team.owner, first, "completed")
    waits = {"dependencies": [first.id], "dependency_policy": DEPENDENCY_POLICY_WAIT}
    task = await team.owner.task(team.project, **waits)
    worker = await team.worker()
    await worker.claim(task_ids=[task.id])
    for status in moves:
        await moved(team.owner, first, status)
    request = ReleaseTaskRequest(task_id=task.id, fencing_token=1)
    released = await worker.client.tasks.ReleaseTask(request)
    assert TaskStatus.Name(released.status) == "TASK_STATUS_BLOCKED"
    assert TaskStatusReason.Name(released.status_reason) == f"TASK_STATUS_REASON_{reason}"


async def test_a_task_that_has_failed_for_good_is_for_all_when_it_is_retried(team: Team) -> None:
    task = await team.owner.task(team.project, max_attempts=1)
    one, other = await team.worker(), await team.worker()
    await one.claim()
    await one.client.tasks.FailTask(FailTaskRequest(task_id=task.id, fencing_token=1))
    await team.owner.tasks.RetryTask(RetryTaskRequest(task_id=task.id))
    assert await other.claim()


async def test_what_is_to_be_cancelled_is_not_claimed(team: Team) -> None:
    task = await team.owner.task(team.project)
    worker = await team.worker()
    await worker.claim()
    await team.owner.tasks.CancelTask(CancelTaskRequest(task_id=task.id))
    await worker.client.tasks.ReleaseTask(ReleaseTaskRequest(task_id=task.id, fencing_token=1))
    assert await worker.claim() == []
    found = await team.owner.tasks.GetTask(GetTaskRequest(task_id=task.id))
    assert found.HasField("cancel_requested_at")


async def test_what_is_to_be_cancelled_and_given_back_waits_meanwhile(team: Team) -> None:
    first = await team.owner.task(team.project)
    await moved(team.owner, first, "completed")
    waits = {"dependencies": [first.id], "dependency_policy": DEPENDENCY_POLICY_WAIT}
    task = await team.owner.task(
        team.project, **waits, on_dependency_failure=ON_DEPENDENCY_FAILURE_FAIL
    )
    worker = await team.worker()
    await worker.claim(task_ids=[task.id])
    await moved(team.owner, first, "in_progress")
    await team.owner.tasks.CancelTask(CancelTaskRequest(task_id=task.id))
    request = ReleaseTaskRequest(task_id=task.id, fencing_token=1)
    released = await worker.client.tasks.ReleaseTask(request)
    assert TaskStatus.Name(released.status) == "TASK_STATUS_BLOCKED"
    assert released.HasField("cancel_requested_at")
    await moved(team.owner, first, "failed")
    ended = await team.owner.tasks.GetTask(GetTaskRequest(task_id=task.id))
    assert TaskStatus.Name(ended.status) == "TASK_STATUS_FAILED"
    assert not ended.HasField("cancel_requested_at"), "it has ended, and is cancelled no more"


async def test_of_what_is_ready_and_what_is_not_yet_only_the_first_is_claimed(team: Team) -> None:
    ready = await team.owner.task(team.project)
    later = Timestamp(seconds=4_000_000_000)
    await team.owner.task(team.project, ready_at=later)
    found = await (await team.worker()).claim(max_tasks=2)
    assert [each.task.id for each in found] == [ready.id]


async def test_a_task_is_for_all_again_if_the_agent_that_has_asked_was_only_preferred(
    team: Team,
) -> None:
    worker = await team.worker()
    task = await team.owner.task(team.project)
    await worker.claim()
    request = RequestInputRequest(task_id=task.id, fencing_token=1)
    request.input.key, request.input.prompt = "which", "Which?"
    asked = await worker.client.tasks.RequestInput(request)
    assert asked.assigned_to == worker.agent.id
    freed = await move(team.owner, asked, TaskStatus.TASK_STATUS_PENDING)
    assert not freed.assigned_to


async def test_what_a_lock_key_keeps_back_does_not_keep_back_others(team: Team) -> None:
    for _ in range(2):
        await team.owner.task(team.project, lock_key="crane")
    free = await team.owner.task(team.project)
    worker = await team.worker()
    await worker.claim()
    assert [each.task.id for each in await worker.claim()] == [free.id]
