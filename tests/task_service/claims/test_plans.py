"""What a claim reads: no more among 100,000 tasks than among 10,000, whatever their lanes."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from shared.auth.caller import User
from shared.database.statement import Statement
from task_service.claims import queries
from task_service.leases import queries as leases
from tests.conftest import TEMPLATE
from tests.databases import fresh
from tests.plans import Cost, explained

# Of each project: how many pending tasks, in how many lanes. Agent 1 can do what is in all of them
# but each fourth, agent 2 nothing. 10,000 others are completed, and 2,000 under leases.
PROJECTS = {1: (100_000, 40), 2: (10_000, 40), 3: (10_000, 1), 4: (10_000, 200)}
ID = """
CREATE FUNCTION id(n bigint) RETURNS uuid LANGUAGE sql RETURN lpad(to_hex(n), 32, '0')::uuid;
INSERT INTO users (id, username, email) VALUES (id(1), 'one', 'one')
"""
PROJECT = """
WITH project AS (INSERT INTO projects (id, owner_id, slug, name) VALUES (id($1), id(1), $1, $1)),
    head AS (INSERT INTO event_heads (project_id, log_id) VALUES (id($1), id($1)))
INSERT INTO agents (id, project_id, name, max_leases, capabilities)
    SELECT id($1 * 1000::bigint + n), id($1), n, 1000, CASE n WHEN 1 THEN
        (SELECT jsonb_agg('c' || c) FROM generate_series(0, 199) c WHERE c % 4 > 0) ELSE '[]' END
    FROM generate_series(1, 9) n
"""
PENDING = """
INSERT INTO tasks (id, project_id, title, status, priority, required_capabilities, ready_at)
    SELECT id($1 * 1000000::bigint + n), id($1), n, 'pending',
        (ARRAY['low', 'medium', 'high', 'critical', NULL])[1 + n % 5],
        CASE WHEN $3 > 1 THEN 'c' || (n / 5) % $3::int ELSE '' END,
        now() + (n % 1000 - 900) * interval '1 minute'
    FROM generate_series(1, $2::int) n
"""
OTHERS = """
INSERT INTO tasks (id, project_id, title, status, assigned_agent_id, leased, fence)
    SELECT id(1900000 + n), id(1), n, CASE WHEN n > 2000 THEN 'completed' ELSE 'in_progress' END,
        id(1002 + n % 5), n <= 2000, 1
    FROM generate_series(1, 12000) n;
INSERT INTO task_leases (project_id, task_id, agent_id, fence, pooled, agent_slot, expires_at,
        seconds)
    SELECT id(1), id(1900000 + n), id(1002 + n % 5), 1, true, 1 + n / 5,
        now() + interval '1 hour', 60
    FROM generate_series(1, 2000) n;
