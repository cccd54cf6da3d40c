"""Whoever is assigned or seated belongs to the project, whatever happens at the same time."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from shared.errors import Reason
from tandem.agent.v1.agent_service_pb2 import DeleteAgentRequest
from tandem.agent.v1.member_service_pb2 import (
    MEMBER_ROLE_ADMIN,
    MEMBER_ROLE_EDITOR,
    MEMBER_ROLE_VIEWER,
    AddMemberRequest,
    Member,
    RemoveMemberRequest,
    UpdateMemberRequest,
)
from tandem.agent.v1.project_service_pb2 import (
    DeleteProjectRequest,
    Project,
    TransferProjectRequest,
)
from tandem.agent.v1.room_service_pb2 import AddParticipantRequest, DeleteRoomRequest, Room
from tandem.agent.v1.user_service_pb2 import DeleteUserRequest
from tandem.task.v1.task_service_pb2 import ASSIGNEE_TYPE_USER, AssignTaskRequest, Task
from tests.locks import under_way
from tests.refusals import outcomes, refused
from tests.world import User, World

CALLS = 8
FOREIGN_TASKS = """
SELECT count(*) FROM tasks JOIN projects ON projects.id = project_id
WHERE assigned_user_id IS NOT NULL AND assigned_user_id <> owner_id AND NOT EXISTS (
    SELECT FROM project_members m WHERE m.project_id = projects.id AND user_id = assigned_user_id)
"""
FOREIGN_SEATS = """
SELECT count(*) FROM chat_participants p JOIN projects ON projects.id = p.project_id
WHERE p.user_id IS NOT NULL AND p.user_id <> owner_id AND NOT EXISTS (
    SELECT FROM project_members m WHERE m.project_id = projects.id AND m.user_id = p.user_id)
"""
OWNING_MEMBERS = """
SELECT count(*) FROM project_members JOIN projects ON projects.id = project_id
WHERE owner_id = user_id
"""
# What RemoveMember and TransferProject do to the rows that say who belongs to a project.
REMOVED = "DELETE FROM project_members"
HANDED_OVER = """
WITH locked AS (SELECT id FROM projects FOR UPDATE), gone AS (
    DELETE FROM project_members WHERE user_id = (SELECT id FROM users WHERE username = 'new'))
UPDATE projects SET owner_id = (SELECT id FROM users WHERE username = 'new')
WHERE id IN (SELECT id FROM locked)
"""

KEPT = """
INSERT INTO project_members (id, project_id, user_id, role)
    SELECT id, id, owner_id, 'editor' FROM projects FOR UPDATE
