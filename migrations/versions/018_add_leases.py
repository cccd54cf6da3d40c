"""Let agents claim tasks under leases, and let tasks wait for others.

A pending task of an older version can be claimed in the order in which tasks were created.
"""

from alembic import op

revision = "018_add_leases"
down_revision = "017_add_event_log"
branch_labels = None
depends_on = None

# Not `rank` and `lane`, which are generated from columns that stay.
DROPS = {
    "task_leases": "true",
    "task_attempts": "true",
    "task_inputs": "true",
    "agent_presence": "true",
    "agents.max_leases": "max_leases <> 100",
    "tasks.required_capabilities": "required_capabilities <> ''",
    "tasks.ready_at": "ready_at > created_at",
    "tasks.max_attempts": "max_attempts <> 3",
    "tasks.attempt": "attempt <> 0",
    "tasks.releases": "releases <> 0",
    "tasks.fence": "fence <> 0",
    "tasks.leased": "leased",
    "tasks.lock_key": "lock_key IS NOT NULL",
    "tasks.status_reason": "status_reason IS NOT NULL",
    "tasks.status_message": "status_message IS NOT NULL",
    "tasks.cancel_requested_at": "cancel_requested_at IS NOT NULL",
    "tasks.cancel_deadline": "cancel_deadline IS NOT NULL",
    "tasks.preferred_until": "preferred_until IS NOT NULL",
    "tasks.dependency_policy": "dependency_policy <> 'strict'",
    "tasks.on_dependency_failure": "on_dependency_failure <> 'keep_blocked'",
    "tasks.parent_id": "parent_id IS NOT NULL",
    "tasks.open_dependencies": "open_dependencies <> 0",
    "tasks.has_dependents": "has_dependents",
    "tasks.estimate": "estimate IS NOT NULL",
}

