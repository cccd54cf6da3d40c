"""What a page of a log costs: no more with 100,000 events than it shows, or looks at."""

import asyncio
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest

from shared.auth.caller import Agent, Caller, User
from shared.database.transaction import Database
from shared.errors import Refusal
from task_service.events.queries import (
    BATCH_SIZE,
    CHANGED,
    EVENTS_AFTER,
    LOOKED_AT,
    PAGE_BYTES,
    PAGE_EVENTS,
)
from task_service.events.reading import Query, read_page
from tests.conftest import TEMPLATE
from tests.databases import execute, fresh
from tests.plans import Cost, cost_of

# Project 1 has 80,000 events: 20,000 of the agent 1, and 267 or 534 of each of 150 tasks, one of
# which is assigned to that agent. The event 70,000 is the only one of its type.
FILL = """
CREATE FUNCTION id(n bigint) RETURNS uuid LANGUAGE sql RETURN lpad(to_hex(n), 32, '0')::uuid;
INSERT INTO users (id, username, email) SELECT id(n), n, n FROM generate_series(1, 9) n;
INSERT INTO projects (id, owner_id, slug, name) SELECT id(n), id(n), n, n
    FROM generate_series(1, 9) n;
INSERT INTO event_heads (project_id, log_id, last) VALUES (id(1), id(1), 80000);
INSERT INTO event_heads (project_id, log_id, last) SELECT id(n), id(n), 10000
    FROM generate_series(2, 3) n;
INSERT INTO events (project_id, sequence, batch, type, resource_type, resource_id, revision,
        actor_type, actor_id, before, after)
    SELECT id(project), n, n, CASE n WHEN 70000 THEN 'task.deleted' ELSE 'task.updated' END,
        CASE WHEN n % 4 = 0 THEN 'agent' ELSE 'task' END,
        id(CASE WHEN n % 4 = 0 THEN 1 ELSE 1000 + n % 150 END), n, 'user', id(1 + n % 9),
        jsonb_build_object('status', 'pending'), jsonb_build_object('status', 'review',
            'assigned_to', id(CASE WHEN n % 150 = 1 THEN 1 ELSE 2 END),
            'assigned_to_type', 'agent', 'title', repeat('Task ', 80))
    FROM (VALUES (1, 80000), (2, 10000), (3, 10000)) logs (project, last),
        generate_series(1, last) n;
VACUUM ANALYZE;
"""
PROJECT = UUID(int=1)
OWNER = User(UUID(int=1), "name", "email", None, is_superuser=False)
ROOT = User(UUID(int=8), "name", "email", None, is_superuser=True)
STRANGER = User(UUID(int=7), "name", "email", None, is_superuser=False)
AGENT = Agent(UUID(int=1), "agent", PROJECT, [])
KEY, BY_RESOURCE = "pk_events", "idx_events_resource"
A_TASK, THE_AGENT = {"resource_id": UUID(int=1001)}, {"resource_id": UUID(int=1)}
RARE: dict[str, Any] = {"types": ["task.deleted"]}
# Of 8 KiB each: those of ten events, of the index, the head, the project and the caller's role.
EVENTS_PER_PAGE = 8
# Rows of a head, a project and members.
OTHERS, FEW = 6, 16


@pytest.fixture(scope="module")
def filled_url(postgres_url: str) -> Iterator[str]:
    with fresh(postgres_url, TEMPLATE) as url:
        for statement in FILL.split(";\n"):
            if statement.strip():
                asyncio.run(execute(url, statement))
        yield url


async def cost(
    url: str, caller: Caller, filters: dict[str, Any], after: int = 0, size: int = 50
) -> tuple[Cost, list[int], int]:
    """What a page costs if it is planned without its parameters, its numbers, and how far it is."""
    database = await Database.connect(url, size=1)
    query = Query(filters, after, None, size)
    try:
        cost = await cost_of(database, lambda c: read_page(c, caller, PROJECT, query))
        page = await database.read(lambda c: read_page(c, caller, PROJECT, query))
    finally:
        await database.close()
    return cost, [row["sequence"] for row in page.rows], page.through


def indexes(cost: Cost) -> set[str]:
    """The indexes by which events are looked for."""
    names = {node["Index Name"] for node in cost.nodes if "Index Name" in node}
    return names & {KEY, BY_RESOURCE}


def pages(events: int, spread: int = 1) -> int:
    """How many pages of 8 KiB so many events are on, one of `spread` in the log each, at most."""
    return events if spread > EVENTS_PER_PAGE else events * spread // EVENTS_PER_PAGE + events // 50


