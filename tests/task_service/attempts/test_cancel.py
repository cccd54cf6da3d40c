"""CancelTask and RetryTask: when a task is cancelled, and what new attempts are."""

import asyncio
from uuid import UUID, uuid4

import pytest
from google.protobuf.duration_pb2 import Duration

from shared.errors import Reason
from tandem.task.v1.task_service_pb2 import (
    ASSIGNEE_TYPE_AGENT,
    DEPENDENCY_POLICY_WAIT,
    ON_DEPENDENCY_FAILURE_FAIL,
    Heartbeat,
    HeartbeatTasksRequest,
    LeaseState,
    RetryTaskRequest,
    Task,
)
from tests.refusals import outcomes as outcomes_of
from tests.refusals import refused
from tests.task_service.leases.held import (
    LEASES,
    READY,
    Held,
    cancelled,
    claimed,
    events,
    held,
    now,
    outcomes,
    status,
)
from tests.task_service.team import Team
from tests.world import World

AT_ONCE = Duration()
LEFT = "SELECT extract(epoch FROM cancel_deadline - cancel_requested_at)::float FROM tasks"


async def retried(team: Team, task_id: object, **fields: object) -> Task:
    request = RetryTaskRequest(task_id=str(task_id), **fields)  # type: ignore[arg-type]
    found: Task = await team.owner.tasks.RetryTask(request)
    return found


async def heartbeat(one: Held) -> LeaseState:
    request = HeartbeatTasksRequest(
        project_id=one.worker.agent.project_id,
        agent_id=one.worker.agent.id,
        heartbeats=[Heartbeat(task_id=str(one.id), fencing_token=one.fence)],
    )
    state: LeaseState
    [state] = (await one.worker.client.tasks.HeartbeatTasks(request)).leases
    return state


async def test_a_task_that_is_not_held_is_cancelled_at_once(team: Team, world: World) -> None:
    task = await team.owner.task(team.project)
    found = await cancelled(team, task.id, reason="Not needed")
    assert status(found) == ("CANCELLED", "CANCEL_REQUESTED")
    assert found.status_message == "Not needed"
    assert not found.HasField("cancel_requested_at")
    assert await cancelled(team, task.id, reason="Other") == found
    assert await events(world, UUID(task.id)) == ["task.created", "task.cancelled"]
    assert await (await team.worker()).claim() == []


async def test_the_agent_that_holds_a_task_is_told(team: Team, world: World) -> None:
    one = await held(team)
    found = await cancelled(team, one.id, reason="Stop", grace=Duration(seconds=90))
    assert status(found) == ("IN_PROGRESS", "")
    assert found.leased
    assert found.status_message == "Stop"
    assert found.HasField("cancel_requested_at")
    assert await world.value(LEFT) == 90
    assert await cancelled(team, one.id, reason="Again") == found
    assert await events(world, one.id) == ["task.created", "task.claimed", "task.cancel_requested"]
    state = await heartbeat(one)
    assert state.cancel_requested.reason == "Stop"
    assert 0 < state.cancel_requested.deadline_in.seconds <= 90
    done = await one.complete()
    assert status(done) == ("COMPLETED", "")
    assert not done.HasField("cancel_requested_at")


async def test_an_agent_has_a_minute_to_stop(team: Team, world: World) -> None:
    one = await held(team)
    await cancelled(team, one.id)
    assert await world.value(LEFT) == 60


@pytest.mark.parametrize("asked_before", [False, True])
async def test_without_a_grace_time_the_lease_ends(
    team: Team, world: World, asked_before: bool
) -> None:
    one = await held(team)
    if asked_before:
        await cancelled(team, one.id, reason="Stop")
    found = await cancelled(team, one.id, grace=AT_ONCE, reason="Now")
    assert status(found) == ("CANCELLED", "CANCEL_REQUESTED")
    assert found.status_message == "Now"
    assert not found.leased
    assert not found.assigned_to
    assert not found.HasField("cancel_requested_at")
    assert await world.value(LEASES) == 0
    assert await outcomes(world, one.id) == ["cancelled"]
    assert (await heartbeat(one)).lost.outcome == 5
    lost = await refused(one.complete(), Reason.LEASE_LOST)
    assert lost.metadata["outcome"] == "ATTEMPT_OUTCOME_CANCELLED"
    assert (await events(world, one.id))[-1] == "task.cancelled"


async def test_an_assignee_stays(team: Team) -> None:
    worker = await team.worker()
    fields = {"assigned_to": worker.agent.id, "assigned_to_type": ASSIGNEE_TYPE_AGENT}
    one = await held(team, worker, **fields)
    assert (await cancelled(team, one.id, grace=AT_ONCE)).assigned_to == worker.agent.id


