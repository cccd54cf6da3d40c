"""Calls on rooms that meet: the database decides, and each answer says so."""

import asyncio
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from shared.errors import Reason
from tandem.agent.v1.agent_service_pb2 import Agent, DeleteAgentRequest
from tandem.agent.v1.project_service_pb2 import DeleteProjectRequest
from tandem.agent.v1.room_service_pb2 import (
    AddParticipantRequest,
    DeleteRoomRequest,
    RemoveParticipantRequest,
    Room,
    UpdateRoomRequest,
)
from tandem.task.v1.task_service_pb2 import GetTaskRequest, Task, UpdateTaskRequest
from tests.locks import under_way
from tests.refusals import outcomes, refused
from tests.world import User, World

CALLS = 8
SEAT = (
    "INSERT INTO chat_participants (id, project_id, room_id, agent_id)"
    " SELECT gen_random_uuid(), project_id, $1, id FROM agents WHERE id = $2"
)
TASK = (
    "INSERT INTO tasks (id, project_id, title, room_id)"
    " SELECT id, project_id, 'Task', id FROM chat_rooms WHERE id = $1"
)
SEATS = "SELECT count(*) FROM chat_participants"


def add(alice: User, room: Room, **member: str) -> Any:
    return alice.rooms.AddParticipant(AddParticipantRequest(room_id=room.id, **member))


def delete(alice: User, room: Room) -> Any:
    return alice.rooms.DeleteRoom(DeleteRoomRequest(room_id=room.id))


def delete_agent(alice: User, agent: Agent) -> Any:
    return alice.agents.DeleteAgent(DeleteAgentRequest(agent_id=agent.id))


