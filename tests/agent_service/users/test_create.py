"""Creating users, and the limits of their fields."""

from typing import Any
from uuid import UUID

import pytest

from shared.errors import Reason
from tandem.agent.v1.auth_service_pb2 import User as Person
from tandem.agent.v1.auth_service_pb2 import WhoAmIRequest
from tandem.agent.v1.user_service_pb2 import (
    CreateUserRequest,
    GetUserRequest,
    UpdateUserRequest,
)
from tests.refusals import refused
from tests.world import User, World

LONGEST_EMAIL = f"{'a' * 64}@{'.'.join(['b' * 63] * 2 + ['c' * 58])}.com"
ALLOWED: list[dict[str, Any]] = [
    {"username": "a"},
    {"username": "\N{GRINNING FACE}" * 100},
    {"email": "a@b.c"},
    {"email": LONGEST_EMAIL},
    {"full_name": ""},
    {"full_name": "é" * 255},
    {"is_superuser": True},
]
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"username": "n" * 101}, "user.username"),
    ({"username": "\0"}, "user.username"),
    ({"email": "nowhere"}, "user.email"),
    ({"email": "a@b.c\0"}, "user.email"),
    ({"email": f"a{LONGEST_EMAIL}"}, "user.email"),
    ({"full_name": "n" * 256}, "user.full_name"),
    ({"full_name": "\0"}, "user.full_name"),
]


def names(case: Any) -> str:
    return next(iter(case)) if isinstance(case, dict) else ""


async def create(root: User, **fields: Any) -> Person:
    """A new user, as a superuser creates it."""
    fields = {"username": "ann", "email": "ann@example.org", **fields}
    created: Person = await root.users.CreateUser(CreateUserRequest(user=Person(**fields)))
    return created


async def test_a_user_is_answered_as_it_is_kept(world: World) -> None:
    root = await world.user(superuser=True)
    ann = await create(root)
    assert (ann.username, ann.email, ann.revision) == ("ann", "ann@example.org", 1)
    assert (ann.is_active, ann.is_superuser, ann.HasField("full_name")) == (True, False, False)
    assert await root.users.GetUser(GetUserRequest(user_id=ann.id)) == ann


async def test_a_new_user_may_call(world: World) -> None:
    ann = await create(await world.user(superuser=True))
    client = User(UUID(ann.id), world.channels, world.token(UUID(ann.id)))
    assert (await client.auth.WhoAmI(WhoAmIRequest())).user == ann


@pytest.mark.parametrize("fields", ALLOWED, ids=names)
async def test_what_is_allowed_is_kept_exactly(world: World, fields: dict[str, Any]) -> None:
    ann = await create(await world.user(superuser=True), **fields)
    for name, value in fields.items():
        assert getattr(ann, name) == value


@pytest.mark.parametrize(("fields", "path"), REFUSED, ids=names)
async def test_what_is_not_allowed_is_named(
    world: World, fields: dict[str, Any], path: str
) -> None:
    root = await world.user(superuser=True)
    found = await refused(create(root, **fields), Reason.INVALID_FIELD)
    assert list(found.fields) == [path]
    request = UpdateUserRequest(user=Person(id=str(root.id), **fields))
    found = await refused(root.users.UpdateUser(request), Reason.INVALID_FIELD)
    assert list(found.fields) == [path]


async def test_name_and_email_are_required(world: World) -> None:
    root = await world.user(superuser=True)
    found = await refused(root.users.CreateUser(CreateUserRequest()), Reason.INVALID_FIELD)
    assert found.fields == {"user.username": "is required", "user.email": "is required"}


async def test_what_the_service_sets_is_ignored(world: World) -> None:
    ann = await create(await world.user(superuser=True), id="x", is_active=False, revision=-1)
    assert (ann.is_active, ann.revision) == (True, 1)


@pytest.mark.parametrize("taken", ["ann", "Ann"])
async def test_a_name_belongs_to_one_user_whatever_its_case(world: World, taken: str) -> None:
    root = await world.user(superuser=True)
    await create(root)
    call = create(root, username=taken, email="other@example.org")
    found = await refused(call, Reason.USERNAME_TAKEN)
    assert found.metadata == {"username": taken}
    assert found.resource == ("user", taken)


@pytest.mark.parametrize("taken", ["ann@example.org", "ANN@Example.org"])
async def test_an_email_address_belongs_to_one_user_whatever_its_case(
    world: World, taken: str
) -> None:
    root = await world.user(superuser=True)
    await create(root)
    found = await refused(create(root, username="other", email=taken), Reason.EMAIL_TAKEN)
    assert found.metadata == {"email": taken}
    assert found.resource == ("user", taken)
