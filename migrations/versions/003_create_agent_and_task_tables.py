"""Create agents and tasks, and make every `agent_id` a foreign key to agents.

Each existing `agent_id` of keys and participants becomes a placeholder agent with that id, in the
project of the row. If rows of several projects have the same id, it goes to the project that
was created first, or to the one with the smaller id if they were created at the same time. Each
other project gets a placeholder with a new id, and its rows are reported; the config of the
placeholder has the old id (`migrated_from`), because a report of 100,000 rows names only the first.
"""

from alembic import op
from sqlalchemy import text

from migrations.report import log, refuse_rows, report_rows, report_step

revision = "003_create_agent_and_task_tables"
down_revision = "002_add_agent_api_key_user_fk"
branch_labels = None
depends_on = None

DROPS = {"agents": "true", "tasks": "true"}

# No row may change between the scan and the creation of the foreign keys.
LOCK_SCANNED = """
LOCK TABLE projects, chat_rooms, chat_participants, agent_api_keys IN SHARE ROW EXCLUSIVE MODE
"""

AGENTS = """
CREATE TABLE agents (
    id uuid CONSTRAINT pk_agents PRIMARY KEY,
    project_id uuid NOT NULL CONSTRAINT fk_agents_project_id REFERENCES projects ON DELETE CASCADE,
    name varchar(255) NOT NULL,
    nickname varchar(255),
    agent_type varchar(100) NOT NULL DEFAULT 'generic',
    status varchar(50) NOT NULL DEFAULT 'offline'
        CONSTRAINT ck_agents_status CHECK (status IN ('offline', 'online', 'busy', 'error')),
    capabilities jsonb NOT NULL DEFAULT '[]'::jsonb,
    config jsonb,
    is_active boolean NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT uq_agent_project_name UNIQUE (project_id, name)
)
"""

AGENT_INDEXES = (
    "CREATE INDEX idx_agents_project_id ON agents (project_id)",
    "CREATE INDEX idx_agents_status ON agents (status)",
    "CREATE INDEX idx_agents_is_active ON agents (is_active)",
)

TASKS = """
CREATE TABLE tasks (
    id uuid CONSTRAINT pk_tasks PRIMARY KEY,
    project_id uuid NOT NULL CONSTRAINT fk_tasks_project_id REFERENCES projects ON DELETE CASCADE,
    room_id uuid CONSTRAINT fk_tasks_room_id REFERENCES chat_rooms ON DELETE SET NULL,
    title varchar(500) NOT NULL,
    description text,
    status varchar(50) NOT NULL DEFAULT 'pending'
        CONSTRAINT ck_tasks_status CHECK (status IN (
            'pending', 'in_progress', 'review', 'blocked', 'completed', 'failed', 'cancelled')),
    priority varchar(50)
        CONSTRAINT ck_tasks_priority CHECK (priority IN ('low', 'medium', 'high', 'critical')),
    assigned_to uuid,
    assigned_to_type varchar(50)
        CONSTRAINT ck_tasks_assigned_to_type CHECK (assigned_to_type IN ('agent', 'user')),
    created_by uuid CONSTRAINT fk_tasks_created_by REFERENCES users ON DELETE SET NULL,
    dependencies jsonb NOT NULL DEFAULT '[]'::jsonb,
    started_at timestamptz,
    completed_at timestamptz,
    due_date timestamptz,
    result jsonb,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
)
"""

TASK_INDEXES = (
    "CREATE INDEX idx_tasks_project_id ON tasks (project_id)",
    "CREATE INDEX idx_tasks_room_id ON tasks (room_id)",
    "CREATE INDEX idx_tasks_status ON tasks (status)",
    "CREATE INDEX idx_tasks_assigned_to ON tasks (assigned_to)",
)

# One row for each agent id in each project, with the id that its agent will have.
# `tandem db doctor` runs this, NAMED and DANGLING, too, to predict what happens here.
AGENT_IDS = """
SELECT spoken_of.agent_id, spoken_of.project_id,
       CASE row_number() OVER (PARTITION BY agent_id ORDER BY projects.created_at, projects.id)
           WHEN 1 THEN agent_id ELSE gen_random_uuid() END AS placeholder_id
FROM (
    SELECT agent_id, project_id FROM agent_api_keys
    UNION
    SELECT agent_id, project_id FROM chat_participants JOIN chat_rooms ON chat_rooms.id = room_id
    WHERE agent_id IS NOT NULL
) AS spoken_of
JOIN projects ON projects.id = spoken_of.project_id
"""

