"""A member who is removed, or leaves, has no tasks in the project and is in none of its rooms."""

from typing import Any
from uuid import UUID, uuid4

import pytest

from shared.errors import Reason
from tandem.agent.v1.member_service_pb2 import RemoveMemberRequest
from tandem.agent.v1.project_service_pb2 import (
    PROJECT_STATUS_ARCHIVED,
    GetProjectRequest,
    Project,
    UpdateProjectRequest,
)
from tandem.agent.v1.room_service_pb2 import AddParticipantRequest, ListParticipantsRequest
from tandem.task.v1.task_service_pb2 import (
    ASSIGNEE_TYPE_USER,
    TASK_STATUS_COMPLETED,
    TASK_STATUS_IN_PROGRESS,
    TASK_STATUS_PENDING,
    GetTaskRequest,
    Task,
    UpdateTaskStatusRequest,
)
from tests.refusals import refused
from tests.world import Client, User, World

MEMBERS = "SELECT count(*) FROM project_members"


def remove(client: Client, project: Project, user_id: UUID | str, **fields: Any) -> Any:
    request = RemoveMemberRequest(project_id=project.id, user_id=str(user_id), **fields)
    return client.members.RemoveMember(request)


async def assigned(owner: User, project: Project, user: User, *statuses: Any) -> Task:
    """A task of the user's, which went through these statuses."""
    task = await owner.task(project, assigned_to=str(user.id), assigned_to_type=ASSIGNEE_TYPE_USER)
    for status in statuses:
        request = UpdateTaskStatusRequest(task_id=task.id, status=status)
        task = await user.tasks.UpdateTaskStatus(request)
    return task


async def now(owner: User, task: Task) -> Task:
    found: Task = await owner.tasks.GetTask(GetTaskRequest(task_id=task.id))
    return found


async def test_a_removed_member_is_out_at_once(world: World) -> None:
    alice, bob = await world.user(), await world.user()
    project = await alice.project()
    await world.member(project.id, bob, "admin")
    get = GetProjectRequest(project_id=project.id)
    await bob.projects.GetProject(get)
    await remove(alice, project, bob.id)
    await refused(bob.projects.GetProject(get), Reason.NOT_PROJECT_OWNER)
    found = await refused(remove(alice, project, bob.id), Reason.MEMBER_NOT_FOUND)
    assert found.metadata == {"project_id": project.id, "user_id": str(bob.id)}


async def test_the_tasks_of_a_removed_member_are_unassigned(world: World) -> None:
    alice, bob, carol = [await world.user() for _ in range(3)]
    here, there = await alice.project(), await alice.project()
    for project in (here, there):
        for user in (bob, carol):
            await world.member(project.id, user, "editor")
    waiting = await assigned(alice, here, bob)
    begun = await assigned(alice, here, bob, TASK_STATUS_IN_PROGRESS)
    done = await assigned(alice, here, bob, TASK_STATUS_IN_PROGRESS, TASK_STATUS_COMPLETED)
    others = [await assigned(alice, here, carol), await assigned(alice, there, bob)]
    agent = await alice.agent(here)
    others.append(await alice.task(here, assigned_to=agent.id, assigned_to_type=1))
    await remove(alice, here, bob.id)
    for task, status, has_begun in (
        (waiting, TASK_STATUS_PENDING, False),
        (begun, TASK_STATUS_PENDING, False),
        (done, TASK_STATUS_COMPLETED, True),
    ):
        left = await now(alice, task)
        assert not left.HasField("assigned_to")
        assert (left.status, left.HasField("started_at")) == (status, has_begun)
        assert left.revision == task.revision + 1
        assert left.updated_at.ToDatetime() > task.updated_at.ToDatetime()
    assert [await now(alice, task) for task in others] == others


async def test_a_removed_member_is_in_the_rooms_of_other_projects_only(world: World) -> None:
    alice, bob = await world.user(), await world.user()
    here, there = await alice.project(), await alice.project()
    rooms = [await alice.room(here), await alice.room(here), await alice.room(there)]
    for project in (here, there):
        await world.member(project.id, bob, "viewer")
    for room in rooms:
        for user in (alice, bob):
            add = AddParticipantRequest(room_id=room.id, user_id=str(user.id))
            await alice.rooms.AddParticipant(add)
    await remove(alice, here, bob.id)
    present = []
    for room in rooms:
        request = ListParticipantsRequest(room_id=room.id)
        found = (await alice.rooms.ListParticipants(request)).participants
        present.append({participant.user_id for participant in found})
    assert present == [{str(alice.id)}, {str(alice.id)}, {str(alice.id), str(bob.id)}]


@pytest.mark.parametrize("role", ["viewer", "editor", "admin"])
async def test_a_member_leaves(world: World, role: str) -> None:
    alice, bob = await world.user(), await world.user()
    project = await alice.project()
    await world.member(project.id, bob, role)
    await remove(bob, project, str(bob.id).upper())
    assert await world.value(MEMBERS) == 0
    await refused(remove(bob, project, bob.id), Reason.NOT_PROJECT_OWNER)


@pytest.mark.parametrize("role", ["viewer", "editor"])
async def test_only_admins_remove_others(world: World, role: str) -> None:
    alice, bob, carol = [await world.user() for _ in range(3)]
    project = await alice.project()
    await world.member(project.id, bob, role)
    await world.member(project.id, carol, "viewer")
    found = await refused(remove(bob, project, carol.id), Reason.INSUFFICIENT_ROLE)
    required = {"role": f"MEMBER_ROLE_{role.upper()}", "required": "MEMBER_ROLE_ADMIN"}
    assert found.metadata == required
    assert await world.value(MEMBERS) == 2


async def test_an_admin_removes_an_admin_but_not_the_owner(world: World) -> None:
    alice, bob, carol = [await world.user() for _ in range(3)]
    project = await alice.project()
    for user in (bob, carol):
        await world.member(project.id, user, "admin")
    await remove(bob, project, carol.id)
    await refused(remove(bob, project, alice.id), Reason.MEMBER_NOT_FOUND)
    await refused(remove(alice, project, alice.id), Reason.MEMBER_NOT_FOUND)
    await alice.projects.GetProject(GetProjectRequest(project_id=project.id))


async def test_a_revision_has_to_match_and_the_project_need_not_be_active(world: World) -> None:
    alice, bob = await world.user(), await world.user()
    project = await alice.project()
    await world.member(project.id, bob, "viewer")
    change = Project(id=project.id, status=PROJECT_STATUS_ARCHIVED)
    await alice.projects.UpdateProject(UpdateProjectRequest(project=change))
    found = await refused(remove(alice, project, bob.id, revision=2), Reason.REVISION_MISMATCH)
    assert found.metadata == {"revision": "1"}
    await remove(alice, project, bob.id, revision=1)
    assert await world.value(MEMBERS) == 0


async def test_a_removal_needs_a_project_and_ids(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    await refused(remove(alice, Project(id=str(uuid4())), uuid4()), Reason.PROJECT_NOT_FOUND)
    found = await refused(remove(alice, Project(id="x"), "y"), Reason.INVALID_FIELD)
    assert {*found.fields} == {"project_id", "user_id"}
    found = await refused(remove(alice, project, ""), Reason.INVALID_FIELD)
    assert {*found.fields} == {"user_id"}
