"""Only the owner of the tables moves the revision.

Its default privileges give the rows of every new table to the services, and with them those of
`alembic_version`, which the first migration makes.
"""

from sqlalchemy import Connection, text

_WHO_CAN_CHANGE_IT = """
SELECT DISTINCT CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END
FROM pg_class, aclexplode(relacl)
WHERE pg_class.oid = to_regclass('alembic_version')
    AND grantee <> relowner AND privilege_type <> 'SELECT'
"""


def keep_revision(connection: Connection) -> None:
    """Take from every other role the privilege to change the revision."""
    for role in connection.scalars(text(_WHO_CAN_CHANGE_IT)).all():
        connection.execute(
            text(f"REVOKE INSERT, UPDATE, DELETE, TRUNCATE ON alembic_version FROM {role}")
        )