PLACEHOLDERS = f"CREATE TEMPORARY TABLE placeholders AS {AGENT_IDS}"

# Ids that were created in the same minute begin with the same digits, so names may need a number.
NAMED = """
SELECT placeholder_id, project_id,
       'Migrated Agent ' || short || CASE nth WHEN 1 THEN '' ELSE ' (' || nth || ')' END AS name,
       'generic', 'offline', false,
       CASE WHEN placeholder_id <> agent_id THEN jsonb_build_object('migrated_from', agent_id) END
FROM (
    SELECT *, row_number() OVER (PARTITION BY project_id, short ORDER BY placeholder_id) AS nth
    FROM (SELECT *, left(placeholder_id::text, 8) AS short FROM placeholders) AS shortened
) AS numbered
"""

CREATE_PLACEHOLDERS = f"""
INSERT INTO agents (id, project_id, name, agent_type, status, is_active, config) {NAMED}
"""

MOVE_KEYS = """
UPDATE agent_api_keys AS moved SET agent_id = placeholder_id
FROM placeholders AS given
WHERE given.agent_id = moved.agent_id AND given.project_id = moved.project_id
  AND placeholder_id <> given.agent_id
RETURNING format('key %s from %s to %s', moved.id, given.agent_id, placeholder_id)
"""

MOVE_PARTICIPANTS = """
UPDATE chat_participants AS moved SET agent_id = placeholder_id
FROM placeholders AS given, chat_rooms AS room
WHERE room.id = moved.room_id
  AND given.agent_id = moved.agent_id AND given.project_id = room.project_id
  AND placeholder_id <> given.agent_id
RETURNING format('participant %s from %s to %s', moved.id, given.agent_id, placeholder_id)
"""

# A reference to an agent of another project counts as dangling.
DANGLING = """
SELECT 'key ' || keys.id
FROM agent_api_keys AS keys
LEFT JOIN projects ON projects.id = keys.project_id
LEFT JOIN agents ON agents.id = keys.agent_id AND agents.project_id = projects.id
WHERE agents.id IS NULL
UNION ALL
SELECT 'participant ' || participants.id
FROM chat_participants AS participants
LEFT JOIN chat_rooms AS room ON room.id = participants.room_id
LEFT JOIN projects ON projects.id = room.project_id
LEFT JOIN agents ON agents.id = participants.agent_id AND agents.project_id = projects.id
WHERE projects.id IS NULL OR (participants.agent_id IS NOT NULL AND agents.id IS NULL)
"""


def upgrade() -> None:
    op.execute(LOCK_SCANNED)
    step(1, "create the table of agents")
    for statement in (AGENTS, *AGENT_INDEXES):
        op.execute(statement)
    step(2, "create the table of tasks")
    for statement in (TASKS, *TASK_INDEXES):
        op.execute(statement)
    step(3, "find the agent ids")
    op.execute(PLACEHOLDERS)
    op.execute("ANALYZE placeholders")
    step(4, "create placeholder agents")
    create_placeholders()
    # Before step 5, because a foreign key names only the first row that violates it.
    refuse_dangling()
    step(5, "add the foreign key from participants to agents")
    refer_to_agents("chat_participants")
    step(6, "add the foreign key from API keys to agents")
    refer_to_agents("agent_api_keys")
    step(7, "check that no reference dangles")
    refuse_dangling()
    op.execute("DROP TABLE placeholders")


def step(number: int, what: str) -> None:
    report_step(number, 7, what)


def create_placeholders() -> None:
    created = op.get_bind().execute(text(CREATE_PLACEHOLDERS)).rowcount
    if created:
        log.warning("Placeholder agents created, for ids without an agent: %d", created)
    for statement in (MOVE_KEYS, MOVE_PARTICIPANTS):
        report_rows(
            "Rows whose agent id went to an older project; now with another agent", statement
        )


def refer_to_agents(table: str) -> None:
    op.create_foreign_key(
        f"fk_{table}_agent_id", table, "agents", ["agent_id"], ["id"], ondelete="CASCADE"
    )


def refuse_dangling() -> None:
    refuse_rows(
        "API keys or participants without an existing agent, room or project",
        DANGLING,
        "Delete them, or restore what they refer to.",
    )


def downgrade() -> None:
    # 1. Remove the foreign keys.
    op.drop_constraint("fk_agent_api_keys_agent_id", "agent_api_keys")
    op.drop_constraint("fk_chat_participants_agent_id", "chat_participants")
    # 2. and 3. Drop the tables.
    op.drop_table("agents")
    op.drop_table("tasks")