@pytest.mark.parametrize("caller", [OWNER, ROOT])
@pytest.mark.parametrize("after", [0, 40_000, 79_980])
@pytest.mark.parametrize("size", [50, 1000])
async def test_a_page_reads_the_events_that_it_shows(
    filled_url: str, caller: Caller, after: int, size: int
) -> None:
    found, numbers, through = await cost(filled_url, caller, {}, after, size)
    assert numbers == [*range(after + 1, min(after + size, 80_000) + 1)]
    assert through == numbers[-1]
    assert indexes(found) == {KEY}, found.plans
    assert "events" not in found.sequential, found.plans
    # Each batch reads the head, the project and perhaps a member.
    batches = max(1, size // BATCH_SIZE)
    assert found.rows <= size + OTHERS * batches, found.plans
    assert found.buffers <= pages(size) + FEW * batches, found.plans


@pytest.mark.parametrize("filters", [RARE, {"by_actor": UUID(int=999)}])
async def test_what_matches_seldom_is_looked_for_so_far_and_no_farther(
    filled_url: str, filters: dict[str, Any]
) -> None:
    found, numbers, through = await cost(filled_url, OWNER, filters, after=20_000)
    assert (numbers, through) == ([], 20_000 + LOOKED_AT)
    assert indexes(found) == {KEY}, found.plans
    assert found.rows <= LOOKED_AT + OTHERS, found.plans
    assert found.buffers <= pages(LOOKED_AT) + FEW, found.plans


async def test_an_agent_looks_for_its_own_so_far_and_no_farther(filled_url: str) -> None:
    found, numbers, _ = await cost(filled_url, AGENT, RARE, after=20_000)
    assert not numbers
    assert indexes(found) == {KEY}, found.plans
    assert found.rows <= LOOKED_AT + OTHERS, found.plans
    assert found.buffers <= pages(LOOKED_AT) + FEW, found.plans


async def test_the_events_of_one_resource_are_found_by_their_index(filled_url: str) -> None:
    found, numbers, through = await cost(filled_url, OWNER, A_TASK)
    assert len(numbers) == 50
    assert through == numbers[-1]
    assert indexes(found) == {BY_RESOURCE}, found.plans
    assert found.rows <= 50 + OTHERS, found.plans
    assert found.buffers <= 50 + FEW, found.plans
    rest, numbers, through = await cost(filled_url, OWNER, A_TASK, through, 1000)
    assert len(numbers) == 484
    assert through == 80_000
    assert indexes(rest) == {BY_RESOURCE}, rest.plans


async def test_of_one_resource_no_more_events_are_looked_at(filled_url: str) -> None:
    found, numbers, through = await cost(filled_url, OWNER, {**THE_AGENT, **RARE})
    assert (numbers, through) == ([], 40_000)
    assert indexes(found) <= {BY_RESOURCE, KEY}, found.plans
    assert "events" not in found.sequential, found.plans
    # The index says how far 10,000 of them go, and then they are read.
    assert found.rows <= 2 * LOOKED_AT + OTHERS, found.plans


async def test_a_stranger_reads_no_event(filled_url: str) -> None:
    database = await Database.connect(filled_url, size=1)
    try:
        cost = await cost_of(database, lambda c: _refused(c, STRANGER))
    finally:
        await database.close()
    assert cost.rows <= OTHERS, cost.plans
    assert cost.buffers <= FEW, cost.plans


async def _refused(connection: Any, caller: Caller) -> None:
    with pytest.raises(Refusal):
        await read_page(connection, caller, PROJECT, Query({}, 0, None, 50))


async def test_what_has_changed_is_read_from_as_many_events(filled_url: str) -> None:
    database = await Database.connect(filled_url, size=1)
    try:
        found = await cost_of(
            database,
            lambda c: CHANGED.rows(c, project_id=PROJECT, after=40_000, through=40_100),
        )
    finally:
        await database.close()
    assert indexes(found) == {KEY}, found.plans
    assert found.rows == 100, found.plans


@pytest.mark.parametrize("after", [0, 40_000, 79_990])
async def test_a_watch_reads_the_events_of_a_page(filled_url: str, after: int) -> None:
    database = await Database.connect(filled_url, size=1)
    try:
        found = await cost_of(
            database, lambda c: EVENTS_AFTER.rows(c, project_id=PROJECT, after=after)
        )
        rows = await database.read(lambda c: EVENTS_AFTER.rows(c, project_id=PROJECT, after=after))
    finally:
        await database.close()
    assert [row["sequence"] for row in rows] == [*range(after + 1, after + len(rows) + 1)]
    assert min(450, 80_000 - after) <= len(rows) <= PAGE_EVENTS
    assert sum(len(row["after"]) for row in rows) < PAGE_BYTES + 1000
    assert indexes(found) == {KEY}, found.plans
    assert "events" not in found.sequential, found.plans
    # Each is measured, and then read.
    assert found.rows <= 4 * len(rows) + FEW, found.plans
