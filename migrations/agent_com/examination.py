"""Examines a database of agent_com: what an adoption would do, and what prevents it."""

from dataclasses import dataclass

from sqlalchemy import Connection, text

from migrations.adopt.comparison import RESERVED_NAMES
from migrations.adopt.difference import Difference
from migrations.agent_com.findings import BLOCKS, CHANGES, COPIED, LOSSES
from migrations.agent_com.source import source
from migrations.agent_com.tables import BEFORE, COLUMNS, compare_tables, moving_tables
from migrations.inspect.catalog import HERE, Catalog, read
from migrations.inspect.findings import Finding, Kind, count, listed

MOVED = Kind("tables_moved", f"tables that move to the schema {BEFORE}, as they are")
LEFT = Kind("columns_left", f"columns without a counterpart, which stay in {BEFORE} only")
IN_THE_WAY = Kind("names_taken", "objects with a name that Tandem needs", blocks=True)
FORBIDDEN = Kind("moving_forbidden", "missing privileges to move tables", blocks=True)

_FORBIDDEN = """
SELECT 'CREATE on the database ' || current_database()
WHERE NOT has_database_privilege(current_database(), 'CREATE')
"""

# Relations and types that do not move with a table; each table has a type of its name.
_IN_THE_WAY = f"""
SELECT 'schema {BEFORE}' FROM pg_namespace WHERE nspname = '{BEFORE}'
UNION ALL
SELECT pg_class.relname FROM pg_class LEFT JOIN pg_index ON indexrelid = pg_class.oid
LEFT JOIN pg_class AS indexed ON indexed.oid = indrelid
WHERE pg_class.relnamespace = {HERE} AND pg_class.relname = ANY(:names)
  AND COALESCE(indexed.relname, pg_class.relname) <> ALL(:moving)
"""  # noqa: S608


@dataclass(frozen=True)
class Examination:
    """`differences` of the tables prevent an adoption; `findings` is what it does, if none does."""

    differences: list[Difference]
    findings: list[Finding]

    @property
    def blocks(self) -> list[str]:
        """A line for each reason why the database cannot be adopted."""
        found = [finding for finding in self.findings if finding.count and finding.kind.blocks]
        return [
            *map(str, self.differences),
            *(f"{each.kind.what}: {each.count} (first: {each.first[0]})" for each in found),
        ]


def examine_agent_com(connection: Connection) -> Examination:
    """What an adoption would do. Changes nothing."""
    moving = moving_tables(connection)
    catalog = read(connection, moving)
    differences = compare_tables(catalog)
    findings = [
        listed(MOVED, moving),
        listed(LEFT, _left(catalog)),
        *_obstacles(connection, moving),
    ]
    if not differences:
        findings += find_rows(connection, catalog)
    return Examination(differences, findings)


def find_rows(connection: Connection, catalog: Catalog) -> list[Finding]:
    """What happens to the rows."""
    schema = connection.scalar(text("SELECT quote_ident(current_schema())"))
    tables = source(catalog, str(schema))
    copied = [
        Finding(kind, count(connection, kind, lines, tables).count, [])
        for kind, lines in COPIED.items()
    ]
    others = {**CHANGES, **LOSSES, **BLOCKS}
    return [*copied, *(count(connection, kind, lines, tables) for kind, lines in others.items())]


def _left(catalog: Catalog) -> list[str]:
    copied = {(table, column) for table, columns in COLUMNS.items() for column in columns}
    lost = {
        ("users", "password_hash"),
        ("users", "role"),
        ("users", "permissions"),
        ("projects", "allow_cross_project"),
    }
    return [
        f"{table}.{column}"
        for table in COLUMNS.keys() & catalog.tables.keys()
        for column in catalog.columns[table]
        if (table, column) not in copied - lost
    ]


def _obstacles(connection: Connection, moving: list[str]) -> list[Finding]:
    names = {"names": list(RESERVED_NAMES), "moving": moving}
    taken = connection.scalars(text(_IN_THE_WAY), names).all()
    return [listed(IN_THE_WAY, taken), count(connection, FORBIDDEN, _FORBIDDEN)]
