"""Who can be assigned a task."""

from uuid import UUID, uuid4

import pytest

from shared.errors import Reason
from tandem.agent.v1.agent_service_pb2 import (
    ASSIGNEE_TYPE_AGENT,
    ASSIGNEE_TYPE_USER,
    AssigneeType,
    ValidateAssigneeRequest,
)
from tests.refusals import refused
from tests.world import User, World


async def validate(
    caller: User, project_id: str, assignee: str | UUID, kind: AssigneeType.ValueType
) -> None:
    request = ValidateAssigneeRequest(
        project_id=project_id, assignee_id=str(assignee), assignee_type=kind
    )
    await caller.agents.ValidateAssignee(request)


async def test_an_active_agent_of_the_project_and_its_owner_can_be(world: World) -> None:
    alice, root = await world.user(), await world.user(superuser=True)
    project = await alice.project()
    agent = await alice.agent(project)
    for caller in (alice, root):
        await validate(caller, project.id, agent.id, ASSIGNEE_TYPE_AGENT)
        await validate(caller, project.id, alice.id, ASSIGNEE_TYPE_USER)
    call = validate(root, project.id, root.id, ASSIGNEE_TYPE_USER)
    await refused(call, Reason.ASSIGNEE_NOT_FOUND)


async def test_who_is_inactive_cannot_be(world: World) -> None:
    alice, root = await world.user(), await world.user(superuser=True)
    project = await alice.project()
    agent = await alice.agent(project, is_active=False)
    call = validate(alice, project.id, agent.id, ASSIGNEE_TYPE_AGENT)
    found = await refused(call, Reason.ASSIGNEE_INACTIVE)
    assert found.metadata == {"assignee_id": agent.id, "assignee_type": "ASSIGNEE_TYPE_AGENT"}
    await world.execute("UPDATE users SET is_active = false WHERE id = $1", alice.id)
    call = validate(root, project.id, alice.id, ASSIGNEE_TYPE_USER)
    found = await refused(call, Reason.ASSIGNEE_INACTIVE)
    assert found.metadata == {"assignee_id": str(alice.id), "assignee_type": "ASSIGNEE_TYPE_USER"}


async def test_who_does_not_exist_cannot_be(world: World) -> None:
    """Nor can a user who is not of the project, and nothing tells the two apart."""
    alice, bob, ghost = await world.user(), await world.user(), await world.user(active=False)
    project = await alice.project()
    agent = await alice.agent(project)
    for assignee, kind in (
        (uuid4(), ASSIGNEE_TYPE_AGENT),
        (uuid4(), ASSIGNEE_TYPE_USER),
        (bob.id, ASSIGNEE_TYPE_USER),
        (ghost.id, ASSIGNEE_TYPE_USER),
        (alice.id, ASSIGNEE_TYPE_AGENT),
        (UUID(agent.id), ASSIGNEE_TYPE_USER),
    ):
        call = validate(alice, project.id, assignee, kind)
        found = await refused(call, Reason.ASSIGNEE_NOT_FOUND)
        word = AssigneeType.Name(kind)
        assert found.metadata == {"assignee_id": str(assignee), "assignee_type": word}
        of_kind = word.removeprefix("ASSIGNEE_TYPE_").lower()
        assert found.message == f"There is no {of_kind} {assignee} that can be assigned."
        assert found.resource == (of_kind, str(assignee))


async def test_an_agent_of_another_project_cannot_be(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    for active in (True, False):
        agent = await alice.agent(await alice.project(), is_active=active)
        call = validate(alice, project.id, agent.id, ASSIGNEE_TYPE_AGENT)
        await refused(call, Reason.ASSIGNEE_OUTSIDE_PROJECT)


async def test_a_project_that_does_not_exist_has_none(world: World) -> None:
    alice = await world.user()
    call = validate(alice, str(alice.id), alice.id, ASSIGNEE_TYPE_USER)
    assert (await refused(call, Reason.PROJECT_NOT_FOUND)).metadata["project_id"] == str(alice.id)


@pytest.mark.parametrize("field", ["project_id", "assignee_id", "assignee_type"])
async def test_every_field_is_required(world: World, field: str) -> None:
    alice = await world.user()
    project = await alice.project()
    request = ValidateAssigneeRequest(
        project_id=project.id, assignee_id=project.id, assignee_type=ASSIGNEE_TYPE_USER
    )
    request.ClearField(field)  # type: ignore[arg-type]
    found = await refused(alice.agents.ValidateAssignee(request), Reason.INVALID_FIELD)
    assert list(found.fields) == [field]
