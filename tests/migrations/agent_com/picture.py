"""All that a dump of a database has."""

from tests.migrations.database import Database
from tests.schema.rows import Connection

# Beyond what `everything` has: every default, sequence, privilege, owner and comment.
CATALOG = """
SELECT format('%s %s %s %s', relname, relkind, relowner::regrole, relacl)
FROM pg_class WHERE relnamespace = 'public'::regnamespace
UNION ALL
SELECT format('%s.%s %s %s %s', attrelid::regclass, attname, attnum, attacl,
              pg_get_expr(adbin, adrelid))
FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
WHERE relnamespace = 'public'::regnamespace AND attnum > 0
UNION ALL
SELECT format('sequence %s %s', sequencename, last_value) FROM pg_sequences
UNION ALL
SELECT format('schema %s', nspname) FROM pg_namespace WHERE nspname !~ '^pg_'
UNION ALL
SELECT format('%s %s', objoid::regclass, description) FROM pg_description
WHERE classoid = 'pg_class'::regclass AND objoid > 16384
"""
TABLES = """
SELECT format('%I.%I', schemaname, tablename) FROM pg_tables
WHERE schemaname IN ('public', 'agent_com_before') ORDER BY 1
"""


def picture(database: Database) -> tuple[object, ...]:
    """Every object with its properties, and every row as it is written."""
    return database.structure(), *database.make(_read)


async def _read(connection: Connection) -> tuple[object, ...]:
    rows = {
        table: sorted(await _values(connection, f"SELECT t::text FROM {table} AS t"))  # noqa: S608
        for table in await _values(connection, TABLES)
    }
    return sorted(await _values(connection, CATALOG)), rows


async def _values(connection: Connection, sql: str) -> list[str]:
    return [row[0] for row in await connection.fetch(sql)]