"""
OWNER = User(UUID(int=1), "name", "email", None, is_superuser=False)
OFFERED = {**OWNER.rights, "called_method": "Claim", "called_request_id": "r"}
READY, KEYS = "idx_tasks_ready", {"uq_tasks_project_id_id", "pk_tasks"}
# Pages that are looked at: for a task that changes, with its indexes, its lease, attempt and event;
# for a lane, to find it and its first task; for a lane of which the first tasks of each urgency are
# wanted, and those that are not ready; and for the project, the agent and the log.
CLAIMED_BUFFERS, LANE_BUFFERS, WAITING_BUFFERS, FEW = 70, 6, 32, 100
GROWTH = 1.3
# Of the tables that a claim writes to, together.
INDEXES = 22


# The other indexes of tasks, which are built faster behind the rows than with each.
BUILT_LATER = """
SELECT indexdef FROM pg_indexes WHERE tablename = 'tasks' AND indexname LIKE 'idx_%'
"""


@pytest.fixture(scope="module")
def filled_url(postgres_url: str) -> Iterator[str]:
    """130,000 tasks to be claimed, in four projects."""
    with fresh(postgres_url, TEMPLATE) as url:
        asyncio.run(_fill(url, PROJECTS, OTHERS, "VACUUM ANALYZE"))
        yield url


async def _fill(url: str, projects: Mapping[int, tuple[int, int]], *more: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute("SET session_replication_role = replica")  # no look at foreign keys
    definitions = [row[0] for row in await connection.fetch(BUILT_LATER)]
    for definition in definitions:
        await connection.execute(f"DROP INDEX {definition.split()[2]}")
    await connection.execute(ID)
    for number, (pending, lanes) in projects.items():
        await connection.execute(PROJECT, number)
        await connection.execute(PENDING, number, pending, lanes)
    for statement in (*definitions, *more):
        await connection.execute(statement)
    await connection.close()


@pytest.fixture
async def filled(filled_url: str) -> AsyncIterator[Any]:
    """A connection, whose changes are undone."""
    async with undone(filled_url) as connection:
        yield connection


@asynccontextmanager
async def undone(url: str) -> AsyncIterator[Any]:
    """A connection, whose changes are undone."""
    connection = await asyncpg.connect(url)
    transaction = connection.transaction()
    await transaction.start()
    yield connection
    await transaction.rollback()
    await connection.close()


async def cost(connection: Any, statement: Statement, parameters: Mapping[str, Any]) -> Cost:
    """What a statement costs that is planned without its parameters."""
    arguments = statement.arguments(OFFERED, dict(parameters))
    return Cost([await explained(connection, statement.sql, arguments)])


def of(project: int, number: int = 1, agent: int = 1) -> dict[str, Any]:
    """The parameters of a claim."""
    agent_id = UUID(int=project * 1000 + agent)
    ids = {"project_id": UUID(int=project), "agent_id": agent_id}
    return {**ids, "number": number, "seconds": 60, "only": None}


def assert_by_index(cost: Cost) -> None:
    """Tasks and leases are looked for by indexes only."""
    assert_tasks_by_index(cost)
    assert "task_leases" not in cost.sequential, cost.plans


def assert_tasks_by_index(cost: Cost) -> None:
    """Tasks are looked for by these indexes only."""
    nodes = [node for node in cost.nodes if node.get("Relation Name") == "tasks"]
    assert {n["Index Name"] for n in nodes if "Index Name" in n} <= {READY, *KEYS}, cost.plans
    assert "tasks" not in cost.sequential, cost.plans


# Per lane one look, in an index of three levels; more, if what is most urgent is not enough.
@pytest.mark.parametrize(("project", "lanes"), [(3, 1), (1, 40), (2, 40), (4, 200)])
@pytest.mark.parametrize("number", [1, 10])
async def test_a_claim_reads_the_heads_of_its_lanes(
    filled: Any, project: int, lanes: int, number: int
) -> None:
    found = await cost(filled, queries.CLAIM.alone, of(project, number))
    assert_by_index(found)
    assert READY in {node.get("Index Name") for node in found.nodes}
    assert found.buffers <= CLAIMED_BUFFERS * number + LANE_BUFFERS * lanes + FEW, found.plans
    # Of each lane one row, and those that are claimed.
    assert found.rows <= 2 * lanes + 30 * number + FEW, found.plans


async def test_a_claim_reads_no_more_among_ten_times_as_many_tasks(filled: Any) -> None:
    few, many = [(await cost(filled, queries.CLAIM.alone, of(each))).buffers for each in (2, 1)]
    assert many <= GROWTH * few


def claimed_of(url: str, project: int) -> Cost:
    """What a claim of one task costs in a database."""

    async def measured() -> Cost:
        async with undone(url) as connection:
            return await cost(connection, queries.CLAIM.alone, of(project))

    return asyncio.run(measured())


# A new table is one of which the planner has no statistics yet.
@pytest.mark.parametrize("more", [(), ("VACUUM ANALYZE",)], ids=["new", "known"])
@pytest.mark.parametrize(("pending", "lanes"), [(2_000, 1), (10_000, 1), (10_000, 40)])
def test_a_claim_in_a_small_table_reads_by_keys_as_well(
    postgres_url: str, filled_url: str, pending: int, lanes: int, more: tuple[str, ...]
) -> None:
    with fresh(postgres_url, TEMPLATE) as url:
        asyncio.run(_fill(url, {2: (pending, lanes)}, *more))
        found = claimed_of(url, 2)
    assert_tasks_by_index(found)
    assert found.buffers <= CLAIMED_BUFFERS + LANE_BUFFERS * lanes + FEW, found.plans
    if lanes == 40:
        # Ten times as many rows are a level more for each look at an index, and nothing else.
        grown = claimed_of(filled_url, 1)
        assert grown.buffers <= found.buffers + 2 * (lanes + INDEXES), grown.plans


async def test_what_an_agent_cannot_do_is_not_read(filled: Any) -> None:
    found = await cost(filled, queries.CLAIM.alone, of(1, agent=2))
    assert_by_index(found)
    assert found.buffers <= 4 * 40 + FEW, found.plans


async def test_named_tasks_are_read_by_their_ids(filled: Any) -> None:
    ids = [UUID(int=1_000_000 + n) for n in range(1, 101)]
    found = await cost(filled, queries.CLAIM_NAMED.alone, {**of(1, 10), "task_ids": ids})
    assert_by_index(found)
    assert found.buffers <= CLAIMED_BUFFERS * 10 + 4 * len(ids) + FEW, found.plans


@pytest.mark.parametrize(("project", "lanes"), [(3, 1), (1, 40), (2, 40), (4, 200)])
async def test_who_waits_looks_at_the_heads_of_all_lanes(
    filled: Any, project: int, lanes: int
) -> None:
    agent_ids = [UUID(int=project * 1000 + n) for n in range(1, 10)]
    ids = [UUID(int=project * 1_000_000 + n) for n in range(1, 11)]
    parameters = {"project_id": UUID(int=project), "agent_ids": agent_ids, "task_ids": ids}
    found = await cost(filled, queries.CLAIMABLE, parameters)
    assert_by_index(found)
    assert found.buffers <= WAITING_BUFFERS * lanes + 4 * (len(agent_ids) + len(ids)) + FEW


async def test_who_waits_is_looked_after_by_keys(filled: Any) -> None:
    agent_ids = [UUID(int=1000 + n) for n in range(1, 10)]
    parameters = {"agent_ids": agent_ids, "user_ids": [UUID(int=1), *[None] * 8]}
    found = await cost(filled, queries.CLAIMING, parameters)
    assert "tasks" not in {node.get("Relation Name") for node in found.nodes}
    assert found.buffers <= 10 * len(agent_ids) + FEW, found.plans


async def test_a_task_is_completed_by_its_keys(filled: Any) -> None:
    values = {"project_id": UUID(int=1), "id": UUID(int=1_900_001), "revision": 0, "fence": 1}
    known = leases.COMPLETE.alone.alone
    parameters = {name: value for name, value in values.items() if name in known.names}
    found = await cost(filled, known, parameters)
    assert "tasks" not in found.sequential, found.plans
    assert "task_leases" not in found.sequential, found.plans
    assert found.buffers <= CLAIMED_BUFFERS + FEW, found.plans
