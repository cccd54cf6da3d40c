"""Assigning tasks: who can be assigned one, and what that changes."""

import pytest
from uuid_utils.compat import uuid7

from shared.errors import Reason
from tandem.agent.v1.agent_service_pb2 import DeleteAgentRequest
from tandem.agent.v1.project_service_pb2 import DeleteProjectRequest, Project
from tandem.task.v1.task_service_pb2 import (
    ASSIGNEE_TYPE_AGENT,
    ASSIGNEE_TYPE_USER,
    AssigneeType,
    GetTaskRequest,
)
from tests.refusals import Refused, refused
from tests.task_service.steps import assign, unassign
from tests.world import User, World


async def test_a_task_is_assigned_to_an_agent_then_a_user_then_nobody(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    agent, task = await alice.agent(project), await alice.task(project)
    by_agent = await assign(alice, task, agent.id)
    assert (by_agent.assigned_to, by_agent.assigned_to_type) == (agent.id, ASSIGNEE_TYPE_AGENT)
    by_user = await assign(alice, task, alice.id, ASSIGNEE_TYPE_USER)
    assert (by_user.assigned_to, by_user.assigned_to_type) == (str(alice.id), ASSIGNEE_TYPE_USER)
    assert by_user.revision == 3
    by_nobody = await unassign(alice, task)
    assert not by_nobody.HasField("assigned_to")
    assert (by_nobody.assigned_to_type, by_nobody.revision) == (0, 4)
    assert await alice.tasks.GetTask(GetTaskRequest(task_id=task.id)) == by_nobody


async def test_a_revision_has_to_match(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    agent, task = await alice.agent(project), await alice.task(project)
    found = await refused(assign(alice, task, agent.id, revision=2), Reason.REVISION_MISMATCH)
    assert found.metadata == {"revision": "1"}
    assert (await assign(alice, task, agent.id, revision=1)).revision == 2
    await refused(unassign(alice, task, revision=1), Reason.REVISION_MISMATCH)
    assert (await unassign(alice, task, revision=2)).revision == 3
    wrong = await refused(assign(alice, task, agent.id, revision=-1), Reason.INVALID_FIELD)
    assert list(wrong.fields) == ["revision"]


async def test_what_is_so_already_changes_nothing(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    agent, task = await alice.agent(project), await alice.task(project)
    assert await unassign(alice, task) == task
    assigned = await assign(alice, task, agent.id)
    assert await assign(alice, task, agent.id) == assigned


async def test_a_task_is_assigned_at_creation(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    agent = await alice.agent(project)
    for kind, assignee in ((ASSIGNEE_TYPE_AGENT, agent.id), (ASSIGNEE_TYPE_USER, str(alice.id))):
        task = await alice.task(project, assigned_to=assignee, assigned_to_type=kind)
        assert (task.assigned_to, task.assigned_to_type, task.revision) == (assignee, kind, 1)


async def in_both_ways(
    alice: User,
    project: Project,
    assignee: object,
    kind: "AssigneeType.ValueType",
    reason: Reason,
) -> Refused:
    """Create a task for the assignee, and assign one: both are refused, nothing is written."""
    task = await alice.task(project)
    created = alice.task(project, assigned_to=str(assignee), assigned_to_type=kind)
    found = await refused(created, reason)
    again = await refused(assign(alice, task, assignee, kind), reason)
    assert (again.message, again.metadata) == (found.message, found.metadata)
    assert await alice.tasks.GetTask(GetTaskRequest(task_id=task.id)) == task
    return found


@pytest.mark.parametrize("kind", [ASSIGNEE_TYPE_AGENT, ASSIGNEE_TYPE_USER])
async def test_an_assignee_has_to_exist(world: World, kind: "AssigneeType.ValueType") -> None:
    alice = await world.user()
    nobody = uuid7()
    project = await alice.project()
    found = await in_both_ways(alice, project, nobody, kind, Reason.ASSIGNEE_NOT_FOUND)
    assert found.metadata["assignee_id"] == str(nobody)
    assert found.resource is not None
    assert found.resource[1] == str(nobody)
    assert await world.value("SELECT count(*) FROM tasks") == 1


async def test_an_assignee_has_to_be_active(world: World) -> None:
    alice, root = await world.user(), await world.user(superuser=True)
    project = await alice.project()
    agent = await alice.agent(project, is_active=False)
    await in_both_ways(alice, project, agent.id, ASSIGNEE_TYPE_AGENT, Reason.ASSIGNEE_INACTIVE)
    await world.execute("UPDATE users SET is_active = false WHERE id = $1", alice.id)
    await in_both_ways(root, project, alice.id, ASSIGNEE_TYPE_USER, Reason.ASSIGNEE_INACTIVE)


async def test_an_agent_has_to_be_of_the_project(world: World) -> None:
    alice = await world.user()
    project, other = await alice.project(), await alice.project()
    agent = await alice.agent(other)
    reason = Reason.ASSIGNEE_OUTSIDE_PROJECT
    await in_both_ways(alice, project, agent.id, ASSIGNEE_TYPE_AGENT, reason)


async def test_a_project_that_is_not_active_keeps_its_assignments(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    agent, task = await alice.agent(project), await alice.task(project)
    await world.execute("UPDATE projects SET status = 'suspended'")
    await refused(assign(alice, task, agent.id), Reason.PROJECT_NOT_ACTIVE)
    await refused(unassign(alice, task), Reason.PROJECT_NOT_ACTIVE)
    fields = {"assigned_to": agent.id, "assigned_to_type": ASSIGNEE_TYPE_AGENT}
    await refused(alice.task(project, **fields), Reason.PROJECT_NOT_ACTIVE)


async def test_tasks_of_an_agent_or_user_that_is_deleted_are_unassigned(world: World) -> None:
    alice, bob = await world.user(), await world.user()
    project = await bob.project()
    agent = await bob.agent(project)
    of_agent = await assign(bob, await bob.task(project), agent.id)
    of_user = await assign(bob, await bob.task(project), bob.id, ASSIGNEE_TYPE_USER)
    await world.execute("UPDATE projects SET owner_id = $1", alice.id)
    await alice.agents.DeleteAgent(DeleteAgentRequest(agent_id=agent.id))
    await world.execute("DELETE FROM users WHERE id = $1", bob.id)
    for task in (of_agent, of_user):
        now = await alice.tasks.GetTask(GetTaskRequest(task_id=task.id))
        assert not now.HasField("assigned_to")
        assert not now.assigned_to_type
    assert (await alice.tasks.GetTask(GetTaskRequest(task_id=of_agent.id))).revision == 3


async def test_a_project_takes_its_tasks_with_it(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    task = await alice.task(project)
    await alice.projects.DeleteProject(DeleteProjectRequest(project_id=project.id))
    await refused(alice.tasks.GetTask(GetTaskRequest(task_id=task.id)), Reason.TASK_NOT_FOUND)
