"""What a heartbeat costs: a look into indexes for each lease, however many there are."""

import asyncio
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from shared.auth.caller import Agent, offered
from shared.auth.permissions import Scope
from shared.database.transaction import Database
from task_service.heartbeats.queries import OUTCOMES, RENEW, RENEW_WITH_PROGRESS
from tests.conftest import TEMPLATE
from tests.databases import execute, fresh
from tests.plans import Cost, cost_of
from tests.waiting import SECONDS

# 20,000 tasks, which 200 of 5,000 agents hold; each has had five attempts. Autovacuum would
# move pages while they are counted.
FILL = """
CREATE FUNCTION id(n bigint) RETURNS uuid LANGUAGE sql RETURN lpad(to_hex(n), 32, '0')::uuid;
ALTER TABLE task_leases SET (autovacuum_enabled = false);
INSERT INTO users (id, username, email) VALUES (id(1), 'one', 'one');
INSERT INTO projects (id, owner_id, slug, name) VALUES (id(1), id(1), 'one', 'one');
INSERT INTO agents (id, project_id, name, agent_type) SELECT id(n), id(1), n, 'x'
    FROM generate_series(0, 4999) n;
INSERT INTO agent_presence (project_id, agent_id) SELECT id(1), id(n)
    FROM generate_series(0, 4999) n;
INSERT INTO agent_api_keys (id, project_id, agent_id, key_id, api_key_hash, key_prefix)
    SELECT id(n), id(1), id(n), n, n, 'x' FROM generate_series(0, 4999) n;
INSERT INTO tasks (id, project_id, title, status, leased, fence, assigned_agent_id)
    SELECT id(n), id(1), 'Task', 'in_progress', true, 5, id(n % 200)
    FROM generate_series(1, 20000) n;
INSERT INTO task_leases (project_id, task_id, agent_id, fence, pooled, agent_slot,
        expires_at, seconds)
    SELECT id(1), id(n), id(n % 200), 5, true, 1 + n / 200, now() + interval '1 minute', 60
    FROM generate_series(1, 20000) n;
INSERT INTO task_attempts (project_id, task_id, fence, attempt, agent_id)
    SELECT id(1), id(n), fence, 1, id(n % 200) FROM generate_series(1, 20000) n,
        generate_series(1, 5) fence;
VACUUM ANALYZE;
"""
PROJECT, AGENT = UUID(int=1), UUID(int=7)
CALLER = Agent(AGENT, "agent", PROJECT, [], frozenset({Scope.CLAIM_TASKS}), AGENT)
# Those of the agent: 100, of which a heartbeat can name all.
HELD = [UUID(int=7 + 200 * n) for n in range(100)]
UPDATES = "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_all_tables WHERE relname = 'task_leases'"
# Pages for each lease: of an index and the table, for each time that it is looked up or written.
PAGES_OF_LEASE, PAGES_OF_PROGRESS, PAGES_OF_ATTEMPTS, PAGES_OF_CALLER = 16, 14, 9, 30
SMALL = {"projects", "project_members"}


@pytest.fixture(scope="module")
def filled_url(postgres_url: str) -> Iterator[str]:
    with fresh(postgres_url, TEMPLATE) as url:
        for statement in FILL.split(";\n"):
            if statement.strip():
                asyncio.run(execute(url, statement))
        yield url


def given(number: int, fence: int = 5) -> dict[str, Any]:
    ids = {"project_id": PROJECT, "agent_id": AGENT}
    return {**ids, "task_ids": HELD[:number], "fences": [fence] * number}


async def cost(url: str, number: int, *, progress: bool = False) -> Cost:
    """What it costs to renew some leases, planned without the parameters."""
    database = await Database.connect(url, size=1)
    parameters = given(number)
    statement = RENEW
    if progress:
        statement, parameters["progress"] = RENEW_WITH_PROGRESS, [{"page": 7}] * number
    try:
        return await cost_of(database, lambda c: statement.rows(c, offered(CALLER), **parameters))
    finally:
        await database.close()


def indexes(cost: Cost) -> set[str]:
    return {node["Index Name"] for node in cost.nodes if "Index Name" in node}


@pytest.mark.parametrize("number", [0, 1, 10, 100])
async def test_leases_are_looked_up_one_by_one(filled_url: str, number: int) -> None:
    found = await cost(filled_url, number)
    assert found.sequential <= SMALL
    assert "pk_task_leases" in indexes(found)
    assert found.buffers <= PAGES_OF_CALLER + number * PAGES_OF_LEASE


@pytest.mark.parametrize("number", [1, 10, 100])
async def test_progress_is_written_by_key(filled_url: str, number: int) -> None:
    found = await cost(filled_url, number, progress=True)
    assert found.sequential <= SMALL
    assert {"pk_task_leases", "pk_task_attempts"} <= indexes(found)
    per_lease = PAGES_OF_LEASE + PAGES_OF_PROGRESS
    assert found.buffers <= PAGES_OF_CALLER + number * per_lease


async def test_how_attempts_have_ended_is_looked_up_by_key(filled_url: str) -> None:
    database = await Database.connect(filled_url, size=1)
    try:
        found = await cost_of(database, lambda c: OUTCOMES.rows(c, **given(100, 3)))
    finally:
        await database.close()
    assert indexes(found) == {"pk_task_attempts"}
    # Some of them stand at the end of a page, and a look at the next one is needed.
    assert found.buffers <= 100 * PAGES_OF_ATTEMPTS


async def test_no_index_is_written_by_a_heartbeat(filled_url: str) -> None:
    arguments = RENEW.arguments(offered(CALLER), given(100))
    for _ in range(3):
        await asked(filled_url, RENEW.sql, *arguments)
    # What a session has counted is known when it has ended, which no one waits for.
    async with asyncio.timeout(SECONDS):
        while (updates := await asked(filled_url, UPDATES))["n_tup_upd"] < 300:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    assert updates["n_tup_hot_upd"] == updates["n_tup_upd"]


async def asked(url: str, statement: str, *arguments: Any) -> Any:
    """The first row, asked for in a session of its own."""
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchrow(statement, *arguments)
    finally:
        await connection.close()
