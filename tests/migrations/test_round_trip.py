"""Down and up again with rows in every table: what the older schema can hold comes back."""

import json
from uuid import UUID, uuid4

import pytest

from shared.schema import metadata
from tests.migrations.database import Database
from tests.migrations.legacy import BEFORE, Mix, make_legacy
from tests.migrations.test_drift import REVISIONS
from tests.schema.rows import Connection, add, add_key, add_project, add_task, depend

CLAIM = """
INSERT INTO request_ids (caller_id, method, request_id, payload_hash, answer)
VALUES ($1, 'Create', $2, 'hash', 'answer')
"""


@pytest.fixture
def filled(database_url: str) -> Database:
    """One row and more in every table, with every kind of reference in use."""
    database = Database(database_url)
    database.make(fill)
    assert all(len(rows) for rows in contents(database).values())
    return database


async def fill(connection: Connection) -> None:
    project = await add_project(connection)
    seat = {"project_id": project.id, "room_id": project.room}
    await add(connection, "chat_participants", **seat, agent_id=project.agent)
    await add(connection, "chat_participants", **seat, user_id=project.owner)
    await add_key(connection, project.id, project.agent, created_by_id=project.owner)
    task = await add_task(
        connection,
        project.id,
        room_id=project.room,
        assigned_agent_id=project.agent,
        dependencies=json.dumps([str(project.task)]),
    )
    await add_task(connection, project.id, assigned_user_id=project.owner)
    await depend(connection, project.id, task, project.task)
    await connection.execute(CLAIM, uuid4(), uuid4())


def contents(database: Database) -> dict[str, list[str]]:
    """Every row of every table as JSON, whose keys have an order of their own."""
    return {
        table: sorted(database.values(f"SELECT to_jsonb(t)::text FROM {table} AS t"))  # noqa: S608
        for table in metadata.tables
    }


@pytest.mark.parametrize("target", REVISIONS[2:])
def test_from_agents_on_every_row_survives(filled: Database, target: str) -> None:
    before = contents(filled)
    filled.downgrade(target)
    filled.upgrade()
    after = contents(filled)
    if target < "008_add_request_ids":
        # Answers that are kept for a day cannot be kept where there is no table for them.
        assert before.pop("request_ids")
        assert after.pop("request_ids") == []
    if target < "006_add_task_dependency_edges":
        assert [edge(row) for row in after.pop("task_dependencies")] == [
            edge(row) for row in before.pop("task_dependencies")
        ]
    assert after == before


def edge(row: str) -> tuple[UUID, UUID]:
    """An edge that was made again from the list is as good, but younger."""
    found = json.loads(row)
    return UUID(found["task_id"]), UUID(found["depends_on_id"])


def test_before_agents_their_ids_survive_as_placeholders(
    filled: Database, caplog: pytest.LogCaptureFixture
) -> None:
    before = contents(filled)
    filled.downgrade("001_create_base_tables")
    filled.upgrade()
    after = contents(filled)
    for table in ("users", "projects", "chat_rooms", "chat_participants", "agent_api_keys"):
        assert after[table] == before[table]
    agents = [[json.loads(row)["id"] for row in rows["agents"]] for rows in (before, after)]
    assert agents[0] == agents[1]
    assert after["tasks"] == []
    assert "3 rows of tasks are dropped: the older schema cannot hold them" in caplog.text
    assert "1 rows of agents are dropped" in caplog.text


def test_at_the_bottom_nothing_is_left(filled: Database, caplog: pytest.LogCaptureFixture) -> None:
    filled.downgrade("base")
    assert filled.structure() == set()
    assert filled.current() is None
    for table in ("users", "projects", "chat_rooms", "chat_participants", "agent_api_keys"):
        assert f"rows of {table} are dropped" in caplog.text


def test_a_legacy_database_comes_back_as_it_went(database: Database) -> None:
    """Its rows, that is: those that were moved keep the agent of their own project."""
    make_legacy(database, Mix(in_keys=3, in_both=3, in_two_projects=3, alike=3, users=2, rows=2))
    legacy = base_rows(database, "agent_id")
    database.upgrade()
    migrated = base_rows(database)
    database.downgrade(BEFORE)
    assert base_rows(database, "agent_id") == legacy
    database.upgrade()
    assert base_rows(database) == migrated


def base_rows(database: Database, *without: str) -> list[tuple[str, str]]:
    """The rows of the tables that a legacy database has, in the columns that it has."""
    later = ["revision", *without]
    tables = ("users", "projects", "chat_rooms", "chat_participants", "agent_api_keys")
    return [
        (table, row)
        for table in tables
        for row in sorted(
            database.values(
                f"SELECT (to_jsonb(t) - $1::text[] - CASE '{table}' WHEN 'chat_participants'"  # noqa: S608
                f" THEN 'project_id' ELSE '' END)::text FROM {table} AS t",
                later,
            )
        )
    ]
