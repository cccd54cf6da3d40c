"""Scopes of API keys: what a key permits its agent beyond its own tasks."""

import asyncio
from typing import Any

import jwt
import pytest

from shared.errors import Reason
from tandem.agent.v1.agent_service_pb2 import GetAgentRequest, ListAgentsRequest
from tandem.agent.v1.auth_service_pb2 import (
    API_KEY_SCOPE_CLAIM_TASKS,
    API_KEY_SCOPE_CREATE_TASKS,
    API_KEY_SCOPE_MANAGE_ROOMS,
    API_KEY_SCOPE_MANAGE_TASKS,
    API_KEY_SCOPE_READ_PROJECT,
    ApiKeyScope,
    CreateApiKeyResponse,
)
from tandem.agent.v1.project_service_pb2 import GetProjectRequest
from tandem.agent.v1.room_service_pb2 import GetRoomRequest, ListRoomsRequest
from tandem.task.v1.task_service_pb2 import (
    CountTasksRequest,
    CreateTaskRequest,
    GetTaskRequest,
    ListTasksRequest,
    Task,
    VerifyDependenciesRequest,
)
from tests.agent_service.api_keys.holder import Holder
from tests.refusals import refused
from tests.world import Client

CLAIM, READ, CREATE, MANAGE, ROOMS = (
    API_KEY_SCOPE_CLAIM_TASKS,
    API_KEY_SCOPE_READ_PROJECT,
    API_KEY_SCOPE_CREATE_TASKS,
    API_KEY_SCOPE_MANAGE_TASKS,
    API_KEY_SCOPE_MANAGE_ROOMS,
)
ALL = [CLAIM, READ, CREATE, MANAGE, ROOMS]


async def calling(holder: Holder, key: CreateApiKeyResponse) -> Client:
    """A client that calls as the agent with this key."""
    return Client(holder.world.channels, (await holder.exchange(key.secret)).access_token)


async def told(holder: Holder, key: CreateApiKeyResponse) -> list[int]:
    """The scopes that WhoAmI tells the agent."""
    return list((await holder.who((await holder.exchange(key.secret)).access_token)).scopes)


async def test_a_key_that_is_asked_for_no_scope_may_claim(holder: Holder) -> None:
    key = await holder.create()
    assert list(key.api_key.scopes) == [CLAIM]
    assert await told(holder, key) == [CLAIM]
    assert [list(each.scopes) for each in await holder.list()] == [[CLAIM]]


async def test_a_key_has_the_scopes_that_it_is_asked_for_and_no_others(holder: Holder) -> None:
    for scopes in ([READ], [ROOMS, CREATE], ALL):
        key = await holder.create(scopes=scopes)
        assert list(key.api_key.scopes) == scopes
        assert await told(holder, key) == sorted(scopes)
        assert list((await holder.list())[-1].scopes) == scopes


@pytest.mark.parametrize(
    ("scopes", "path"),
    [([0], "[0]"), ([99], "[0]"), ([READ, READ], ""), ([READ] * 11, "")],
)
async def test_a_scope_has_to_be_one(holder: Holder, scopes: list[int], path: str) -> None:
    found = await refused(holder.create(scopes=scopes), Reason.INVALID_FIELD)
    assert list(found.fields) == [f"api_key.scopes{path}"]
    assert await holder.list() == []


async def test_a_rotation_keeps_the_scopes(holder: Holder) -> None:
    old = await holder.create(scopes=[READ, CREATE])
    new = (await holder.rotate(old.api_key)).api_key
    assert list(new.scopes) == [READ, CREATE]
    await holder.world.execute("UPDATE agent_api_keys SET scopes = '{}'")
    newer = await holder.rotate(new)
    assert list(newer.api_key.scopes) == []
    assert (await holder.who((await holder.exchange(newer.secret)).access_token)).scopes == []


async def test_a_key_from_before_has_exactly_the_rights_that_it_had(holder: Holder) -> None:
    key = await holder.create()
    await holder.world.execute("UPDATE agent_api_keys SET scopes = '{}'")
    own = await holder.owner.task(
        holder.project, assigned_to=holder.agent.id, assigned_to_type="ASSIGNEE_TYPE_AGENT"
    )
    other = await holder.owner.task(holder.project)
    agent = await calling(holder, key)
    assert (await agent.agents.GetAgent(GetAgentRequest(agent_id=holder.agent.id))).id
    assert await agent.tasks.GetTask(GetTaskRequest(task_id=own.id)) == own
    assert list((await agent.tasks.ListTasks(ListTasksRequest())).tasks) == [own]
    await refused(agent.tasks.GetTask(GetTaskRequest(task_id=other.id)), Reason.SCOPE_MISSING)
    for call in (agent.task(holder.project), agent.room(holder.project)):
        await refused(call, Reason.SCOPE_MISSING)
    assert await told(holder, key) == []


