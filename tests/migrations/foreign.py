"""Base tables as another program would create them: without Tandem's names, defaults and checks."""

from uuid import UUID, uuid4

import pytest

from migrations.doctor.diagnosis import Verdict
from migrations.doctor.examine import examine
from migrations.transaction import MigrationError
from tests.migrations.database import Database
from tests.schema.rows import Connection, add

TABLES = """
CREATE TABLE users (
    id uuid PRIMARY KEY,
    username varchar(100) NOT NULL,
    email text NOT NULL UNIQUE,
    full_name varchar(300),
    is_active boolean NOT NULL,
    is_superuser boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
    updated_at timestamptz NOT NULL DEFAULT now(),
    theme varchar(20) DEFAULT 'dark'
);
CREATE UNIQUE INDEX ix_users_username ON users (username);
CREATE TABLE projects (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    owner_id uuid NOT NULL REFERENCES users,
    slug varchar(100) NOT NULL UNIQUE,
    name varchar(255) NOT NULL,
    description text,
    status varchar(50) NOT NULL CHECK (status IN ('archived', 'active', 'suspended')),
    settings jsonb,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);
CREATE TABLE chat_rooms (
    id uuid PRIMARY KEY,
    project_id uuid NOT NULL REFERENCES projects ON DELETE CASCADE,
    name varchar(255) NOT NULL,
    description text,
    created_by uuid REFERENCES users,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE chat_participants (
    id uuid PRIMARY KEY,
    room_id uuid NOT NULL,
    agent_id uuid,
    user_id uuid CONSTRAINT "Who" REFERENCES users ON DELETE CASCADE,
    joined_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (agent_id, room_id)
);
CREATE TABLE agent_api_keys (
    id uuid PRIMARY KEY,
    project_id uuid NOT NULL REFERENCES projects ON DELETE CASCADE,
    agent_id uuid NOT NULL,
    key_id varchar(100) NOT NULL UNIQUE,
    api_key_hash varchar(255) NOT NULL UNIQUE,
    key_prefix varchar(50) NOT NULL,
    capabilities jsonb NOT NULL,
    status text NOT NULL,
    expires_at timestamptz,
    last_used_at timestamptz,
    created_by_type varchar(50) NOT NULL,
    created_by_id uuid,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ix_agent_api_keys_agent_id ON agent_api_keys (agent_id);
"""

ADD_CREATORS = """
ALTER TABLE agent_api_keys ADD FOREIGN KEY (created_by_id) REFERENCES users ON DELETE SET NULL
"""


def make_tables(database: Database) -> None:
    database.make(lambda connection: connection.execute(TABLES))


def refusal(database: Database) -> str:
    """The message of an upgrade that is refused, as the doctor predicts, and changes nothing."""
    before = database.everything()
    assert examine(database.url).verdict is Verdict.BLOCKED
    with pytest.raises(MigrationError) as refused:
        database.upgrade()
    assert database.everything() == before
    return str(refused.value)


def fill(database: Database) -> dict[str, UUID]:
    """Add a row to every table and return the ids, by table, with that of the "agent".

    The participant and the key have the same agent. The creator of the key does not exist.
    """
    return database.make(_fill)


async def _fill(connection: Connection) -> dict[str, UUID]:
    agent = uuid4()
    user = await add(connection, "users", username="ada", email="ada@example.org", is_active=True)
    project = await connection.fetchval(
        """
        INSERT INTO projects (owner_id, slug, name, status, created_at, updated_at)
        VALUES ($1, 'p', 'p', 'active', now(), now()) RETURNING id
        """,
        user,
    )
    room = await add(connection, "chat_rooms", project_id=project, name="r")
    seat = await connection.fetchval(
        """
        INSERT INTO chat_participants (id, room_id, agent_id, joined_at)
        VALUES (gen_random_uuid(), $1, $2, now()) RETURNING id
        """,
        room,
        agent,
    )
    key = await connection.fetchval(
        """
        INSERT INTO agent_api_keys (id, project_id, agent_id, key_id, api_key_hash, key_prefix,
                                    capabilities, status, created_by_type, created_by_id)
        VALUES (gen_random_uuid(), $1, $2, 'k', 'h', 't', '[]', 'active', 'user', $3) RETURNING id
        """,
        project,
        agent,
        uuid4(),
    )
    return {
        "agent": agent,
        "users": user,
        "projects": project,
        "chat_rooms": room,
        "chat_participants": seat,
        "agent_api_keys": key,
    }
