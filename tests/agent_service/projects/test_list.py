"""Lists of projects: filters, orders, pages, totals."""

from typing import Any

import pytest

from shared.errors import Reason
from tandem.agent.v1.project_service_pb2 import (
    PROJECT_STATUS_ACTIVE,
    PROJECT_STATUS_ARCHIVED,
    PROJECT_STATUS_SUSPENDED,
    ListProjectsRequest,
    ListProjectsResponse,
)
from tests.refusals import refused
from tests.world import Client, World

NAMES = ("10%_off", "10% more", "100", "a\\b", "Ab", "éa")
STATUSES = {"100": "suspended", "Ab": "archived"}
FILTERS: list[tuple[dict[str, Any], set[str]]] = [
    ({}, set(NAMES)),
    ({"name_prefix": "10%"}, {"10%_off", "10% more"}),
    ({"name_prefix": "a"}, {"a\\b"}),
    ({"name_prefix": "_"}, set()),
    ({"statuses": [PROJECT_STATUS_SUSPENDED]}, {"100"}),
    ({"statuses": [PROJECT_STATUS_SUSPENDED, PROJECT_STATUS_ARCHIVED]}, {"100", "Ab"}),
    ({"statuses": [PROJECT_STATUS_ACTIVE], "name_prefix": "10"}, {"10%_off", "10% more"}),
]


async def ask(client: Client, **asked: Any) -> ListProjectsResponse:
    found: ListProjectsResponse = await client.projects.ListProjects(ListProjectsRequest(**asked))
    return found


async def listed(client: Client, **asked: Any) -> list[str]:
    """The names on every page."""
    names: list[str] = []
    while True:
        found = await ask(client, **asked)
        names += [project.name for project in found.projects]
        if not found.next_page_token:
            return names
        asked["page_token"] = found.next_page_token


async def fill(world: World, client: Client) -> None:
    for name in NAMES:
        await client.project(name=name)
    for name, status in STATUSES.items():
        await world.execute("UPDATE projects SET status = $2 WHERE name = $1", name, status)


async def test_every_filter_in_both_directions(world: World) -> None:
    alice = await world.user()
    await fill(world, alice)
    await (await world.user()).project(name="10%")
    for asked, names in FILTERS:
        for order in ("name", "name desc"):
            found = await listed(alice, order_by=order, page_size=2, **asked)
            assert sorted(found) == sorted(names)
        assert (await ask(alice, include_total=True, page_size=1, **asked)).total_size == len(names)


@pytest.mark.parametrize("field", ["created_at", "updated_at", "name"])
async def test_every_order_in_both_directions(world: World, field: str) -> None:
    alice = await world.user()
    await fill(world, alice)
    await world.execute("UPDATE projects SET updated_at = now() - created_at::time")
    names = f"SELECT array_agg(name ORDER BY {field}, id) FROM projects"  # noqa: S608
    wanted = await world.value(names)
    for size in (0, 1, 6):
        assert await listed(alice, order_by=field, page_size=size) == wanted
        assert await listed(alice, order_by=f"{field} desc", page_size=size) == wanted[::-1]


async def test_everybody_sees_their_own_and_a_superuser_all(world: World) -> None:
    alice, bob = await world.user(), await world.user()
    root = await world.user(superuser=True)
    for caller, name in ((alice, "a1"), (bob, "b"), (alice, "a2")):
        await caller.project(name=name)
    assert await listed(alice) == ["a2", "a1"]
    assert await listed(bob, page_size=1) == ["b"]
    assert await listed(root, page_size=1) == ["a2", "b", "a1"]
    assert await ask(await world.user(), include_total=True) == ListProjectsResponse(total_size=0)


async def test_what_is_asked_is_checked(world: World) -> None:
    alice = await world.user()
    bad: list[tuple[dict[str, Any], str]] = [
        ({"page_size": -1}, "page_size"),
        ({"statuses": [0]}, "statuses[0]"),
        ({"name_prefix": "\0"}, "name_prefix"),
    ]
    for asked, path in bad:
        found = await refused(ask(alice, **asked), Reason.INVALID_FIELD)
        assert list(found.fields) == [path]
    await refused(ask(alice, order_by="slug"), Reason.INVALID_ORDER_BY)
    await refused(ask(alice, page_token="x"), Reason.INVALID_PAGE_TOKEN)
