"""Keep what changes in a project as a log of events, numbered without gaps.

Each project gets the head of its log; history is not invented.
"""

from alembic import op

revision = "017_add_event_log"
down_revision = "016_add_api_key_scopes"
branch_labels = None
depends_on = None

DROPS = {"events": "true"}

HEADS = """
CREATE TABLE event_heads (
    project_id uuid CONSTRAINT pk_event_heads PRIMARY KEY,
    log_id uuid NOT NULL,
    last bigint NOT NULL DEFAULT 0,
    first bigint NOT NULL DEFAULT 1,
    owner_id uuid,
    retention_days integer,
    deleted_at timestamptz
) WITH (fillfactor = 50)
"""
EVENTS = """
CREATE TABLE events (
    project_id uuid NOT NULL,
    sequence bigint NOT NULL,
    batch bigint NOT NULL,
    at timestamptz NOT NULL DEFAULT now(),
    type varchar(40) NOT NULL,
    resource_type varchar(20) NOT NULL,
    resource_id uuid NOT NULL,
    revision bigint NOT NULL,
    actor_type varchar(10) NOT NULL,
    actor_id uuid,
    api_key_id uuid,
    method varchar(100),
    request_id varchar(128),
    before jsonb,
    after jsonb NOT NULL,
    changed varchar(50)[],
    CONSTRAINT pk_events PRIMARY KEY (project_id, sequence),
    CONSTRAINT ck_events_actor_type CHECK (actor_type IN ('user', 'agent', 'system'))
)
"""
BEGIN = """
INSERT INTO event_heads (project_id, log_id)
SELECT id, gen_random_uuid() FROM projects
UNION ALL SELECT '00000000-0000-0000-0000-000000000000', gen_random_uuid()
"""


def upgrade() -> None:
    op.execute(HEADS)
    op.execute(EVENTS)
    op.create_index("idx_events_resource", "events", ["project_id", "resource_id", "sequence"])
    op.execute(BEGIN)


def downgrade() -> None:
    op.drop_table("events")
    op.drop_table("event_heads")
