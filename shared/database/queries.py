"""What is asked about the database itself."""

from sqlalchemy import Boolean, cast, column, func, or_, select, table

from shared.database.statement import Statement

READ_ONLY = Statement(
    "Whether the server is a standby, or takes no changes for another reason.",
    select(
        or_(
            func.pg_is_in_recovery(),
            cast(func.current_setting("transaction_read_only"), Boolean),
        ).label("read_only")
    ),
)

REVISIONS = Statement(
    "The revision of the schema, which the last migration left.",
    select(column("version_num")).select_from(table("alembic_version")),
)
