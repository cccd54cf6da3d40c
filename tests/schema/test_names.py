"""The code handles violations by the names of constraints, so each of these names must exist."""

import shared.schema
from tests.schema.rows import Connection

CONSTRAINTS = {
    value
    for name, value in vars(shared.schema).items()
    if name.startswith(("PK_", "UQ_", "FK_", "CK_"))
}


async def test_every_constraint_that_has_a_constant_exists(connection: Connection) -> None:
    # A unique index of an expression is named when it is violated, and is no constraint.
    rows = await connection.fetch(
        "SELECT conname FROM pg_constraint"
        " UNION SELECT relname FROM pg_index JOIN pg_class ON oid = indexrelid WHERE indisunique"
    )
    assert CONSTRAINTS
    assert {row["conname"] for row in rows} >= CONSTRAINTS


async def test_published_names_stay(connection: Connection) -> None:
    rows = await connection.fetch("SELECT indexname FROM pg_indexes WHERE schemaname = 'public'")
    assert {row["indexname"] for row in rows} >= {
        "uq_agent_project_name",
        "idx_agents_project_id",
        "idx_agents_status",
        "idx_agents_is_active",
        "idx_tasks_project_id",
        "idx_tasks_room_id",
        "idx_tasks_status",
        "idx_tasks_assigned_to",
    }


async def test_nothing_keeps_the_tables_from_being_distributed(connection: Connection) -> None:
    """No triggers, serial keys or enum types, and no extensions besides those of initdb."""
    assert not await connection.fetch("SELECT tgname FROM pg_trigger WHERE NOT tgisinternal")
    assert not await connection.fetch("SELECT relname FROM pg_class WHERE relkind = 'S'")
    assert not await connection.fetch("SELECT typname FROM pg_type WHERE typtype = 'e'")
    extensions = await connection.fetch("SELECT extname FROM pg_extension")
    assert [row["extname"] for row in extensions] == ["plpgsql"]
