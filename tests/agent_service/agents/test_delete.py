"""Deleting agents, with all that hangs on them."""

from uuid import UUID, uuid4

from shared.errors import Reason
from tandem.agent.v1.agent_service_pb2 import (
    Agent,
    DeleteAgentRequest,
    GetAgentRequest,
    UpdateAgentRequest,
)
from tandem.agent.v1.project_service_pb2 import Project
from tandem.task.v1.task_service_pb2 import (
    ASSIGNEE_TYPE_AGENT,
    TASK_STATUS_IN_PROGRESS,
    TASK_STATUS_PENDING,
    GetTaskRequest,
    Task,
)
from tests.refusals import refused
from tests.task_service.steps import move
from tests.world import User, World

HANGING_ON = """
WITH
  key AS (INSERT INTO agent_api_keys (id, project_id, agent_id, key_id, api_key_hash, key_prefix)
          VALUES (gen_random_uuid(), $1, $2, $2::uuid::text, $2::uuid::text, 'tdm')),
  room AS (INSERT INTO chat_rooms (id, project_id, name) VALUES ($3, $1, 'Room')),
  task AS (INSERT INTO tasks (id, project_id, title, assigned_agent_id)
           VALUES ($3, $1, 'Task', $2::uuid))
SELECT
"""
PARTICIPANT = """
INSERT INTO chat_participants (id, project_id, room_id, agent_id)
VALUES (gen_random_uuid(), $1, $2, $3)
"""


async def hang_on(world: World, agent: Agent) -> UUID:
    """Give an agent an API key, a task, and a place in a room; the id of the last two."""
    project_id, agent_id, new_id = UUID(agent.project_id), UUID(agent.id), uuid4()
    await world.execute(HANGING_ON, project_id, agent_id, new_id)
    await world.execute(PARTICIPANT, project_id, new_id, agent_id)
    return new_id


async def test_what_hangs_on_an_agent_goes_with_it(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    gone, other = await alice.agent(project), await alice.agent(project)
    task_of_gone, task_of_other = await hang_on(world, gone), await hang_on(world, other)
    await alice.agents.DeleteAgent(DeleteAgentRequest(agent_id=gone.id))
    await refused(alice.agents.GetAgent(GetAgentRequest(agent_id=gone.id)), Reason.AGENT_NOT_FOUND)
    for table in ("agent_api_keys", "chat_participants"):
        ids = f"SELECT array_agg(agent_id) FROM {table}"  # noqa: S608
        assert await world.value(ids) == [UUID(other.id)]
    task = "SELECT (assigned_to, assigned_to_type, revision, updated_at > created_at)"
    task += " FROM tasks WHERE id = $1"
    assert await world.value(task, task_of_gone) == (None, None, 2, True)
    assert await world.value(task, task_of_other) == (UUID(other.id), "agent", 1, False)


async def test_a_revision_has_to_match(world: World) -> None:
    alice = await world.user()
    agent = await alice.agent(await alice.project())
    await alice.agents.UpdateAgent(UpdateAgentRequest(agent=Agent(id=agent.id, nickname="N")))
    call = alice.agents.DeleteAgent(DeleteAgentRequest(agent_id=agent.id, revision=1))
    assert (await refused(call, Reason.REVISION_MISMATCH)).metadata == {"revision": "2"}
    await alice.agents.DeleteAgent(DeleteAgentRequest(agent_id=agent.id, revision=2))
    call = alice.agents.DeleteAgent(DeleteAgentRequest(agent_id=agent.id))
    assert (await refused(call, Reason.AGENT_NOT_FOUND)).metadata == {"agent_id": agent.id}


async def test_a_negative_revision_is_none(world: World) -> None:
    alice = await world.user()
    agent = await alice.agent(await alice.project())
    call = alice.agents.DeleteAgent(DeleteAgentRequest(agent_id=agent.id, revision=-1))
    assert list((await refused(call, Reason.INVALID_FIELD)).fields) == ["revision"]


async def test_a_project_that_is_not_active_can_be_cleared(world: World) -> None:
    alice = await world.user()
    agent = await alice.agent(await alice.project())
    await world.execute("UPDATE projects SET status = 'archived'")
    await alice.agents.DeleteAgent(DeleteAgentRequest(agent_id=agent.id))
    assert await world.value("SELECT count(*) FROM agents") == 0


async def test_a_name_is_free_again(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    agent = await alice.agent(project, name="Scout")
    await alice.agents.DeleteAgent(DeleteAgentRequest(agent_id=agent.id))
    assert (await alice.agent(project, name="Scout")).id != agent.id


async def test_what_it_worked_on_is_pending_again(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    gone, other = await alice.agent(project), await alice.agent(project)
    tasks = [await working(alice, project, agent) for agent in (gone, other)]
    await alice.agents.DeleteAgent(DeleteAgentRequest(agent_id=gone.id))
    freed, kept = [await alice.tasks.GetTask(GetTaskRequest(task_id=t.id)) for t in tasks]
    assert (freed.status, freed.HasField("started_at")) == (TASK_STATUS_PENDING, False)
    assert (freed.HasField("assigned_to"), freed.revision) == (False, 3)
    assert kept == tasks[1]


async def test_one_that_is_deactivated_works_on_nothing(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    agent = await alice.agent(project)
    task, ready = await working(alice, project, agent), await assigned(alice, project, agent)

    async def now(one: Task) -> Task:
        found: Task = await alice.tasks.GetTask(GetTaskRequest(task_id=one.id))
        return found

    await alice.agents.UpdateAgent(UpdateAgentRequest(agent=Agent(id=agent.id, name="Other")))
    assert await now(task) == task
    request = UpdateAgentRequest(agent=Agent(id=agent.id, is_active=False))
    await alice.agents.UpdateAgent(request)
    stopped = await now(task)
    assert (stopped.status, stopped.HasField("started_at")) == (TASK_STATUS_PENDING, False)
    assert (stopped.assigned_to, stopped.revision) == (agent.id, 3)
    assert await now(ready) == ready
    moved = await move(alice, stopped, TASK_STATUS_IN_PROGRESS)
    await alice.agents.UpdateAgent(request)
    assert await now(task) == moved, "what changes nothing of the agent changes no task"


async def assigned(alice: User, project: Project, agent: Agent) -> Task:
    """A task of an agent."""
    return await alice.task(project, assigned_to=agent.id, assigned_to_type=ASSIGNEE_TYPE_AGENT)


async def working(alice: User, project: Project, agent: Agent) -> Task:
    """A task that an agent works on."""
    return await move(alice, await assigned(alice, project, agent), TASK_STATUS_IN_PROGRESS)
