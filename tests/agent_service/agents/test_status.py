"""Moving agents from status to status."""

import itertools

import pytest

from agent_service.agents.lifecycle import MOVES, sources
from shared.errors import Reason
from tandem.agent.v1.agent_service_pb2 import AgentStatus, GetAgentRequest, SetAgentStatusRequest
from tests.refusals import refused
from tests.world import World

ALLOWED = {
    "OFFLINE": ("ONLINE", "ERROR"),
    "ONLINE": ("OFFLINE", "BUSY", "ERROR"),
    "BUSY": ("ONLINE", "OFFLINE", "ERROR"),
    "ERROR": ("OFFLINE", "ONLINE"),
}
PAIRS = list(itertools.product(ALLOWED, ALLOWED))


def value(name: str) -> AgentStatus.ValueType:
    return AgentStatus.Value(f"AGENT_STATUS_{name}")


@pytest.mark.parametrize(("found", "wanted"), PAIRS)
def test_the_lifecycle_is_the_documented_one(found: str, wanted: str) -> None:
    allowed = wanted in ALLOWED[found]
    assert (wanted.lower() in MOVES[found.lower()]) is allowed
    assert (found.lower() in sources(wanted.lower())) is allowed


@pytest.mark.parametrize(("found", "wanted"), PAIRS)
async def test_every_move(world: World, found: str, wanted: str) -> None:
    alice = await world.user()
    agent = await alice.agent(await alice.project())
    await world.execute("UPDATE agents SET status = $1", found.lower())
    before = await alice.agents.GetAgent(GetAgentRequest(agent_id=agent.id))
    request = SetAgentStatusRequest(agent_id=agent.id, status=value(wanted))
    call = alice.agents.SetAgentStatus(request)
    if wanted == found:
        assert await call == before
    elif wanted in ALLOWED[found]:
        moved = await call
        assert (moved.status, moved.revision) == (value(wanted), 2)
        assert moved.updated_at.ToDatetime() > before.updated_at.ToDatetime()
    else:
        refusal = await refused(call, Reason.INVALID_STATUS_TRANSITION)
        names = ",".join(f"AGENT_STATUS_{status}" for status in ALLOWED[found])
        between = {"from": f"AGENT_STATUS_{found}", "to": f"AGENT_STATUS_{wanted}"}
        assert refusal.metadata == {**between, "allowed": names}
        assert refusal.preconditions == {"status": "INVALID_STATUS_TRANSITION"}
        assert await alice.agents.GetAgent(GetAgentRequest(agent_id=agent.id)) == before


@pytest.mark.parametrize("status", [0, 5, -1])
async def test_a_status_that_is_none_is_refused(world: World, status: int) -> None:
    alice = await world.user()
    agent = await alice.agent(await alice.project())
    request = SetAgentStatusRequest(agent_id=agent.id, status=status)  # type: ignore[arg-type]
    found = await refused(alice.agents.SetAgentStatus(request), Reason.INVALID_FIELD)
    assert list(found.fields) == ["status"]


async def test_in_a_project_that_is_not_active_nothing_moves(world: World) -> None:
    alice = await world.user()
    agent = await alice.agent(await alice.project())
    await world.execute("UPDATE projects SET status = 'archived'")
    request = SetAgentStatusRequest(agent_id=agent.id, status=value("ONLINE"))
    await refused(alice.agents.SetAgentStatus(request), Reason.PROJECT_NOT_ACTIVE)


async def test_an_agent_that_does_not_exist_has_no_status(world: World) -> None:
    alice = await world.user()
    request = SetAgentStatusRequest(agent_id=str(alice.id), status=value("ONLINE"))
    await refused(alice.agents.SetAgentStatus(request), Reason.AGENT_NOT_FOUND)
