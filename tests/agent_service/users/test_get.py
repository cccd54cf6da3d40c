"""Getting a user, and finding one by its name or email address."""

from typing import Any
from uuid import uuid4

import pytest

from shared.errors import Reason
from tandem.agent.v1.user_service_pb2 import GetUserRequest, LookupUserRequest, UserProfile
from tests.refusals import refused
from tests.world import Client, World


async def lookup(client: Client, **key: str) -> UserProfile:
    found: UserProfile = await client.users.LookupUser(LookupUserRequest(**key))
    return found


async def test_a_user_reads_itself_and_nobody_else(world: World) -> None:
    alice, bob = await world.user("alice"), await world.user("bob")
    found = await alice.users.GetUser(GetUserRequest(user_id=str(alice.id).upper()))
    assert (found.username, found.email) == ("alice", "alice@example.com")
    messages = set()
    for user_id in (str(bob.id), str(uuid4())):
        call = alice.users.GetUser(GetUserRequest(user_id=user_id))
        refusal = await refused(call, Reason.INSUFFICIENT_ROLE)
        assert refusal.metadata == {"required": "SUPERUSER"}
        messages.add(refusal.message)
    assert len(messages) == 1, "whether a user exists is not said"


async def test_a_superuser_reads_every_user(world: World) -> None:
    root, bob = await world.user(superuser=True), await world.user("bob", active=False)
    found = await root.users.GetUser(GetUserRequest(user_id=str(bob.id)))
    assert (found.username, found.is_active) == ("bob", False)
    missing = str(uuid4())
    call = root.users.GetUser(GetUserRequest(user_id=missing))
    assert (await refused(call, Reason.USER_NOT_FOUND)).metadata == {"user_id": missing}


@pytest.mark.parametrize("name", ["Zoë", "zoë", "ZOË"])
async def test_a_user_is_found_by_its_name_whatever_its_case(world: World, name: str) -> None:
    alice, zoe = await world.user(), await world.user("Zoë")
    await world.execute("UPDATE users SET full_name = 'Z' WHERE id = $1", zoe.id)
    found = UserProfile(id=str(zoe.id), username="Zoë", full_name="Z")
    assert await lookup(alice, username=name) == found


@pytest.mark.parametrize("name", ["zo", "zoe%", "z_e", "zoe "])
async def test_a_part_of_a_name_finds_nobody(world: World, name: str) -> None:
    alice, _ = await world.user(), await world.user("zoe")
    found = await refused(lookup(alice, username=name), Reason.USER_NOT_FOUND)
    assert found.metadata == {"username": name}


async def test_inactive_users_are_found_by_superusers_only(world: World) -> None:
    root, alice = await world.user(superuser=True), await world.user()
    zoe = await world.user("zoe", active=False)
    await refused(lookup(alice, username="zoe"), Reason.USER_NOT_FOUND)
    assert (await lookup(root, username="zoe")).id == str(zoe.id)


async def test_email_addresses_are_looked_up_by_superusers_only(world: World) -> None:
    root, zoe = await world.user(superuser=True), await world.user("zoe")
    assert (await lookup(root, email="ZOE@example.com")).id == str(zoe.id)
    for email in ("zoe@example.com", "nobody@example.com", "\0"):
        found = await refused(lookup(zoe, email=email), Reason.INSUFFICIENT_ROLE)
        assert found.metadata == {"required": "SUPERUSER"}
    found = await refused(lookup(root, email="nobody@example.com"), Reason.USER_NOT_FOUND)
    assert found.metadata == {"email": "nobody@example.com"}


@pytest.mark.parametrize(
    ("key", "path"), [({}, "key"), ({"username": ""}, "username"), ({"email": "\0"}, "email")]
)
async def test_what_is_looked_for_is_checked(world: World, key: dict[str, Any], path: str) -> None:
    root = await world.user(superuser=True)
    assert list((await refused(lookup(root, **key), Reason.INVALID_FIELD)).fields) == [path]
