"""Creating and reading rooms."""

from typing import Any
from uuid import UUID, uuid4

import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from shared.errors import Reason
from tandem.agent.v1.room_service_pb2 import (
    CreateRoomRequest,
    GetRoomRequest,
    Room,
    UpdateRoomRequest,
)
from tests.refusals import refused
from tests.world import World

ASTRAL = "\N{GRINNING FACE}"
KIB = 1024
ALLOWED: list[dict[str, Any]] = [
    {"name": ASTRAL * 255},
    {"name": " "},
    {"description": ""},
    {"description": "d" * 64 * KIB},
]
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"name": "n" * 256}, "room.name"),
    ({"name": "a\0b"}, "room.name"),
    ({"description": "d" * (64 * KIB + 1)}, "room.description"),
    ({"description": ASTRAL * 16 * KIB + "d"}, "room.description"),
    ({"description": "\0"}, "room.description"),
]


def names(case: Any) -> str:
    return next(iter(case)) if isinstance(case, dict) else ""


async def test_a_new_room_is_its_creator_s(world: World) -> None:
    alice, root = await world.user(), await world.user(superuser=True)
    project = await alice.project()
    for caller in (alice, root):
        room = await caller.room(project, name="War room", description="Landing")
        assert (room.project_id, room.name, room.description) == (
            project.id,
            "War room",
            "Landing",
        )
        assert (UUID(room.id).version, room.created_by, room.revision) == (7, str(caller.id), 1)
        assert room.created_at == room.updated_at
        assert await alice.rooms.GetRoom(GetRoomRequest(room_id=room.id)) == room


async def test_two_rooms_may_have_one_name(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    assert (await alice.room(project)).id != (await alice.room(project)).id


async def test_a_room_outlives_who_created_it(world: World) -> None:
    alice, root = await world.user(), await world.user(superuser=True)
    room = await root.room(await alice.project())
    await world.execute("DELETE FROM users WHERE id = $1", root.id)
    kept = await alice.rooms.GetRoom(GetRoomRequest(room_id=room.id))
    assert not kept.HasField("created_by")


async def test_what_the_service_sets_is_ignored(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    given: dict[str, Any] = {"id": "x", "created_by": "x", "created_at": {"seconds": 1}}
    room = await alice.room(project, revision=-7, **given)
    assert (room.revision, room.created_by) == (1, str(alice.id))
    assert room.id != "x"
    assert room.created_at.seconds > 1


@pytest.mark.parametrize("fields", ALLOWED, ids=names)
async def test_what_is_allowed_is_kept_exactly(world: World, fields: dict[str, Any]) -> None:
    alice = await world.user()
    project = await alice.project()
    created, other = await alice.room(project, **fields), await alice.room(project)
    updated = await alice.rooms.UpdateRoom(
        UpdateRoomRequest(room=Room(id=other.id, **fields), update_mask=FieldMask(paths=fields))
    )
    for answer in (created, updated):
        kept = await alice.rooms.GetRoom(GetRoomRequest(room_id=answer.id))
        assert kept == answer
        for name, value in fields.items():
            assert kept.HasField("description") or name != "description"
            assert getattr(kept, name) == value


@pytest.mark.parametrize(("fields", "path"), REFUSED, ids=names)
async def test_what_is_not_allowed_is_named(
    world: World, fields: dict[str, Any], path: str
) -> None:
    alice = await world.user()
    project = await alice.project()
    room = await alice.room(project)
    found = await refused(alice.room(project, **fields), Reason.INVALID_FIELD)
    assert list(found.fields) == [path]
    call = alice.rooms.UpdateRoom(UpdateRoomRequest(room=Room(id=room.id, **fields)))
    assert list((await refused(call, Reason.INVALID_FIELD)).fields) == [path]
    assert await alice.rooms.GetRoom(GetRoomRequest(room_id=room.id)) == room


async def test_a_body_with_nothing_in_it_says_what_is_required(world: World) -> None:
    alice = await world.user()
    found = await refused(alice.rooms.CreateRoom(CreateRoomRequest()), Reason.INVALID_FIELD)
    assert found.fields == {"room.project_id": "is required", "room.name": "is required"}
    found = await refused(alice.rooms.UpdateRoom(UpdateRoomRequest()), Reason.INVALID_FIELD)
    assert found.fields == {"room.id": "is required"}
    found = await refused(alice.rooms.GetRoom(GetRoomRequest()), Reason.INVALID_FIELD)
    assert list(found.fields) == ["room_id"]


async def test_a_project_that_is_not_active_gets_no_room(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    room = await alice.room(project)
    await world.execute("UPDATE projects SET status = 'suspended'")
    found = await refused(alice.room(project), Reason.PROJECT_NOT_ACTIVE)
    assert found.metadata == {"project_id": project.id, "status": "PROJECT_STATUS_SUSPENDED"}
    call = alice.rooms.UpdateRoom(UpdateRoomRequest(room=Room(id=room.id, name="Other")))
    await refused(call, Reason.PROJECT_NOT_ACTIVE)
    assert await alice.rooms.GetRoom(GetRoomRequest(room_id=room.id)) == room


async def test_what_does_not_exist_is_named(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    project.id = missing = str(uuid4())
    found = await refused(alice.room(project), Reason.PROJECT_NOT_FOUND)
    assert found.metadata == {"project_id": missing}
    call = alice.rooms.GetRoom(GetRoomRequest(room_id=missing))
    assert (await refused(call, Reason.ROOM_NOT_FOUND)).metadata == {"room_id": missing}
    call = alice.rooms.UpdateRoom(UpdateRoomRequest(room=Room(id=missing, name="Other")))
    assert (await refused(call, Reason.ROOM_NOT_FOUND)).metadata == {"room_id": missing}
