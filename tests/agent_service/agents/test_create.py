"""Creating agents."""

import asyncio
from uuid import uuid4

import grpc

from shared.errors import Reason
from tandem.agent.v1.agent_service_pb2 import (
    AGENT_STATUS_OFFLINE,
    Agent,
    CreateAgentRequest,
    GetAgentRequest,
)
from tests.refusals import refused
from tests.world import World


async def test_an_agent_is_answered_as_it_is_kept(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    created = await alice.agent(
        project, name="Scout", capabilities=["search", "read"], config={"depth": 3, "tags": ["a"]}
    )
    assert created.status == AGENT_STATUS_OFFLINE
    assert (created.agent_type, created.is_active, created.revision) == ("generic", True, 1)
    assert dict(created.config)["depth"] == 3
    assert await alice.agents.GetAgent(GetAgentRequest(agent_id=created.id)) == created


async def test_one_of_many_concurrent_callers_gets_a_name(world: World) -> None:
    alice = await world.user()
    project = await alice.project()

    async def create() -> str:
        request = CreateAgentRequest(agent=Agent(project_id=project.id, name="Scout"))
        try:
            await alice.agents.CreateAgent(request)
        except grpc.aio.AioRpcError as error:
            return error.code().name
        return "OK"

    answers = await asyncio.gather(*(create() for _ in range(10)))
    assert sorted(answers) == ["ALREADY_EXISTS"] * 9 + ["OK"]


async def test_a_repeated_request_id_gets_the_first_answer(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    agent = Agent(project_id=project.id, name="Scout")
    request = CreateAgentRequest(agent=agent, request_id=str(uuid4()))
    first = await alice.agents.CreateAgent(request)
    assert await alice.agents.CreateAgent(request) == first
    request.agent.name = "Other"
    await refused(alice.agents.CreateAgent(request), Reason.REQUEST_ID_REUSED)


async def test_every_bad_field_is_named(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    agent = Agent(project_id=project.id, nickname="n" * 256, capabilities=["a", "a"])
    call = alice.agents.CreateAgent(CreateAgentRequest(agent=agent, request_id="x"))
    found = await refused(call, Reason.INVALID_FIELD)
    assert set(found.fields) == {
        "agent.name",
        "agent.nickname",
        "agent.capabilities",
        "request_id",
    }
