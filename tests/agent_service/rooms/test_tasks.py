"""Tasks name rooms: of their own project only, over both services' sockets."""

from typing import Any
from uuid import uuid4

import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from shared.errors import Reason
from tandem.agent.v1.room_service_pb2 import DeleteRoomRequest
from tandem.task.v1.task_service_pb2 import (
    GetTaskRequest,
    ListTasksRequest,
    Task,
    UpdateTaskRequest,
)
from tests.refusals import refused
from tests.world import User, World


async def update(alice: User, *mask: str, **fields: Any) -> Task:
    request = UpdateTaskRequest(task=Task(**fields), update_mask=FieldMask(paths=mask))
    updated: Task = await alice.tasks.UpdateTask(request)
    return updated


async def test_a_room_of_another_project_is_as_good_as_none(world: World) -> None:
    alice, bob = await world.user(), await world.user()
    project = await alice.project()
    task = await alice.task(project)
    own = await alice.room(await alice.project())
    foreign = await bob.room(await bob.project())
    for room_id in (own.id, foreign.id, str(uuid4())):
        for call in (
            alice.task(project, room_id=room_id),
            update(alice, id=task.id, room_id=room_id),
        ):
            found = await refused(call, Reason.ROOM_NOT_FOUND)
            assert found.metadata == {"room_id": room_id}
            assert found.message == f"There is no room {room_id}."
    assert await alice.tasks.GetTask(GetTaskRequest(task_id=task.id)) == task


@pytest.mark.parametrize("mask", ["room_id", "*"])
async def test_a_task_moves_between_rooms_and_out_of_them(world: World, mask: str) -> None:
    alice = await world.user()
    project = await alice.project()
    here, there = await alice.room(project), await alice.room(project)
    task = await alice.task(project, room_id=here.id)
    moved = await update(alice, mask, id=task.id, title="Task", room_id=there.id)
    assert (moved.room_id, moved.revision) == (there.id, 2)
    out = await update(alice, mask, id=task.id, title="Task")
    assert (out.HasField("room_id"), out.revision) == (False, 3)
    assert await alice.tasks.GetTask(GetTaskRequest(task_id=task.id)) == out


async def test_the_tasks_of_a_room_are_listed(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    here, there = await alice.room(project), await alice.room(project)
    tasks = [await alice.task(project, room_id=here.id) for _ in range(3)]
    await alice.task(project, room_id=there.id)
    await alice.task(project)
    for project_id in ("", project.id):
        request = ListTasksRequest(room_id=here.id, project_id=project_id, include_total=True)
        listed = await alice.tasks.ListTasks(request)
        assert (list(listed.tasks), listed.total_size) == (tasks[::-1], 3)
    await alice.rooms.DeleteRoom(DeleteRoomRequest(room_id=here.id))
    assert not (await alice.tasks.ListTasks(ListTasksRequest(room_id=here.id))).tasks
