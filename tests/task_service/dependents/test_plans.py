"""What the dependents of a task cost: found by indexes, whatever else there is."""

from typing import Any
from uuid import UUID, uuid4

from shared.database.transaction import Database
from shared.dependents.effects import effect
from shared.dependents.rules import _settle
from shared.events.recording import Log
from task_service.graph import queries
from tests.plans import Cost, cost_of

OTHERS, WAITING = 20_000, 1_000
OWNER = "INSERT INTO users (id, username, email) VALUES ($1, 'u', 'u@example.com')"
PROJECT = "INSERT INTO projects (id, name, slug, owner_id) VALUES ($1, 'p', 'p', $2)"
TASKS = """
INSERT INTO tasks (id, project_id, title, status, status_reason, dependency_policy,
    open_dependencies, has_dependents)
SELECT gen_random_uuid(), $1, n::text, 'blocked', 'dependencies', 'wait', 2, true
FROM generate_series(0, $2::int) AS n
"""
# Each waits for the one before, and the first so many wait for the first. They count one too many,
# because what is measured is done twice.
EDGES = """
INSERT INTO task_dependencies (project_id, task_id, depends_on_id)
SELECT $1, a.id, b.id FROM tasks AS a JOIN tasks AS b
ON b.title = CASE WHEN a.title::int <= $2::int THEN '0' ELSE (a.title::int - 1)::text END
WHERE a.title <> '0'
"""


async def filled(database: Database) -> tuple[UUID, UUID]:
    """A project with chains of tasks, one of which many wait for: both ids."""
    owner, project = uuid4(), uuid4()

    async def work(connection: Any) -> UUID:
        await connection.execute(OWNER, owner)
        await connection.execute(PROJECT, project, owner)
        await connection.execute(TASKS, project, OTHERS)
        await connection.execute(EDGES, project, WAITING)
        await connection.execute("ANALYZE")
        found: UUID = await connection.fetchval("SELECT id FROM tasks WHERE title = '0'")
        return found

    return project, await database.transaction(work)


async def test_a_thousand_that_wait_are_found_and_changed_by_indexes(database: Database) -> None:
    project, first = await filled(database)
    last = await database.read(
        lambda c: c.fetchval("SELECT id FROM tasks WHERE title = $1", str(OTHERS))
    )

    async def cost(task: UUID) -> Cost:
        happened = effect("in_progress", "completed")
        assert happened
        return await cost_of(database, lambda c: _settle(c, Log(), project, [task], happened))

    many, none = await cost(first), await cost(last)
    assert many.sequential == none.sequential == set()
    # Finding, locking and writing each, with the indexes of tasks.
    assert many.buffers < 60 * WAITING
    assert none.buffers < 20


async def test_a_graph_is_read_by_indexes(database: Database) -> None:
    project, first = await filled(database)

    async def read(connection: Any) -> None:
        await queries.NEWEST.rows(connection, project_id=project, room=101)
        await queries.DEPENDENTS.rows(
            connection, project_id=project, ids=[first], seen=[first], room=101
        )
        await queries.DEPENDENCIES.rows(
            connection, project_id=project, ids=[first], seen=[first], room=101
        )

    cost = await cost_of(database, read)
    assert cost.sequential == set()
    assert cost.buffers < WAITING
