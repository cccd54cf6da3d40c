"""Tables that do not fit are refused, with a list of all that differs, and left as they are."""

import pytest

from tests.migrations import foreign
from tests.migrations.database import Database
from tests.migrations.foreign import refusal

MISFITS = (
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
        "users.tenant: expected no column that a new row has to fill; found integer NOT NULL",
    ),
    (
        "ALTER TABLE projects ADD COLUMN revision bigint",
        "projects.revision: expected no such column, which a migration adds; found bigint",
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
        "idx_chat_rooms_project_id: expected nothing of this name, which a migration makes; "
        "found an index",
    ),
    (
        "CREATE TABLE agents (id uuid)",
        "agents: expected nothing of this name, which a migration makes; found a table",
    ),
    (
        "CREATE TABLE other (id integer); CREATE INDEX pk_users ON other (id)",
        "users.pk_users: expected nothing else of this name; found an index",
    ),
    (
        "ALTER INDEX ix_users_username RENAME TO uq_users_email",
        "users.uq_users_email: expected nothing else of this name; found unique index",
    ),
    (
        "ALTER TABLE projects "
        "ADD COLUMN size integer CONSTRAINT ck_projects_status CHECK (size > 0)",
        "projects.ck_projects_status: expected nothing else of this name; found CHECK ((size > 0))",
    ),
    (
        "ALTER TABLE agent_api_keys "
        "ADD COLUMN org uuid CONSTRAINT fk_agent_api_keys_agent_id REFERENCES users",
        "agent_api_keys.fk_agent_api_keys_agent_id: expected nothing of this name, "
        "which a migration makes; found FOREIGN KEY (org) REFERENCES users(id)",
    ),
    (
        "ALTER TABLE agent_api_keys "
        "ADD COLUMN org uuid CONSTRAINT fk_agent_api_keys_created_by_id REFERENCES users",
        "agent_api_keys.fk_agent_api_keys_created_by_id: expected nothing of this name, "
        "which a migration makes; found FOREIGN KEY (org) REFERENCES users(id)",
    ),
    ("ALTER TABLE chat_participants SET UNLOGGED", "expected a table; found an unlogged table"),
    ("DROP TABLE chat_participants", "chat_participants: expected a table; found none"),
    (
        "DROP TABLE chat_participants; CREATE VIEW chat_participants AS SELECT 1 AS id",
        "chat_participants: expected a table; found a view",
    ),
)


@pytest.mark.parametrize(("change", "line"), MISFITS, ids=[line[:40] for _, line in MISFITS])
def test_what_does_not_fit_is_refused_by_name(
    unversioned: Database, change: str, line: str
) -> None:
    unversioned.make(lambda connection: connection.execute(change))
    assert line in refusal(unversioned)


def test_a_refusal_lists_everything_that_differs(unversioned: Database) -> None:
    unversioned.rows("DROP TABLE agent_api_keys")
    unversioned.rows("ALTER TABLE users ALTER COLUMN full_name TYPE integer USING 1")
    unversioned.rows("ALTER TABLE chat_rooms ADD UNIQUE (name)")
    lines = refusal(unversioned).splitlines()
    assert lines == [
        "The tables that are there are not those that Tandem builds upon.",
        "  agent_api_keys: expected a table; found none",
        "  users.full_name: expected character varying(255); found integer",
        "  chat_rooms.chat_rooms_name_key: expected no such constraint; found UNIQUE (name)",
        "Nothing was changed.",
    ]


BREACHES = (
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


@pytest.mark.parametrize(("change", "constraint"), BREACHES, ids=[where for _, where in BREACHES])
def test_rows_that_break_a_rule_are_counted_and_named(
    unversioned: Database, change: str, constraint: str
) -> None:
    foreign.fill(unversioned)
    (row,) = unversioned.values(change)
    said = refusal(unversioned)
    assert f"\n  {constraint}: expected " in said
    assert f"found none, and 1 rows that break it (such as {row})" in said


def test_keys_that_are_there_twice_are_counted(unversioned: Database) -> None:
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
    assert f"found none, and 1 rows that break it (such as {twice})" in refusal(unversioned)
