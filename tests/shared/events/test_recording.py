"""Events come into the log with the change, and the head of the log is locked after all else."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from agent_service.agents.queries import DETACH_TASKS
from shared.errors import Reason
from tandem.agent.v1.agent_service_pb2 import Agent, DeleteAgentRequest, UpdateAgentRequest
from tandem.agent.v1.auth_service_pb2 import ApiKey, CreateApiKeyRequest, RotateApiKeyRequest
from tandem.agent.v1.member_service_pb2 import RemoveMemberRequest
from tandem.agent.v1.project_service_pb2 import DeleteProjectRequest
from tandem.agent.v1.room_service_pb2 import (
    AddParticipantRequest,
    CreateRoomRequest,
    DeleteRoomRequest,
    Room,
)
from tandem.agent.v1.user_service_pb2 import DeleteUserRequest
from tandem.task.v1.task_service_pb2 import (
    ASSIGNEE_TYPE_AGENT,
    ASSIGNEE_TYPE_USER,
    TASK_STATUS_IN_PROGRESS,
    AssignTaskRequest,
    CreateTaskRequest,
    DeleteTaskRequest,
    Task,
    UpdateTaskRequest,
    UpdateTaskStatusRequest,
)
from tests.locks import under_way
from tests.plans import Cost, Node, explained
from tests.refusals import refused
from tests.world import User, World

LAST = "SELECT last FROM event_heads WHERE project_id = $1"
LOCK_HEAD = f"{LAST} FOR UPDATE NOWAIT"
LATEST = """
SELECT type, resource_id, changed FROM events WHERE project_id = $1 AND sequence > $2
ORDER BY sequence
"""
FILL = """
INSERT INTO tasks (id, project_id, title, assigned_agent_id)
SELECT gen_random_uuid(), $1, 'Task', $2 FROM generate_series(1, 500)
"""
NUMBERS = "SELECT array_agg(sequence ORDER BY sequence) FROM events WHERE project_id = $1"


@dataclass
class Scene:
    """What a call is about; the member is an editor, the agent is in the room and has the task."""

    owner: User
    root: User
    member: User
    project_id: str
    agent_id: str
    key_id: str
    room_id: str
    task_id: str

    def row(self, table: str) -> UUID:
        ids = {
            "projects": self.project_id,
            "agents": self.agent_id,
            "agent_api_keys": self.key_id,
            "chat_rooms": self.room_id,
            "tasks": self.task_id,
            "users": self.member.id,
        }
        return UUID(str(ids[table]))


async def scene(world: World) -> Scene:
    owner, member = await world.user(), await world.user()
    project = await owner.project()
    await world.member(project.id, member, "editor")
    agent = await owner.agent(project)
    key = await owner.api_key(agent)
    room = await owner.room(project, agent)
    task = await owner.task(
        project, room_id=room.id, assigned_to=agent.id, assigned_to_type=ASSIGNEE_TYPE_AGENT
    )
    root = await world.user(superuser=True)
    ids = project.id, agent.id, key.api_key.id, room.id, task.id
    return Scene(owner, root, member, *ids)


def new_task(scene: Scene, **fields: Any) -> CreateTaskRequest:
    return CreateTaskRequest(task=Task(project_id=scene.project_id, title="Task", **fields))


def moved(scene: Scene) -> Any:
    request = UpdateTaskRequest(task=Task(id=scene.task_id, room_id=scene.room_id, title="New"))
    return scene.owner.tasks.UpdateTask(request)


def assigned(scene: Scene, assignee_id: object, kind: Any) -> Any:
    return scene.owner.tasks.AssignTask(
        AssignTaskRequest(
            task_id=scene.task_id, assigned_to=str(assignee_id), assigned_to_type=kind
        )
    )


# What is locked by whoever deletes a row, and a call that has to wait for that.
CALLS: dict[str, tuple[str, Callable[[Scene], Awaitable[Any]]]] = {
    "CreateTask in a project": ("projects", lambda s: s.owner.tasks.CreateTask(new_task(s))),
    "CreateTask of a member": ("users", lambda s: s.member.tasks.CreateTask(new_task(s))),
    "CreateTask in a room": (
        "chat_rooms",
        lambda s: s.owner.tasks.CreateTask(new_task(s, room_id=s.room_id)),
    ),
    "CreateTask for an agent": (
        "agents",
        lambda s: s.owner.tasks.CreateTask(
            new_task(s, assigned_to=s.agent_id, assigned_to_type=ASSIGNEE_TYPE_AGENT)
        ),
    ),
    "CreateTask for a user": (
        "users",
        lambda s: s.owner.tasks.CreateTask(
            new_task(s, assigned_to=str(s.member.id), assigned_to_type=ASSIGNEE_TYPE_USER)
        ),
    ),
    "UpdateTask into a room": ("chat_rooms", moved),
    "UpdateTask": ("tasks", moved),
    "AssignTask to an agent": ("agents", lambda s: assigned(s, s.agent_id, ASSIGNEE_TYPE_AGENT)),
    "AssignTask to a user": ("users", lambda s: assigned(s, s.member.id, ASSIGNEE_TYPE_USER)),
    "UpdateTaskStatus": (
        "tasks",
        lambda s: s.owner.tasks.UpdateTaskStatus(
            UpdateTaskStatusRequest(task_id=s.task_id, status=TASK_STATUS_IN_PROGRESS)
        ),
    ),
    "UpdateAgent": (
        "agents",
        lambda s: s.owner.agents.UpdateAgent(
            UpdateAgentRequest(agent=Agent(id=s.agent_id, nickname="New"))
        ),
    ),
    "CreateRoom": (
        "projects",
        lambda s: s.owner.rooms.CreateRoom(
            CreateRoomRequest(room=Room(project_id=s.project_id, name="Room"))
        ),
    ),
    "AddParticipant": (
        "users",
        lambda s: s.owner.rooms.AddParticipant(
            AddParticipantRequest(room_id=s.room_id, user_id=str(s.member.id))
        ),
    ),
    "CreateApiKey": (
        "agents",
        lambda s: s.owner.auth.CreateApiKey(
            CreateApiKeyRequest(api_key=ApiKey(agent_id=s.agent_id))
        ),
    ),
    "RotateApiKey": (
        "agent_api_keys",
        lambda s: s.owner.auth.RotateApiKey(RotateApiKeyRequest(api_key_id=s.key_id)),
    ),
    "DeleteTask": (
        "tasks",
        lambda s: s.owner.tasks.DeleteTask(DeleteTaskRequest(task_id=s.task_id)),
    ),
    "DeleteAgent": (
        "tasks",
        lambda s: s.owner.agents.DeleteAgent(DeleteAgentRequest(agent_id=s.agent_id)),
    ),
    "DeleteRoom": (
        "tasks",
        lambda s: s.owner.rooms.DeleteRoom(DeleteRoomRequest(room_id=s.room_id)),
    ),
    "DeleteProject": (
        "tasks",
        lambda s: s.owner.projects.DeleteProject(DeleteProjectRequest(project_id=s.project_id)),
    ),
    "RemoveMember": (
        "users",
        lambda s: s.owner.members.RemoveMember(
            RemoveMemberRequest(project_id=s.project_id, user_id=str(s.member.id))
        ),
    ),
    "DeleteUser": (
        "users",
        lambda s: s.root.users.DeleteUser(DeleteUserRequest(user_id=str(s.member.id))),
    ),
}


@pytest.mark.parametrize("name", CALLS)
async def test_whoever_waits_for_a_row_has_not_locked_the_head(world: World, name: str) -> None:
    """Else the two would wait for each other: a deletion locks its row first, too."""
    its = await scene(world)
    table, call = CALLS[name]
    lock = f"SELECT FROM {table} WHERE id = $1 FOR UPDATE"
    async with under_way(world.url, lock, its.row(table)) as blocked:
        waiting = asyncio.ensure_future(call(its))
        await blocked.wait()
        await world.value(LOCK_HEAD, its.project_id)
        assert not waiting.done()
    await waiting


async def test_a_change_that_is_undone_has_no_event(world: World) -> None:
    its = await scene(world)
    before = await world.value(LAST, its.project_id)
    request = new_task(its, dependencies=[its.task_id])
    await refused(its.owner.tasks.CreateTask(request), Reason.DEPENDENCY_NOT_COMPLETED)
    assert await world.value(LAST, its.project_id) == before
    assert await world.value(NUMBERS, its.project_id) == [*range(1, before + 1)]


async def test_nothing_changes_in_a_project_whose_log_has_no_head(world: World) -> None:
    """Rather than be missing from the log. A service that starts puts this right."""
    its = await scene(world)
    await world.execute("DELETE FROM event_heads WHERE project_id = $1", its.project_id)
    for name in ("UpdateTaskStatus", "CreateTask in a project", "DeleteTask"):
        await refused(CALLS[name][1](its), Reason.INTERNAL)
    status = "SELECT status FROM tasks WHERE project_id = $1"
    assert await world.value(status, its.project_id) == "pending"


async def test_of_many_writers_at_once_none_takes_another_s_number(world: World) -> None:
    its = await scene(world)
    before = await world.value(LAST, its.project_id)
    creations = [its.owner.tasks.CreateTask(new_task(its)) for _ in range(40)]
    moves = [moved(its) for _ in range(5)]
    with_id = [
        its.owner.tasks.CreateTask(
            CreateTaskRequest(task=new_task(its).task, request_id=str(uuid4()))
        )
        for _ in range(10)
    ]
    await asyncio.gather(*creations, *moves, *with_id)
    # Of the updates that say the same, one has changed something.
    assert await world.value(NUMBERS, its.project_id) == [*range(1, before + 52)]
    assert await world.value(LAST, its.project_id) == before + 51


async def test_the_events_of_a_transaction_are_one_batch_in_each_log(world: World) -> None:
    """The deletion of a user changes two projects, and the users."""
    its, other = await scene(world), await scene(world)
    await world.member(other.project_id, its.member, "editor")
    for each in (its, other):
        await assigned(each, its.member.id, ASSIGNEE_TYPE_USER)
    before = {each: await world.value(LAST, each) for each in (its.project_id, other.project_id)}
    await its.root.users.DeleteUser(DeleteUserRequest(user_id=str(its.member.id)))
    connection = await asyncpg.connect(world.url)
    try:
        for project_id, last in before.items():
            rows = await connection.fetch(
                "SELECT sequence, batch, type FROM events WHERE project_id = $1 AND sequence > $2"
                " ORDER BY sequence",
                project_id,
                last,
            )
            numbered = [(row["sequence"], row["batch"]) for row in rows]
            assert numbered == [(last + 1, last + 1), (last + 2, last + 1)]
            assert {row["type"] for row in rows} == {"member.removed", "task.unassigned"}
    finally:
        await connection.close()


async def test_heads_are_locked_in_the_order_of_their_ids(world: World) -> None:
    """The one with the lower id is not free: the other is not locked meanwhile."""
    its = await scene(world)
    scenes = [its, *[await scene(world) for _ in range(7)]]
    for each in scenes[1:]:
        await world.member(each.project_id, its.member, "editor")
    lowest, *others = sorted(UUID(each.project_id) for each in scenes)
    async with under_way(world.url, f"{LAST} FOR UPDATE", lowest) as blocked:
        # That of users has an even lower id, and comes last in the transaction.
        request = DeleteUserRequest(user_id=str(its.member.id))
        waiting = asyncio.ensure_future(its.root.users.DeleteUser(request))
        await blocked.wait()
        for project_id in others:
            await world.value(LOCK_HEAD, project_id)
        assert not waiting.done()
    await waiting


async def events_of(world: World, project_id: str, after: int) -> list[tuple[str, str, list[str]]]:
    """The type, the id, and the large columns that have changed, of the latest events."""
    connection = await asyncpg.connect(world.url)
    try:
        rows = await connection.fetch(LATEST, project_id, after)
    finally:
        await connection.close()
    return [(row["type"], str(row["resource_id"]), row["changed"] or []) for row in rows]


async def test_each_row_that_a_call_changes_has_its_event(world: World) -> None:
    its = await scene(world)
    tasks = [
        await its.owner.tasks.CreateTask(
            new_task(its, assigned_to=its.agent_id, assigned_to_type=ASSIGNEE_TYPE_AGENT)
        )
        for _ in range(3)
    ]
    before = await world.value(LAST, its.project_id)
    await its.owner.agents.DeleteAgent(DeleteAgentRequest(agent_id=its.agent_id))
    ids = sorted([its.task_id, *(task.id for task in tasks)])
    assert await events_of(world, its.project_id, before) == [
        *(("task.unassigned", task_id, []) for task_id in ids),
        ("agent.deleted", its.agent_id, []),
    ]


async def test_a_deleted_user_leaves_its_rooms(world: World) -> None:
    its = await scene(world)
    seat = await its.owner.rooms.AddParticipant(
        AddParticipantRequest(room_id=its.room_id, user_id=str(its.member.id))
    )
    before = await world.value(LAST, its.project_id)
    await its.root.users.DeleteUser(DeleteUserRequest(user_id=str(its.member.id)))
    assert await events_of(world, its.project_id, before) == [
        ("member.removed", str(its.member.id), []),
        ("participant.removed", seat.id, []),
    ]


async def test_what_is_large_is_named_if_it_has_changed(world: World) -> None:
    its = await scene(world)
    before = await world.value(LAST, its.project_id)
    task = Task(id=its.task_id, title="Same")
    task.result["at"] = 1
    for description in ("One", "Two", "Two"):
        task.description = description
        await its.owner.tasks.UpdateTask(UpdateTaskRequest(task=task))
    agent = Agent(id=its.agent_id)
    agent.config["a"] = 1
    await its.owner.agents.UpdateAgent(UpdateAgentRequest(agent=agent))
    assert await events_of(world, its.project_id, before) == [
        ("task.updated", its.task_id, ["description", "result"]),
        ("task.updated", its.task_id, ["description"]),
        ("agent.updated", its.agent_id, ["config"]),
    ]


async def test_many_rows_are_not_compared_with_each_other(world: World) -> None:
    """PostgreSQL does not know how many they are, and might join what is told of them by a loop."""
    its = await scene(world)
    await world.execute(FILL, its.project_id, its.agent_id)
    given = {"of_project": UUID(its.project_id), "row_id": UUID(its.agent_id)}

    async def explained_and_undone(connection: Any) -> Node:
        transaction = connection.transaction()
        await transaction.start()
        try:
            return await explained(connection, DETACH_TASKS.sql, DETACH_TASKS.arguments({}, given))
        finally:
            await transaction.rollback()

    cost = Cost([await world.owner.read(explained_and_undone)])
    assert cost.plans[0]["Actual Rows"] == 501
    compared = [n for n in cost.nodes if n.get("Rows Removed by Join Filter")]
    removed = sum(n["Rows Removed by Join Filter"] * n["Actual Loops"] for n in compared)
    assert removed <= 10 * 501, compared  # each with each would be 250,000
    assert [n["CTE Name"] for n in cost.nodes if n["Node Type"] == "CTE Scan"].count("locked") == 1


async def test_no_event_says_by_what_a_key_is_found(world: World) -> None:
    """Viewers read the log, and may not list keys."""
    its = await scene(world)
    await its.owner.auth.RotateApiKey(RotateApiKeyRequest(api_key_id=its.key_id))
    text = "SELECT string_agg(e::text, ' ') FROM events e"
    told = await world.value(text)
    found = "SELECT array_agg(key_id) || array_agg(key_prefix) || array_agg(api_key_hash)"
    for secret in await world.value(f"{found} FROM agent_api_keys"):
        assert secret not in told
