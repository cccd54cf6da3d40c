"""Checks the privileges that a migration needs."""

from sqlalchemy import Connection

from migrations.inspect.findings import Finding, Kind, count

MISSING_PRIVILEGES = Kind("rights_lacking", "missing privileges", blocks=True)

# 003 creates a temporary table.
_NEEDS = """
SELECT need FROM (VALUES
    ('a schema to create tables in, which the search path names', current_schema() IS NOT NULL),
    ('CREATE on the schema ' || current_schema(),
     has_schema_privilege(current_schema(), 'CREATE')),
    ('TEMPORARY on the database ' || current_database(),
     has_database_privilege(current_database(), 'TEMPORARY')),
    ('transactions that may write',
     NOT pg_is_in_recovery() AND NOT current_setting('default_transaction_read_only')::boolean)
) AS needs (need, given) WHERE NOT given
"""


def find_missing_privileges(connection: Connection) -> list[Finding]:
    """One finding that lists them; empty if none is missing."""
    finding = count(connection, MISSING_PRIVILEGES, _NEEDS)
    return [finding] if finding.count else []
