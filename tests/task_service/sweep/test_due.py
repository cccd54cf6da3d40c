"""What else is due: cancellations, preferences, and agents without a sign of life."""

from typing import Any
from uuid import UUID

import pytest

from shared.errors import Reason
from tandem.agent.v1.agent_service_pb2 import AgentStatus, GetAgentRequest
from tandem.task.v1.task_service_pb2 import (
    ASSIGNEE_TYPE_AGENT,
    DEPENDENCY_POLICY_WAIT,
    ON_DEPENDENCY_FAILURE_CANCEL,
    CancelTaskRequest,
    CompleteTaskRequest,
    RequestInputRequest,
    SplitTaskRequest,
    UpdateTaskStatusRequest,
)
from tests.refusals import refused
from tests.task_service.sweep.swept import events_of, expire, outcomes, state, swept
from tests.task_service.team import Team
from tests.world import World

# As CancelTask leaves a task with a lease, with a grace time.
ASK = (
    "UPDATE tasks SET cancel_requested_at = now(), cancel_deadline = now() + $2::interval,"
    " status_message = 'Not needed.' WHERE id = $1"
)
PREFER = (
    "UPDATE tasks SET assigned_agent_id = $2, preferred_until = now() + $3::interval WHERE id = $1"
)
SEEN = (
    "INSERT INTO agent_presence (project_id, agent_id, last_seen_at)"
    " VALUES ($1, $2, now() - make_interval(secs => $3))"
)
OVER, NOT_YET = "interval '-1 second'", "interval '1 hour'"


async def ask(world: World, task_id: str, grace: str) -> None:
    statement = ASK.replace("$2::interval", grace)
    await world.execute(statement, UUID(task_id))


async def waiting(team: Team, upon: str) -> str:
    """A task that is cancelled if that other one is."""
    task = await team.owner.task(
        team.project,
        dependency_policy=DEPENDENCY_POLICY_WAIT,
        on_dependency_failure=ON_DEPENDENCY_FAILURE_CANCEL,
        dependencies=[upon],
    )
    return task.id


@pytest.mark.parametrize("has_dependents", [False, True])
async def test_a_task_is_cancelled_when_its_grace_time_is_over(
    team: Team, world: World, has_dependents: bool
) -> None:
    task = await team.owner.task(team.project)
    other = await waiting(team, task.id) if has_dependents else None
    worker = await team.worker()
    await worker.claim()
    await ask(world, task.id, NOT_YET)
    await swept(world, team)
    assert (await state(team, task.id))[1] == "IN_PROGRESS"
    await ask(world, task.id, OVER)
    await swept(world, team)
    found, *status = await state(team, task.id)
    assert status == ["CANCELLED", "CANCEL_REQUESTED"]
    assert found.status_message == "Not needed."
    assert not found.HasField("cancel_requested_at")
    assert await outcomes(world, task.id) == ["cancelled"]
    assert (await events_of(world, task.id))[-1] == "task.cancelled system"
    if other:
        assert (await state(team, other))[1:] == ("CANCELLED", "DEPENDENCY_FAILED")
    late = CompleteTaskRequest(task_id=task.id, fencing_token=1)
    await refused(worker.client.tasks.CompleteTask(late), Reason.LEASE_LOST)


@pytest.mark.parametrize("has_dependents", [False, True])
async def test_a_task_that_is_to_be_cancelled_does_not_come_back(
    team: Team, world: World, has_dependents: bool
) -> None:
    task = await team.owner.task(team.project)
    other = await waiting(team, task.id) if has_dependents else None
    await (await team.worker()).claim()
    await ask(world, task.id, NOT_YET)
    await expire(world, task.id)
    await swept(world, team)
    assert (await state(team, task.id))[1:] == ("CANCELLED", "CANCEL_REQUESTED")
    assert await outcomes(world, task.id) == ["cancelled"]
    if other:
        assert (await state(team, other))[1] == "CANCELLED"


@pytest.mark.parametrize("has_dependents", [False, True])
async def test_one_that_was_given_back_meanwhile_is_cancelled(
    team: Team, world: World, has_dependents: bool
) -> None:
    task = await team.owner.task(team.project)
    other = await waiting(team, task.id) if has_dependents else None
    await ask(world, task.id, "interval '0'")
    await swept(world, team)
    assert (await state(team, task.id))[1:] == ("CANCELLED", "CANCEL_REQUESTED")
    if other:
        assert (await state(team, other))[1] == "CANCELLED"


