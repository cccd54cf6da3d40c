"""Tables that do not match are refused, with a list of all differences, and are not changed."""

import pytest

from migrations.adopt.baseline import COLUMNS
from migrations.history import NEWEST
from tests.migrations import foreign
from tests.migrations.database import Database
from tests.migrations.foreign import refusal
from tests.migrations.legacy import Mix, fill_legacy

MISMATCHES = (
    (
        "ALTER TABLE users ALTER COLUMN username TYPE varchar(50)",
        "users.username: expected character varying(100) NOT NULL; "
        "found character varying(50) NOT NULL",
    ),
    (
        "ALTER TABLE users ALTER COLUMN created_at TYPE timestamp",
        "users.created_at: expected timestamp with time zone NOT NULL; "
        "found timestamp without time zone NOT NULL",
    ),
    (
        "ALTER TABLE chat_rooms ALTER COLUMN name DROP NOT NULL",
        "chat_rooms.name: expected character varying(255) NOT NULL; found character varying(255)",
    ),
    (
        "ALTER TABLE chat_rooms ALTER COLUMN created_by SET NOT NULL",
        "chat_rooms.created_by: expected uuid; found uuid NOT NULL",
    ),
    (
        "ALTER TABLE agent_api_keys ALTER COLUMN agent_id TYPE text",
        "agent_api_keys.agent_id: expected uuid NOT NULL; found text NOT NULL",
    ),
    (
        "ALTER TABLE projects ALTER COLUMN settings TYPE json",
        "projects.settings: expected jsonb; found json",
    ),
    ("ALTER TABLE projects DROP COLUMN slug", "projects.slug: expected character varying(100) NOT"),
    (
        "ALTER TABLE projects DROP COLUMN name, "
        "ADD COLUMN name varchar(255) NOT NULL GENERATED ALWAYS AS (slug) STORED",
        "projects.name: expected character varying(255) NOT NULL; "
        "found character varying(255) NOT NULL (computed)",
    ),
    (
        "ALTER TABLE users ADD COLUMN tenant integer NOT NULL",
        "users.tenant: expected no other column that requires a value; found integer NOT NULL",
    ),
    (
        "ALTER TABLE projects ADD COLUMN revision bigint",
        "projects.revision: expected no such column, because a migration adds it; found bigint",
    ),
    (
        "ALTER TABLE chat_rooms ADD CONSTRAINT lively UNIQUE (project_id, name)",
        "chat_rooms.lively: expected no such constraint; found UNIQUE (project_id, name)",
    ),
    (
        "CREATE UNIQUE INDEX lower_mail ON users (lower(email), email)",
        "users.lower_mail: expected no such constraint; found special unique index",
    ),
    (
        "CREATE UNIQUE INDEX once ON chat_participants (room_id, user_id) NULLS NOT DISTINCT",
        "chat_participants.uq_chat_participants_room_id_user_id: "
        "expected UNIQUE (room_id, user_id); found special unique index",
    ),
    (
        "ALTER TABLE chat_rooms DROP CONSTRAINT chat_rooms_pkey, "
        "ADD PRIMARY KEY (id) DEFERRABLE INITIALLY DEFERRED",
        "chat_rooms.pk_chat_rooms: expected PRIMARY KEY (id); found PRIMARY KEY (id) DEFERRABLE",
    ),
    (
        "CREATE TABLE bots (id uuid PRIMARY KEY); "
        "ALTER TABLE agent_api_keys ADD FOREIGN KEY (agent_id) REFERENCES bots",
        "expected no such constraint; found FOREIGN KEY (agent_id) REFERENCES bots(id)",
    ),
    (
        "CREATE INDEX idx_chat_rooms_project_id ON chat_rooms (project_id)",
        "idx_chat_rooms_project_id: expected no object of this name, "
        "because a migration creates it; found an index",
    ),
    (
        "CREATE TABLE agents (id uuid)",
        "agents: expected no object of this name, because a migration creates it; found a table",
    ),
    (
        "CREATE TABLE other (id integer); CREATE INDEX pk_users ON other (id)",
        "users.pk_users: expected no other object of this name; found an index",
    ),
    (
        "ALTER INDEX ix_users_username RENAME TO uq_users_email",
        "users.uq_users_email: expected no other object of this name; found unique index",
    ),
    (
        "ALTER TABLE projects "
        "ADD COLUMN size integer CONSTRAINT ck_projects_status CHECK (size > 0)",
        "projects.ck_projects_status: expected no other object of this name; "
        "found CHECK ((size > 0))",
    ),
    (
        "ALTER TABLE agent_api_keys "
        "ADD COLUMN org uuid CONSTRAINT fk_agent_api_keys_agent_id REFERENCES users",
        "agent_api_keys.fk_agent_api_keys_agent_id: expected no object of this name, "
        "because a migration creates it; found FOREIGN KEY (org) REFERENCES users(id)",
    ),
    (
        "ALTER TABLE agent_api_keys "
        "ADD COLUMN org uuid CONSTRAINT fk_agent_api_keys_created_by_id REFERENCES users",
        "agent_api_keys.fk_agent_api_keys_created_by_id: expected no object of this name, "
        "because a migration creates it; found FOREIGN KEY (org) REFERENCES users(id)",
    ),
    ("ALTER TABLE chat_participants SET UNLOGGED", "expected a table; found an unlogged table"),
    ("DROP TABLE chat_participants", "chat_participants: expected a table; found none"),
    (
        "DROP TABLE chat_participants; CREATE VIEW chat_participants AS SELECT 1 AS id",
        "chat_participants: expected a table; found a view",
    ),
)


