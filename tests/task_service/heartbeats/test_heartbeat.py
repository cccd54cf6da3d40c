"""HeartbeatTasks: what is renewed, and what becomes of each lease."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.json_format import MessageToDict

from shared.errors import Reason
from tandem.task.v1.task_service_pb2 import (
    ATTEMPT_OUTCOME_COMPLETED,
    ATTEMPT_OUTCOME_EXPIRED,
    ATTEMPT_OUTCOME_UNSPECIFIED,
    ClaimedTask,
    CompleteTaskRequest,
    Heartbeat,
    HeartbeatTasksRequest,
    LeaseState,
)
from tests.locks import under_way
from tests.refusals import refused
from tests.task_service.team import Team, Worker
from tests.world import Client, World

LEFT = "SELECT expires_at - now() FROM task_leases WHERE task_id = $1"
KEY = "SELECT api_key_id FROM task_leases WHERE task_id = $1"
PROGRESS = "SELECT progress::text FROM task_attempts WHERE task_id = $1 AND fence = $2"
AGE = "UPDATE task_leases SET expires_at = now() - interval '1 second'"
CANCEL = (
    "UPDATE tasks SET cancel_requested_at = now(), status_message = 'Not needed',"
    " cancel_deadline = now() + $2 WHERE id = $1"
)
END = (
    "WITH ended AS (UPDATE task_attempts SET outcome = 'expired', ended_at = now())"
    " DELETE FROM task_leases"
)
HEADS = "SELECT sum(last) FROM event_heads"


def beat(claimed: ClaimedTask, **fields: Any) -> Heartbeat:
    """A heartbeat of a task that was claimed."""
    return Heartbeat(task_id=claimed.task.id, fencing_token=claimed.lease.fencing_token, **fields)


async def sent(
    worker: Worker, *heartbeats: Heartbeat, by: Client | None = None
) -> list[LeaseState]:
    """What a worker is answered, or another caller for it."""
    request = HeartbeatTasksRequest(
        project_id=worker.agent.project_id, agent_id=worker.agent.id, heartbeats=heartbeats
    )
    return list((await (by or worker.client).tasks.HeartbeatTasks(request)).leases)


async def held(team: Team, worker: Worker, number: int, **fields: Any) -> list[ClaimedTask]:
    """New tasks that the worker has claimed."""
    for _ in range(number):
        await team.owner.task(team.project)
    return await worker.claim(max_tasks=number, **fields)


async def left(world: World, claimed: ClaimedTask) -> timedelta:
    found: timedelta = await world.value(LEFT, UUID(claimed.task.id))
    return found


async def test_a_lease_is_renewed_for_its_duration(team: Team, world: World) -> None:
    worker = await team.worker()
    [claimed] = await held(team, worker, 1, lease_duration=Duration(seconds=3600))
    await world.execute(AGE)
    events = await world.value(HEADS)
    [state] = await sent(worker, beat(claimed))
    assert state.task_id == claimed.task.id
    assert state.fencing_token == claimed.lease.fencing_token
    assert state.held.expires_in.seconds == 3600
    assert timedelta(minutes=55) < await left(world, claimed) <= timedelta(hours=1)
    assert await world.value(HEADS) == events


async def test_the_answers_are_in_the_order_of_the_request(team: Team, world: World) -> None:
    worker, other = await team.worker(), await team.worker()
    one, two, three = await held(team, worker, 3)
    [foreign] = await held(team, other, 1)
    done = CompleteTaskRequest(task_id=two.task.id, fencing_token=two.lease.fencing_token)
    await worker.client.tasks.CompleteTask(done)
    await world.execute(CANCEL, UUID(three.task.id), timedelta(minutes=10))
    await world.execute(AGE)
    old = Heartbeat(task_id=one.task.id, fencing_token=one.lease.fencing_token + 1)
    unknown = Heartbeat(task_id=str(uuid4()), fencing_token=1)
    beats = [beat(three), unknown, beat(two), beat(foreign), old]
    states = await sent(worker, *beats)
    assert [(s.task_id, s.fencing_token) for s in states] == [
        (b.task_id, b.fencing_token) for b in beats
    ]
    assert [s.WhichOneof("state") for s in states] == ["cancel_requested", *["lost"] * 4]
    assert 0 < states[0].cancel_requested.deadline_in.seconds < 600
    assert states[0].cancel_requested.expires_in.seconds == 60
    assert states[0].cancel_requested.reason == "Not needed"
    assert states[2].lost.outcome == ATTEMPT_OUTCOME_COMPLETED
    unspecified = {states[n].lost.outcome for n in (1, 3, 4)}
    assert unspecified == {ATTEMPT_OUTCOME_UNSPECIFIED}
    assert await left(world, three) > timedelta(0)
    for each in (one, foreign):
        assert await left(world, each) < timedelta(0), "Renewed under a wrong token."


async def test_how_the_attempt_of_another_has_ended_is_not_said(team: Team) -> None:
    worker, other = await team.worker(), await team.worker()
    [claimed] = await held(team, other, 1)
    done = CompleteTaskRequest(task_id=claimed.task.id, fencing_token=1)
    await other.client.tasks.CompleteTask(done)
    [state] = await sent(worker, beat(claimed))
    assert state.lost.outcome == ATTEMPT_OUTCOME_UNSPECIFIED


async def test_progress_is_kept_where_it_is_given(team: Team, world: World) -> None:
    worker = await team.worker()
    one, two = await held(team, worker, 2)
    await sent(worker, beat(one, progress={"done": 1}), beat(two))
    await sent(worker, beat(one), beat(two, progress={"done": 2}))
    keys = [(UUID(each.task.id), each.lease.fencing_token) for each in (one, two)]
    kept = ['{"done": 1.0}', '{"done": 2.0}']
    assert [await world.value(PROGRESS, *key) for key in keys] == kept
    lost = beat(two, progress={"done": 3})
    lost.fencing_token += 1
    await sent(worker, lost)
    assert await world.value(PROGRESS, *keys[1]) == kept[1]


async def test_the_next_attempt_is_given_the_progress(team: Team, world: World) -> None:
    worker = await team.worker()
    [claimed] = await held(team, worker, 1)
    await sent(worker, beat(claimed, progress={"page": "7"}))
    await world.execute(END)
    await world.execute("UPDATE tasks SET status = 'pending', leased = false")
    [again] = await worker.claim()
    [previous] = again.previous
    assert MessageToDict(previous.progress) == {"page": "7"}


async def test_the_key_of_the_last_heartbeat_is_known(team: Team, world: World) -> None:
    worker = await team.worker()
    [claimed] = await held(team, worker, 1)
    first = await world.value(KEY, UUID(claimed.task.id))
    again = Worker(worker.agent, await team.owner.as_agent(worker.agent))
    await sent(again, beat(claimed))
    assert first
    assert await world.value(KEY, UUID(claimed.task.id)) not in (None, first)


async def test_an_admin_renews_for_an_agent(team: Team, world: World) -> None:
    worker, admin = await team.worker(), await world.user()
    await world.member(team.project.id, admin, "admin")
    [claimed] = await held(team, worker, 1)
    for by in (admin, team.owner, await world.user(superuser=True)):
        await world.execute(AGE)
        [state] = await sent(worker, beat(claimed), by=by)
        assert state.WhichOneof("state") == "held"
        assert await left(world, claimed) > timedelta(0)


async def test_who_may_not(team: Team, world: World) -> None:
    worker, other = await team.worker(), await team.worker()
    [claimed] = await held(team, worker, 1)
    await world.execute(AGE)
    editor = await world.user()
    await world.member(team.project.id, editor, "editor")
    stranger = await world.user()
    theirs = await Team(stranger, await stranger.project()).worker()
    for by, reason in [
        (other.client, Reason.NOT_ALLOWED_FOR_AGENT),
        (theirs.client, Reason.NOT_ALLOWED_FOR_AGENT),
        (editor, Reason.INSUFFICIENT_ROLE),
        (stranger, Reason.NOT_PROJECT_OWNER),
    ]:
        await refused(sent(worker, beat(claimed), by=by), reason)
    assert await left(world, claimed) < timedelta(0)


async def test_an_agent_of_another_project_is_not_found(team: Team) -> None:
    theirs = await Team(team.owner, await team.owner.project()).worker()
    theirs.agent.project_id = team.project.id
    await refused(sent(theirs, by=team.owner), Reason.AGENT_NOT_FOUND)


async def test_a_project_need_not_be_active(team: Team, world: World) -> None:
    worker = await team.worker()
    [claimed] = await held(team, worker, 1)
    await world.execute("UPDATE projects SET status = 'archived'")
    [state] = await sent(worker, beat(claimed))
    assert state.WhichOneof("state") == "held"


async def test_what_is_refused(team: Team) -> None:
    worker = await team.worker()
    [claimed] = await held(team, worker, 1)
    twice = beat(claimed)
    twice.task_id = twice.task_id.upper()
    found = await refused(sent(worker, beat(claimed), twice), Reason.INVALID_FIELD)
    assert list(found.fields) == ["heartbeats[1].task_id"]
    large = beat(claimed, progress={"text": "x" * 65_536})
    found = await refused(sent(worker, large), Reason.INVALID_FIELD)
    assert list(found.fields) == ["heartbeats[0].progress"]
    many = [Heartbeat(task_id=str(uuid4()), fencing_token=1) for _ in range(101)]
    await refused(sent(worker, *many), Reason.INVALID_FIELD)
    assert await sent(worker, *many[:100])
    assert await sent(worker) == []


async def test_calls_at_once_with_the_same_leases_end(team: Team) -> None:
    worker = await team.worker()
    claimed = await held(team, worker, 10)
    beats = [beat(each, progress={"n": 1}) for each in claimed]
    calls = [sent(worker, *(beats if n % 2 else reversed(beats))) for n in range(8)]
    for states in await asyncio.gather(*calls):
        assert {s.WhichOneof("state") for s in states} == {"held"}


@pytest.mark.parametrize("progress", [None, {"late": True}])
async def test_a_heartbeat_that_waits_for_the_end_of_a_lease_finds_it_lost(
    team: Team, world: World, progress: dict[str, Any] | None
) -> None:
    worker = await team.worker()
    [claimed] = await held(team, worker, 1)
    async with under_way(world.url, END) as blocked:
        call = asyncio.create_task(sent(worker, beat(claimed, progress=progress)))
        await blocked.wait()
    [state] = await call
    assert state.lost.outcome == ATTEMPT_OUTCOME_EXPIRED
    assert await world.value(PROGRESS, UUID(claimed.task.id), 1) is None
