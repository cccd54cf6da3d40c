"""Moves the tables of agent_com aside, copies their rows to Tandem's, and moves them back."""

import logging
from collections.abc import Callable

from alembic.util import CommandError
from sqlalchemy import Connection, text

from migrations.agent_com.examination import Examination, examine_agent_com
from migrations.agent_com.source import source
from migrations.agent_com.tables import AGENT_COM, BEFORE, COLUMNS, is_agent_com, moving_tables
from migrations.history import WITH_AGENTS
from migrations.inspect.catalog import Catalog, read
from migrations.inspect.findings import first_of

log = logging.getLogger("tandem.migrations")

# In the shape that migration 003 leaves.
COPIES = {
    "users": """
        INSERT INTO users (id, username, email, full_name, is_active, is_superuser, created_at,
                           updated_at)
        SELECT id, username, email, full_name, is_active, is_superuser, created_at, updated_at
        FROM users
    """,
    "projects": """
        INSERT INTO projects (id, owner_id, slug, name, description, status, settings, created_at,
                              updated_at)
        SELECT id, owner_id, slug, name, description,
               CASE status WHEN 'deleted' THEN 'archived' ELSE status END,
               settings::jsonb, created_at, updated_at
        FROM projects JOIN slugs USING (id)
    """,
    "chat_rooms": """
        INSERT INTO chat_rooms (id, project_id, name, description, created_by, created_at,
                                updated_at)
        SELECT id, project_id, name, description, created_by, created_at, updated_at
        FROM chat_rooms
    """,
    "agents": """
        INSERT INTO agents (id, project_id, name, nickname, agent_type, status, capabilities,
                            config, is_active, created_at, updated_at)
        SELECT id, project_id, name, nickname, agent_type, status,
               COALESCE(capabilities::jsonb, '[]'), config::jsonb, is_active, created_at, updated_at
        FROM agents
    """,
    "placeholders": """
        INSERT INTO agents (id, project_id, name, agent_type, status, is_active, config)
        SELECT id, project_id, name, 'generic', 'offline', false,
               CASE WHEN id <> agent_id THEN jsonb_build_object('migrated_from', agent_id) END
        FROM placeholders
    """,
    "chat_participants": """
        INSERT INTO chat_participants (id, room_id, agent_id, user_id, joined_at, created_at,
                                       updated_at)
        SELECT seats.id, room_id, COALESCE(placeholders.id, seats.agent_id), user_id, joined_at,
               seats.created_at, seats.updated_at
        FROM chat_participants AS seats JOIN chat_rooms ON chat_rooms.id = room_id
        LEFT JOIN placeholders ON placeholders.agent_id = seats.agent_id
            AND placeholders.project_id = chat_rooms.project_id
    """,
    "agent_api_keys": """
        INSERT INTO agent_api_keys (id, project_id, agent_id, key_id, api_key_hash, key_prefix,
                                    capabilities, status, expires_at, last_used_at,
                                    created_by_type, created_by_id, created_at, updated_at)
        SELECT keys.id, keys.project_id, COALESCE(placeholders.id, keys.agent_id), key_id,
               api_key_hash, key_prefix, COALESCE(capabilities::jsonb, '[]'),
               CASE status WHEN 'active' THEN 'revoked' ELSE status END, expires_at, last_used_at,
               CASE created_by_type WHEN 'system' THEN 'user' ELSE created_by_type END,
               CASE WHEN created_by_type <> 'system' THEN users.id END,
               keys.created_at, keys.updated_at
        FROM agent_api_keys AS keys LEFT JOIN placeholders USING (agent_id, project_id)
        LEFT JOIN users ON users.id = created_by_id
    """,
    "tasks": """
        INSERT INTO tasks (id, project_id, room_id, title, description, status, priority,
                           assigned_to, assigned_to_type, created_by, dependencies, started_at,
                           completed_at, due_date, result, created_at, updated_at)
        SELECT id, tasks.project_id, room_id, title, description, status, priority,
               assignee, kind, created_by, COALESCE(dependencies::jsonb, '[]'), started_at,
               completed_at, due_date, result::jsonb, created_at, updated_at
        FROM tasks JOIN assignees USING (id)
    """,
}

