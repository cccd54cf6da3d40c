"""What a sweep costs: a look into indexes for each task that is due, however many are not."""

import asyncio
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest

from shared.database.statement import Statement
from shared.database.transaction import Database
from shared.events.recording import SYSTEM
from task_service.presence.queries import NOTE
from task_service.sweep.queries import (
    CANCEL_FREE,
    CANCEL_HELD,
    EXPIRE,
    EXPIRED,
    PREFERRED,
    SHARE,
    TO_CANCEL,
)
from tests.conftest import TEMPLATE
from tests.databases import execute, fresh
from tests.plans import Cost, cost_of

# 20,000 leases, of which 5,000 have expired, and 20,000 tasks without one, of which 100 are to be
# cancelled, and 100 are not to be preferred for an agent any more. These depend on each other.
FILL = """
CREATE FUNCTION id(n bigint) RETURNS uuid LANGUAGE sql RETURN lpad(to_hex(n), 32, '0')::uuid;
INSERT INTO users (id, username, email) VALUES (id(1), 'one', 'one');
INSERT INTO projects (id, owner_id, slug, name) VALUES (id(1), id(1), 'one', 'one');
INSERT INTO event_heads (project_id, log_id) VALUES (id(1), id(1));
INSERT INTO agents (id, project_id, name, agent_type) SELECT id(n), id(1), n, 'x'
    FROM generate_series(0, 4999) n;
INSERT INTO agent_presence (project_id, agent_id) SELECT id(1), id(n)
    FROM generate_series(0, 4999) n;
INSERT INTO tasks (id, project_id, title, status, leased, fence, attempt, assigned_agent_id)
    SELECT id(n), id(1), 'Task', 'in_progress', true, 1, 1, id(n % 200)
    FROM generate_series(1, 20000) n;
INSERT INTO tasks (id, project_id, title, cancel_deadline, preferred_until)
    SELECT id(n), id(1), 'Task', CASE WHEN n <= 30100 THEN now() END,
        CASE WHEN n > 49900 THEN now() END
    FROM generate_series(30001, 50000) n;
INSERT INTO task_leases (project_id, task_id, agent_id, fence, pooled, agent_slot,
        expires_at, seconds)
    SELECT id(1), id(n), id(n % 200), 1, true, 1 + n / 200,
        now() + (CASE WHEN n % 4 = 0 THEN -1 ELSE 1 END) * interval '1 day', 60
    FROM generate_series(1, 20000) n;
INSERT INTO task_attempts (project_id, task_id, fence, attempt, agent_id)
    SELECT id(1), id(n), 1, 1, id(n % 200) FROM generate_series(1, 20000) n;
INSERT INTO task_dependencies (project_id, task_id, depends_on_id)
    SELECT id(1), id(n), id(n + 1) FROM generate_series(30001, 49999) n;
VACUUM ANALYZE;
"""
PROJECT = UUID(int=1)
# Pages for each task, of its rows and their indexes.
PAGES = 100
SMALL = {"event_heads"}


@pytest.fixture(scope="module")
def filled_url(postgres_url: str) -> Iterator[str]:
    with fresh(postgres_url, TEMPLATE) as url:
        for statement in FILL.split(";\n"):
            if statement.strip():
                asyncio.run(execute(url, statement))
        yield url


async def cost(url: str, statement: Statement, **parameters: Any) -> Cost:
    """What a statement costs that is planned without its parameters."""
    database = await Database.connect(url, size=1)
    try:
        return await cost_of(database, lambda c: statement.rows(c, SYSTEM, **parameters))
    finally:
        await database.close()


def indexes(found: Cost) -> set[str]:
    return {node["Index Name"] for node in found.nodes if "Index Name" in node}


@pytest.mark.parametrize("number", [1, 100])
@pytest.mark.parametrize(
    ("statement", "first", "step"),
    [
        (EXPIRE.alone.alone, 4, 4),
        (CANCEL_HELD.alone.alone, 4, 4),
        (CANCEL_FREE.alone.alone, 30001, 1),
        (SHARE.alone.alone, 49901, 1),
    ],
)
async def test_what_is_due_is_done_by_key(
    filled_url: str, statement: Statement, first: int, step: int, number: int
) -> None:
    ids = [UUID(int=first + step * n) for n in range(number)]
    found = await cost(filled_url, statement, project_id=PROJECT, ids=ids)
    assert found.sequential <= SMALL
    assert found.buffers <= PAGES * (number + 1)


@pytest.mark.parametrize(
    ("statement", "index"),
    [(TO_CANCEL, "idx_tasks_cancel_deadline"), (PREFERRED, "idx_tasks_preferred_until")],
)
async def test_what_is_due_is_found_by_its_index(
    filled_url: str, statement: Statement, index: str
) -> None:
    found = await cost(filled_url, statement)
    assert indexes(found) == {index}
    assert found.rows <= 100


async def test_expired_leases_are_found_in_their_small_table(filled_url: str) -> None:
    found = await cost(filled_url, EXPIRED)
    assert found.sequential == {"task_leases"}
    assert found.sorted <= 1_000
    assert found.rows <= 20_000


async def test_a_sign_of_life_is_noted_by_key(filled_url: str) -> None:
    found = await cost(filled_url, NOTE, project_id=PROJECT, agent_id=UUID(int=7))
    assert "pk_agent_presence" in indexes(found)
    assert found.sequential == set()
