"""Put the status into the indexes of tasks by due date and priority, for lists by it.

Indexes are built before any is dropped: until then reads go on, and only writes wait.
"""

from alembic import op

revision = "012_add_status_to_task_orders"
down_revision = "011_serve_every_list_by_index"
branch_labels = None
depends_on = None

URGENCY = "coalesce(strpos('critical high medium low', priority), 25)"

# Of tasks: name, columns before, columns after.
WIDENED = (
    ("idx_tasks_due_date", "project_id, due_date, id", "project_id, status, due_date, id"),
    ("idx_tasks_priority", f"project_id, {URGENCY}, id", f"project_id, status, {URGENCY}, id"),
    ("idx_tasks_all_due_date", "due_date, id", "status, due_date, id"),
    ("idx_tasks_all_priority", f"{URGENCY}, id", f"status, {URGENCY}, id"),
)


def upgrade() -> None:
    replace({name: columns for name, _, columns in WIDENED})


def downgrade() -> None:
    replace({name: columns for name, columns, _ in WIDENED})


def replace(indexes: dict[str, str]) -> None:
    for name, columns in indexes.items():
        op.execute(f"CREATE INDEX {name}_new ON tasks ({columns})")
    for name in indexes:
        op.drop_index(name)
        op.execute(f"ALTER INDEX {name}_new RENAME TO {name}")
