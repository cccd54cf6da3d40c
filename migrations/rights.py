"""What PostgreSQL has to allow before a migration can begin."""

from sqlalchemy import Connection

from migrations.findings import Finding, Kind, count

LACKING = Kind("rights_lacking", "rights that a migration needs are not given", blocks=True)

# 003 makes a temporary table.
NEEDS = """
SELECT need FROM (VALUES
    ('a schema to make tables in, which the search path names', current_schema() IS NOT NULL),
    ('CREATE on the schema ' || current_schema(),
     has_schema_privilege(current_schema(), 'CREATE')),
    ('TEMPORARY on the database ' || current_database(),
     has_database_privilege(current_database(), 'TEMPORARY')),
    ('transactions that may write',
     NOT pg_is_in_recovery() AND NOT current_setting('default_transaction_read_only')::boolean)
) AS needs (need, given) WHERE NOT given
"""


def find_lacking(connection: Connection) -> list[Finding]:
    """One finding, or none where nothing lacks."""
    finding = count(connection, LACKING, NEEDS)
    return [finding] if finding.count else []
