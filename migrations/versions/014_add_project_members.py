"""Let users be members of projects, as viewer, editor or admin."""

from alembic import op

revision = "014_add_project_members"
down_revision = "013_ignore_case_of_users"
branch_labels = None
depends_on = None

DROPS = {"project_members": "true"}

TABLE = """
CREATE TABLE project_members (
    id uuid CONSTRAINT pk_project_members PRIMARY KEY,
    project_id uuid NOT NULL
        CONSTRAINT fk_project_members_project_id REFERENCES projects (id) ON DELETE CASCADE,
    user_id uuid NOT NULL
        CONSTRAINT fk_project_members_user_id REFERENCES users (id) ON DELETE CASCADE,
    role varchar(50) NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    revision bigint NOT NULL DEFAULT 1,
    CONSTRAINT ck_project_members_role CHECK (role IN ('viewer', 'editor', 'admin')),
    CONSTRAINT uq_project_members_project_id_user_id UNIQUE (project_id, user_id)
)
"""

# For the tasks of users in projects of which they are no members.
INDEX = """
CREATE INDEX idx_tasks_assigned_user_id ON tasks ({columns}) WHERE assigned_user_id IS NOT NULL
"""


def upgrade() -> None:
    op.execute(TABLE)
    op.drop_index("idx_tasks_assigned_user_id")
    op.execute(INDEX.format(columns="assigned_user_id, project_id"))
    columns = ["project_id", "created_at", "id"]
    op.create_index("idx_project_members_project_id", "project_members", columns)
    op.create_index("idx_project_members_user_id", "project_members", ["user_id", "project_id"])


def downgrade() -> None:
    op.drop_index("idx_tasks_assigned_user_id")
    op.execute(INDEX.format(columns="assigned_user_id"))
    op.drop_table("project_members")
