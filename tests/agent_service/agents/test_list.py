"""Lists of agents: filters, orders, pages, totals."""

from typing import Any

import pytest

from shared.errors import Reason
from tandem.agent.v1.agent_service_pb2 import (
    AGENT_STATUS_BUSY,
    AGENT_STATUS_OFFLINE,
    AGENT_STATUS_ONLINE,
    AgentStatus,
    ListAgentsRequest,
    ListAgentsResponse,
)
from tandem.agent.v1.project_service_pb2 import Project
from tests.refusals import refused
from tests.world import Client, World

AGENTS: list[dict[str, Any]] = [
    {"name": "10%_off", "agent_type": "shop", "capabilities": ["sell", "a%"]},
    {"name": "10% more", "agent_type": "shop", "is_active": False},
    {"name": "100", "agent_type": "Shop", "capabilities": ["sell"]},
    {"name": "a\\b", "capabilities": ["sell more"]},
    {"name": "Ab", "capabilities": ['"sell"']},
    {"name": "éa"},
]
STATUSES = {"100": "online", "Ab": "busy"}
FILTERS: list[tuple[dict[str, Any], set[str]]] = [
    ({}, {"10%_off", "10% more", "100", "a\\b", "Ab", "éa"}),
    ({"name_prefix": "10"}, {"10%_off", "10% more", "100"}),
    ({"name_prefix": "10%"}, {"10%_off", "10% more"}),
    ({"name_prefix": "10%_"}, {"10%_off"}),
    ({"name_prefix": "a"}, {"a\\b"}),
    ({"name_prefix": "a\\"}, {"a\\b"}),
    ({"name_prefix": "é"}, {"éa"}),
    ({"name_prefix": "_"}, set()),
    ({"agent_type": "shop"}, {"10%_off", "10% more"}),
    ({"agent_type": "generic"}, {"a\\b", "Ab", "éa"}),
    ({"agent_type": "sho"}, set()),
    ({"is_active": True}, {"10%_off", "100", "a\\b", "Ab", "éa"}),
    ({"is_active": False}, {"10% more"}),
    ({"capability": "sell"}, {"10%_off", "100"}),
    ({"capability": "a%"}, {"10%_off"}),
    ({"capability": '"sell"'}, {"Ab"}),
    ({"statuses": [AGENT_STATUS_ONLINE]}, {"100"}),
    ({"statuses": [AGENT_STATUS_ONLINE, AGENT_STATUS_BUSY]}, {"100", "Ab"}),
    ({"statuses": [AGENT_STATUS_OFFLINE], "agent_type": "generic"}, {"a\\b", "éa"}),
    ({"name_prefix": "10", "is_active": True, "capability": "sell"}, {"10%_off", "100"}),
]


async def listed(client: Client, project: Project | None = None, **asked: Any) -> list[str]:
    """The names on every page."""
    names: list[str] = []
    while True:
        found = await ask(client, project, **asked)
        names += [agent.name for agent in found.agents]
        if not found.next_page_token:
            return names
        asked["page_token"] = found.next_page_token


async def ask(client: Client, project: Project | None = None, **asked: Any) -> ListAgentsResponse:
    request = ListAgentsRequest(project_id=project.id if project else "", **asked)
    found: ListAgentsResponse = await client.agents.ListAgents(request)
    return found


async def filled(world: World, client: Client) -> Project:
    project = await client.project()
    for agent in AGENTS:
        await client.agent(project, **agent)
    for name, status in STATUSES.items():
        await world.execute("UPDATE agents SET status = $2 WHERE name = $1", name, status)
    return project


async def test_every_filter_in_both_directions(world: World) -> None:
    alice = await world.user()
    project = await filled(world, alice)
    await filled(world, await world.user())
    for asked, names in FILTERS:
        for order in ("name", "name desc", "created_at", "updated_at desc"):
            found = await listed(alice, project, order_by=order, page_size=2, **asked)
            assert sorted(found) == sorted(names), (asked, order)
        answer = await ask(alice, project, include_total=True, page_size=1, **asked)
        assert answer.total_size == len(names), asked


@pytest.mark.parametrize("field", ["created_at", "updated_at", "name"])
async def test_every_order_in_both_directions(world: World, field: str) -> None:
    alice = await world.user()
    project = await filled(world, alice)
    await world.execute("UPDATE agents SET updated_at = now() - created_at::time")
    column = "name" if field == "name" else f"{field}, id"
    wanted = await world.value(f"SELECT array_agg(name ORDER BY {column}) FROM agents")  # noqa: S608
    for order, names in (
        (field, wanted),
        (f" {field} asc ", wanted),
        (f"{field}  desc", wanted[::-1]),
    ):
        for size in (0, 1, 2, 6):
            assert await listed(alice, project, order_by=order, page_size=size) == names


