"""FailTask and ReleaseTask: what becomes of the task."""

from datetime import timedelta
from uuid import UUID

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.json_format import MessageToDict

from shared.errors import Reason
from tandem.task.v1.task_service_pb2 import (
    ASSIGNEE_TYPE_AGENT,
    DEPENDENCY_POLICY_WAIT,
    ON_DEPENDENCY_FAILURE_CANCEL,
)
from tests.refusals import refused
from tests.task_service.leases.held import (
    READY,
    Held,
    claimed,
    events,
    held,
    now,
    outcomes,
    status,
)
from tests.task_service.team import Team
from tests.world import World

PAUSE = "SELECT ready_at - updated_at FROM tasks WHERE id = $1"
RELEASES = "UPDATE tasks SET releases = $2 WHERE id = $1"
ASK_TO_CANCEL = (
    "UPDATE tasks SET cancel_requested_at = now(), status_message = 'Stop',"
    " cancel_deadline = now() + interval '1 hour' WHERE id = $1"
)
DEADLINE = "SELECT cancel_deadline <= now() FROM tasks WHERE id = $1"


async def pause(world: World, one: Held) -> float:
    found: timedelta = await world.value(PAUSE, one.id)
    return found.total_seconds()


async def test_a_task_is_tried_again_after_a_pause_that_doubles(team: Team, world: World) -> None:
    one = await held(team, max_attempts=4)
    for seconds in (5, 10, 20):
        task = await one.fail(retryable=True, error={"message": "Broken", "code": 7})
        assert status(task) == ("PENDING", "ATTEMPT_FAILED")
        assert task.status_message == "Broken"
        assert not task.leased
        assert not task.assigned_to
        assert not task.HasField("started_at")
        assert seconds * 0.8 <= await pause(world, one) <= seconds * 1.2
        assert await one.fail() == task
        await world.execute(READY, one.id)
        one = await claimed(one.worker, one.id)
    task = await one.fail(retryable=True, error={"message": "x" * 5000})
    assert status(task) == ("FAILED", "ATTEMPTS_EXHAUSTED")
    assert task.status_message == "x" * 4096
    assert task.attempt == 4
    assert not task.assigned_to, "if it is retried, it is for all again"
    assert await outcomes(world, one.id) == ["failed"] * 4
    kinds = [each for each in await events(world, one.id) if each != "task.claimed"]
    assert kinds == ["task.created", *["task.retried"] * 3, "task.failed"]


async def test_the_longest_pause_is_an_hour(team: Team, world: World) -> None:
    one = await held(team, max_attempts=100)
    await world.execute("UPDATE tasks SET attempt = 60")
    await one.fail(retryable=True)
    assert 0.8 * 3600 <= await pause(world, one) <= 1.2 * 3600


async def test_the_caller_may_say_the_pause(team: Team, world: World) -> None:
    for after, seconds in [(Duration(seconds=90), 90), (Duration(nanos=500_000_000), 0.5)]:
        one = await held(team)
        await one.fail(retryable=True, retry_after=after)
        assert await pause(world, one) == seconds
    one = await held(team)
    found = await refused(one.fail(retry_after=Duration(seconds=1)), Reason.INVALID_FIELD)
    assert list(found.fields) == ["retry_after"]
    for wrong in (Duration(seconds=-1), Duration(seconds=2_592_001)):
        await refused(one.fail(retryable=True, retry_after=wrong), Reason.INVALID_FIELD)
    await one.fail(retryable=True, retry_after=Duration())
    assert await claimed(one.worker, one.id)


async def test_what_is_not_retryable_fails(team: Team) -> None:
    one = await held(team)
    task = await one.fail(error={"message": 7})
    assert status(task) == ("FAILED", "NOT_RETRYABLE")
    assert not task.HasField("status_message")
    assert not task.leased
    assert await one.fail() == task


async def test_a_large_error_is_refused(team: Team) -> None:
    one = await held(team)
    found = await refused(one.fail(error={"text": "x" * 65_536}), Reason.INVALID_FIELD)
    assert list(found.fields) == ["error"]


async def test_the_next_attempt_is_given_the_error(team: Team, world: World) -> None:
    one = await held(team)
    await one.fail(retryable=True, error={"message": "Broken"})
    await world.execute(READY, one.id)
    again = await claimed(await team.worker(), one.id)
    [previous] = again.claimed.previous
    assert MessageToDict(previous.error) == {"message": "Broken"}
    assert previous.agent_id == one.worker.agent.id


@pytest.mark.parametrize("way", ["fail", "release"])
async def test_an_agent_that_the_task_was_assigned_to_keeps_it(team: Team, way: str) -> None:
    worker = await team.worker()
    fields = {"assigned_to": worker.agent.id, "assigned_to_type": ASSIGNEE_TYPE_AGENT}
    one = await held(team, worker, **fields)
    task = await one.release() if way == "release" else await one.fail(retryable=True)
    assert task.assigned_to == worker.agent.id


async def test_those_that_wait_for_a_task_that_fails_know(team: Team, world: World) -> None:
    one = await held(team)
    waits = await team.owner.task(
        team.project,
        dependencies=[str(one.id)],
        dependency_policy=DEPENDENCY_POLICY_WAIT,
        on_dependency_failure=ON_DEPENDENCY_FAILURE_CANCEL,
    )
    await one.fail(retryable=True)
    assert status(await now(team, waits.id)) == ("BLOCKED", "DEPENDENCIES")
    await world.execute(READY, one.id)
    one = await claimed(one.worker, one.id)
    await one.fail()
    assert status(await now(team, waits.id)) == ("CANCELLED", "DEPENDENCY_FAILED")
    assert (await events(world, UUID(waits.id)))[-1] == "task.cancelled"


async def test_a_task_is_given_back_at_once_and_the_attempt_does_not_count(
    team: Team, world: World
) -> None:
    one = await held(team)
    task = await one.release()
    assert status(task) == ("PENDING", "")
    assert task.attempt == 0
    assert not task.assigned_to
    assert await outcomes(world, one.id) == ["released"]
    assert (await events(world, one.id))[-1] == "task.released"
    again = await claimed(await team.worker(), one.id)
    assert again.claimed.task.attempt == 1
    assert again.fence == 2


async def test_it_counts_when_the_task_was_given_back_a_hundred_times(
    team: Team, world: World
) -> None:
    one = await held(team)
    await world.execute(RELEASES, one.id, 99)
    assert (await one.release()).attempt == 0
    one = await claimed(one.worker, one.id)
    assert (await one.release()).attempt == 1
    assert await world.value("SELECT releases FROM tasks") == 100


@pytest.mark.parametrize("way", ["fail", "release"])
async def test_what_is_to_be_cancelled_is_due_when_it_is_given_back(
    team: Team, world: World, way: str
) -> None:
    one = await held(team)
    await world.execute(ASK_TO_CANCEL, one.id)
    task = await one.release() if way == "release" else await one.fail(retryable=True)
    assert task.HasField("cancel_requested_at")
    assert task.status_message == "Stop"
    assert await world.value(DEADLINE, one.id)
