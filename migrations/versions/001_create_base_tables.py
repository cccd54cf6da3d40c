"""Create users, projects, chat rooms, participants and API keys.

`agent_id` has no foreign key yet, because there is no table of agents.
"""

from alembic import op

revision = "001_create_base_tables"
down_revision = None
branch_labels = None
depends_on = None

USERS = """
CREATE TABLE users (
    id uuid CONSTRAINT pk_users PRIMARY KEY,
    username varchar(100) NOT NULL CONSTRAINT uq_users_username UNIQUE,
    email varchar(255) NOT NULL CONSTRAINT uq_users_email UNIQUE,
    full_name varchar(255),
    is_active boolean NOT NULL DEFAULT true,
    is_superuser boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
)
"""

PROJECTS = """
CREATE TABLE projects (
    id uuid CONSTRAINT pk_projects PRIMARY KEY,
    owner_id uuid NOT NULL CONSTRAINT fk_projects_owner_id REFERENCES users ON DELETE RESTRICT,
    slug varchar(100) NOT NULL CONSTRAINT uq_projects_slug UNIQUE,
    name varchar(255) NOT NULL,
    description text,
    status varchar(50) NOT NULL DEFAULT 'active'
        CONSTRAINT ck_projects_status CHECK (status IN ('active', 'suspended', 'archived')),
    settings jsonb,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
)
"""

CHAT_ROOMS = """
CREATE TABLE chat_rooms (
    id uuid CONSTRAINT pk_chat_rooms PRIMARY KEY,
    project_id uuid NOT NULL
        CONSTRAINT fk_chat_rooms_project_id REFERENCES projects ON DELETE CASCADE,
    name varchar(255) NOT NULL,
    description text,
    created_by uuid CONSTRAINT fk_chat_rooms_created_by REFERENCES users ON DELETE SET NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
)
"""

CHAT_PARTICIPANTS = """
CREATE TABLE chat_participants (
    id uuid CONSTRAINT pk_chat_participants PRIMARY KEY,
    room_id uuid NOT NULL
        CONSTRAINT fk_chat_participants_room_id REFERENCES chat_rooms ON DELETE CASCADE,
    agent_id uuid,
    user_id uuid CONSTRAINT fk_chat_participants_user_id REFERENCES users ON DELETE CASCADE,
    joined_at timestamptz NOT NULL DEFAULT now(),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT ck_chat_participants_agent_or_user CHECK (num_nonnulls(agent_id, user_id) = 1),
    CONSTRAINT uq_chat_participants_room_id_agent_id UNIQUE (room_id, agent_id),
    CONSTRAINT uq_chat_participants_room_id_user_id UNIQUE (room_id, user_id)
)
"""

AGENT_API_KEYS = """
CREATE TABLE agent_api_keys (
    id uuid CONSTRAINT pk_agent_api_keys PRIMARY KEY,
    project_id uuid NOT NULL
        CONSTRAINT fk_agent_api_keys_project_id REFERENCES projects ON DELETE CASCADE,
    agent_id uuid NOT NULL,
    key_id varchar(100) NOT NULL CONSTRAINT uq_agent_api_keys_key_id UNIQUE,
    api_key_hash varchar(255) NOT NULL CONSTRAINT uq_agent_api_keys_api_key_hash UNIQUE,
    key_prefix varchar(50) NOT NULL,
    capabilities jsonb NOT NULL DEFAULT '[]'::jsonb,
    status varchar(50) NOT NULL DEFAULT 'active'
        CONSTRAINT ck_agent_api_keys_status CHECK (status IN ('active', 'revoked', 'expired')),
    expires_at timestamptz,
    last_used_at timestamptz,
    created_by_type varchar(50) NOT NULL DEFAULT 'user'
        CONSTRAINT ck_agent_api_keys_created_by_type CHECK (created_by_type IN ('user', 'agent')),
    created_by_id uuid,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
)
"""

# Referenced tables come first.
TABLES = ("users", "projects", "chat_rooms", "chat_participants", "agent_api_keys")

DROPS = dict.fromkeys(TABLES, "true")


def upgrade() -> None:
    for statement in (USERS, PROJECTS, CHAT_ROOMS, CHAT_PARTICIPANTS, AGENT_API_KEYS):
        op.execute(statement)


def downgrade() -> None:
    for table in reversed(TABLES):
        op.drop_table(table)
