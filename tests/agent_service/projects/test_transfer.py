"""A project is handed over: the new owner is no member, the former one only if that is said."""

from typing import Any
from uuid import UUID, uuid4

import pytest

from shared.errors import Reason
from tandem.agent.v1.member_service_pb2 import (
    MEMBER_ROLE_ADMIN,
    MEMBER_ROLE_EDITOR,
    MEMBER_ROLE_UNSPECIFIED,
    MEMBER_ROLE_VIEWER,
    ListMembersRequest,
)
from tandem.agent.v1.project_service_pb2 import (
    PROJECT_STATUS_ARCHIVED,
    GetProjectRequest,
    ListProjectsRequest,
    Project,
    TransferProjectRequest,
    UpdateProjectRequest,
)
from tandem.agent.v1.room_service_pb2 import AddParticipantRequest, ListParticipantsRequest
from tandem.task.v1.task_service_pb2 import (
    ASSIGNEE_TYPE_USER,
    TASK_STATUS_IN_PROGRESS,
    TASK_STATUS_PENDING,
    GetTaskRequest,
    UpdateTaskStatusRequest,
)
from tests.refusals import refused
from tests.world import Client, World


def transfer(client: Client, project: Project, owner_id: UUID | str, **fields: Any) -> Any:
    request = TransferProjectRequest(project_id=project.id, owner_id=str(owner_id), **fields)
    return client.projects.TransferProject(request)


async def roles(client: Client, project: Project) -> dict[str, Any]:
    answer = await client.members.ListMembers(ListMembersRequest(project_id=project.id))
    return {member.user_id: member.role for member in answer.members}


async def test_a_project_is_handed_over(world: World) -> None:
    alice, bob, carol = [await world.user() for _ in range(3)]
    project = await alice.project()
    await world.member(project.id, bob, "viewer")
    await world.member(project.id, carol, "editor")
    found = await transfer(alice, project, bob.id, revision=1)
    assert (found.owner_id, found.revision) == (str(bob.id), 2)
    assert found.updated_at.ToDatetime() > project.updated_at.ToDatetime()
    found.owner_id, found.revision = project.owner_id, project.revision
    found.updated_at.CopyFrom(project.updated_at)
    assert found == project
    assert await roles(bob, project) == {str(carol.id): MEMBER_ROLE_EDITOR}
    get = GetProjectRequest(project_id=project.id)
    await refused(alice.projects.GetProject(get), Reason.NOT_PROJECT_OWNER)
    for user, owned in ((alice, 0), (bob, 1)):
        assert len((await user.projects.ListProjects(ListProjectsRequest())).projects) == owned


@pytest.mark.parametrize("role", [MEMBER_ROLE_VIEWER, MEMBER_ROLE_EDITOR, MEMBER_ROLE_ADMIN])
async def test_the_former_owner_keeps_a_role(world: World, role: Any) -> None:
    alice, bob = await world.user(), await world.user()
    project = await alice.project()
    await transfer(alice, project, bob.id, former_owner_role=role)
    assert await roles(alice, project) == {str(alice.id): role}
    await refused(transfer(alice, project, alice.id), Reason.INSUFFICIENT_ROLE)
    # And back: the owner is no member.
    await transfer(bob, project, alice.id)
    assert await roles(alice, project) == {}


@pytest.mark.parametrize("role", [MEMBER_ROLE_UNSPECIFIED, MEMBER_ROLE_VIEWER])
async def test_a_former_owner_without_a_role_is_left_no_tasks_and_no_rooms(
    world: World, role: Any
) -> None:
    alice, bob = await world.user(), await world.user()
    project = await alice.project()
    room = await alice.room(project)
    add = AddParticipantRequest(room_id=room.id, user_id=str(alice.id))
    await alice.rooms.AddParticipant(add)
    assigned = {"assigned_to": str(alice.id), "assigned_to_type": ASSIGNEE_TYPE_USER}
    task = await alice.task(project, **assigned)
    move = UpdateTaskStatusRequest(task_id=task.id, status=TASK_STATUS_IN_PROGRESS)
    task = await alice.tasks.UpdateTaskStatus(move)
    await transfer(alice, project, bob.id, former_owner_role=role)
    left = await bob.tasks.GetTask(GetTaskRequest(task_id=task.id))
    seats = await bob.rooms.ListParticipants(ListParticipantsRequest(room_id=room.id))
    if role:
        assert left == task
        assert len(seats.participants) == 1
    else:
        assert (left.assigned_to, left.status) == ("", TASK_STATUS_PENDING)
        assert not left.HasField("started_at")
        assert left.revision == task.revision + 1
        assert not seats.participants


