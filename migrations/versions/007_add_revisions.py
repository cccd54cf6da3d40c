"""Add a revision to every resource, so that an update can detect changes by others."""

from alembic import op
from sqlalchemy import BigInteger, Column, text

revision = "007_add_revisions"
down_revision = "006_add_task_dependency_edges"
branch_labels = None
depends_on = None

RESOURCES = ("projects", "agents", "tasks", "chat_rooms", "agent_api_keys")

DROPS = {f"{table}.revision": "revision <> 1" for table in RESOURCES}


def upgrade() -> None:
    for table in RESOURCES:
        op.add_column(
            table, Column("revision", BigInteger, nullable=False, server_default=text("1"))
        )


def downgrade() -> None:
    for table in RESOURCES:
        op.drop_column(table, "revision")