# Generated columns are computed for every row, which are rewritten for that once.
TASKS = """
ALTER TABLE tasks
    ADD COLUMN required_capabilities varchar(1000) COLLATE "C" NOT NULL DEFAULT '',
    ADD COLUMN rank smallint NOT NULL GENERATED ALWAYS AS (
        CASE priority WHEN 'critical' THEN 1 WHEN 'high' THEN 2 WHEN 'low' THEN 4 ELSE 3 END
    ) STORED,
    ADD COLUMN lane text COLLATE "C" NOT NULL GENERATED ALWAYS AS (
        CASE WHEN assigned_agent_id IS NOT NULL THEN '@' || assigned_agent_id::text
             WHEN assigned_user_id IS NOT NULL THEN '@user'
             ELSE '=' || required_capabilities END
    ) STORED,
    ADD COLUMN ready_at timestamptz NOT NULL DEFAULT now(),
    ADD COLUMN max_attempts smallint NOT NULL DEFAULT 3,
    ADD COLUMN attempt smallint NOT NULL DEFAULT 0,
    ADD COLUMN releases smallint NOT NULL DEFAULT 0,
    ADD COLUMN fence bigint NOT NULL DEFAULT 0,
    ADD COLUMN leased boolean NOT NULL DEFAULT false,
    ADD COLUMN lock_key varchar(200),
    ADD COLUMN status_reason varchar(50),
    ADD COLUMN status_message varchar(4096),
    ADD COLUMN cancel_requested_at timestamptz,
    ADD COLUMN cancel_deadline timestamptz,
    ADD COLUMN preferred_until timestamptz,
    ADD COLUMN dependency_policy varchar(50) NOT NULL DEFAULT 'strict',
    ADD COLUMN on_dependency_failure varchar(50) NOT NULL DEFAULT 'keep_blocked',
    ADD COLUMN parent_id uuid,
    ADD COLUMN open_dependencies integer NOT NULL DEFAULT 0,
    ADD COLUMN has_dependents boolean NOT NULL DEFAULT false,
    ADD COLUMN estimate double precision,
    ADD CONSTRAINT ck_tasks_status_reason CHECK (status_reason IN (
        'dependencies', 'dependency_failed', 'input', 'auth', 'external', 'attempts_exhausted',
        'not_retryable', 'cancel_requested', 'attempt_failed', 'lease_expired'
    )),
    ADD CONSTRAINT ck_tasks_dependency_policy CHECK (dependency_policy IN ('strict', 'wait')),
    ADD CONSTRAINT ck_tasks_on_dependency_failure CHECK (
        on_dependency_failure IN ('keep_blocked', 'cancel', 'fail', 'ignore')
    ),
    ADD CONSTRAINT ck_tasks_leased CHECK (
        NOT leased OR (status = 'in_progress' AND assigned_agent_id IS NOT NULL)
    ),
    ADD CONSTRAINT ck_tasks_open_dependencies CHECK (open_dependencies >= 0),
    ADD CONSTRAINT fk_tasks_parent_id
        FOREIGN KEY (project_id, parent_id) REFERENCES tasks (project_id, id)
        ON DELETE SET NULL (parent_id)
"""
# What is unchanged by this is not rewritten by it: new tasks only have the default.
READY_SINCE = "UPDATE tasks SET ready_at = created_at WHERE status = 'pending'"
INDEXES = (
    "CREATE INDEX idx_tasks_ready ON tasks (project_id, lane, rank, ready_at, id)"
    " WHERE status = 'pending'",
    "CREATE INDEX idx_tasks_parent_id ON tasks (project_id, parent_id, created_at, id)"
    " WHERE parent_id IS NOT NULL",
    "CREATE INDEX idx_tasks_cancel_deadline ON tasks (cancel_deadline)"
    " WHERE cancel_deadline IS NOT NULL",
    "CREATE INDEX idx_tasks_preferred_until ON tasks (preferred_until)"
    " WHERE preferred_until IS NOT NULL",
)
AGENTS = """
ALTER TABLE agents
    ADD COLUMN max_leases smallint NOT NULL DEFAULT 100,
    ADD CONSTRAINT ck_agents_max_leases CHECK (max_leases BETWEEN 1 AND 1000)
"""
LEASES = """
CREATE TABLE task_leases (
    project_id uuid NOT NULL,
    task_id uuid NOT NULL,
    agent_id uuid NOT NULL,
    fence bigint NOT NULL,
    pooled boolean NOT NULL,
    agent_slot integer NOT NULL,
    lock_key varchar(200),
    api_key_id uuid,
    expires_at timestamptz NOT NULL,
    seconds integer NOT NULL,
    CONSTRAINT pk_task_leases PRIMARY KEY (project_id, task_id),
    CONSTRAINT uq_task_leases_agent_slot UNIQUE (project_id, agent_id, agent_slot),
    CONSTRAINT uq_task_leases_lock_key UNIQUE (project_id, lock_key),
    CONSTRAINT fk_task_leases_task_id
        FOREIGN KEY (project_id, task_id) REFERENCES tasks (project_id, id) ON DELETE CASCADE,
    CONSTRAINT fk_task_leases_agent_id
        FOREIGN KEY (project_id, agent_id) REFERENCES agents (project_id, id)
        DEFERRABLE INITIALLY DEFERRED
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500)
"""
ATTEMPTS = """
CREATE TABLE task_attempts (
    project_id uuid NOT NULL,
    task_id uuid NOT NULL,
    fence bigint NOT NULL,
    attempt smallint NOT NULL,
    agent_id uuid NOT NULL,
    started_at timestamptz NOT NULL DEFAULT now(),
    ended_at timestamptz,
    outcome varchar(50),
    error jsonb,
    progress jsonb,
    CONSTRAINT pk_task_attempts PRIMARY KEY (project_id, task_id, fence),
    CONSTRAINT ck_task_attempts_outcome CHECK (outcome IN (
        'completed', 'failed', 'expired', 'released', 'cancelled', 'split', 'overridden'
    )),
    CONSTRAINT fk_task_attempts_task_id
        FOREIGN KEY (project_id, task_id) REFERENCES tasks (project_id, id) ON DELETE CASCADE
)
"""
INPUTS = """
CREATE TABLE task_inputs (
    project_id uuid NOT NULL,
    task_id uuid NOT NULL,
    key varchar(100) NOT NULL,
    kind varchar(50) NOT NULL,
    prompt varchar(4096) NOT NULL,
    schema jsonb,
    answer jsonb,
    requested_at timestamptz NOT NULL DEFAULT now(),
    answered_at timestamptz,
    CONSTRAINT pk_task_inputs PRIMARY KEY (project_id, task_id, key),
    CONSTRAINT ck_task_inputs_kind CHECK (kind IN ('input', 'auth')),
    CONSTRAINT fk_task_inputs_task_id
        FOREIGN KEY (project_id, task_id) REFERENCES tasks (project_id, id) ON DELETE CASCADE
)
"""
PRESENCE = """
CREATE TABLE agent_presence (
    project_id uuid NOT NULL,
    agent_id uuid NOT NULL,
    last_seen_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT pk_agent_presence PRIMARY KEY (project_id, agent_id),
    CONSTRAINT fk_agent_presence_agent_id
        FOREIGN KEY (project_id, agent_id) REFERENCES agents (project_id, id) ON DELETE CASCADE
) WITH (fillfactor = 50)
"""
COLUMNS = (
    "estimate",
    "has_dependents",
    "open_dependencies",
    "parent_id",
    "on_dependency_failure",
    "dependency_policy",
    "preferred_until",
    "cancel_deadline",
    "cancel_requested_at",
    "status_message",
    "status_reason",
    "lock_key",
    "leased",
    "fence",
    "releases",
    "attempt",
    "max_attempts",
    "ready_at",
    "lane",
    "rank",
    "required_capabilities",
)


def upgrade() -> None:
    op.execute(TASKS)
    op.execute(READY_SINCE)
    op.execute(AGENTS)
    for statement in (*INDEXES, LEASES, ATTEMPTS, INPUTS, PRESENCE):
        op.execute(statement)


def downgrade() -> None:
    for table in ("agent_presence", "task_inputs", "task_attempts", "task_leases"):
        op.drop_table(table)
    op.drop_column("agents", "max_leases")
    for column in COLUMNS:
        op.drop_column("tasks", column)
