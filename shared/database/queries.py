"""What is asked about the database itself."""

from sqlalchemy import Boolean, Text, bindparam, cast, column, exists, func, or_, select, table

from shared.database.pool import Record
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


_ROLE = table(
    "pg_roles",
    *map(column, ("oid", "rolname", "rolsuper", "rolcreatedb", "rolcreaterole", "rolreplication")),
    column("rolbypassrls"),
)
_MEMBERSHIP = table("pg_auth_members", column("member"))
_TABLE = table("pg_class", column("relowner"), column("relnamespace"))
_SCHEMA, _DATABASE = func.current_schema(), func.current_database()
_REVISION, _EVENTS = func.to_regclass("alembic_version"), func.to_regclass("events")
_ID = _ROLE.c.oid

EXCESS = Statement(
    "Whether a role, or if it is NULL this one, can do more than read and write rows.",
    select(
        _ROLE.c.rolsuper.label("everything, as a superuser"),
        or_(
            _ROLE.c.rolcreatedb,
            _ROLE.c.rolcreaterole,
            _ROLE.c.rolreplication,
            _ROLE.c.rolbypassrls,
        ).label("CREATEDB, CREATEROLE, REPLICATION or BYPASSRLS"),
        exists().where(_MEMBERSHIP.c.member == _ID).label("what a role can that it is a member of"),
        func.has_schema_privilege(_ID, _SCHEMA, "CREATE").label("CREATE on the schema"),
        func.has_database_privilege(_ID, _DATABASE, "CREATE").label("CREATE on the database"),
        func.has_database_privilege(_ID, _DATABASE, "TEMP").label("TEMPORARY on the database"),
        exists()
        .where(
            func.pg_has_role(_ID, _TABLE.c.relowner, "USAGE"),
            _TABLE.c.relnamespace == func.to_regnamespace(func.quote_ident(_SCHEMA)),
        )
        .label("everything with tables of its own"),
        func.has_table_privilege(_ID, _REVISION, "INSERT, UPDATE, DELETE").label(
            "change the revision"
        ),
        func.has_table_privilege(_ID, _EVENTS, "UPDATE").label("change events"),
    ).where(_ROLE.c.rolname == func.coalesce(bindparam("role", type_=Text), func.current_user())),
)


def excess_in(row: Record | None) -> list[str]:
    """What EXCESS has found, in words."""
    return [what for what, given in row.items() if given] if row else []
