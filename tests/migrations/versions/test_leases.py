"""018 makes of every task one that can be claimed, in the order in which they were created."""

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from migrations import run
from tests.migrations.database import Database
from tests.schema.rows import Connection, Project, add_project, add_task

BEFORE = "017_add_event_log"
OLD = datetime(2020, 1, 2, tzinfo=UTC)


@pytest.fixture
def older(database_at: Callable[[str], Database]) -> Database:
    return database_at(BEFORE)


@pytest.fixture
def project(older: Database) -> Project:
    return older.make(add_project)


def add_tasks(database: Database, project: Project, *tasks: dict[str, object]) -> None:
    async def work(connection: Connection) -> None:
        for task in tasks:
            await add_task(connection, project.id, **task)

    database.make(work)


def test_a_pending_task_is_ready_since_it_was_created(older: Database, project: Project) -> None:
    statuses = ("pending", "in_progress", "blocked", "completed")
    old: list[dict[str, object]] = [
        {"title": "old", "status": status, "created_at": OLD} for status in statuses
    ]
    add_tasks(older, project, *old)
    older.upgrade()
    ready = "SELECT status, ready_at FROM tasks WHERE title = 'old'"
    found = dict(older.rows(ready))
    assert found["pending"] == OLD
    assert all(found[status] > OLD for status in statuses[1:])
    revisions = older.values("SELECT DISTINCT revision FROM tasks")
    assert revisions == [1], "nothing that a client has seen has changed"


def test_old_tasks_are_in_the_lists_that_claims_read(older: Database, project: Project) -> None:
    urgent: list[dict[str, object]] = [{"title": "pooled", "priority": p} for p in PRIORITIES]
    add_tasks(
        older,
        project,
        *urgent,
        {"title": "agent's", "assigned_agent_id": project.agent},
        {"title": "user's", "assigned_user_id": project.owner},
    )
    older.upgrade()
    ranks = dict(older.rows("SELECT priority, rank FROM tasks WHERE lane = '='"))
    assert ranks == PRIORITIES
    lanes = dict(older.rows("SELECT title, lane FROM tasks WHERE lane <> '='"))
    assert lanes == {"agent's": f"@{project.agent}", "user's": "@user"}


PRIORITIES = {"critical": 1, "high": 2, "medium": 3, None: 3, "low": 4}


def test_generated_columns_follow_what_they_are_made_of(older: Database, project: Project) -> None:
    older.upgrade()
    generated = "UPDATE tasks SET {} WHERE id = $1 RETURNING rank, lane"
    for change, expected in (
        ("required_capabilities = 'a,b'", (3, "=a,b")),
        ("priority = 'critical'", (1, "=a,b")),
        ("assigned_user_id = created_by", (1, "@user")),
        ("assigned_user_id = NULL, assigned_agent_id = $2", (1, f"@{project.agent}")),
    ):
        arguments = [project.task, project.agent][: 1 + change.count("$2")]
        assert older.rows(generated.format(change), *arguments) == [expected]


def test_what_nobody_used_is_no_loss(older: Database, project: Project) -> None:
    add_tasks(older, project, {"title": "old", "created_at": OLD})
    before = older.contents()
    older.upgrade()
    losses = [loss.what for loss in run.data_loss(older.url, BEFORE)]
    assert losses == []
    older.downgrade(BEFORE)
    assert older.contents() == before
