"""Keep which user the subject of another issuer's tokens is."""

from alembic import op

revision = "015_add_user_identities"
down_revision = "014_add_project_members"
branch_labels = None
depends_on = None

DROPS = {"user_identities": "true"}

TABLE = """
CREATE TABLE user_identities (
    issuer varchar(255) NOT NULL,
    subject varchar(255) NOT NULL,
    user_id uuid NOT NULL
        CONSTRAINT fk_user_identities_user_id REFERENCES users (id) ON DELETE CASCADE,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT pk_user_identities PRIMARY KEY (issuer, subject)
)
"""


def upgrade() -> None:
    op.execute(TABLE)
    op.create_index("idx_user_identities_user_id", "user_identities", ["user_id"])


def downgrade() -> None:
    op.drop_table("user_identities")