@pytest.mark.parametrize(("change", "line"), MISMATCHES, ids=[line[:40] for _, line in MISMATCHES])
def test_a_mismatch_is_refused_by_name(unversioned: Database, change: str, line: str) -> None:
    unversioned.make(lambda connection: connection.execute(change))
    assert line in refusal(unversioned)


def test_a_refusal_lists_every_difference(unversioned: Database) -> None:
    unversioned.rows("DROP TABLE agent_api_keys")
    unversioned.rows("ALTER TABLE users ALTER COLUMN full_name TYPE integer USING 1")
    unversioned.rows("ALTER TABLE chat_rooms ADD UNIQUE (name)")
    lines = refusal(unversioned).splitlines()
    assert lines == [
        "The existing tables are not the tables that Tandem's migrations build upon.",
        "  agent_api_keys: expected a table; found none",
        "  users.full_name: expected character varying(255); found integer",
        "  chat_rooms.chat_rooms_name_key: expected no such constraint; found UNIQUE (name)",
        "Nothing was changed.",
    ]


VIOLATIONS = (
    (
        "UPDATE agent_api_keys SET status = 'paused' RETURNING id",
        "agent_api_keys.ck_agent_api_keys_status",
    ),
    (
        "UPDATE agent_api_keys SET created_by_type = 'robot' RETURNING id",
        "agent_api_keys.ck_agent_api_keys_created_by_type",
    ),
    (
        "UPDATE chat_participants SET agent_id = NULL RETURNING id",
        "chat_participants.ck_chat_participants_agent_or_user",
    ),
    (
        "UPDATE chat_participants SET user_id = (SELECT id FROM users) RETURNING id",
        "chat_participants.ck_chat_participants_agent_or_user",
    ),
    (
        "UPDATE chat_participants SET room_id = gen_random_uuid() RETURNING id",
        "chat_participants.fk_chat_participants_room_id",
    ),
)


@pytest.mark.parametrize(("change", "constraint"), VIOLATIONS, ids=[name for _, name in VIOLATIONS])
def test_rows_that_violate_a_constraint_are_counted_and_named(
    unversioned: Database, change: str, constraint: str
) -> None:
    foreign.fill(unversioned)
    (row,) = unversioned.values(change)
    said = refusal(unversioned)
    assert f"\n  {constraint}: expected " in said
    assert f"found none, and rows that violate it: 1 (such as {row})" in said


def test_duplicate_keys_are_counted(unversioned: Database) -> None:
    unversioned.rows("ALTER TABLE agent_api_keys DROP CONSTRAINT agent_api_keys_key_id_key")
    foreign.fill(unversioned)
    (twice,) = unversioned.values(
        """
        INSERT INTO agent_api_keys
        SELECT 'ffffffff-ffff-ffff-ffff-ffffffffffff', project_id, agent_id, key_id, 'other',
               key_prefix, capabilities, status, NULL, NULL, created_by_type
        FROM agent_api_keys RETURNING id
        """
    )
    assert f"found none, and rows that violate it: 1 (such as {twice})" in refusal(unversioned)


def test_a_violation_at_a_known_revision_is_refused(legacy: Database) -> None:
    fill_legacy(legacy, Mix(in_keys=1))
    legacy.rows("ALTER TABLE agent_api_keys DROP CONSTRAINT ck_agent_api_keys_status")
    legacy.rows("UPDATE agent_api_keys SET status = 'paused'")
    assert "rows that violate it: 1" in refusal(legacy)


def test_a_database_of_another_program_is_not_changed(database: Database) -> None:
    database.rows("CREATE TABLE users (id serial PRIMARY KEY, name text NOT NULL)")
    said = refusal(database)
    assert "users.id: expected uuid NOT NULL; found integer NOT NULL" in said
    assert "projects: expected a table; found none" in said
    assert "users.name: expected no other column that requires a value; found text NOT NULL" in said


def test_tables_of_another_owner_are_refused(unversioned: Database, stranger: Database) -> None:
    unversioned.rows(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {stranger.role}")
    said = refusal(stranger)
    for table in COLUMNS:
        assert f"{table}: expected the current role as owner; found another owner" in said


def test_rows_that_may_be_hidden_are_refused(unversioned: Database, stranger: Database) -> None:
    for table in COLUMNS:
        unversioned.rows(f"ALTER TABLE {table} OWNER TO {stranger.role}")
    unversioned.rows("ALTER TABLE users ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
    assert "users: expected all rows visible; found row-level security" in refusal(stranger)
    unversioned.rows("ALTER TABLE users NO FORCE ROW LEVEL SECURITY")
    stranger.upgrade()
    assert stranger.current() == NEWEST
