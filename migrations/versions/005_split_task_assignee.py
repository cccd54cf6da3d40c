"""Replace the assignee of a task by two foreign keys, to agents and to users.

`assigned_to` and `assigned_to_type` become generated columns, computed from them.
"""

from alembic import op

from migrations.report import report_rows

revision = "005_split_task_assignee"
down_revision = "004_bind_rows_to_their_project"
branch_labels = None
depends_on = None

ADD_REFERENCES = """
ALTER TABLE tasks ADD COLUMN assigned_agent_id uuid, ADD COLUMN assigned_user_id uuid
"""

FILL_AGENTS = """
UPDATE tasks SET assigned_agent_id = agents.id
FROM agents
WHERE assigned_to_type = 'agent'
  AND agents.id = assigned_to AND agents.project_id = tasks.project_id
"""

FILL_USERS = """
UPDATE tasks SET assigned_user_id = users.id
FROM users WHERE assigned_to_type = 'user' AND users.id = assigned_to
"""

UNASSIGNED = """
SELECT id FROM tasks
WHERE assigned_to IS NOT NULL AND num_nonnulls(assigned_agent_id, assigned_user_id) = 0
"""

GENERATE_ASSIGNED_TO = (
    "ALTER TABLE tasks DROP COLUMN assigned_to, DROP COLUMN assigned_to_type",
    """
    ALTER TABLE tasks
        ADD COLUMN assigned_to uuid
            GENERATED ALWAYS AS (COALESCE(assigned_agent_id, assigned_user_id)) STORED,
        ADD COLUMN assigned_to_type varchar(50)
            GENERATED ALWAYS AS (CASE WHEN assigned_agent_id IS NOT NULL THEN 'agent'
                                      WHEN assigned_user_id IS NOT NULL THEN 'user' END) STORED
    """,
    "CREATE INDEX idx_tasks_assigned_to ON tasks (assigned_to)",
)

CONSTRAINTS = """
ALTER TABLE tasks
    ADD CONSTRAINT ck_tasks_one_assignee
        CHECK (num_nonnulls(assigned_agent_id, assigned_user_id) <= 1),
    ADD CONSTRAINT fk_tasks_assigned_user_id
        FOREIGN KEY (assigned_user_id) REFERENCES users ON DELETE SET NULL,
    ADD CONSTRAINT fk_tasks_assigned_agent_id
        FOREIGN KEY (project_id, assigned_agent_id) REFERENCES agents (project_id, id)
        ON DELETE SET NULL (assigned_agent_id)
"""

# The generated columns become ordinary ones and keep their values.
DOWNGRADE = (
    """
    ALTER TABLE tasks
        ALTER COLUMN assigned_to DROP EXPRESSION,
        ALTER COLUMN assigned_to_type DROP EXPRESSION
    """,
    "ALTER TABLE tasks DROP COLUMN assigned_agent_id, DROP COLUMN assigned_user_id",
    """
    ALTER TABLE tasks ADD CONSTRAINT ck_tasks_assigned_to_type
        CHECK (assigned_to_type IN ('agent', 'user'))
    """,
)


def upgrade() -> None:
    for statement in (ADD_REFERENCES, FILL_AGENTS, FILL_USERS):
        op.execute(statement)
    report_rows("Tasks whose assignee does not exist; now unassigned", UNASSIGNED)
    for statement in (*GENERATE_ASSIGNED_TO, CONSTRAINTS):
        op.execute(statement)


def downgrade() -> None:
    for statement in DOWNGRADE:
        op.execute(statement)
