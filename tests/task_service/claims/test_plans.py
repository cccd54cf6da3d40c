"""What a claim reads: no more among 100,000 tasks than among 10,000, whatever their lanes."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
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
FILL = """
CREATE FUNCTION id(n bigint) RETURNS uuid LANGUAGE sql RETURN lpad(to_hex(n), 32, '0')::uuid;
INSERT INTO users (id, username, email) VALUES (id(1), 'one', 'one');
INSERT INTO projects (id, owner_id, slug, name) SELECT id(n), id(1), n, n
    FROM generate_series(1, 4) n;
INSERT INTO event_heads (project_id, log_id) SELECT id(n), id(n) FROM generate_series(1, 4) n;
INSERT INTO agents (id, project_id, name, max_leases, capabilities)
    SELECT id(project * 1000 + n), id(project), n, 1000, CASE n WHEN 1 THEN
        (SELECT jsonb_agg('c' || c) FROM generate_series(0, 199) c WHERE c % 4 > 0) ELSE '[]' END
    FROM generate_series(1, 4) project, generate_series(1, 9) n;
INSERT INTO tasks (id, project_id, title, status, priority, required_capabilities, ready_at)
    SELECT id(project * 1000000::bigint + n), id(project), n, 'pending',
        (ARRAY['low', 'medium', 'high', 'critical', NULL])[1 + n % 5],
        CASE WHEN lanes > 1 THEN 'c' || (n / 5) % lanes ELSE '' END,
        now() + (n % 1000 - 900) * interval '1 minute'
    FROM (VALUES (1, 100000, 40), (2, 10000, 40), (3, 10000, 1), (4, 10000, 200))
        projects (project, tasks, lanes), generate_series(1, tasks) n;
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
READY, KEY = "idx_tasks_ready", "uq_tasks_project_id_id"
# Pages that are looked at: for a task that changes, with its indexes, its lease, attempt and event;
# for a lane, to find it and its first task of each urgency; for a lane of which those are wanted as
# well that are not ready; and for the project, the agent and the log.
CLAIMED_BUFFERS, LANE_BUFFERS, WAITING_BUFFERS, FEW = 70, 20, 32, 100


# The other indexes of tasks, which are built faster behind the rows than with each.
BUILT_LATER = """
SELECT indexdef FROM pg_indexes WHERE tablename = 'tasks' AND indexname LIKE 'idx_%'
"""


@pytest.fixture(scope="module")
def filled_url(postgres_url: str) -> Iterator[str]:
    """130,000 tasks to be claimed, in four projects."""
    with fresh(postgres_url, TEMPLATE) as url:
        asyncio.run(_fill(url))
        yield url


async def _fill(url: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute("SET session_replication_role = replica")  # no look at foreign keys
    definitions = [row[0] for row in await connection.fetch(BUILT_LATER)]
    for definition in definitions:
        await connection.execute(f"DROP INDEX {definition.split()[2]}")
    await connection.execute(FILL)
    for definition in definitions:
        await connection.execute(definition)
    await connection.execute("VACUUM ANALYZE")
    await connection.close()


@pytest.fixture
async def filled(filled_url: str) -> AsyncIterator[Any]:
    """A connection, whose changes are undone."""
    connection = await asyncpg.connect(filled_url)
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
    """Tasks are looked for by these indexes only."""
    nodes = [node for node in cost.nodes if node.get("Relation Name") == "tasks"]
    assert {n["Index Name"] for n in nodes if "Index Name" in n} <= {READY, KEY}, cost.plans
    assert "tasks" not in cost.sequential, cost.plans
    assert "task_leases" not in cost.sequential, cost.plans


# Per lane: two looks for the next one, and one of each urgency, in an index of three levels.
@pytest.mark.parametrize(("project", "lanes"), [(3, 1), (1, 40), (2, 40), (4, 200)])
@pytest.mark.parametrize("number", [1, 10])
async def test_a_claim_reads_the_heads_of_its_lanes(
    filled: Any, project: int, lanes: int, number: int
) -> None:
    found = await cost(filled, queries.CLAIM.alone, of(project, number))
    assert_by_index(found)
    assert READY in {node.get("Index Name") for node in found.nodes}
    assert found.buffers <= CLAIMED_BUFFERS * number + LANE_BUFFERS * lanes + FEW, found.plans
    # Of each lane and urgency one row, and those that are claimed.
    assert found.rows <= 6 * lanes + 30 * number + FEW, found.plans


async def test_a_claim_reads_no_more_among_ten_times_as_many_tasks(filled: Any) -> None:
    few, many = [(await cost(filled, queries.CLAIM.alone, of(each))).buffers for each in (2, 1)]
    assert many <= 1.3 * few


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
