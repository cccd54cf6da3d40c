"""Lists of users: filters, orders, pages, totals."""

from typing import Any

import pytest

from shared.errors import Reason
from tandem.agent.v1.user_service_pb2 import ListUsersRequest, ListUsersResponse
from tests.refusals import refused
from tests.world import Client, User, World

NAMES = ("10%_off", "10% more", "100", "a\\b", "Ab", "éa")
FILTERS: list[tuple[dict[str, Any], set[str]]] = [
    ({}, {*NAMES, "root"}),
    ({"username_prefix": "10%"}, {"10%_off", "10% more"}),
    ({"username_prefix": "a"}, {"a\\b"}),
    ({"username_prefix": "_"}, set()),
    ({"is_active": False}, {"100", "éa"}),
    ({"is_active": True, "username_prefix": "10"}, {"10%_off", "10% more"}),
    ({"is_superuser": True}, {"root", "éa"}),
    ({"is_superuser": True, "is_active": True}, {"root"}),
    ({"is_superuser": False, "username_prefix": "1"}, {"10%_off", "10% more", "100"}),
]


async def ask(client: Client, **asked: Any) -> ListUsersResponse:
    found: ListUsersResponse = await client.users.ListUsers(ListUsersRequest(**asked))
    return found


async def listed(client: Client, **asked: Any) -> list[str]:
    """The names on every page."""
    names: list[str] = []
    while True:
        found = await ask(client, **asked)
        names += [user.username for user in found.users]
        if not found.next_page_token:
            return names
        asked["page_token"] = found.next_page_token


async def fill(world: World) -> User:
    """Users, and a superuser who lists them."""
    for name in NAMES:
        await world.user(name, active=name not in {"100", "éa"}, superuser=name == "éa")
    return await world.user("root", superuser=True)


async def test_every_filter_in_both_directions(world: World) -> None:
    root = await fill(world)
    for asked, names in FILTERS:
        for order in ("username", "username desc"):
            found = await listed(root, order_by=order, page_size=2, **asked)
            assert sorted(found) == sorted(names)
        assert (await ask(root, include_total=True, page_size=1, **asked)).total_size == len(names)


@pytest.mark.parametrize("field", ["created_at", "username"])
async def test_every_order_in_both_directions(world: World, field: str) -> None:
    root = await fill(world)
    await world.execute("UPDATE users SET created_at = '2001-01-01' WHERE username LIKE '1%'")
    names = f"SELECT array_agg(username ORDER BY {field}, id) FROM users"  # noqa: S608
    wanted = await world.value(names)
    for size in (0, 1, 7):
        assert await listed(root, order_by=field, page_size=size) == wanted
        assert await listed(root, order_by=f"{field} desc", page_size=size) == wanted[::-1]


async def test_the_latest_come_first(world: World) -> None:
    assert await listed(await fill(world)) == ["root", *reversed(NAMES)]


async def test_only_superusers_list_users(world: World) -> None:
    alice = await world.user()
    found = await refused(ask(alice), Reason.INSUFFICIENT_ROLE)
    assert found.metadata == {"required": "SUPERUSER"}


async def test_what_is_asked_is_checked(world: World) -> None:
    root = await world.user(superuser=True)
    bad: list[tuple[dict[str, Any], str]] = [
        ({"page_size": -1}, "page_size"),
        ({"username_prefix": "\0"}, "username_prefix"),
        ({"username_prefix": "n" * 101}, "username_prefix"),
    ]
    for asked, path in bad:
        found = await refused(ask(root, **asked), Reason.INVALID_FIELD)
        assert list(found.fields) == [path]
    await refused(ask(root, order_by="email"), Reason.INVALID_ORDER_BY)
    await refused(ask(root, page_token="x"), Reason.INVALID_PAGE_TOKEN)
