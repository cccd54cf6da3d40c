"""Restrict references to rows of the same project, by composite foreign keys."""

from alembic import op

from migrations.report import refuse_rows, report_rows

revision = "004_bind_rows_to_their_project"
down_revision = "003_create_agent_and_task_tables"
branch_labels = None
depends_on = None

TARGETS = ("agents", "chat_rooms", "tasks")

# table, column, referenced table, ON DELETE action before and after
REFERENCES = (
    ("chat_participants", "room_id", "chat_rooms", "CASCADE", "CASCADE"),
    ("chat_participants", "agent_id", "agents", "CASCADE", "CASCADE"),
    ("agent_api_keys", "agent_id", "agents", "CASCADE", "CASCADE"),
    ("tasks", "room_id", "chat_rooms", "SET NULL", "SET NULL (room_id)"),
)

FILL_PROJECTS = """
UPDATE chat_participants AS participants SET project_id = chat_rooms.project_id
FROM chat_rooms WHERE chat_rooms.id = participants.room_id
"""

LEAVE_FOREIGN_ROOMS = """
UPDATE tasks SET room_id = NULL
FROM chat_rooms
WHERE chat_rooms.id = tasks.room_id AND chat_rooms.project_id <> tasks.project_id
RETURNING tasks.id
"""

# An API key or a participant cannot exist without an agent, so these require manual action.
FOREIGN_AGENTS = """
SELECT 'key ' || keys.id
FROM agent_api_keys AS keys JOIN agents ON agents.id = keys.agent_id
WHERE agents.project_id <> keys.project_id
UNION ALL
SELECT 'participant ' || participants.id
FROM chat_participants AS participants JOIN agents ON agents.id = participants.agent_id
WHERE agents.project_id <> participants.project_id
"""


def upgrade() -> None:
    op.execute("ALTER TABLE chat_participants ADD COLUMN project_id uuid")
    op.execute(FILL_PROJECTS)
    op.execute("ALTER TABLE chat_participants ALTER COLUMN project_id SET NOT NULL")
    resolve_references_to_other_projects()
    for table in TARGETS:
        op.create_unique_constraint(f"uq_{table}_project_id_id", table, ["project_id", "id"])
    for table, column, target, _, ondelete in REFERENCES:
        refer(table, column, target, ["project_id"], ondelete)


def resolve_references_to_other_projects() -> None:
    report_rows("Tasks in a room of another project; now in no room", LEAVE_FOREIGN_ROOMS)
    refuse_rows(
        "API keys or participants with an agent of another project",
        FOREIGN_AGENTS,
        "Delete them, or give them an agent of their own project.",
    )


def refer(table: str, column: str, target: str, shared: list[str], ondelete: str) -> None:
    name = f"fk_{table}_{column}"
    op.drop_constraint(name, table)
    op.create_foreign_key(
        name, table, target, [*shared, column], [*shared, "id"], ondelete=ondelete
    )


def downgrade() -> None:
    for table, column, target, ondelete, _ in REFERENCES:
        refer(table, column, target, [], ondelete)
    for table in TARGETS:
        op.drop_constraint(f"uq_{table}_project_id_id", table)
    op.drop_column("chat_participants", "project_id")
