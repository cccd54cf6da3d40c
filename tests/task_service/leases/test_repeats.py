"""What an agent is told that repeats what has ended its lease: no more than it may read."""

import pytest

from shared.errors import Reason
from tandem.agent.v1.auth_service_pb2 import API_KEY_SCOPE_CLAIM_TASKS, API_KEY_SCOPE_READ_PROJECT
from tandem.task.v1.task_service_pb2 import UnassignTaskRequest
from tests.refusals import refused
from tests.task_service.leases.held import ENDINGS, STATE, Held, claimed, held
from tests.task_service.steps import update
from tests.task_service.team import Team, Worker
from tests.world import World

OUTCOMES = {"complete": "COMPLETED", "fail": "FAILED", "release": "RELEASED", "ask": "RELEASED"}


async def taken_away(team: Team, one: Held) -> None:
    """It is assigned to the agent no longer, and says something that it did not."""
    task_id = str(one.id)
    await team.owner.tasks.UnassignTask(UnassignTaskRequest(task_id=task_id))
    await update(team.owner, ["description"], id=task_id, description="Not for the agent")


@pytest.mark.parametrize("way", ENDINGS)
async def test_it_is_told_how_its_attempt_ended_and_nothing_later(
    team: Team, world: World, way: str
) -> None:
    one = await held(team)
    ended = await getattr(one, way)()
    assert await getattr(one, way)() == ended
    await taken_away(team, one)
    state = await world.value(STATE)
    found = await refused(getattr(one, way)(), Reason.LEASE_LOST)
    assert found.metadata["outcome"] == f"ATTEMPT_OUTCOME_{OUTCOMES[way]}"
    assert "Not for the agent" not in str(found)
    assert await world.value(STATE) == state


async def test_what_is_still_its_own_it_is_shown_as_it_is(team: Team) -> None:
    one = await held(team)
    await one.complete()
    changed = await update(team.owner, ["description"], id=str(one.id), description="For the agent")
    assert await one.complete() == changed


async def test_who_may_read_the_project_is_shown_the_task_as_it_is(team: Team) -> None:
    agent = await team.owner.agent(team.project)
    scopes = [API_KEY_SCOPE_CLAIM_TASKS, API_KEY_SCOPE_READ_PROJECT]
    key = await team.owner.api_key(agent, scopes=scopes)
    worker = Worker(agent, await team.owner.exchanged(key.secret))
    one = await held(team, worker)
    await one.release()
    second = await claimed(await team.worker(), one.id)
    assert (await one.release()).assigned_to == second.worker.agent.id
