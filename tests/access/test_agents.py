"""What agents reach as callers: themselves, and the tasks assigned to them."""

import time
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import jwt
import pytest
from uuid_utils.compat import uuid7

from shared.errors import Reason
from tandem.agent.v1.agent_service_pb2 import (
    AGENT_STATUS_ONLINE,
    Agent,
    GetAgentRequest,
    SetAgentStatusRequest,
)
from tandem.agent.v1.auth_service_pb2 import CALLER_TYPE_AGENT, WhoAmIRequest
from tandem.agent.v1.project_service_pb2 import (
    PROJECT_STATUS_SUSPENDED,
    Project,
    UpdateProjectRequest,
)
from tandem.task.v1.task_service_pb2 import (
    ASSIGNEE_TYPE_AGENT,
    ASSIGNEE_TYPE_USER,
    TASK_STATUS_COMPLETED,
    TASK_STATUS_IN_PROGRESS,
    AssignTaskRequest,
    GetTaskRequest,
    ListTasksRequest,
    Task,
    UnassignTaskRequest,
    UpdateTaskStatusRequest,
)
from tests.refusals import refused
from tests.world import CAPABILITIES, SECRET, Client, User, World

SOMEWHERE = "00000000-0000-7000-8000-000000000000"


@dataclass
class Crew:
    """An agent of a project that calls, its owner, and another agent there."""

    owner: User
    project: Project
    scout: Agent
    calling: Client
    other: Agent

    async def task(self, agent: Agent | None = None, **fields: Any) -> Task:
        """A task of the calling agent, or of another one."""
        assignee = (agent or self.scout).id
        return await self.owner.task(
            self.project, assigned_to=assignee, assigned_to_type=ASSIGNEE_TYPE_AGENT, **fields
        )


@pytest.fixture
async def crew(world: World) -> Crew:
    owner = await world.user()
    project = await owner.project()
    scout, other = await owner.agent(project), await owner.agent(project)
    return Crew(owner, project, scout, await owner.as_agent(scout), other)


async def test_an_agent_is_told_who_it_is(crew: Crew) -> None:
    told = await crew.calling.auth.WhoAmI(WhoAmIRequest())
    assert (told.caller_type, told.caller_id) == (CALLER_TYPE_AGENT, crew.scout.id)
    assert (told.project_id, told.capabilities) == (crew.project.id, CAPABILITIES)
    assert not told.HasField("user")
    assert told.HasField("token_expires_at")


async def test_an_agent_sees_and_moves_itself(crew: Crew) -> None:
    assert await crew.calling.agents.GetAgent(GetAgentRequest(agent_id=crew.scout.id)) == crew.scout
    request = SetAgentStatusRequest(agent_id=crew.scout.id, status=AGENT_STATUS_ONLINE)
    assert (await crew.calling.agents.SetAgentStatus(request)).status == AGENT_STATUS_ONLINE


async def test_an_agent_that_does_not_exist_is_not_found_by_agents_either(crew: Crew) -> None:
    call = crew.calling.agents.GetAgent(GetAgentRequest(agent_id=SOMEWHERE))
    await refused(call, Reason.AGENT_NOT_FOUND)
    call = crew.calling.tasks.GetTask(GetTaskRequest(task_id=SOMEWHERE))
    await refused(call, Reason.TASK_NOT_FOUND)
    call = crew.calling.tasks.ListTasks(ListTasksRequest(project_id=SOMEWHERE))
    await refused(call, Reason.PROJECT_NOT_FOUND)


async def test_an_agent_does_its_task(crew: Crew) -> None:
    task = await crew.task()
    for status in (TASK_STATUS_IN_PROGRESS, TASK_STATUS_COMPLETED):
        request = UpdateTaskStatusRequest(task_id=task.id, status=status)
        request.result["found"] = True
        done = await crew.calling.tasks.UpdateTaskStatus(request)
    assert (done.status, done.result["found"], done.revision) == (TASK_STATUS_COMPLETED, True, 3)
    assert await crew.owner.tasks.GetTask(GetTaskRequest(task_id=task.id)) == done


async def test_a_repeated_move_is_answered_as_the_first(crew: Crew) -> None:
    task, request_id = await crew.task(), str(uuid7())
    request = UpdateTaskStatusRequest(
        task_id=task.id, status=TASK_STATUS_IN_PROGRESS, request_id=request_id
    )
    first = await crew.calling.tasks.UpdateTaskStatus(request)
    assert await crew.calling.tasks.UpdateTaskStatus(request) == first
    assert first.revision == 2


async def test_an_agent_lists_its_tasks_alone(crew: Crew) -> None:
    mine = [(await crew.task()).id for _ in range(5)]
    others = await crew.task(crew.other)
    await crew.owner.task(crew.project)
    await crew.owner.task(
        crew.project, assigned_to=str(crew.owner.id), assigned_to_type=ASSIGNEE_TYPE_USER
    )
    assert await listed(crew.calling) == mine
    assert await listed(crew.calling, project_id=crew.project.id) == mine
    assert await listed(crew.calling, assigned_to=crew.other.id) == []
    assert await listed(await crew.owner.as_agent(crew.other)) == [others.id]


async def listed(client: Client, **filters: Any) -> list[str]:
    """The ids on all pages; the first page also has their number."""
    found: list[str] = []
    request = ListTasksRequest(page_size=2, order_by="created_at", include_total=True, **filters)
    first = answer = await client.tasks.ListTasks(request)
    found += [task.id for task in answer.tasks]
    while answer.next_page_token:
        request.page_token = answer.next_page_token
        answer = await client.tasks.ListTasks(request)
        found += [task.id for task in answer.tasks]
    assert first.total_size == len(found)
    return found