async def test_scopes_are_of_the_key_and_not_of_the_token(holder: Holder) -> None:
    key = await holder.create(scopes=[CREATE])
    agent = await calling(holder, key)
    assert agent.token
    assert "scopes" not in jwt.decode(agent.token, options={"verify_signature": False})
    await agent.task(holder.project)
    await holder.world.execute("UPDATE agent_api_keys SET scopes = '{read_project}'")
    await asyncio.sleep(1.1)
    await refused(agent.task(holder.project), Reason.SCOPE_MISSING)
    assert len((await agent.tasks.ListTasks(ListTasksRequest())).tasks) == 1


@pytest.mark.parametrize(
    ("missing", "required"),
    [
        ("task", "API_KEY_SCOPE_MANAGE_TASKS,API_KEY_SCOPE_READ_PROJECT"),
        ("new", "API_KEY_SCOPE_CREATE_TASKS,API_KEY_SCOPE_MANAGE_TASKS"),
        ("room", "API_KEY_SCOPE_MANAGE_ROOMS,API_KEY_SCOPE_READ_PROJECT"),
        ("agents", "API_KEY_SCOPE_READ_PROJECT"),
    ],
)
async def test_a_refusal_names_the_scopes_of_which_one_is_missing(
    holder: Holder, missing: str, required: str
) -> None:
    task, room = await holder.owner.task(holder.project), await holder.owner.room(holder.project)
    agent = await calling(holder, await holder.create())
    calls: dict[str, Any] = {
        "task": lambda: agent.tasks.GetTask(GetTaskRequest(task_id=task.id)),
        "new": lambda: agent.task(holder.project),
        "room": lambda: agent.rooms.GetRoom(GetRoomRequest(room_id=room.id)),
        "agents": lambda: agent.agents.ListAgents(ListAgentsRequest()),
    }
    found = await refused(calls[missing](), Reason.SCOPE_MISSING)
    assert found.metadata == {"required": required}


async def test_with_every_scope_an_agent_reaches_nothing_of_another_project(
    holder: Holder,
) -> None:
    owner = holder.owner
    other = await owner.project()
    room, task = await owner.room(other), await owner.task(other)
    neighbour = await owner.agent(other)
    agent = await calling(holder, await holder.create(scopes=ALL))
    new = Task(project_id=other.id, title="New")
    for call in (
        agent.projects.GetProject(GetProjectRequest(project_id=other.id)),
        agent.agents.GetAgent(GetAgentRequest(agent_id=neighbour.id)),
        agent.agents.ListAgents(ListAgentsRequest(project_id=other.id)),
        agent.rooms.GetRoom(GetRoomRequest(room_id=room.id)),
        agent.rooms.ListRooms(ListRoomsRequest(project_id=other.id)),
        agent.room(other),
        agent.tasks.GetTask(GetTaskRequest(task_id=task.id)),
        agent.tasks.ListTasks(ListTasksRequest(project_id=other.id)),
        agent.tasks.CountTasks(CountTasksRequest(project_id=other.id)),
        agent.tasks.CreateTask(CreateTaskRequest(task=new)),
        agent.tasks.VerifyDependencies(VerifyDependenciesRequest(project_id=other.id)),
    ):
        await refused(call, Reason.NOT_ALLOWED_FOR_AGENT)
    assert not (await agent.tasks.ListTasks(ListTasksRequest())).tasks
    assert not (await agent.rooms.ListRooms(ListRoomsRequest())).rooms
    assert [each.id for each in (await agent.agents.ListAgents(ListAgentsRequest())).agents] == [
        holder.agent.id
    ]
    assert (await agent.tasks.CountTasks(CountTasksRequest())).total == 0


async def test_who_manages_tasks_may_check_the_dependencies_of_new_ones(holder: Holder) -> None:
    key = await holder.create(scopes=[API_KEY_SCOPE_MANAGE_TASKS])
    agent = await calling(holder, key)
    request = VerifyDependenciesRequest(project_id=holder.agent.project_id)
    await agent.tasks.VerifyDependencies(request)


def test_every_scope_is_tested() -> None:
    assert {*ALL} == {*ApiKeyScope.values()} - {0}
