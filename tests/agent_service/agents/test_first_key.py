"""Creating an agent and its first API key in one call."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from shared.errors import Reason
from tandem.agent.v1.agent_service_pb2 import (
    Agent,
    BatchGetAgentsRequest,
    CreateAgentRequest,
    GetAgentRequest,
    ListAgentsRequest,
)
from tandem.agent.v1.auth_service_pb2 import (
    API_KEY_SCOPE_CLAIM_TASKS,
    API_KEY_SCOPE_CREATE_TASKS,
    ApiKey,
    ListApiKeysRequest,
    WhoAmIRequest,
)
from tandem.agent.v1.project_service_pb2 import Project
from tests.refusals import refused
from tests.world import Client, World


async def create(
    client: Client, project: Project, key: ApiKey | None, request_id: str = "", **fields: Any
) -> Agent:
    agent = Agent(**{"project_id": project.id, "name": "Scout", **fields})
    request = CreateAgentRequest(agent=agent, with_api_key=key, request_id=request_id)
    created: Agent = await client.agents.CreateAgent(request)
    return created


async def keys_of(client: Client, agent: Agent) -> list[ApiKey]:
    answer = await client.auth.ListApiKeys(ListApiKeysRequest(agent_id=agent.id))
    return list(answer.api_keys)


async def test_an_agent_is_created_with_a_key_that_works_at_once(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    end = datetime.now(UTC) + timedelta(days=30)
    asked = ApiKey(capabilities=["search"], scopes=[API_KEY_SCOPE_CREATE_TASKS], id="x")
    asked.expires_at.FromDatetime(end)
    agent = await create(alice, project, asked, config={"a": "b" * 1000})
    (key,) = await keys_of(alice, agent)
    assert agent.api_key.api_key == key
    assert (key.agent_id, key.project_id) == (agent.id, project.id)
    assert list(key.capabilities) == ["search"]
    assert list(key.scopes) == [API_KEY_SCOPE_CREATE_TASKS]
    assert key.expires_at.ToDatetime(tzinfo=UTC) == end
    assert key.created_by_id == str(alice.id)
    calling = await alice.exchanged(agent.api_key.secret)
    assert (await calling.auth.WhoAmI(WhoAmIRequest())).caller_id == agent.id


async def test_the_key_is_in_that_answer_only(world: World) -> None:
    alice = await world.user()
    agent = await create(alice, await alice.project(), ApiKey())
    assert list(agent.api_key.api_key.scopes) == [API_KEY_SCOPE_CLAIM_TASKS]
    agent.ClearField("api_key")
    assert await alice.agents.GetAgent(GetAgentRequest(agent_id=agent.id)) == agent
    batch = await alice.agents.BatchGetAgents(BatchGetAgentsRequest(agent_ids=[agent.id]))
    assert list(batch.agents) == [agent]
    assert list((await alice.agents.ListAgents(ListAgentsRequest())).agents) == [agent]


async def test_an_agent_gets_no_key_unless_it_is_asked_for(world: World) -> None:
    alice = await world.user()
    agent = await create(alice, await alice.project(), None)
    assert not agent.HasField("api_key")
    assert await keys_of(alice, agent) == []


async def test_a_repeated_request_gets_the_same_secret_which_is_kept_encrypted(
    world: World,
) -> None:
    alice, request_id = await world.user(), str(uuid4())
    project = await alice.project()
    first = await create(alice, project, ApiKey(), request_id)
    assert await create(alice, project, ApiKey(), request_id) == first
    assert len(await keys_of(alice, first)) == 1
    kept: bytes = await world.value(
        "SELECT answer FROM request_ids WHERE request_id = $1", request_id
    )
    secret = first.api_key.secret.split("_", 2)[2].encode()
    assert first.api_key.secret.encode() not in kept
    assert secret not in kept
    assert first.id.encode() not in kept
    other = ApiKey(capabilities=["x"])
    await refused(create(alice, project, other, request_id), Reason.REQUEST_ID_REUSED)


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"capabilities": ["a\0"]}, "with_api_key.capabilities[0]"),
        ({"capabilities": [f"{n:0100}" for n in range(41)]}, "with_api_key.capabilities"),
        ({"scopes": [0]}, "with_api_key.scopes[0]"),
        ({"scopes": [1, 1]}, "with_api_key.scopes"),
        ({"expires_at": datetime.now(UTC)}, "with_api_key.expires_at"),
    ],
)
async def test_a_wrong_key_is_named_and_no_agent_created(
    world: World, fields: dict[str, Any], path: str
) -> None:
    alice, bob = await world.user(), await world.user()
    project = await alice.project()
    key = ApiKey(**fields)
    assert list((await refused(create(alice, project, key), Reason.INVALID_FIELD)).fields) == [path]
    await refused(create(bob, project, key), Reason.NOT_PROJECT_OWNER)
    assert await world.value("SELECT count(*) FROM agents") == 0


async def test_neither_is_created_without_the_other(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    await create(alice, project, ApiKey())
    await refused(create(alice, project, ApiKey()), Reason.AGENT_NAME_TAKEN)
    assert await world.value("SELECT count(*) FROM agent_api_keys") == 1
    await world.execute("CREATE UNIQUE INDEX one_key ON agent_api_keys (project_id)")
    try:
        await refused(create(alice, project, ApiKey(), name="Other"), Reason.INTERNAL)
    finally:
        await world.execute("DROP INDEX one_key")
    assert await world.value("SELECT count(*) FROM agents") == 1