@pytest.mark.parametrize("way", ["held", "free"])
async def test_those_that_wait_know_of_a_cancellation_and_of_new_attempts(
    team: Team, way: str
) -> None:
    one = await held(team)
    if way == "free":
        await one.release()
    waits = await team.owner.task(
        team.project,
        dependencies=[str(one.id)],
        dependency_policy=DEPENDENCY_POLICY_WAIT,
    )
    await cancelled(team, one.id, grace=AT_ONCE)
    assert status(await now(team, waits.id)) == ("BLOCKED", "DEPENDENCY_FAILED")
    await retried(team, one.id)
    assert (await now(team, waits.id)).open_dependencies == 1
    again = await claimed(one.worker, one.id)
    await again.complete()
    assert status(await now(team, waits.id)) == ("PENDING", "")


async def test_what_has_ended_is_not_cancelled(team: Team) -> None:
    for way, name in (("complete", "COMPLETED"), ("fail", "FAILED")):
        one = await held(team)
        await getattr(one, way)()
        found = await refused(cancelled(team, one.id), Reason.INVALID_STATUS_TRANSITION)
        assert found.metadata["from"] == f"TASK_STATUS_{name}"


async def test_the_revision_is_compared(team: Team, world: World) -> None:
    one = await held(team)
    for grace in (AT_ONCE, Duration(seconds=1)):
        call = cancelled(team, one.id, grace=grace, revision=7)
        await refused(call, Reason.REVISION_MISMATCH)
    assert await world.value(LEASES) == 1
    await one.fail()
    await refused(retried(team, one.id, revision=7), Reason.REVISION_MISMATCH)
    await world.execute("UPDATE projects SET status = 'archived'")
    await refused(retried(team, one.id), Reason.PROJECT_NOT_ACTIVE)
    await refused(cancelled(team, one.id), Reason.PROJECT_NOT_ACTIVE)


async def test_a_wrong_grace_time_is_refused(team: Team) -> None:
    task = await team.owner.task(team.project)
    for wrong in (Duration(seconds=3601), Duration(seconds=-1)):
        await refused(cancelled(team, task.id, grace=wrong), Reason.INVALID_FIELD)
    await refused(cancelled(team, uuid4()), Reason.TASK_NOT_FOUND)


async def test_a_failed_task_gets_new_attempts(team: Team, world: World) -> None:
    one = await held(team, max_attempts=1)
    await one.fail(retryable=True, error={"message": "Broken"})
    task = await retried(team, one.id)
    assert status(task) == ("PENDING", "")
    assert task.attempt == 0
    assert not task.HasField("status_message")
    again = await claimed(one.worker, one.id)
    assert (again.claimed.task.attempt, again.fence) == (1, 2)
    assert [e for e in await events(world, one.id) if "retried" in e] == ["task.retried"]


async def test_only_what_has_failed_or_was_cancelled_gets_new_attempts(team: Team) -> None:
    one = await held(team)
    await refused(retried(team, one.id), Reason.INVALID_STATUS_TRANSITION)
    await one.release()
    await refused(retried(team, one.id), Reason.INVALID_STATUS_TRANSITION)
    one = await claimed(one.worker, one.id)
    await one.complete()
    await refused(retried(team, one.id), Reason.INVALID_STATUS_TRANSITION)


async def test_a_task_that_waits_is_blocked_when_it_is_retried(team: Team, world: World) -> None:
    one = await held(team)
    waits = await team.owner.task(
        team.project,
        dependencies=[str(one.id)],
        dependency_policy=DEPENDENCY_POLICY_WAIT,
        on_dependency_failure=ON_DEPENDENCY_FAILURE_FAIL,
    )
    await cancelled(team, waits.id)
    assert status(await retried(team, waits.id)) == ("BLOCKED", "DEPENDENCIES")
    await one.fail()
    assert status(await now(team, waits.id)) == ("FAILED", "DEPENDENCY_FAILED")
    assert status(await retried(team, waits.id)) == ("FAILED", "DEPENDENCY_FAILED")
    await retried(team, one.id)
    assert status(await now(team, waits.id)) == ("FAILED", "DEPENDENCY_FAILED")
    assert status(await retried(team, waits.id)) == ("BLOCKED", "DEPENDENCIES")
    await world.execute(READY, one.id)
    await (await claimed(one.worker, one.id)).complete()
    assert status(await now(team, waits.id)) == ("PENDING", "")


async def test_of_a_cancellation_and_a_completion_at_once_one_counts(
    team: Team, world: World
) -> None:
    for _ in range(5):
        one = await held(team)
        found = await outcomes_of(one.complete(), cancelled(team, one.id, grace=AT_ONCE))
        assert found in (["INVALID_STATUS_TRANSITION", "OK"], ["LEASE_LOST", "OK"])
        assert len(await events(world, one.id)) == 3
        assert await world.value(LEASES) == 0


async def test_many_calls_at_once_cancel_and_retry_once(team: Team, world: World) -> None:
    one = await held(team)
    await asyncio.gather(*(cancelled(team, one.id, grace=AT_ONCE) for _ in range(4)))
    found = await outcomes_of(*(retried(team, one.id) for _ in range(4)))
    assert found == [*["INVALID_STATUS_TRANSITION"] * 3, "OK"]
    assert (await events(world, one.id))[2:] == ["task.cancelled", "task.retried"]
