"""Only the owner of the tables moves the revision or changes an event.

Its default privileges give the rows of every new table to the services, and with them those of
`alembic_version`, which the first migration makes, and of `events`.
"""

from sqlalchemy import Connection, text

from shared.database.roles import LESS

_WHO_CAN_DO_MORE = """
SELECT CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END AS role,
    string_agg(privilege_type, ', ') AS more
FROM pg_class, aclexplode(relacl)
WHERE pg_class.oid = to_regclass(:table)
    AND grantee <> relowner AND privilege_type <> ALL (:allowed)
GROUP BY grantee
"""


def limit_access(connection: Connection) -> None:
    """Take from every other role what no service needs."""
    for table, allowed in LESS.items():
        given = {"table": table, "allowed": allowed.split(", ")}
        for role, more in connection.execute(text(_WHO_CAN_DO_MORE), given).all():
            connection.execute(text(f"REVOKE {more} ON {table} FROM {role}"))
