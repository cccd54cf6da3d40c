"""The tables of agent_com, as its newest version makes them, and as its first one did.

SQLAlchemy creates them there: without checks, with json instead of jsonb, and with an index for
each column that is looked up. Tandem has no counterpart for some of them.
"""

from migrations.agent_com.tables import COLUMNS
from tests.migrations.database import Database

CLOCKS = """
    created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now()
"""

FIRST_TABLES = f"""
CREATE TABLE users (
    id uuid PRIMARY KEY, username varchar(100) NOT NULL, email varchar(255) NOT NULL,
    password_hash varchar(255), full_name varchar(255), role varchar(50) NOT NULL,
    is_active boolean NOT NULL, is_superuser boolean NOT NULL, permissions text, {CLOCKS}
);
CREATE UNIQUE INDEX ix_users_username ON users (username);
CREATE UNIQUE INDEX ix_users_email ON users (email);
CREATE INDEX ix_users_id ON users (id);
CREATE TABLE projects (
    id uuid PRIMARY KEY, owner_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    project_id varchar(100) NOT NULL, name varchar(255) NOT NULL, description text,
    status varchar(50) NOT NULL, allow_cross_project boolean NOT NULL, settings json, {CLOCKS},
    CONSTRAINT uq_owner_project_id UNIQUE (owner_id, project_id)
);
CREATE UNIQUE INDEX ix_projects_project_id ON projects (project_id);
CREATE TABLE chat_rooms (
    id uuid PRIMARY KEY, project_id uuid NOT NULL REFERENCES projects ON DELETE CASCADE,
    name varchar(255) NOT NULL, description text,
    created_by uuid REFERENCES users ON DELETE SET NULL, {CLOCKS}
);
CREATE TABLE chat_participants (
    id uuid PRIMARY KEY, room_id uuid NOT NULL REFERENCES chat_rooms ON DELETE CASCADE,
    agent_id uuid, user_id uuid REFERENCES users ON DELETE CASCADE,
    joined_at timestamptz NOT NULL DEFAULT now(), {CLOCKS},
    CONSTRAINT uq_room_agent UNIQUE (room_id, agent_id),
    CONSTRAINT uq_room_user UNIQUE (room_id, user_id)
);
CREATE TABLE chat_messages (
    id uuid PRIMARY KEY, room_id uuid NOT NULL REFERENCES chat_rooms ON DELETE CASCADE,
    content text NOT NULL, metadata json, {CLOCKS}
);
CREATE TABLE agent_api_keys (
    id uuid PRIMARY KEY, project_id uuid NOT NULL REFERENCES projects ON DELETE CASCADE,
    agent_id uuid NOT NULL, key_id varchar(100) NOT NULL, api_key_hash varchar(255) NOT NULL,
    key_prefix varchar(50) NOT NULL, capabilities json NOT NULL, status varchar(50) NOT NULL,
    expires_at timestamptz, created_by_type varchar(50) NOT NULL, created_by_id uuid, {CLOCKS},
    CONSTRAINT uq_project_agent UNIQUE (project_id, agent_id)
);
CREATE UNIQUE INDEX ix_agent_api_keys_key_id ON agent_api_keys (key_id);
CREATE UNIQUE INDEX ix_agent_api_keys_api_key_hash ON agent_api_keys (api_key_hash);
CREATE TABLE audit_logs (
    id bigserial PRIMARY KEY, action varchar(50) NOT NULL, entity_type varchar(50) NOT NULL,
    entity_id uuid, project_id uuid REFERENCES projects ON DELETE SET NULL,
    actor_type varchar(50) NOT NULL, actor_id uuid, ip_address varchar(45), user_agent text,
    action_details json, status varchar(50) NOT NULL,
    occurred_at timestamptz NOT NULL DEFAULT now(), {CLOCKS}
);
CREATE TABLE meetings (id uuid PRIMARY KEY, topic text);
"""

# The revision has the name of one of Tandem's, and so has the index that it made.
NEWEST_TABLES = f"""
CREATE TABLE agents (
    id uuid PRIMARY KEY, project_id uuid NOT NULL REFERENCES projects ON DELETE CASCADE,
    name varchar(255) NOT NULL, nickname varchar(255), agent_type varchar(100) NOT NULL,
    status varchar(50) NOT NULL, capabilities json NOT NULL, config json,
    is_active boolean NOT NULL, {CLOCKS},
    CONSTRAINT uq_agent_project_name UNIQUE (project_id, name)
);
CREATE INDEX ix_agents_status ON agents (status);
CREATE TABLE tasks (
    id uuid PRIMARY KEY, project_id uuid NOT NULL REFERENCES projects ON DELETE CASCADE,
    room_id uuid REFERENCES chat_rooms ON DELETE SET NULL, title varchar(500) NOT NULL,
    description text, status varchar(50) NOT NULL, priority varchar(50),
    assigned_to uuid, assigned_to_type varchar(50),
    created_by uuid REFERENCES users ON DELETE SET NULL, dependencies json NOT NULL,
    started_at timestamptz, completed_at timestamptz, due_date timestamptz, result json, {CLOCKS},
    user_assigned_to uuid REFERENCES users ON DELETE SET NULL,
    agent_assigned_to uuid REFERENCES agents ON DELETE SET NULL
);
CREATE INDEX ix_tasks_project_status ON tasks (project_id, status);
ALTER TABLE agent_api_keys
    ADD CONSTRAINT fk_agent_api_keys_created_by_id_users
    FOREIGN KEY (created_by_id) REFERENCES users ON DELETE SET NULL;
CREATE INDEX idx_agent_api_keys_created_by_id ON agent_api_keys (created_by_id);
CREATE TABLE alembic_version (
    version_num varchar(32) CONSTRAINT alembic_version_pkc PRIMARY KEY);
INSERT INTO alembic_version VALUES ('002_add_agent_api_key_user_fk');
"""  # noqa: S608


def make_tables(database: Database, *, newest: bool = True) -> None:
    """Empty tables; only the newest ones include agents and tasks."""
    database.make(lambda connection: connection.execute(FIRST_TABLES))
    if newest:
        database.make(lambda connection: connection.execute(NEWEST_TABLES))


ALL_TABLES = sorted([*COLUMNS, "alembic_version", "audit_logs", "chat_messages"])
