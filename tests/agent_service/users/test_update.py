"""Updating users: what superusers may, and what users may of themselves."""

from typing import Any
from uuid import uuid4

import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from shared.errors import Reason
from tandem.agent.v1.auth_service_pb2 import User as Person
from tandem.agent.v1.user_service_pb2 import GetUserRequest, UpdateUserRequest
from tests.refusals import refused
from tests.world import Client, User, World


async def update(caller: Client, *mask: str, **fields: Any) -> Person:
    request = UpdateUserRequest(user=Person(**fields), update_mask=FieldMask(paths=mask))
    updated: Person = await caller.users.UpdateUser(request)
    return updated


async def person(of: User) -> Person:
    found: Person = await of.users.GetUser(GetUserRequest(user_id=str(of.id)))
    return found


async def test_a_superuser_changes_what_the_mask_names(world: World) -> None:
    root, alice = await world.user(superuser=True), await world.user("alice")
    before = await person(alice)
    updated = await update(
        *(root, "username", "is_superuser"),
        id=before.id,
        username="Alice",
        is_superuser=True,
        email="ignored@example.org",
    )
    assert updated.updated_at.ToDatetime() > before.updated_at.ToDatetime()
    before.username, before.is_superuser, before.revision = "Alice", True, 2
    before.updated_at.CopyFrom(updated.updated_at)
    assert updated == before
    assert await root.users.GetUser(GetUserRequest(user_id=before.id)) == before


async def test_a_user_changes_its_own_name_and_address(world: World) -> None:
    alice = await world.user("alice")
    updated = await update(alice, id=str(alice.id), full_name="Alice A", email="a@example.org")
    assert (updated.full_name, updated.email, updated.revision) == ("Alice A", "a@example.org", 2)
    cleared = await update(alice, "full_name", id=str(alice.id))
    assert (cleared.HasField("full_name"), cleared.revision) == (False, 3)


async def test_what_a_user_reads_it_may_send_back(world: World) -> None:
    alice = await world.user("alice")
    read = await person(alice)
    assert await alice.users.UpdateUser(UpdateUserRequest(user=read)) == read
    everything = UpdateUserRequest(user=read, update_mask=FieldMask(paths=["*"]))
    assert await alice.users.UpdateUser(everything) == read


@pytest.mark.parametrize(
    "change", [{"username": "other"}, {"is_active": False}, {"is_superuser": True}]
)
async def test_the_rest_is_for_superusers(world: World, change: dict[str, Any]) -> None:
    alice = await world.user("alice")
    for mask in ((), (*change, "full_name")):
        call = update(alice, *mask, id=str(alice.id), full_name="A", **change)
        found = await refused(call, Reason.INSUFFICIENT_ROLE)
        assert found.metadata == {"required": "SUPERUSER"}
        assert next(iter(change)) in found.message
    assert (await person(alice)).revision == 1


async def test_others_are_for_superusers_whether_they_exist_or_not(world: World) -> None:
    alice, bob = await world.user(), await world.user()
    messages = set()
    for user_id in (str(bob.id), str(uuid4())):
        call = update(alice, id=user_id, full_name="A")
        messages.add((await refused(call, Reason.INSUFFICIENT_ROLE)).message)
    assert len(messages) == 1
    assert (await person(bob)).revision == 1


async def test_a_user_that_does_not_exist_is_named(world: World) -> None:
    root, missing = await world.user(superuser=True), str(uuid4())
    found = await refused(update(root, id=missing, full_name="A"), Reason.USER_NOT_FOUND)
    assert found.metadata == {"user_id": missing}


@pytest.mark.parametrize("path", ["username", "email"])
async def test_what_is_required_cannot_be_cleared(world: World, path: str) -> None:
    root = await world.user(superuser=True)
    found = await refused(update(root, path, id=str(root.id)), Reason.INVALID_FIELD)
    assert found.fields == {f"user.{path}": "is required"}


@pytest.mark.parametrize("path", ["id", "created_at", "updated_at", "revision", "x", "user.email"])
async def test_a_path_that_may_not_be_changed_is_named(world: World, path: str) -> None:
    alice = await world.user()
    call = update(alice, path, "email", id=str(alice.id), email="a@example.org")
    found = await refused(call, Reason.INVALID_UPDATE_MASK)
    assert path in found.fields["update_mask"]


@pytest.mark.parametrize("user_id", ["", "x"])
async def test_a_malformed_id_is_named(world: World, user_id: str) -> None:
    alice = await world.user()
    found = await refused(update(alice, id=user_id, full_name="A"), Reason.INVALID_FIELD)
    assert list(found.fields) == ["user.id"]


async def test_a_revision_has_to_match(world: World) -> None:
    alice = await world.user()
    await update(alice, id=str(alice.id), full_name="A", revision=1)
    call = update(alice, id=str(alice.id), full_name="B", revision=1)
    assert (await refused(call, Reason.REVISION_MISMATCH)).metadata == {"revision": "2"}
    assert (await person(alice)).full_name == "A"


async def test_a_name_or_address_that_is_taken_is_refused(world: World) -> None:
    root, alice, _ = await world.user(superuser=True), await world.user("a"), await world.user("b")
    call = update(root, id=str(alice.id), username="B")
    assert (await refused(call, Reason.USERNAME_TAKEN)).metadata == {"username": "B"}
    call = update(alice, id=str(alice.id), email="B@EXAMPLE.com")
    assert (await refused(call, Reason.EMAIL_TAKEN)).metadata == {"email": "B@EXAMPLE.com"}


async def test_a_user_may_change_the_case_of_its_address(world: World) -> None:
    alice = await world.user("alice")
    updated = await update(alice, id=str(alice.id), email="Alice@Example.com")
    assert updated.email == "Alice@Example.com"


async def test_a_mask_without_a_value_activates(world: World) -> None:
    root, bob = await world.user(superuser=True), await world.user(active=False)
    assert (await update(root, "is_active", id=str(bob.id))).is_active


@pytest.mark.parametrize("change", [{"is_active": False}, {"is_superuser": False}])
async def test_the_last_active_superuser_stays_one(world: World, change: dict[str, Any]) -> None:
    root, _ = await world.user(superuser=True), await world.user(superuser=True, active=False)
    call = update(root, *change, id=str(root.id), **change)
    await refused(call, Reason.LAST_SUPERUSER)
    assert await person(root) == await update(root, *change, id=str(root.id), is_superuser=True)
    await world.user(superuser=True)
    updated = await update(root, *change, id=str(root.id), **change)
    assert not all((updated.is_active, updated.is_superuser))


async def test_who_is_no_superuser_can_be_deactivated(world: World) -> None:
    root, bob = await world.user(superuser=True), await world.user()
    updated = await update(root, id=str(bob.id), is_active=False)
    assert (updated.is_active, updated.revision) == (False, 2)
    assert await update(root, id=str(bob.id), is_active=False) == updated


async def test_an_inactive_superuser_can_be_made_none(world: World) -> None:
    root, bob = await world.user(superuser=True), await world.user(superuser=True, active=False)
    assert not (await update(root, "is_superuser", id=str(bob.id))).is_superuser