"""


def assign(by: User, task: Task, user: User, **fields: Any) -> Any:
    request = AssignTaskRequest(
        task_id=task.id, assigned_to=str(user.id), assigned_to_type=ASSIGNEE_TYPE_USER, **fields
    )
    return by.tasks.AssignTask(request)


def create(by: User, project: Project, user: User) -> Any:
    return by.task(project, assigned_to=str(user.id), assigned_to_type=ASSIGNEE_TYPE_USER)


def seat(by: User, room: Room, user: User) -> Any:
    request = AddParticipantRequest(room_id=room.id, user_id=str(user.id))
    return by.rooms.AddParticipant(request)


def add(by: User, project: Project, user: User, role: Any = MEMBER_ROLE_EDITOR) -> Any:
    member = Member(project_id=project.id, user_id=str(user.id), role=role)
    return by.members.AddMember(AddMemberRequest(member=member))


def remove(by: User, project: Project, user: User) -> Any:
    request = RemoveMemberRequest(project_id=project.id, user_id=str(user.id))
    return by.members.RemoveMember(request)


def transfer(by: User, project: Project, user: User, role: Any = 0) -> Any:
    request = TransferProjectRequest(
        project_id=project.id, owner_id=str(user.id), former_owner_role=role
    )
    return by.projects.TransferProject(request)


async def assert_nothing_is_foreign(world: World) -> None:
    assert await world.value(FOREIGN_TASKS) == 0
    assert await world.value(FOREIGN_SEATS) == 0
    assert await world.value(OWNING_MEMBERS) == 0


async def test_one_of_many_adds_a_member(world: World) -> None:
    alice, bob = await world.user(), await world.user()
    project = await alice.project()
    found = await outcomes(*(add(alice, project, bob) for _ in range(CALLS)))
    assert found == ["ALREADY_MEMBER"] * (CALLS - 1) + ["OK"]
    assert await world.value("SELECT count(*) FROM project_members") == 1


async def test_one_of_many_removes_a_member(world: World) -> None:
    alice, bob = await world.user(), await world.user()
    project = await alice.project()
    await world.member(project.id, bob, "viewer")
    found = await outcomes(*(remove(alice, project, bob) for _ in range(CALLS)))
    assert found == ["MEMBER_NOT_FOUND"] * (CALLS - 1) + ["OK"]


async def test_one_of_many_updates_with_a_revision_wins(world: World) -> None:
    alice, bob = await world.user(), await world.user()
    project = await alice.project()
    await world.member(project.id, bob, "viewer")
    key: dict[str, Any] = {"project_id": project.id, "user_id": str(bob.id)}
    requests = [
        UpdateMemberRequest(member=Member(**key, revision=1, role=MEMBER_ROLE_EDITOR))
        for _ in range(CALLS)
    ]
    found = await outcomes(*(alice.members.UpdateMember(request) for request in requests))
    assert found == ["OK"] + ["REVISION_MISMATCH"] * (CALLS - 1)


async def test_a_member_who_is_removed_meanwhile_is_not_changed(world: World) -> None:
    alice, bob = await world.user(), await world.user()
    project = await alice.project()
    await world.member(project.id, bob, "viewer")
    key: dict[str, Any] = {"project_id": project.id, "user_id": str(bob.id)}
    request = UpdateMemberRequest(member=Member(**key, role=MEMBER_ROLE_ADMIN))
    async with under_way(world.url, REMOVED) as blocked:
        call = asyncio.ensure_future(alice.members.UpdateMember(request))
        await blocked.wait()
    assert (await refused(call, Reason.MEMBER_NOT_FOUND)).metadata == key


@pytest.mark.parametrize("ends_by", [REMOVED, HANDED_OVER])
@pytest.mark.parametrize("call_of", ["AssignTask", "CreateTask", "AddParticipant"])
async def test_who_waits_for_the_end_of_a_membership_finds_none(
    world: World, call_of: str, ends_by: str
) -> None:
    """It is there when the call looks, and gone when it writes."""
    alice, bob, new = await world.user(), await world.user(), await world.user("new")
    project = await alice.project()
    # Of the owner, or else of a member.
    whose = alice if ends_by == HANDED_OVER else bob
    by = await world.user(superuser=True)
    await world.member(project.id, bob, "viewer")
    await world.member(project.id, new, "viewer")
    task, room = await alice.task(project), await alice.room(project)
    calls: dict[str, tuple[Callable[[], Any], Reason]] = {
        "AssignTask": (lambda: assign(by, task, whose), Reason.ASSIGNEE_NOT_FOUND),
        "CreateTask": (lambda: create(by, project, whose), Reason.ASSIGNEE_NOT_FOUND),
        "AddParticipant": (lambda: seat(by, room, whose), Reason.USER_NOT_FOUND),
    }
    start, reason = calls[call_of]
    async with under_way(world.url, ends_by) as blocked:
        call = asyncio.ensure_future(start())
        await blocked.wait()
    await refused(call, reason)
    await assert_nothing_is_foreign(world)


@pytest.mark.parametrize("call_of", ["AssignTask", "CreateTask", "AddParticipant"])
async def test_who_becomes_a_member_by_a_transfer_can_be_assigned_again(
    world: World, call_of: str
) -> None:
    """A statement that waits for the transfer sees neither the new member nor the former owner.

    AssignTask then looks again; the others say so to the caller.
    """
    alice, _ = await world.user(), await world.user("new")
    by = await world.user(superuser=True)
    project = await alice.project()
    task, room = await alice.task(project), await alice.room(project)
    calls: dict[str, Callable[[], Any]] = {
        "AssignTask": lambda: assign(by, task, alice),
        "CreateTask": lambda: create(by, project, alice),
        "AddParticipant": lambda: seat(by, room, alice),
    }
    async with under_way(world.url, f"{KEPT}; {HANDED_OVER}") as blocked:
        call = asyncio.ensure_future(calls[call_of]())
        await blocked.wait()
    if call_of == "AssignTask":
        await call
    else:
        await refused(call, Reason.CONFLICT)
    await calls[call_of]()


async def test_who_becomes_the_owner_meanwhile_is_not_added(world: World) -> None:
    alice, new, root = await world.user(), await world.user("new"), await world.user(superuser=True)
    project = await alice.project()
    async with under_way(world.url, HANDED_OVER) as blocked:
        call = asyncio.ensure_future(add(root, project, new))
        await blocked.wait()
    await refused(call, Reason.ALREADY_MEMBER)
    await assert_nothing_is_foreign(world)


async def test_who_is_removed_while_being_assigned_and_seated_is_left_nothing(
    world: World,
) -> None:
    alice, bob = await world.user(), await world.user()
    project = await alice.project()
    tasks = [await alice.task(project) for _ in range(CALLS)]
    for _ in range(5):
        await world.member(project.id, bob, "editor")
        rooms = [await alice.room(project) for _ in range(3)]
        calls = [assign(alice, task, bob) for task in tasks]
        calls += [create(alice, project, bob) for _ in range(3)]
        calls += [seat(alice, room, bob) for room in rooms]
        found = await outcomes(*calls[::2], remove(alice, project, bob), *calls[1::2])
        assert set(found) <= {"OK", "ASSIGNEE_NOT_FOUND", "USER_NOT_FOUND"}
        assert await world.value("SELECT count(*) FROM project_members") == 0
        await assert_nothing_is_foreign(world)


async def test_who_hands_a_project_over_while_being_assigned_and_seated_is_left_nothing(
    world: World,
) -> None:
    root, alice, bob = await world.user(superuser=True), await world.user(), await world.user()
    for _ in range(5):
        project = await alice.project()
        await world.member(project.id, bob, "editor")
        tasks = [await alice.task(project) for _ in range(4)]
        rooms = [await alice.room(project) for _ in range(2)]
        calls = [assign(root, task, user) for task in tasks for user in (alice, bob)]
        calls += [create(root, project, user) for user in (alice, bob)]
        calls += [seat(root, room, user) for room in rooms for user in (alice, bob)]
        found = await outcomes(*calls[::2], transfer(alice, project, bob), *calls[1::2])
        assert set(found) <= {"OK", "ASSIGNEE_NOT_FOUND", "USER_NOT_FOUND", "CONFLICT"}
        assert await world.value("SELECT owner_id FROM projects WHERE id = $1", project.id) == (
            bob.id
        )
        await assert_nothing_is_foreign(world)


async def test_one_of_two_transfers_wins(world: World) -> None:
    alice, bob, carol = [await world.user() for _ in range(3)]
    for role, reason in ((0, "NOT_PROJECT_OWNER"), (MEMBER_ROLE_ADMIN, "INSUFFICIENT_ROLE")):
        project = await alice.project()
        calls = [transfer(alice, project, user, role) for user in (bob, carol)]
        assert await outcomes(*calls) == sorted(["OK", reason])
        owner = await world.value("SELECT owner_id FROM projects WHERE id = $1", project.id)
        assert owner in (bob.id, carol.id)
        await assert_nothing_is_foreign(world)


async def test_a_user_is_deleted_or_owns_the_project(world: World) -> None:
    alice, root = await world.user(), await world.user(superuser=True)
    for _ in range(5):
        project, bob = await alice.project(), await world.user()
        await world.member(project.id, bob, "viewer")
        await create(alice, project, bob)
        delete = root.users.DeleteUser(DeleteUserRequest(user_id=str(bob.id)))
        found = await outcomes(transfer(alice, project, bob, MEMBER_ROLE_VIEWER), delete)
        assert found in (["OK", "USER_OWNS_PROJECTS"], ["OK", "USER_NOT_FOUND"])
        await assert_nothing_is_foreign(world)


async def test_whatever_ends_a_membership_does_so_beside_the_others(world: World) -> None:
    """All lock in one order, so that each is done, and none of them is in another's way."""
    root = await world.user(superuser=True)
    for _ in range(4):
        alice, *users = [await world.user() for _ in range(4)]
        bob, carol, dave = users
        project = await alice.project()
        agent = await alice.agent(project)
        rooms = [await alice.room(project, agent) for _ in range(2)]
        for user in users:
            await add(alice, project, user)
        for room in rooms:
            for user in users:
                await seat(alice, room, user)
                task = await create(user, project, user)
        calls = [
            remove(root, project, bob),
            remove(carol, project, carol),
            root.users.DeleteUser(DeleteUserRequest(user_id=str(bob.id))),
            transfer(root, project, dave, MEMBER_ROLE_VIEWER),
            root.agents.DeleteAgent(DeleteAgentRequest(agent_id=agent.id)),
            root.rooms.DeleteRoom(DeleteRoomRequest(room_id=rooms[0].id)),
            assign(root, task, carol),
            seat(root, rooms[1], alice),
        ]
        found = await outcomes(*calls)
        refusals = {"MEMBER_NOT_FOUND", "ALREADY_PARTICIPANT", "ASSIGNEE_NOT_FOUND", "CONFLICT"}
        assert set(found) <= {"OK", *refusals}, found
        assert found.count("OK") >= len(calls) - 3
        await assert_nothing_is_foreign(world)
        await root.projects.DeleteProject(DeleteProjectRequest(project_id=project.id))


@pytest.mark.parametrize("of_role", [MEMBER_ROLE_VIEWER, MEMBER_ROLE_ADMIN])
async def test_members_added_while_a_project_goes_leave_nothing(world: World, of_role: Any) -> None:
    alice = await world.user()
    users = [await world.user() for _ in range(4)]
    project = await alice.project()
    end = alice.projects.DeleteProject(DeleteProjectRequest(project_id=project.id))
    calls = [add(alice, project, user, of_role) for user in users]
    found = await outcomes(*calls[:2], end, *calls[2:])
    assert set(found) <= {"OK", "PROJECT_NOT_FOUND"}
    assert await world.value("SELECT count(*) FROM project_members") == 0