async def test_the_newest_come_first_by_default(world: World) -> None:
    alice = await world.user()
    project = await filled(world, alice)
    assert await listed(alice, project) == [str(agent["name"]) for agent in AGENTS[::-1]]


async def test_rows_of_the_same_moment_are_all_listed(world: World) -> None:
    alice = await world.user()
    project = await filled(world, alice)
    await world.execute("UPDATE agents SET created_at = '2026-01-01 00:00:00.000001Z'")
    for order in ("created_at", "created_at desc"):
        names = await listed(alice, project, order_by=order, page_size=1)
        assert sorted(names) == sorted(str(agent["name"]) for agent in AGENTS)


async def test_without_a_project_every_visible_one_is_listed(world: World) -> None:
    alice, bob = await world.user(), await world.user()
    root = await world.user(superuser=True)
    for caller, name in ((alice, "a1"), (bob, "b"), (alice, "a2")):
        await caller.agent(await caller.project(), name=name)
    assert await listed(alice) == ["a2", "a1"]
    assert await listed(bob) == ["b"]
    assert await listed(root) == ["a2", "b", "a1"]
    assert (await ask(bob, include_total=True)).total_size == 1


async def test_a_project_that_does_not_exist_is_named(world: World) -> None:
    alice, root = await world.user(), await world.user(superuser=True)
    for caller in (alice, root):
        call = caller.agents.ListAgents(ListAgentsRequest(project_id=str(alice.id)))
        assert (await refused(call, Reason.PROJECT_NOT_FOUND)).metadata == {
            "project_id": str(alice.id)
        }


async def test_an_empty_project_has_an_empty_page(world: World) -> None:
    alice = await world.user()
    found = await ask(alice, await alice.project(), include_total=True)
    assert found == ListAgentsResponse(total_size=0)


async def test_the_total_is_counted_only_when_asked_for(world: World) -> None:
    alice = await world.user()
    found = await ask(alice, await filled(world, alice), page_size=2)
    assert not found.HasField("total_size")


@pytest.mark.parametrize(("asked", "got"), [(0, 50), (1, 1), (1000, 1000), (2**31 - 1, 1000)])
async def test_a_page_has_a_size(world: World, asked: int, got: int) -> None:
    alice = await world.user()
    project = await alice.project()
    await world.execute(
        "INSERT INTO agents (id, project_id, name)"
        " SELECT gen_random_uuid(), id, n::text FROM projects, generate_series(1, 1001) n"
    )
    found = await ask(alice, project, page_size=asked)
    assert len(found.agents) == got
    assert found.next_page_token


async def test_a_page_ends_before_a_client_cannot_take_it(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    for number in range(5):
        await alice.agent(project, name=f"{number}", config={"text": "x" * 65_000})
    await world.execute(
        "INSERT INTO agents (id, project_id, name, config)"
        " SELECT gen_random_uuid(), project_id, name || n, config"
        " FROM agents, generate_series(1, 19) n"
    )
    found = await ask(alice, project, page_size=100)
    assert 40 < len(found.agents) < 50
    assert len(set(await listed(alice, project, page_size=100))) == 100


BAD: list[tuple[dict[str, Any], str]] = [
    ({"project_id": "x"}, "project_id"),
    ({"page_size": -1}, "page_size"),
    ({"statuses": [0]}, "statuses[0]"),
    ({"statuses": [1, 9]}, "statuses[1]"),
    ({"statuses": [1] * 11}, "statuses"),
    ({"name_prefix": "\0"}, "name_prefix"),
    ({"name_prefix": "n" * 256}, "name_prefix"),
    ({"agent_type": "\0"}, "agent_type"),
    ({"capability": "a\0"}, "capability"),
]


@pytest.mark.parametrize(("asked", "path"), BAD)
async def test_a_bad_filter_is_named(world: World, asked: dict[str, Any], path: str) -> None:
    alice = await world.user()
    call = alice.agents.ListAgents(ListAgentsRequest(**asked))
    assert list((await refused(call, Reason.INVALID_FIELD)).fields) == [path]


@pytest.mark.parametrize(
    "order",
    ["id", "name desc, id", "name up", "name;", "NAME", "config", "desc", "-name", "name DESC"],
)
async def test_an_order_that_there_is_not_is_refused(world: World, order: str) -> None:
    alice = await world.user()
    call = alice.agents.ListAgents(ListAgentsRequest(order_by=order))
    found = await refused(call, Reason.INVALID_ORDER_BY)
    assert list(found.fields) == ["order_by"]
    assert "created_at, updated_at, name" in found.message


async def test_statuses_are_those_that_there_are() -> None:
    assert sorted(AgentStatus.values()) == [0, 1, 2, 3, 4]
