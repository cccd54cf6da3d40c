"""${message}.

What happens to existing rows, and why. The first line appears in docs/migrations.md.
"""

from alembic import op

revision = "${up_revision}"
down_revision = "${down_revision}"
branch_labels = None
depends_on = None

# What the downgrade drops for good, and the condition under which a row loses data by it, such as
# {"leases": "true", "tasks.labels": "labels <> '[]'"}. Remove it if that is nothing.
DROPS: dict[str, str] = {}


def upgrade() -> None:
    # All migrations of a run share one transaction, in which a wait for a lock ends after 10 s.
    op.execute("TODO")


def downgrade() -> None:
    op.execute("TODO")
