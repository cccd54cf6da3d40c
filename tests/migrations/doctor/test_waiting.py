"""The doctor counts what tasks wait for, and compares them with their leases."""

from uuid import UUID

import pytest

from migrations.doctor.diagnosis import Verdict
from migrations.doctor.examine import examine
from tests.migrations.database import Database
from tests.migrations.doctor.findings import counts
from tests.schema.rows import Connection, add, add_project, add_task, depend

KINDS = ("open_dependencies", "waiting", "unmarked", "leases")
BLOCKED = (
    "UPDATE tasks SET status = 'blocked', status_reason = 'dependencies', open_dependencies = 1,"
    " dependency_policy = 'wait' WHERE title = 'w'"
)
DAMAGES = (
    ("UPDATE tasks SET open_dependencies = 2 WHERE title = 'w'", {"open_dependencies": 1}),
    ("UPDATE tasks SET status = 'completed' WHERE title = 'a'", {"open_dependencies": 1}),
    (
        "UPDATE tasks SET status = 'failed' WHERE title = 'a';"
        " UPDATE tasks SET on_dependency_failure = 'ignore' WHERE title = 'w'",
        {"open_dependencies": 1},
    ),
    ("UPDATE tasks SET status = 'pending' WHERE title = 'w'", {"waiting": 1}),
    (
        "UPDATE tasks SET status = 'completed' WHERE title = 'a';"
        " UPDATE tasks SET open_dependencies = 0 WHERE title = 'w'",
        {"waiting": 1},
    ),
    ("UPDATE tasks SET has_dependents = false WHERE title = 'a'", {"unmarked": 1}),
    ("DELETE FROM task_leases", {"leases": 1}),
    ("UPDATE task_leases SET fence = 4", {"leases": 1}),
    ("UPDATE tasks SET leased = false", {"leases": 1}),
)


@pytest.fixture
def waiting(database_url: str) -> Database:
    """A database in which "w" waits for "a" and has waited for "b", and "h" is held."""
    database = Database(database_url)
    database.make(_fill)
    return database


async def _fill(connection: Connection) -> None:
    project = await add_project(connection)
    ids: dict[str, UUID] = {}
    for title, status in (("a", "pending"), ("b", "completed"), ("w", "blocked"), ("h", "pending")):
        ids[title] = await add_task(connection, project.id, title=title, status=status)
    for upon in "ab":
        await depend(connection, project.id, ids["w"], ids[upon])
        mark = "UPDATE tasks SET has_dependents = true WHERE id = $1"
        await connection.execute(mark, ids[upon])
    await connection.execute(BLOCKED)
    agent = await add(connection, "agents", project_id=project.id, name="Agent")
    held = "UPDATE tasks SET status = 'in_progress', leased = true, fence = 3,"
    await connection.execute(f"{held} assigned_agent_id = $2 WHERE id = $1", ids["h"], agent)
    await connection.execute(
        "INSERT INTO task_leases (project_id, task_id, agent_id, fence, pooled, agent_slot,"
        " expires_at, seconds) VALUES ($1, $2, $3, 3, true, 1, now(), 60)",
        project.id,
        ids["h"],
        agent,
    )


def found(database: Database) -> dict[str, int]:
    of = counts(examine(database.url))
    return {code: of[code] for code in KINDS if of[code]}


def test_tasks_that_say_what_is_are_sound(waiting: Database) -> None:
    assert found(waiting) == {}
    assert set(KINDS) <= counts(examine(waiting.url)).keys()


@pytest.mark.parametrize(("damage", "findings"), DAMAGES)
def test_tasks_that_say_something_else_are_found(
    waiting: Database, damage: str, findings: dict[str, int]
) -> None:
    waiting.make(lambda connection: connection.execute(damage))
    assert found(waiting) == findings
    assert examine(waiting.url).verdict is Verdict.BLOCKED
