"""Store the response to each write with a request id, so that a retry receives it again."""

from alembic import op

revision = "008_add_request_ids"
down_revision = "007_add_revisions"
branch_labels = None
depends_on = None

DROPS = {"request_ids": "true"}

REQUEST_IDS = """
CREATE TABLE request_ids (
    caller_id uuid NOT NULL,
    method varchar(200) NOT NULL,
    request_id uuid NOT NULL,
    payload_hash bytea NOT NULL,
    answer bytea,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT pk_request_ids PRIMARY KEY (caller_id, method, request_id)
)
"""


def upgrade() -> None:
    op.execute(REQUEST_IDS)
    # Finds the rows that are older than a day, to delete them.
    op.execute("CREATE INDEX idx_request_ids_created_at ON request_ids (created_at)")


def downgrade() -> None:
    op.drop_table("request_ids")
