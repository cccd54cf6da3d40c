"""Add indexes for every order of a list, also over all projects, and leave NULLs out of others.

Indexes are built before any is dropped: until then reads go on, and only writes wait.
"""

from alembic import op

revision = "011_serve_every_list_by_index"
down_revision = "010_serve_pages_of_rooms"
branch_labels = None
depends_on = None

URGENCY = "coalesce(strpos('critical high medium low', priority), 25)"

ADDED = (
    ("idx_tasks_priority", "tasks", f"project_id, {URGENCY}, id"),
    ("idx_tasks_all_created_at", "tasks", "status, created_at, id"),
    ("idx_tasks_all_updated_at", "tasks", "updated_at, id"),
    ("idx_tasks_all_due_date", "tasks", "due_date, id"),
    ("idx_tasks_all_priority", "tasks", f"{URGENCY}, id"),
    ("idx_agents_all_created_at", "agents", "status, created_at, id"),
    ("idx_agents_all_updated_at", "agents", "updated_at, id"),
    ("idx_agents_all_name", "agents", "name, id"),
    ("idx_chat_rooms_all_created_at", "chat_rooms", "created_at, id"),
    ("idx_chat_rooms_all_updated_at", "chat_rooms", "updated_at, id"),
    ("idx_chat_rooms_all_name", "chat_rooms", "name, id"),
    ("idx_projects_status", "projects", "owner_id, status, created_at, id"),
    ("idx_projects_updated_at", "projects", "owner_id, updated_at, id"),
    ("idx_projects_name", "projects", "owner_id, name, id"),
    ("idx_projects_all_created_at", "projects", "status, created_at, id"),
    ("idx_projects_all_updated_at", "projects", "updated_at, id"),
    ("idx_projects_all_name", "projects", "name, id"),
)

# Of tasks: name, columns before, columns after, and the column without which there is no entry.
NARROWED = (
    (
        "idx_tasks_room_id",
        "project_id, room_id, created_at, id",
        "project_id, room_id, created_at, id",
        "room_id",
    ),
    (
        "idx_tasks_assigned_to",
        "assigned_to, created_at, id",
        "assigned_to, status, created_at, id",
        "assigned_to",
    ),
    (
        "idx_tasks_assigned_agent_id",
        "project_id, assigned_agent_id",
        "project_id, assigned_agent_id",
        "assigned_agent_id",
    ),
    (
        "idx_tasks_assigned_user_id",
        "assigned_user_id",
        "assigned_user_id",
        "assigned_user_id",
    ),
)


def upgrade() -> None:
    for name, table, columns in ADDED:
        op.execute(f"CREATE INDEX {name} ON {table} ({columns})")
    for name, _, columns, column in NARROWED:
        op.execute(f"CREATE INDEX {name}_new ON tasks ({columns}) WHERE {column} IS NOT NULL")
    replace()


def downgrade() -> None:
    for name, columns, _, _ in NARROWED:
        op.execute(f"CREATE INDEX {name}_new ON tasks ({columns})")
    replace()
    for name, _, _ in ADDED:
        op.drop_index(name)


def replace() -> None:
    for name, _, _, _ in NARROWED:
        op.drop_index(name)
        op.execute(f"ALTER INDEX {name}_new RENAME TO {name}")