async def test_the_new_owner_keeps_tasks_and_rooms(world: World) -> None:
    alice, bob = await world.user(), await world.user()
    project = await alice.project()
    await world.member(project.id, bob, "viewer")
    room = await alice.room(project)
    add = AddParticipantRequest(room_id=room.id, user_id=str(bob.id))
    await alice.rooms.AddParticipant(add)
    task = await alice.task(project, assigned_to=str(bob.id), assigned_to_type=ASSIGNEE_TYPE_USER)
    await transfer(alice, project, bob.id)
    assert await bob.tasks.GetTask(GetTaskRequest(task_id=task.id)) == task
    seats = await bob.rooms.ListParticipants(ListParticipantsRequest(room_id=room.id))
    assert len(seats.participants) == 1


async def test_only_owners_and_superusers_hand_over(world: World) -> None:
    alice, bob, eve = [await world.user() for _ in range(3)]
    root = await world.user(superuser=True)
    project = await alice.project()
    await world.member(project.id, bob, "admin")
    found = await refused(transfer(bob, project, bob.id), Reason.INSUFFICIENT_ROLE)
    assert found.metadata == {"role": "MEMBER_ROLE_ADMIN", "required": "OWNER"}
    await refused(transfer(eve, project, eve.id), Reason.NOT_PROJECT_OWNER)
    assert (await transfer(root, project, eve.id)).owner_id == str(eve.id)


async def test_a_transfer_to_the_owner_changes_nothing(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    for role in (MEMBER_ROLE_UNSPECIFIED, MEMBER_ROLE_ADMIN):
        assert await transfer(alice, project, alice.id, former_owner_role=role) == project
    assert await roles(alice, project) == {}


async def test_a_repeated_transfer_is_answered_as_the_first(world: World) -> None:
    alice, bob = await world.user(), await world.user()
    project, request_id = await alice.project(), str(uuid4())
    first = await transfer(alice, project, bob.id, request_id=request_id)
    assert await transfer(alice, project, bob.id, request_id=request_id) == first
    await refused(transfer(alice, project, bob.id), Reason.NOT_PROJECT_OWNER)


async def test_a_transfer_is_refused_with_its_reason(world: World) -> None:
    alice, inactive = await world.user(), await world.user(active=False)
    project = await alice.project()
    for user_id in (inactive.id, uuid4()):
        found = await refused(transfer(alice, project, user_id), Reason.USER_NOT_FOUND)
        assert found.metadata == {"user_id": str(user_id)}
    bob = await world.user()
    found = await refused(transfer(alice, project, bob.id, revision=2), Reason.REVISION_MISMATCH)
    assert found.metadata == {"revision": "1"}
    await refused(transfer(alice, Project(id=str(uuid4())), bob.id), Reason.PROJECT_NOT_FOUND)
    found = await refused(transfer(alice, project, "x", former_owner_role=9), Reason.INVALID_FIELD)
    assert {*found.fields} == {"owner_id", "former_owner_role"}
    get = GetProjectRequest(project_id=project.id)
    assert await alice.projects.GetProject(get) == project


async def test_a_project_need_not_be_active(world: World) -> None:
    alice, bob = await world.user(), await world.user()
    project = await alice.project()
    change = Project(id=project.id, status=PROJECT_STATUS_ARCHIVED)
    await alice.projects.UpdateProject(UpdateProjectRequest(project=change))
    assert (await transfer(alice, project, bob.id)).status == PROJECT_STATUS_ARCHIVED
