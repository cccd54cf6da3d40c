"""Updating rooms: masks and revisions."""

from typing import Any

import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from shared.errors import Reason
from tandem.agent.v1.room_service_pb2 import GetRoomRequest, Room, UpdateRoomRequest
from tests.refusals import refused
from tests.world import User, World

FULL: dict[str, Any] = {"name": "War room", "description": "Landing"}


async def update(alice: User, *mask: str, **fields: Any) -> Room:
    request = UpdateRoomRequest(room=Room(**fields), update_mask=FieldMask(paths=mask))
    updated: Room = await alice.rooms.UpdateRoom(request)
    return updated


async def test_only_what_the_mask_names_is_changed(world: World) -> None:
    alice = await world.user()
    room = await alice.room(await alice.project(), **FULL)
    updated = await update(alice, "name", id=room.id, name="Other", description="ignored")
    assert updated.updated_at.ToDatetime() > room.updated_at.ToDatetime()
    room.name, room.revision = "Other", 2
    room.updated_at.CopyFrom(updated.updated_at)
    assert updated == room
    assert await alice.rooms.GetRoom(GetRoomRequest(room_id=room.id)) == room


async def test_an_empty_mask_means_the_fields_that_are_set(world: World) -> None:
    alice = await world.user()
    room = await alice.room(await alice.project(), **FULL)
    updated = await update(alice, id=room.id, description="")
    assert (updated.name, updated.description, updated.HasField("description")) == (
        "War room",
        "",
        True,
    )


async def test_a_path_whose_field_is_not_set_clears_it(world: World) -> None:
    alice = await world.user()
    room = await alice.room(await alice.project(), **FULL)
    updated = await update(alice, "description", id=room.id)
    assert (updated.HasField("description"), updated.revision) == (False, 2)
    updated = await update(alice, "*", id=room.id, name="All")
    assert (updated.name, updated.HasField("description")) == ("All", False)


@pytest.mark.parametrize("mask", ["name", "*"])
async def test_the_name_cannot_be_cleared(world: World, mask: str) -> None:
    alice = await world.user()
    room = await alice.room(await alice.project(), **FULL)
    found = await refused(update(alice, mask, id=room.id), Reason.INVALID_FIELD)
    assert found.fields == {"room.name": "is required"}


@pytest.mark.parametrize(
    "path", ["id", "project_id", "created_by", "created_at", "updated_at", "revision", "x", ""]
)
async def test_a_path_that_may_not_be_changed_is_named(world: World, path: str) -> None:
    alice = await world.user()
    room = await alice.room(await alice.project(), **FULL)
    call = update(alice, path, "name", id=room.id, name="Other")
    found = await refused(call, Reason.INVALID_UPDATE_MASK)
    assert path in found.fields["update_mask"]
    assert await alice.rooms.GetRoom(GetRoomRequest(room_id=room.id)) == room


@pytest.mark.parametrize("mask", [(), ("*",), ("description",)])
async def test_an_update_that_changes_nothing_leaves_no_trace(
    world: World, mask: tuple[str, ...]
) -> None:
    alice = await world.user()
    room = await alice.room(await alice.project(), **FULL)
    assert await update(alice, *mask, **FULL, id=room.id) == room
    assert await update(alice, id=room.id) == room


async def test_a_revision_has_to_match(world: World) -> None:
    alice = await world.user()
    room = await alice.room(await alice.project())
    second = await update(alice, id=room.id, name="T", revision=1)
    call = update(alice, id=room.id, name="U", revision=1)
    assert (await refused(call, Reason.REVISION_MISMATCH)).metadata == {"revision": "2"}
    assert await alice.rooms.GetRoom(GetRoomRequest(room_id=room.id)) == second


async def test_the_project_cannot_be_changed_and_may_be_sent_back(world: World) -> None:
    alice = await world.user()
    room = await alice.room(await alice.project())
    other = await alice.project()
    call = update(alice, id=room.id, name="Other", project_id=other.id)
    found = await refused(call, Reason.INVALID_FIELD)
    assert found.fields == {"room.project_id": "cannot be changed by an update"}
    updated = await update(alice, id=room.id, name="Other", project_id=room.project_id)
    assert (updated.name, updated.project_id) == ("Other", room.project_id)
