"""Extend the indexes for lists and foreign keys: filter columns, sort column, id."""

from alembic import op

revision = "009_widen_list_indexes"
down_revision = "008_add_request_ids"
branch_labels = None
depends_on = None

# name, table, columns before, columns after
WIDENED = (
    ("idx_agents_project_id", "agents", "project_id", "project_id, created_at, id"),
    ("idx_agents_status", "agents", "status", "project_id, status, created_at, id"),
    ("idx_agents_is_active", "agents", "is_active", "project_id, is_active, created_at, id"),
    ("idx_tasks_project_id", "tasks", "project_id", "project_id, created_at, id"),
    ("idx_tasks_room_id", "tasks", "room_id", "project_id, room_id, created_at, id"),
    ("idx_tasks_status", "tasks", "status", "project_id, status, created_at, id"),
    ("idx_tasks_assigned_to", "tasks", "assigned_to", "assigned_to, created_at, id"),
)

ADDED = (
    ("idx_projects_owner_id", "projects", "owner_id, created_at, id"),
    ("idx_agents_updated_at", "agents", "project_id, updated_at, id"),
    ("idx_agent_api_keys_agent_id", "agent_api_keys", "project_id, agent_id, created_at, id"),
    ("idx_agent_api_keys_created_by_id", "agent_api_keys", "created_by_id"),
    ("idx_chat_rooms_project_id", "chat_rooms", "project_id, created_at, id"),
    ("idx_chat_rooms_created_by", "chat_rooms", "created_by"),
    ("idx_chat_participants_room_id", "chat_participants", "project_id, room_id, created_at, id"),
    ("idx_chat_participants_agent_id", "chat_participants", "project_id, agent_id"),
    ("idx_chat_participants_user_id", "chat_participants", "user_id"),
    ("idx_tasks_assigned_agent_id", "tasks", "project_id, assigned_agent_id"),
    ("idx_tasks_assigned_user_id", "tasks", "assigned_user_id"),
    ("idx_tasks_created_by", "tasks", "created_by"),
    ("idx_tasks_updated_at", "tasks", "project_id, updated_at, id"),
    ("idx_tasks_due_date", "tasks", "project_id, due_date, id"),
)


def upgrade() -> None:
    for name, table, _, columns in WIDENED:
        op.drop_index(name)
        op.create_index(name, table, columns.split(", "))
    for name, table, columns in ADDED:
        op.create_index(name, table, columns.split(", "))


def downgrade() -> None:
    for name, _, _ in ADDED:
        op.drop_index(name)
    for name, table, columns, _ in WIDENED:
        op.drop_index(name)
        op.create_index(name, table, columns.split(", "))