async def test_one_of_many_adds_the_same_participant(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    agent = await alice.agent(project)
    for member in ({"agent_id": agent.id}, {"user_id": str(alice.id)}):
        room = await alice.room(project)
        found = await outcomes(*(add(alice, room, **member) for _ in range(CALLS)))
        assert found == ["ALREADY_PARTICIPANT"] * (CALLS - 1) + ["OK"]
        assert await world.value(f"{SEATS} WHERE room_id = $1", room.id) == 1


async def test_who_adds_second_waits_for_what_becomes_of_the_first(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    agent, room = await alice.agent(project), await alice.room(project)
    async with under_way(world.url, SEAT, UUID(room.id), UUID(agent.id)) as blocked:
        call = asyncio.ensure_future(add(alice, room, agent_id=agent.id))
        await blocked.wait()
    await refused(call, Reason.ALREADY_PARTICIPANT)
    assert await world.value(SEATS) == 1


async def test_one_of_many_takes_a_participant_out(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    agent = await alice.agent(project)
    room = await alice.room(project, agent)
    request = RemoveParticipantRequest(room_id=room.id, agent_id=agent.id)
    found = await outcomes(*(alice.rooms.RemoveParticipant(request) for _ in range(CALLS)))
    assert found == ["OK"] + ["PARTICIPANT_NOT_FOUND"] * (CALLS - 1)


@pytest.mark.parametrize(
    ("going", "reason"),
    [
        ("DELETE FROM agents", Reason.AGENT_NOT_FOUND),
        ("DELETE FROM chat_rooms", Reason.ROOM_NOT_FOUND),
        ("DELETE FROM projects", Reason.ROOM_NOT_FOUND),
    ],
)
async def test_an_agent_added_while_something_goes_finds_it_gone(
    world: World, going: str, reason: Reason
) -> None:
    alice = await world.user()
    project = await alice.project()
    agent, room = await alice.agent(project), await alice.room(project)
    async with under_way(world.url, going) as blocked:
        call = asyncio.ensure_future(add(alice, room, agent_id=agent.id))
        await blocked.wait()
    await refused(call, reason)
    assert await world.value(SEATS) == 0


async def test_a_user_added_while_being_deleted_finds_none(world: World) -> None:
    """The user owns the project when the call looks, and is gone when it writes."""
    alice, bob = await world.user(), await world.user()
    room = await bob.room(await bob.project())
    going = "WITH handed AS (UPDATE projects SET owner_id = $2) DELETE FROM users WHERE id = $1"
    async with under_way(world.url, going, bob.id, alice.id) as blocked:
        call = asyncio.ensure_future(add(bob, room, user_id=str(bob.id)))
        await blocked.wait()
    found = await refused(call, Reason.USER_NOT_FOUND)
    assert found.metadata == {"user_id": str(bob.id)}
    assert await world.value(SEATS) == 0


async def test_a_deletion_waits_for_an_addition_and_takes_it_along(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    for deleted in ("agent", "room"):
        agent, room = await alice.agent(project), await alice.room(project)
        async with under_way(world.url, SEAT, UUID(room.id), UUID(agent.id)) as blocked:
            end = delete_agent(alice, agent) if deleted == "agent" else delete(alice, room)
            call = asyncio.ensure_future(end)
            await blocked.wait()
        await call
        assert await world.value(SEATS) == 0


async def test_additions_while_their_room_and_agent_go_leave_nothing(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    for _ in range(5):
        room, agent = await alice.room(project), await alice.agent(project)
        agents = [await alice.agent(project) for _ in range(CALLS - 1)]
        calls = [add(alice, room, agent_id=one.id) for one in (agent, *agents)]
        found = await outcomes(*calls, delete_agent(alice, agent), delete(alice, room))
        assert set(found) <= {"OK", "ROOM_NOT_FOUND", "AGENT_NOT_FOUND"}
        assert found.count("OK") >= 2
        assert await world.value(SEATS) == 0


async def test_rooms_created_while_their_project_goes_leave_nothing(world: World) -> None:
    alice = await world.user()
    for _ in range(3):
        project = await alice.project()
        calls = [alice.room(project) for _ in range(CALLS)]
        end = alice.projects.DeleteProject(DeleteProjectRequest(project_id=project.id))
        found = await outcomes(*calls[:4], end, *calls[4:])
        assert set(found) <= {"OK", "PROJECT_NOT_FOUND"}
        assert await world.value("SELECT count(*) FROM chat_rooms") == 0


async def test_a_task_put_into_a_room_that_goes_finds_none(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    task = await alice.task(project)
    for name in ("CreateTask", "UpdateTask"):
        room = await alice.room(project)
        change = UpdateTaskRequest(task=Task(id=task.id, room_id=room.id))
        async with under_way(world.url, "DELETE FROM chat_rooms") as blocked:
            create = name == "CreateTask"
            call = asyncio.ensure_future(
                alice.task(project, room_id=room.id) if create else alice.tasks.UpdateTask(change)
            )
            await blocked.wait()
        assert (await refused(call, Reason.ROOM_NOT_FOUND)).metadata == {"room_id": room.id}
    assert await alice.tasks.GetTask(GetTaskRequest(task_id=task.id)) == task
    assert await world.value("SELECT count(*) FROM tasks") == 1


async def test_a_room_s_deletion_sees_the_task_that_it_waited_for(world: World) -> None:
    """Not its foreign key, which would leave the task's revision as it is."""
    alice = await world.user()
    room = await alice.room(await alice.project())
    async with under_way(world.url, TASK, UUID(room.id)) as blocked:
        call = asyncio.ensure_future(delete(alice, room))
        await blocked.wait()
    await call
    task = await alice.tasks.GetTask(GetTaskRequest(task_id=room.id))
    assert (task.HasField("room_id"), task.revision) == (False, 2)
    assert task.updated_at.ToDatetime() > room.created_at.ToDatetime()


async def test_tasks_created_while_their_room_goes_are_in_none(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    for _ in range(5):
        room = await alice.room(project)
        calls = [alice.task(project, room_id=room.id) for _ in range(CALLS)]
        found = await outcomes(*calls[:4], delete(alice, room), *calls[4:])
        assert set(found) <= {"OK", "ROOM_NOT_FOUND"}
        assert await world.value("SELECT count(*) FROM tasks WHERE room_id IS NOT NULL") == 0
    assert await world.value("SELECT count(*) FROM tasks WHERE revision <> 2") == 0


@pytest.mark.parametrize("deleted", ["agent", "room"])
async def test_a_deletion_holds_tasks_in_the_order_of_their_ids(world: World, deleted: str) -> None:
    """Else two deletions with tasks in common could wait for each other."""
    alice = await world.user()
    project = await alice.project()
    agent = await alice.agent(project)
    room = await alice.room(project, agent)
    assigned: dict[str, Any] = {"assigned_to": agent.id, "assigned_to_type": 1}
    tasks = [await alice.task(project, room_id=room.id, **assigned) for _ in range(3)]
    # The first comes last in the table, and a table known to be small is read from its beginning.
    age = "UPDATE tasks SET created_at = now() + interval '1 hour' WHERE id = $1"
    await world.execute(age, UUID(tasks[0].id))
    await world.execute("ANALYZE tasks")
    lock = "SELECT FROM tasks WHERE id = $1 FOR UPDATE"
    async with under_way(world.url, lock, UUID(tasks[0].id)) as blocked:
        end = delete_agent(alice, agent) if deleted == "agent" else delete(alice, room)
        call = asyncio.ensure_future(end)
        await blocked.wait()
        free = await asyncpg.connect(world.url)
        rows = await free.fetch("SELECT FROM tasks FOR UPDATE SKIP LOCKED")
        await free.close()
    await call
    assert len(rows) == len(tasks) - 1


async def test_an_agent_and_its_room_go_at_once(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    for _ in range(5):
        agents = [await alice.agent(project) for _ in range(3)]
        rooms = [await alice.room(project, *agents) for _ in range(3)]
        for agent in agents:
            for room in rooms:
                fields = {"room_id": room.id, "assigned_to": agent.id, "assigned_to_type": 1}
                await alice.task(project, **fields)
        found = await outcomes(
            *(delete_agent(alice, agent) for agent in agents),
            *(delete(alice, room) for room in rooms),
        )
        assert found == ["OK"] * 6
        assert await world.value(SEATS) == 0
    left = (
        "SELECT count(*) FROM tasks WHERE revision <> 3 OR num_nonnulls(room_id, assigned_to) > 0"
    )
    assert await world.value(left) == 0


async def test_one_of_many_deletions_wins(world: World) -> None:
    alice = await world.user()
    room = await alice.room(await alice.project())
    found = await outcomes(*(delete(alice, room) for _ in range(CALLS)))
    assert found == ["OK"] + ["ROOM_NOT_FOUND"] * (CALLS - 1)


async def test_one_of_many_updates_with_a_revision_wins(world: World) -> None:
    alice = await world.user()
    room = await alice.room(await alice.project())
    requests = [
        UpdateRoomRequest(room=Room(id=room.id, name=f"{n}", revision=1)) for n in range(CALLS)
    ]
    found = await outcomes(*(alice.rooms.UpdateRoom(request) for request in requests))
    assert found == ["OK"] + ["REVISION_MISMATCH"] * (CALLS - 1)
    assert await world.value("SELECT revision FROM chat_rooms") == 2
