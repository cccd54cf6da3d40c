"""Who takes part in a room: agents of its project and its owner, each once."""

from typing import Any
from uuid import UUID, uuid4

import pytest

from shared.errors import Reason
from tandem.agent.v1.room_service_pb2 import (
    AddParticipantRequest,
    ListParticipantsRequest,
    Participant,
    RemoveParticipantRequest,
    Room,
)
from tests.refusals import refused
from tests.world import Client, World


async def add(client: Client, room: Room, **member: str) -> Participant:
    request = AddParticipantRequest(room_id=room.id, **member)
    added: Participant = await client.rooms.AddParticipant(request)
    return added


async def remove(client: Client, room: Room, **member: str) -> None:
    await client.rooms.RemoveParticipant(RemoveParticipantRequest(room_id=room.id, **member))


async def present(client: Client, room: Room) -> list[Participant]:
    answer = await client.rooms.ListParticipants(ListParticipantsRequest(room_id=room.id))
    return list(answer.participants)


async def test_an_agent_and_a_user_take_part(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    agent, room = await alice.agent(project, is_active=False), await alice.room(project)
    first = await add(alice, room, agent_id=agent.id)
    second = await add(alice, room, user_id=str(alice.id))
    assert (first.WhichOneof("participant"), first.agent_id) == ("agent_id", agent.id)
    assert (second.WhichOneof("participant"), second.user_id) == ("user_id", str(alice.id))
    for participant in (first, second):
        assert (participant.room_id, UUID(participant.id).version) == (room.id, 7)
    assert first.joined_at.ToDatetime() < second.joined_at.ToDatetime()
    assert await present(alice, room) == [second, first]


async def test_each_takes_part_once_in_each_room(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    agent = await alice.agent(project)
    here, there = await alice.room(project), await alice.room(project)
    for member in ({"agent_id": agent.id}, {"user_id": str(alice.id)}):
        await add(alice, here, **member)
        found = await refused(add(alice, here, **member), Reason.ALREADY_PARTICIPANT)
        assert found.metadata == {"room_id": here.id, **member}
        await add(alice, there, **member)
    assert len(await present(alice, here)) == len(await present(alice, there)) == 2


async def test_an_agent_of_another_project_is_as_good_as_none(world: World) -> None:
    """The caller learns nothing: neither that it exists, nor whose it is."""
    alice, bob = await world.user(), await world.user()
    room = await alice.room(await alice.project())
    own, foreign = await alice.agent(await alice.project()), await bob.agent(await bob.project())
    for agent_id in (own.id, foreign.id, str(uuid4())):
        found = await refused(add(alice, room, agent_id=agent_id), Reason.AGENT_NOT_FOUND)
        assert found.metadata == {"agent_id": agent_id}
        assert found.message == f"There is no agent {agent_id}."
    root = await world.user(superuser=True)
    await refused(add(root, room, agent_id=own.id), Reason.AGENT_NOT_FOUND)
    assert await present(alice, room) == []


async def test_a_user_who_is_not_the_owner_is_not_said_to_exist(world: World) -> None:
    alice, bob, inactive = await world.user(), await world.user(), await world.user(active=False)
    room = await alice.room(await alice.project())
    for user_id in (str(bob.id), str(inactive.id), str(uuid4())):
        found = await refused(add(alice, room, user_id=user_id), Reason.USER_NOT_FOUND)
        assert found.metadata == {"user_id": user_id}
        assert found.message == f"There is no user {user_id}."
    assert await present(alice, room) == []


async def test_an_owner_who_is_not_active_is_as_good_as_none(world: World) -> None:
    alice, root = await world.user(), await world.user(superuser=True)
    room = await alice.room(await alice.project())
    await world.execute("UPDATE users SET is_active = false WHERE id = $1", alice.id)
    await refused(add(root, room, user_id=str(alice.id)), Reason.USER_NOT_FOUND)
    await refused(add(root, room, user_id=str(root.id)), Reason.USER_NOT_FOUND)


async def test_an_agent_s_id_is_no_user_s(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    agent, room = await alice.agent(project), await alice.room(project)
    await refused(add(alice, room, user_id=agent.id), Reason.USER_NOT_FOUND)
    await refused(add(alice, room, agent_id=str(alice.id)), Reason.AGENT_NOT_FOUND)
    await add(alice, room, agent_id=agent.id)
    await refused(remove(alice, room, user_id=agent.id), Reason.PARTICIPANT_NOT_FOUND)
    assert len(await present(alice, room)) == 1


async def test_who_is_taken_out_may_come_back(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    agent = await alice.agent(project)
    room, other = await alice.room(project, agent), await alice.room(project, agent)
    await add(alice, room, user_id=str(alice.id))
    for member in ({"agent_id": agent.id}, {"user_id": str(alice.id)}):
        await remove(alice, room, **member)
        found = await refused(remove(alice, room, **member), Reason.PARTICIPANT_NOT_FOUND)
        assert found.metadata == {"participant_id": next(iter(member.values()))}
    assert await present(alice, room) == []
    assert [one.agent_id for one in await present(alice, other)] == [agent.id]
    back = await add(alice, room, agent_id=agent.id)
    assert await present(alice, room) == [back]


async def test_who_takes_part_is_no_change_of_the_room(world: World) -> None:
    alice = await world.user()
    room = await alice.room(await alice.project())
    await add(alice, room, user_id=str(alice.id))
    row = "SELECT (revision, updated_at = created_at) FROM chat_rooms"
    assert await world.value(row) == (1, True)


async def test_a_project_that_is_not_active_lets_go_and_takes_nobody(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    agent = await alice.agent(project)
    room = await alice.room(project, agent)
    for status in ("suspended", "archived"):
        await world.execute("UPDATE projects SET status = $1", status)
        found = await refused(add(alice, room, user_id=str(alice.id)), Reason.PROJECT_NOT_ACTIVE)
        assert found.metadata == {
            "project_id": project.id,
            "status": f"PROJECT_STATUS_{status.upper()}",
        }
    assert len(await present(alice, room)) == 1
    await remove(alice, room, agent_id=agent.id)
    await refused(remove(alice, room, agent_id=agent.id), Reason.PARTICIPANT_NOT_FOUND)


@pytest.mark.parametrize("call", [add, remove])
async def test_a_room_that_does_not_exist_is_named(world: World, call: Any) -> None:
    alice = await world.user()
    missing = Room(id=str(uuid4()))
    found = await refused(call(alice, missing, user_id=str(alice.id)), Reason.ROOM_NOT_FOUND)
    assert found.metadata == {"room_id": missing.id}
    await refused(present(alice, missing), Reason.ROOM_NOT_FOUND)


@pytest.mark.parametrize("call", [add, remove])
@pytest.mark.parametrize(
    ("member", "path"),
    [
        ({}, "participant"),
        ({"agent_id": ""}, "agent_id"),
        ({"agent_id": "x"}, "agent_id"),
        ({"user_id": "0" * 32}, "user_id"),
    ],
)
async def test_somebody_has_to_be_meant(
    world: World, call: Any, member: dict[str, str], path: str
) -> None:
    alice = await world.user()
    room = await alice.room(await alice.project())
    found = await refused(call(alice, room, **member), Reason.INVALID_FIELD)
    assert list(found.fields) == [path]


async def test_who_is_deleted_takes_part_no_more(world: World) -> None:
    alice, bob = await world.user(), await world.user()
    room = await bob.room(await bob.project())
    await add(bob, room, user_id=str(bob.id))
    await world.execute("UPDATE projects SET owner_id = $1", alice.id)
    await world.execute("DELETE FROM users WHERE id = $1", bob.id)
    assert await present(alice, room) == []
