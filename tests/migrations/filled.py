"""A row and more in every table, with every kind of reference in use, and a look at all rows."""

import json
from collections.abc import Collection
from uuid import uuid4

from shared.schema import metadata
from tests.migrations.database import Database
from tests.schema.rows import Connection, add, add_key, add_project, add_task, depend

CLAIM = """
INSERT INTO request_ids (caller_id, method, request_id, payload_hash, answer)
VALUES ($1, 'Create', $2, 'hash', 'answer')
"""


def make_filled(database: Database) -> Database:
    """Fill the tables of a database at the newest revision."""
    database.make(fill)
    empty = [table for table, rows in contents(database).items() if not rows]
    assert not empty, f"Add rows of {', '.join(empty)} to fill() in tests/migrations/filled.py."
    return database


async def fill(connection: Connection) -> None:
    """Give every column that a migration added a value, so that its loss can be counted."""
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


def contents(database: Database, without: Collection[str] = ()) -> dict[str, list[str]]:
    """Every row of every table as JSON, sorted; `without` names tables and `table.column`s."""
    return {
        table: sorted(database.values(ROWS.format(table=table), _columns(table, without)))
        for table in metadata.tables
        if table not in without
    }


# The keys of jsonb are sorted, so a column that is dropped and added again does not matter.
ROWS = "SELECT (to_jsonb(t) - $1::text[])::text FROM {table} AS t"


def _columns(table: str, parts: Collection[str]) -> list[str]:
    return [part.partition(".")[2] for part in parts if part.startswith(f"{table}.")]
