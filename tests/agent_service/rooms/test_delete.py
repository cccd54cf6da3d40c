"""Deleting rooms: their participants go along, their tasks stay."""

import asyncio
from typing import Any
from uuid import UUID

from shared.errors import Reason
from tandem.agent.v1.room_service_pb2 import (
    DeleteRoomRequest,
    GetRoomRequest,
    Room,
    UpdateRoomRequest,
)
from tandem.task.v1.task_service_pb2 import GetTaskRequest
from tests.locks import CUT_OFF, under_way
from tests.refusals import refused
from tests.world import User, World


async def delete(alice: User, room: Room, **asked: Any) -> None:
    await alice.rooms.DeleteRoom(DeleteRoomRequest(room_id=room.id, **asked))


async def test_participants_go_and_tasks_stay(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    agent = await alice.agent(project)
    gone, other = await alice.room(project, agent), await alice.room(project, agent)
    assigned: dict[str, Any] = {"assigned_to": agent.id, "assigned_to_type": 1}
    task_of_gone = await alice.task(project, room_id=gone.id, **assigned)
    task_of_other = await alice.task(project, room_id=other.id, **assigned)
    await delete(alice, gone)
    await refused(alice.rooms.GetRoom(GetRoomRequest(room_id=gone.id)), Reason.ROOM_NOT_FOUND)
    rooms = await world.value("SELECT array_agg(room_id) FROM chat_participants")
    assert rooms == [UUID(other.id)]
    kept = await alice.tasks.GetTask(GetTaskRequest(task_id=task_of_gone.id))
    assert kept.updated_at.ToDatetime() > task_of_gone.updated_at.ToDatetime()
    task_of_gone.ClearField("room_id")
    task_of_gone.revision = 2
    task_of_gone.updated_at.CopyFrom(kept.updated_at)
    assert kept == task_of_gone
    request = GetTaskRequest(task_id=task_of_other.id)
    assert await alice.tasks.GetTask(request) == task_of_other


async def test_a_revision_has_to_match(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    room = await alice.room(project, await alice.agent(project))
    task = await alice.task(project, room_id=room.id)
    await alice.rooms.UpdateRoom(UpdateRoomRequest(room=Room(id=room.id, name="Other")))
    found = await refused(delete(alice, room, revision=1), Reason.REVISION_MISMATCH)
    assert found.metadata == {"revision": "2"}
    assert await world.value("SELECT count(*) FROM chat_participants") == 1
    assert await alice.tasks.GetTask(GetTaskRequest(task_id=task.id)) == task
    await delete(alice, room, revision=2)
    found = await refused(delete(alice, room), Reason.ROOM_NOT_FOUND)
    assert found.metadata == {"room_id": room.id}


async def test_a_deletion_that_is_cut_off_has_changed_nothing(world: World) -> None:
    """Its connection is killed behind the tasks, before the participants."""
    alice = await world.user()
    project = await alice.project()
    room = await alice.room(project, await alice.agent(project))
    task = await alice.task(project, room_id=room.id)
    async with under_way(world.url, "SELECT FROM chat_participants FOR UPDATE") as blocked:
        call = asyncio.ensure_future(delete(alice, room))
        await blocked.wait()
        assert await world.value(CUT_OFF) == 1
        await refused(call, Reason.DATABASE_UNAVAILABLE)
    assert await alice.rooms.GetRoom(GetRoomRequest(room_id=room.id)) == room
    assert await alice.tasks.GetTask(GetTaskRequest(task_id=task.id)) == task
    assert await world.value("SELECT count(*) FROM chat_participants") == 1


async def test_a_negative_revision_is_none(world: World) -> None:
    alice = await world.user()
    room = await alice.room(await alice.project())
    found = await refused(delete(alice, room, revision=-1), Reason.INVALID_FIELD)
    assert list(found.fields) == ["revision"]


async def test_a_project_that_is_not_active_can_be_cleared(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    room = await alice.room(project)
    task = await alice.task(project, room_id=room.id)
    await world.execute("UPDATE projects SET status = 'archived'")
    await delete(alice, room)
    kept = await alice.tasks.GetTask(GetTaskRequest(task_id=task.id))
    assert not kept.HasField("room_id")