async def test_a_preference_ends(team: Team, world: World) -> None:
    one, other = await team.worker(), await team.worker()
    task = await team.owner.task(team.project)
    preferred = PREFER.replace("$3::interval", NOT_YET)
    await world.execute(preferred, UUID(task.id), UUID(one.agent.id))
    await swept(world, team)
    assert await other.claim() == []
    preferred = PREFER.replace("$3::interval", OVER)
    await world.execute(preferred, UUID(task.id), UUID(one.agent.id))
    await swept(world, team)
    assert await events_of(world, task.id) == ["task.unassigned system"]
    assert [each.task.id for each in await other.claim()] == [task.id]


async def test_who_is_assigned_stays_so(team: Team, world: World) -> None:
    one = await team.worker()
    fields = {"assigned_to": one.agent.id, "assigned_to_type": ASSIGNEE_TYPE_AGENT}
    task = await team.owner.task(team.project, **fields)
    await swept(world, team)
    assert (await state(team, task.id))[0].assigned_to == one.agent.id


@pytest.mark.parametrize(
    ("status", "seconds", "left"),
    [
        ("online", 91.0, "OFFLINE"),
        ("busy", 91.0, "OFFLINE"),
        ("error", 91.0, "ERROR"),
        ("online", 60.0, "ONLINE"),
        ("online", None, "ONLINE"),
    ],
)
async def test_an_agent_without_a_sign_of_life_goes_offline(
    team: Team, world: World, status: str, seconds: float | None, left: str
) -> None:
    agent = (await team.worker()).agent
    await world.execute("UPDATE agents SET status = $2 WHERE id = $1", UUID(agent.id), status)
    if seconds is not None:
        await world.execute(SEEN, UUID(team.project.id), UUID(agent.id), seconds)
    await swept(world, team)
    found = await team.owner.agents.GetAgent(GetAgentRequest(agent_id=agent.id))
    assert AgentStatus.Name(found.status) == f"AGENT_STATUS_{left}"
    events = ["agent.gone_offline system"] if left == "OFFLINE" else []
    assert (await events_of(world, agent.id) or []) == events


@pytest.mark.parametrize("status", [1, 3, 4])
async def test_a_holder_that_only_moves_a_task_does_not_undo_its_cancellation(
    team: Team, world: World, status: Any
) -> None:
    worker = await team.worker()
    task = await team.owner.task(team.project)
    await worker.claim()
    await team.owner.tasks.CancelTask(CancelTaskRequest(task_id=task.id, reason="No use"))
    move = UpdateTaskStatusRequest(task_id=task.id, status=status, fencing_token=1)
    await worker.client.tasks.UpdateTaskStatus(move)
    await swept(world, team)
    found, *said = await state(team, task.id)
    assert said == ["CANCELLED", "CANCEL_REQUESTED"]
    assert found.status_message == "No use"


async def test_a_holder_that_splits_a_task_does_not_undo_its_cancellation(
    team: Team, world: World
) -> None:
    worker = await team.worker()
    task = await team.owner.task(team.project)
    await worker.claim()
    await team.owner.tasks.CancelTask(CancelTaskRequest(task_id=task.id))
    split = SplitTaskRequest(task_id=task.id, fencing_token=1)
    split.tasks.add().task.title = "Part"
    await worker.client.tasks.SplitTask(split)
    await swept(world, team)
    assert (await state(team, task.id))[1:] == ("CANCELLED", "CANCEL_REQUESTED")


async def test_what_an_agent_has_asked_for_meanwhile_is_cancelled_and_for_all(
    team: Team, world: World
) -> None:
    worker = await team.worker()
    task = await team.owner.task(team.project)
    await worker.claim()
    await team.owner.tasks.CancelTask(CancelTaskRequest(task_id=task.id))
    ask = RequestInputRequest(task_id=task.id, fencing_token=1)
    ask.input.key, ask.input.prompt = "which", "Which?"
    await worker.client.tasks.RequestInput(ask)
    await swept(world, team)
    found, *said = await state(team, task.id)
    assert said == ["CANCELLED", "CANCEL_REQUESTED"]
    assert not found.assigned_to, "it was for all before, and is if it is retried"
