"""What waits, and is worked on without a lease, if its assignee cannot work on it any more."""

from collections.abc import Awaitable, Callable
from typing import TypeAlias

import pytest

from tandem.agent.v1.agent_service_pb2 import Agent, DeleteAgentRequest, UpdateAgentRequest
from tandem.agent.v1.member_service_pb2 import RemoveMemberRequest
from tandem.agent.v1.project_service_pb2 import Project
from tandem.task.v1.task_service_pb2 import ASSIGNEE_TYPE_AGENT, ASSIGNEE_TYPE_USER
from tests.task_service.dependents.waits import events_of, moved, state, waiting
from tests.world import User, World

Leave: TypeAlias = Callable[[User, Project, Agent, User], Awaitable[None]]


async def _deactivated(alice: User, _project: Project, agent: Agent, _bob: User) -> None:
    request = UpdateAgentRequest(agent=Agent(id=agent.id, is_active=False))
    request.update_mask.paths.append("is_active")
    await alice.agents.UpdateAgent(request)


async def _deleted(alice: User, _project: Project, agent: Agent, _bob: User) -> None:
    await alice.agents.DeleteAgent(DeleteAgentRequest(agent_id=agent.id))


async def _removed(alice: User, project: Project, _agent: Agent, bob: User) -> None:
    request = RemoveMemberRequest(project_id=project.id, user_id=str(bob.id))
    await alice.members.RemoveMember(request)


@pytest.mark.parametrize("leave", [_deactivated, _deleted, _removed])
@pytest.mark.parametrize(
    ("status", "reason"), [("in_progress", "DEPENDENCIES"), ("failed", "DEPENDENCY_FAILED")]
)
async def test_it_waits_for_what_was_reopened(
    world: World, leave: Leave, status: str, reason: str
) -> None:
    alice, bob = await world.user(), await world.user()
    project = await alice.project()
    await world.member(project.id, bob, "editor")
    agent = await alice.agent(project)
    assignee: dict[str, object] = {"assigned_to": agent.id, "assigned_to_type": ASSIGNEE_TYPE_AGENT}
    if leave is _removed:
        assignee = {"assigned_to": str(bob.id), "assigned_to_type": ASSIGNEE_TYPE_USER}
    first = await alice.task(project)
    task = await waiting(alice, project, first, **assignee)
    await moved(alice, first, "completed")
    await moved(alice, task, "in_progress")
    await moved(alice, first, status)
    assert await state(alice, task) == ("IN_PROGRESS", "", 1)
    await leave(alice, project, agent, bob)
    assert await state(alice, task) == ("BLOCKED", reason, 1)
    said = "task.blocked" if leave is _deactivated else "task.unassigned"
    assert (await events_of(world, task))[-1] == said
    await moved(alice, first, "completed")
    assert await state(alice, task) == ("PENDING", "", 0)
