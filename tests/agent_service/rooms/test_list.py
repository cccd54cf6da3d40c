"""Lists of rooms and of their participants: filters, orders, pages, totals."""

from typing import Any

import pytest

from shared.errors import Reason
from tandem.agent.v1.project_service_pb2 import Project
from tandem.agent.v1.room_service_pb2 import (
    ListParticipantsRequest,
    ListParticipantsResponse,
    ListRoomsRequest,
    ListRoomsResponse,
    Room,
)
from tests.refusals import refused
from tests.world import Client, World

NAMES = ["10%_off", "10% more", "100", "a\\b", "Ab", "éa", "100"]
PREFIXES = {
    "": 7,
    "10": 4,
    "10%": 2,
    "10%_": 1,
    "a": 1,
    "é": 1,
    "_": 0,
}
FILL_ROOMS = (
    "INSERT INTO chat_rooms (id, project_id, name, description)"
    " SELECT gen_random_uuid(), id, n::text, $2::text FROM projects, generate_series(1, $1::int) n"
)
FILL_AGENTS = """
WITH new AS (
    INSERT INTO agents (id, project_id, name)
    SELECT gen_random_uuid(), id, n::text FROM projects, generate_series(1, $1::int) n
    RETURNING id, project_id, name
)
INSERT INTO chat_participants (id, project_id, room_id, agent_id, joined_at, created_at)
SELECT gen_random_uuid(), new.project_id, chat_rooms.id, new.id,
       now() - (new.name::int / 3) * interval '1 second', now() - random() * interval '1 hour'
FROM new, chat_rooms
"""


async def ask(client: Client, project: Project | None = None, **asked: Any) -> ListRoomsResponse:
    request = ListRoomsRequest(project_id=project.id if project else "", **asked)
    found: ListRoomsResponse = await client.rooms.ListRooms(request)
    return found


async def listed(client: Client, project: Project | None = None, **asked: Any) -> list[Room]:
    """The rooms on every page."""
    rooms: list[Room] = []
    while True:
        found = await ask(client, project, **asked)
        rooms += found.rooms
        if not found.next_page_token:
            return rooms
        asked["page_token"] = found.next_page_token


async def ask_who(client: Client, room: Room, **asked: Any) -> ListParticipantsResponse:
    request = ListParticipantsRequest(room_id=room.id, **asked)
    found: ListParticipantsResponse = await client.rooms.ListParticipants(request)
    return found


async def everybody(client: Client, room: Room, **asked: Any) -> list[str]:
    """The ids of the participants on every page."""
    ids: list[str] = []
    while True:
        found = await ask_who(client, room, **asked)
        ids += [participant.id for participant in found.participants]
        if not found.next_page_token:
            return ids
        asked["page_token"] = found.next_page_token


async def filled(client: Client) -> Project:
    project = await client.project()
    for name in NAMES:
        await client.room(project, name=name)
    return project


async def test_every_prefix_in_every_order(world: World) -> None:
    alice, bob = await world.user(), await world.user()
    project = await filled(alice)
    await filled(bob)
    for prefix, count in PREFIXES.items():
        for order in ("name", "name desc", "created_at", "updated_at desc"):
            asked = {"name_prefix": prefix, "order_by": order, "page_size": 2}
            rooms = await listed(alice, project, **asked)
            assert len({room.id for room in rooms}) == len(rooms) == count, asked
            assert all(room.name.startswith(prefix) for room in rooms)
        answer = await ask(alice, project, name_prefix=prefix, include_total=True, page_size=1)
        assert answer.total_size == count


@pytest.mark.parametrize("field", ["created_at", "updated_at", "name"])
async def test_every_order_in_both_directions(world: World, field: str) -> None:
    alice = await world.user()
    project = await filled(alice)
    await world.execute("UPDATE chat_rooms SET updated_at = now() - created_at::time")
    ids = f"SELECT array_agg(id::text ORDER BY {field}, id) FROM chat_rooms"  # noqa: S608
    wanted = await world.value(ids)
    for order, expected in ((field, wanted), (f"{field} desc", wanted[::-1])):
        for size in (0, 1, 3):
            rooms = await listed(alice, project, order_by=order, page_size=size)
            assert [room.id for room in rooms] == expected


async def test_the_newest_come_first_by_default(world: World) -> None:
    alice = await world.user()
    rooms = await listed(alice, await filled(alice))
    assert [room.name for room in rooms] == NAMES[::-1]


