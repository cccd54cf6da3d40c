"""Leases that expire: their tasks come back, or have failed for good."""

from uuid import UUID

import pytest

from shared.dependents import rules as dependents
from shared.errors import Reason
from tandem.task.v1.task_service_pb2 import (
    ASSIGNEE_TYPE_AGENT,
    DEPENDENCY_POLICY_WAIT,
    ON_DEPENDENCY_FAILURE_FAIL,
    CompleteTaskRequest,
)
from task_service.sweep import rules
from task_service.sweep.rules import sweep
from tests.refusals import refused
from tests.task_service.sweep.swept import (
    PAUSE,
    SILENCE,
    events_of,
    expire,
    outcomes,
    state,
    swept,
)
from tests.task_service.team import Team
from tests.world import World

READY = "UPDATE tasks SET ready_at = now() WHERE project_id = $1 AND status = 'pending'"


async def test_a_task_comes_back_after_a_pause_and_is_for_all_again(
    team: Team, world: World
) -> None:
    task = await team.owner.task(team.project)
    one, other = await team.worker(), await team.worker()
    [claimed] = await one.claim()
    await swept(world, team)
    assert (await state(team, task.id))[1] == "IN_PROGRESS", "its lease has not expired"
    await expire(world, task.id)
    await swept(world, team)
    found, *status = await state(team, task.id)
    assert status == ["PENDING", "LEASE_EXPIRED"]
    assert not found.assigned_to
    assert not found.leased
    assert not found.HasField("started_at")
    assert found.attempt == 1, "the attempt counts"
    assert 4 <= await world.value(PAUSE, UUID(task.id)) <= 6
    assert await events_of(world, task.id) == ["task.claimed agent", "task.lease_expired system"]
    assert await other.claim() == []
    await world.execute(READY, UUID(team.project.id))
    [again] = await other.claim()
    assert (again.lease.fencing_token, again.task.attempt) == (2, 2)
    assert [each.outcome for each in again.previous] == [3]
    late = CompleteTaskRequest(task_id=task.id, fencing_token=claimed.lease.fencing_token)
    await refused(one.client.tasks.CompleteTask(late), Reason.LEASE_LOST)


async def test_a_task_that_was_assigned_stays_so(team: Team, world: World) -> None:
    worker = await team.worker()
    task = await team.owner.task(
        team.project, assigned_to=worker.agent.id, assigned_to_type=ASSIGNEE_TYPE_AGENT
    )
    await worker.claim()
    await expire(world, task.id)
    await swept(world, team)
    found, status, _ = await state(team, task.id)
    assert (status, found.assigned_to) == ("PENDING", worker.agent.id)


async def test_a_task_without_attempts_left_has_failed(team: Team, world: World) -> None:
    task = await team.owner.task(team.project, max_attempts=2)
    worker = await team.worker()
    for _ in range(2):
        await world.execute(READY, UUID(team.project.id))
        assert await worker.claim()
        await expire(world, task.id)
        await swept(world, team)
    assert (await state(team, task.id))[1:] == ("FAILED", "ATTEMPTS_EXHAUSTED")
    assert (await events_of(world, task.id))[-1] == "task.lease_expired system"
    assert await outcomes(world, task.id) == ["expired", "expired"]


@pytest.mark.parametrize("attempts", [1, 2])
async def test_those_that_wait_for_it_know(team: Team, world: World, attempts: int) -> None:
    tasks = [await team.owner.task(team.project, max_attempts=attempts) for _ in range(3)]
    waiting = [
        await team.owner.task(
            team.project,
            dependency_policy=DEPENDENCY_POLICY_WAIT,
            on_dependency_failure=ON_DEPENDENCY_FAILURE_FAIL,
            dependencies=[task.id],
        )
        for task in tasks[:2]
    ]
    worker = await team.worker()
    assert len(await worker.claim(max_tasks=3)) == 3
    await expire(world, *(task.id for task in tasks))
    await swept(world, team)
    found = ("FAILED", "ATTEMPTS_EXHAUSTED") if attempts == 1 else ("PENDING", "LEASE_EXPIRED")
    assert {(await state(team, task.id))[1:] for task in tasks} == {found}
    found = ("FAILED", "DEPENDENCY_FAILED") if attempts == 1 else ("BLOCKED", "DEPENDENCIES")
    assert {(await state(team, task.id))[1:] for task in waiting} == {found}


async def test_more_than_one_statement_does_and_one_look_finds(
    team: Team, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules, "AT_ONCE", 2)
    monkeypatch.setattr(rules, "FOUND", 7)
    tasks = [await team.owner.task(team.project) for _ in range(7)]
    worker = await team.worker()
    assert len(await worker.claim(max_tasks=10)) == 7
    await expire(world, *(task.id for task in tasks))
    assert await swept(world, team), "as many as one look finds"
    assert not await swept(world, team)
    assert {(await state(team, task.id))[1] for task in tasks} == {"PENDING"}
    pauses = {await world.value(PAUSE, UUID(task.id)) for task in tasks}
    assert len(pauses) > 3, "they come back one after the other"


async def test_a_project_that_cannot_be_swept_holds_up_no_other(team: Team, world: World) -> None:
    tasks = []
    for each in (team, Team(team.owner, await team.owner.project())):
        tasks.append(await each.owner.task(each.project))
        await (await each.worker()).claim()
    await expire(world, tasks[0].id)
    await expire(world, tasks[1].id)
    head = "UPDATE event_heads SET project_id = $2 WHERE project_id = $1"
    await world.execute(head, UUID(team.project.id), UUID(int=5))
    await sweep(world.database, SILENCE)
    assert [(await state(team, task.id))[1] for task in tasks] == ["IN_PROGRESS", "PENDING"]
    await world.execute(head, UUID(int=5), UUID(team.project.id))
    await swept(world, team)
    assert (await state(team, tasks[0].id))[1] == "PENDING"


async def test_no_number_of_those_that_wait_keeps_a_task_from_failing(
    team: Team, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dependents, "MAXIMUM", 1)
    task = await team.owner.task(team.project, max_attempts=1)
    waits = {
        "dependencies": [task.id],
        "dependency_policy": DEPENDENCY_POLICY_WAIT,
        "on_dependency_failure": ON_DEPENDENCY_FAILURE_FAIL,
    }
    others = [await team.owner.task(team.project, **waits) for _ in range(3)]
    await (await team.worker()).claim()
    await expire(world, task.id)
    await swept(world, team)
    found = [(await state(team, each.id))[1] for each in (task, *others)]
    assert found == ["FAILED"] * 4