async def test_a_task_is_its_agents_as_long_as_it_is_assigned(crew: Crew) -> None:
    task = await crew.task()
    get, move = (
        GetTaskRequest(task_id=task.id),
        UpdateTaskStatusRequest(task_id=task.id, status=TASK_STATUS_IN_PROGRESS),
    )
    await crew.calling.tasks.GetTask(get)
    await crew.owner.tasks.AssignTask(
        AssignTaskRequest(
            task_id=task.id, assigned_to=crew.other.id, assigned_to_type=ASSIGNEE_TYPE_AGENT
        )
    )
    for call in (crew.calling.tasks.GetTask(get), crew.calling.tasks.UpdateTaskStatus(move)):
        await refused(call, Reason.SCOPE_MISSING)
    await crew.owner.tasks.UnassignTask(UnassignTaskRequest(task_id=task.id))
    await refused(crew.calling.tasks.UpdateTaskStatus(move), Reason.SCOPE_MISSING)
    assert (await crew.owner.tasks.GetTask(get)).revision == 3


async def test_what_is_in_a_suspended_project_stays_as_it_is(crew: Crew) -> None:
    task = await crew.task()
    suspended = Project(id=crew.project.id, status=PROJECT_STATUS_SUSPENDED)
    await crew.owner.projects.UpdateProject(UpdateProjectRequest(project=suspended))
    await crew.calling.tasks.GetTask(GetTaskRequest(task_id=task.id))
    for call in (
        crew.calling.tasks.UpdateTaskStatus(
            UpdateTaskStatusRequest(task_id=task.id, status=TASK_STATUS_IN_PROGRESS)
        ),
        crew.calling.agents.SetAgentStatus(
            SetAgentStatusRequest(agent_id=crew.scout.id, status=AGENT_STATUS_ONLINE)
        ),
    ):
        await refused(call, Reason.PROJECT_NOT_ACTIVE)


async def namesake_of(user: User, world: World) -> Client:
    """An agent, in a project of its own, that has the id of the user, too."""
    project = await user.project()
    await world.execute(
        "INSERT INTO agents (id, project_id, name) VALUES ($1, $2, 'Namesake')",
        user.id,
        UUID(project.id),
    )
    return await user.as_agent(Agent(id=str(user.id), project_id=project.id))


async def test_an_agent_with_the_id_of_a_user_has_not_that_users_rights(world: World) -> None:
    """Ids from an older system can be equal: the kind of a caller is decisive, too."""
    owner = await world.user()
    task, calling = await owner.task(await owner.project()), await namesake_of(owner, world)
    assert await listed(calling) == []
    await refused(
        calling.tasks.GetTask(GetTaskRequest(task_id=task.id)), Reason.NOT_ALLOWED_FOR_AGENT
    )
    await refused(
        calling.tasks.UpdateTaskStatus(
            UpdateTaskStatusRequest(task_id=task.id, status=TASK_STATUS_IN_PROGRESS)
        ),
        Reason.NOT_ALLOWED_FOR_AGENT,
    )
    assert (await owner.auth.WhoAmI(WhoAmIRequest())).user.username


async def test_an_agent_with_the_id_of_a_user_is_not_given_that_users_answers(world: World) -> None:
    owner = await world.user()
    task, calling = await owner.task(await owner.project()), await namesake_of(owner, world)
    request = UpdateTaskStatusRequest(
        task_id=task.id, status=TASK_STATUS_IN_PROGRESS, request_id=str(uuid7())
    )
    first = await owner.tasks.UpdateTaskStatus(request)
    await refused(calling.tasks.UpdateTaskStatus(request), Reason.NOT_ALLOWED_FOR_AGENT)
    assert await owner.tasks.UpdateTaskStatus(request) == first


KEY_ENDINGS = {
    "revoked": "UPDATE agent_api_keys SET status = 'revoked'",
    "marked as expired": "UPDATE agent_api_keys SET status = 'expired'",
    "past its end": "UPDATE agent_api_keys SET expires_at = now()",
    "deleted": "DELETE FROM agent_api_keys",
    "another agent's": "UPDATE agent_api_keys SET agent_id = (SELECT id FROM agents WHERE NOT id"
    " IN (SELECT agent_id FROM agent_api_keys))",
}


@pytest.mark.parametrize("ending", KEY_ENDINGS)
async def test_a_token_is_worth_what_its_key_is(crew: Crew, world: World, ending: str) -> None:
    await world.execute(KEY_ENDINGS[ending])
    await refused(crew.calling.auth.WhoAmI(WhoAmIRequest()), Reason.CALLER_INACTIVE)


async def test_a_token_of_an_issuer_without_api_keys_needs_none(world: World, crew: Crew) -> None:
    elsewhere = Client(world.channels, without_api_key(crew.scout))
    told = await elsewhere.auth.WhoAmI(WhoAmIRequest())
    assert (told.caller_id, list(told.capabilities)) == (crew.scout.id, [])
    await world.execute("UPDATE agents SET is_active = false")
    elsewhere = Client(world.channels, without_api_key(crew.other))
    await refused(elsewhere.auth.WhoAmI(WhoAmIRequest()), Reason.CALLER_INACTIVE)


def without_api_key(agent: Agent) -> str:
    now = int(time.time())
    claims = {"iss": "tandem", "aud": "tandem", "sub": agent.id, "typ": "agent", "iat": now}
    return jwt.encode({**claims, "exp": now + 60}, SECRET.get_secret_value(), algorithm="HS256")