async def test_without_a_project_every_visible_one_is_listed(world: World) -> None:
    alice, bob = await world.user(), await world.user()
    root = await world.user(superuser=True)
    for caller, name in ((alice, "a1"), (bob, "b"), (alice, "a2")):
        await caller.room(await caller.project(), name=name)
    for client, names in ((alice, ["a2", "a1"]), (bob, ["b"]), (root, ["a2", "b", "a1"])):
        assert [room.name for room in await listed(client)] == names
        assert (await ask(client, include_total=True)).total_size == len(names)


async def test_a_project_that_does_not_exist_is_named(world: World) -> None:
    alice = await world.user()
    missing = Project(id=str(alice.id))
    found = await refused(ask(alice, missing), Reason.PROJECT_NOT_FOUND)
    assert found.metadata == {"project_id": missing.id}


async def test_nothing_is_an_empty_page(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    assert await ask(alice, project, include_total=True) == ListRoomsResponse(total_size=0)
    room = await alice.room(project)
    found = await ask_who(alice, room, include_total=True)
    assert found == ListParticipantsResponse(total_size=0)
    assert not (await ask_who(alice, room)).HasField("total_size")


async def test_a_page_ends_before_a_client_cannot_take_it(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    await world.execute(FILL_ROOMS, 100, "x" * 65_000)
    found = await ask(alice, project, page_size=100)
    assert 40 < len(found.rooms) < 50
    assert len({room.id for room in await listed(alice, project, page_size=100)}) == 100


@pytest.mark.parametrize(("asked", "got"), [(0, 50), (1, 1), (1000, 1000), (2**31 - 1, 1000)])
async def test_a_page_has_a_size(world: World, asked: int, got: int) -> None:
    alice = await world.user()
    project = await alice.project()
    room = await alice.room(project)
    await world.execute(FILL_AGENTS, 1001)
    await world.execute(FILL_ROOMS, 1000, None)
    rooms = await ask(alice, project, page_size=asked)
    members = await ask_who(alice, room, page_size=asked)
    assert len(rooms.rooms) == len(members.participants) == got
    assert rooms.next_page_token
    assert members.next_page_token


async def test_participants_are_ordered_by_when_they_joined(world: World) -> None:
    """Not by when their rows were made: rows of an older system have both."""
    alice = await world.user()
    project = await alice.project()
    room = await alice.room(project)
    await alice.room(project)
    await world.execute(FILL_AGENTS, 20)
    ids = "SELECT array_agg(id::text ORDER BY joined_at, id) FROM chat_participants"
    wanted = await world.value(f"{ids} WHERE room_id = $1", room.id)
    assert len(wanted) == 20
    for order, expected in (
        ("", wanted[::-1]),
        ("joined_at desc", wanted[::-1]),
        ("joined_at", wanted),
    ):
        for size in (1, 7, 0):
            assert await everybody(alice, room, order_by=order, page_size=size) == expected
    assert (await ask_who(alice, room, include_total=True)).total_size == 20


async def test_a_token_is_of_one_room_and_one_order(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    here, there = await alice.room(project), await alice.room(project)
    await world.execute(FILL_AGENTS, 3)
    token = (await ask_who(alice, here, page_size=1)).next_page_token
    for call in (
        ask_who(alice, there, page_token=token),
        ask_who(alice, here, page_token=token, order_by="joined_at"),
        ask(alice, project, page_token=token),
    ):
        await refused(call, Reason.INVALID_PAGE_TOKEN)


@pytest.mark.parametrize(
    ("asked", "path"),
    [({"page_size": -1}, "page_size"), ({"name_prefix": "n" * 256}, "name_prefix")],
)
async def test_a_bad_filter_is_named(world: World, asked: dict[str, Any], path: str) -> None:
    alice = await world.user()
    assert list((await refused(ask(alice, **asked), Reason.INVALID_FIELD)).fields) == [path]


async def test_an_order_that_there_is_not_is_refused(world: World) -> None:
    alice = await world.user()
    room = await alice.room(await alice.project())
    found = await refused(ask(alice, order_by="description"), Reason.INVALID_ORDER_BY)
    assert "created_at, updated_at, name" in found.message
    found = await refused(ask_who(alice, room, order_by="created_at"), Reason.INVALID_ORDER_BY)
    assert "joined_at" in found.message
