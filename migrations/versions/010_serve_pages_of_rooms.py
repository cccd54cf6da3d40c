"""Add indexes for every order of rooms, and of the participants of a room."""

from alembic import op

revision = "010_serve_pages_of_rooms"
down_revision = "009_widen_list_indexes"
branch_labels = None
depends_on = None

PARTICIPANTS = "idx_chat_participants_room_id"

ADDED = (
    ("idx_chat_rooms_updated_at", "project_id, updated_at, id"),
    ("idx_chat_rooms_name", "project_id, name, id"),
)


def upgrade() -> None:
    for name, columns in ADDED:
        op.create_index(name, "chat_rooms", columns.split(", "))
    op.drop_index(PARTICIPANTS)
    op.create_index(PARTICIPANTS, "chat_participants", ["room_id", "joined_at", "id"])


def downgrade() -> None:
    for name, _ in ADDED:
        op.drop_index(name)
    op.drop_index(PARTICIPANTS)
    columns = ["project_id", "room_id", "created_at", "id"]
    op.create_index(PARTICIPANTS, "chat_participants", columns)
