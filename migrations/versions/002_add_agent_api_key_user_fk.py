"""Make the creator of an API key a foreign key to users."""

from alembic import op

from migrations.report import report_rows

revision = "002_add_agent_api_key_user_fk"
down_revision = "001_create_base_tables"
branch_labels = None
depends_on = None

# `tandem db doctor` uses this condition, too, to predict what happens here.
WITHOUT_CREATOR = """
created_by_id IS NOT NULL
AND NOT EXISTS (SELECT FROM users WHERE users.id = agent_api_keys.created_by_id)
"""

FORGET_MISSING_CREATORS = f"""
UPDATE agent_api_keys SET created_by_id = NULL WHERE {WITHOUT_CREATOR} RETURNING id
"""  # noqa: S608


def upgrade() -> None:
    report_rows(
        "API keys whose creator is not a user; now without a creator", FORGET_MISSING_CREATORS
    )
    op.create_foreign_key(
        "fk_agent_api_keys_created_by_id",
        "agent_api_keys",
        "users",
        ["created_by_id"],
        ["id"],
        ondelete="SET NULL",
    )


def downgrade() -> None:
    op.drop_constraint("fk_agent_api_keys_created_by_id", "agent_api_keys")
