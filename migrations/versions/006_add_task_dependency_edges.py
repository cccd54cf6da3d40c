"""Store dependencies of tasks as rows with foreign keys, in addition to the JSON list."""

from alembic import op

from migrations.report import report_rows

revision = "006_add_task_dependency_edges"
down_revision = "005_split_task_assignee"
branch_labels = None
depends_on = None

# The JSON lists have the dependencies, too, but not the time at which each was added.
DROPS = {"task_dependencies.created_at": "true"}

TASK_DEPENDENCIES = """
CREATE TABLE task_dependencies (
    project_id uuid NOT NULL,
    task_id uuid NOT NULL,
    depends_on_id uuid NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT ck_task_dependencies_not_self CHECK (task_id <> depends_on_id)
)
"""

# The lists may contain anything. Whatever is not the id of another task of the project is ignored.
FILL_EDGES = """
INSERT INTO task_dependencies (project_id, task_id, depends_on_id)
SELECT DISTINCT tasks.project_id, tasks.id, needed.id
FROM tasks
CROSS JOIN LATERAL jsonb_array_elements_text(
    CASE jsonb_typeof(tasks.dependencies) WHEN 'array' THEN tasks.dependencies ELSE '[]' END
) AS listed (id)
JOIN tasks AS needed ON needed.id::text = lower(listed.id)
    AND needed.project_id = tasks.project_id AND needed.id <> tasks.id
"""

# A list that differs from its edges is reduced to those that have an edge, in the order of the
# list.
CLEAN_LISTS = """
WITH edges AS (
    SELECT task_id, jsonb_agg(depends_on_id ORDER BY position(depends_on_id::text IN
               lower(tasks.dependencies::text))) AS list
    FROM task_dependencies JOIN tasks ON tasks.id = task_id
    GROUP BY task_id
)
UPDATE tasks SET dependencies = COALESCE(edges.list, '[]'::jsonb)
FROM tasks AS listing LEFT JOIN edges ON edges.task_id = listing.id
WHERE listing.id = tasks.id AND tasks.dependencies <> COALESCE(edges.list, '[]'::jsonb)
RETURNING tasks.id
"""

CONSTRAINTS = """
ALTER TABLE task_dependencies
    ADD CONSTRAINT pk_task_dependencies PRIMARY KEY (project_id, task_id, depends_on_id),
    ADD CONSTRAINT fk_task_dependencies_task_id
        FOREIGN KEY (project_id, task_id) REFERENCES tasks (project_id, id) ON DELETE CASCADE,
    ADD CONSTRAINT fk_task_dependencies_depends_on_id
        FOREIGN KEY (project_id, depends_on_id) REFERENCES tasks (project_id, id)
        DEFERRABLE INITIALLY DEFERRED
"""

INDEX = """
CREATE INDEX idx_task_dependencies_depends_on_id ON task_dependencies (project_id, depends_on_id)
"""


def upgrade() -> None:
    op.execute(TASK_DEPENDENCIES)
    op.execute(FILL_EDGES)
    op.execute("ANALYZE task_dependencies")
    report_rows(
        "Tasks that listed missing or repeated dependencies; the list was reduced", CLEAN_LISTS
    )
    op.execute(CONSTRAINTS)
    op.execute(INDEX)


def downgrade() -> None:
    op.drop_table("task_dependencies")
