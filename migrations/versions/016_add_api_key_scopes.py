"""Let API keys have scopes, and keep which agent created a task or a room.

A key that exists has no scopes, and so exactly the rights that it had.
"""

from alembic import op

revision = "016_add_api_key_scopes"
down_revision = "015_add_user_identities"
branch_labels = None
depends_on = None

CREATED = ("tasks", "chat_rooms")

DROPS = {
    "agent_api_keys.scopes": "scopes <> '{}'",
    **{f"{table}.created_by_agent_id": "created_by_agent_id IS NOT NULL" for table in CREATED},
}

SCOPES = """
ALTER TABLE agent_api_keys
    ADD COLUMN scopes varchar(50)[] NOT NULL DEFAULT '{}'::varchar(50)[],
    ADD CONSTRAINT ck_agent_api_keys_scopes CHECK (scopes <@ ARRAY[
        'claim_tasks', 'read_project', 'create_tasks', 'manage_tasks', 'manage_rooms'
    ]::varchar(50)[])
"""
CREATOR = """
ALTER TABLE {table}
    ADD COLUMN created_by_agent_id uuid,
    ADD CONSTRAINT fk_{table}_created_by_agent_id
        FOREIGN KEY (project_id, created_by_agent_id) REFERENCES agents (project_id, id)
        ON DELETE SET NULL (created_by_agent_id)
"""
INDEX = """
CREATE INDEX idx_{table}_created_by_agent_id ON {table} (project_id, created_by_agent_id)
WHERE created_by_agent_id IS NOT NULL
"""


def upgrade() -> None:
    op.execute(SCOPES)
    for table in CREATED:
        op.execute(CREATOR.format(table=table))
        op.execute(INDEX.format(table=table))


def downgrade() -> None:
    for table in CREATED:
        op.drop_column(table, "created_by_agent_id")
    op.drop_column("agent_api_keys", "scopes")