_TABLES_ASIDE = f"""
SELECT quote_ident(relname) FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
WHERE nspname = '{BEFORE}' AND relkind IN ('r', 'p') ORDER BY relname
"""  # noqa: S608
_HERE = "SELECT quote_ident(current_schema())"
_QUOTED = "SELECT quote_ident(name) FROM unnest(CAST(:names AS text[])) AS name"
_NOT_COPIED = f"SELECT id FROM {BEFORE}.{{table}} EXCEPT SELECT id FROM {{table}}"  # noqa: S608
_EXISTS = f"SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = '{BEFORE}')"  # noqa: S608


def refuse_agent_com(connection: Connection) -> None:
    """Raise CommandError if this is a database of agent_com, which has to be adopted as such."""
    if is_agent_com(connection):
        raise CommandError(
            f"This is a database of agent_com. Run `tandem db upgrade --adopt {AGENT_COM}`, which "
            "says what it will do and asks. Nothing was changed."
        )


def adopt_agent_com(
    connection: Connection,
    upgrade: Callable[[str], None],
    review: Callable[[Examination], None],
) -> None:
    """Move the tables aside and copy their rows; the database is at the newest revision then.

    `upgrade` migrates to a revision. `review` is called first, with the tables locked; if it
    raises, nothing is changed. Raises CommandError if something prevents the adoption.
    """
    if not is_agent_com(connection):
        raise CommandError("This is not a database of agent_com. Nothing was changed.")
    moving = connection.scalars(text(_QUOTED), {"names": moving_tables(connection)}).all()
    connection.execute(text(f"LOCK TABLE {', '.join(moving)} IN ACCESS EXCLUSIVE MODE"))
    found = examine_agent_com(connection)
    _refuse(found.blocks)
    review(found)
    copied = read(connection, COLUMNS)
    _move_aside(connection, list(moving))
    upgrade(WITH_AGENTS)
    _copy(connection, copied)
    upgrade("head")
    _require_all_rows(connection, copied)


def move_back(connection: Connection) -> None:
    """Give agent_com its tables back, after those of Tandem were dropped."""
    here = connection.scalar(text(_HERE))
    connection.execute(text("DROP TABLE IF EXISTS alembic_version"))
    for table in connection.scalars(text(_TABLES_ASIDE)).all():
        connection.execute(text(f"ALTER TABLE {BEFORE}.{table} SET SCHEMA {here}"))
    connection.execute(text(f"DROP SCHEMA {BEFORE}"))


def require_tables_aside(connection: Connection) -> None:
    """Raise CommandError if no tables of agent_com were moved aside."""
    if not connection.scalar(text(_EXISTS)):
        raise CommandError(
            f"There is no schema {BEFORE}: the database was not adopted from agent_com, or its "
            "tables were dropped. Nothing was changed."
        )


def _refuse(blocks: list[str]) -> None:
    if blocks:
        lines = "".join(f"\n  {line}" for line in blocks)
        raise CommandError(
            f"The database of agent_com cannot be adopted as it is.{lines}\nNothing was changed. "
            "`tandem db doctor` shows more of each."
        )


def _move_aside(connection: Connection, tables: list[str]) -> None:
    log.info("Move the tables of agent_com to the schema %s", BEFORE)
    connection.execute(text(f"CREATE SCHEMA {BEFORE}"))
    for table in tables:
        connection.execute(text(f"ALTER TABLE {table} SET SCHEMA {BEFORE}"))


def _copy(connection: Connection, copied: Catalog) -> None:
    rows = source(copied, BEFORE)
    for what, statement in COPIES.items():
        log.info("Copy %s", what)
        connection.exec_driver_sql(f"WITH {rows.rstrip().rstrip(',')} {statement}")
    connection.execute(text(f"ANALYZE {', '.join(COLUMNS)}"))


def _require_all_rows(connection: Connection, copied: Catalog) -> None:
    for table in copied.tables:
        lost, first = first_of(connection, _NOT_COPIED.format(table=table))
        if lost:
            raise CommandError(f"Rows of {table} were not copied: {lost} (first: {first[0]}).")
