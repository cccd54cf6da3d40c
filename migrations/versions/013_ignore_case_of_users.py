"""Make user names and email addresses unique without regard to case, and give users a revision."""

from alembic import op
from sqlalchemy import BigInteger, Column, text

from migrations.report import refuse_rows

revision = "013_ignore_case_of_users"
down_revision = "012_add_status_to_task_orders"
branch_labels = None
depends_on = None

DROPS = {"users.revision": "revision <> 1"}

COLUMNS = ("username", "email")

WHAT = "{column}s of several users that differ only in case"
# `tandem db doctor` uses this query, too, to predict what happens here.
DOUBLES = """
SELECT format(
    '%s: %s', lower({column}), string_agg(format('%s (user %s)', {column}, id), ', ' ORDER BY id)
)
FROM users GROUP BY lower({column}) HAVING count(*) > 1
"""
REMEDY = "Change all but one of each: UPDATE users SET {column} = … WHERE id = …"


def upgrade() -> None:
    for column in COLUMNS:
        what, doubles, remedy = (part.format(column=column) for part in (WHAT, DOUBLES, REMEDY))
        refuse_rows(what, doubles, remedy)
        op.drop_constraint(f"uq_users_{column}", "users")
        op.execute(f"CREATE UNIQUE INDEX uq_users_{column} ON users (lower({column}))")
    op.add_column("users", Column("revision", BigInteger, nullable=False, server_default=text("1")))
    op.create_index("idx_users_created_at", "users", ["created_at", "id"])
    op.create_index("idx_users_username", "users", ["username", "id"])
    of_superusers = text("is_active AND is_superuser")
    op.create_index("idx_users_superusers", "users", ["id"], postgresql_where=of_superusers)


def downgrade() -> None:
    op.drop_index("idx_users_superusers")
    op.drop_index("idx_users_username")
    op.drop_index("idx_users_created_at")
    op.drop_column("users", "revision")
    for column in COLUMNS:
        op.drop_index(f"uq_users_{column}")
        op.create_unique_constraint(f"uq_users_{column}", "users", [column])
