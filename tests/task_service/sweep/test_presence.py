"""Signs of life: an agent that claims or sends heartbeats is online."""

from typing import Any
from uuid import UUID

import pytest

from tandem.agent.v1.agent_service_pb2 import AgentStatus, GetAgentRequest
from tandem.task.v1.task_service_pb2 import HeartbeatTasksRequest
from tests.locks import under_way
from tests.task_service.sweep.swept import events_of, swept
from tests.task_service.team import Team, Worker
from tests.world import World

SEEN = "SELECT xmin::text || ' ' || last_seen_at FROM agent_presence WHERE agent_id = $1"
AGE = (
    "UPDATE agent_presence SET last_seen_at = now() - make_interval(secs => $2) WHERE agent_id = $1"
)
ONLINE = "agent.status_changed agent"


async def status(team: Team, worker: Worker) -> str:
    request = GetAgentRequest(agent_id=worker.agent.id)
    found = await team.owner.agents.GetAgent(request)
    return AgentStatus.Name(found.status).removeprefix("AGENT_STATUS_")


async def beat(worker: Worker) -> None:
    request = HeartbeatTasksRequest(project_id=worker.agent.project_id, agent_id=worker.agent.id)
    await worker.client.tasks.HeartbeatTasks(request)


@pytest.mark.parametrize("sign", [Worker.claim, beat])
async def test_an_agent_that_shows_itself_is_online(team: Team, world: World, sign: Any) -> None:
    worker = await team.worker()
    await swept(world, team)
    assert await status(team, worker) == "OFFLINE"
    await sign(worker)
    assert await status(team, worker) == "ONLINE"
    assert await events_of(world, worker.agent.id) == [ONLINE]
    await world.execute(AGE, UUID(worker.agent.id), 100.0)
    await swept(world, team)
    assert await status(team, worker) == "OFFLINE"
    await sign(worker)
    await swept(world, team)
    assert await status(team, worker) == "ONLINE"
    events = [ONLINE, "agent.gone_offline system", ONLINE]
    assert await events_of(world, worker.agent.id) == events


@pytest.mark.parametrize(("seconds", "is_written"), [(1.0, False), (6.0, True)])
async def test_it_is_noted_only_now_and_then(
    team: Team, world: World, seconds: float, is_written: bool
) -> None:
    worker = await team.worker()
    await beat(worker)
    await world.execute(AGE, UUID(worker.agent.id), seconds)
    before = await world.value(SEEN, UUID(worker.agent.id))
    await beat(worker)
    assert (await world.value(SEEN, UUID(worker.agent.id)) != before) is is_written


@pytest.mark.parametrize("sign", [Worker.claim, beat])
async def test_what_is_known_takes_no_statement(team: Team, world: World, sign: Any) -> None:
    worker = await team.worker()
    await beat(worker)
    async with under_way(world.url, "LOCK TABLE agent_presence IN EXCLUSIVE MODE") as blocked:
        await sign(worker)
    assert not blocked.is_set()


async def test_a_busy_agent_stays_so(team: Team, world: World) -> None:
    worker = await team.worker()
    busy = "UPDATE agents SET status = 'busy' WHERE id = $1"
    await world.execute(busy, UUID(worker.agent.id))
    await beat(worker)
    assert await status(team, worker) == "BUSY"
