"""Reads PostgreSQL's catalog: tables, columns and constraints of the current schema."""

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import Connection, text

HERE = "(SELECT oid FROM pg_namespace WHERE nspname = current_schema())"

TABLES = f"""
SELECT relname, CASE relpersistence WHEN 'u' THEN 'unlogged' ELSE relkind::text END,
       pg_has_role(relowner, 'USAGE'), row_security_active(oid)
FROM pg_class WHERE relnamespace = {HERE} AND relname = ANY(:names)
"""  # noqa: S608

COLUMNS = f"""
SELECT relname, attname, format_type(atttypid, atttypmod), NOT attnotnull,
       pg_get_expr(adbin, adrelid), attgenerated <> '' OR attidentity <> ''
FROM pg_class
JOIN pg_attribute ON attrelid = pg_class.oid AND attnum > 0 AND NOT attisdropped
LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
WHERE relnamespace = {HERE} AND relname = ANY(:names)
ORDER BY relname, attnum
"""  # noqa: S608

# NOT NULL, which PostgreSQL 18 stores as a constraint ('n'), is read from the columns. A unique
# index is special if no constraint could use it, for example because it is partial or not valid.
CONSTRAINTS = f"""
SELECT relname, quote_ident(conname), contype::text, pg_get_constraintdef(pg_constraint.oid),
       ARRAY(SELECT attname FROM unnest(conkey) AS k JOIN pg_attribute
             ON attrelid = conrelid AND attnum = k ORDER BY attname)::text[],
       NULLIF(confrelid, 0)::regclass::text
FROM pg_constraint JOIN pg_class ON pg_class.oid = conrelid
WHERE relnamespace = {HERE} AND relname = ANY(:names) AND contype NOT IN ('n', 't')
UNION ALL
SELECT relname, indexrelid::regclass::text, 'i',
       CASE WHEN indpred IS NULL AND indexprs IS NULL AND indisvalid AND indimmediate
                 AND indnkeyatts = indnatts AND NOT indnullsnotdistinct
                 AND 0 = ALL (indoption::int2[])
            THEN 'unique index' ELSE 'special unique index' END,
       ARRAY(SELECT attname FROM pg_attribute JOIN pg_depend
             ON refobjid = attrelid AND refobjsubid = attnum
             WHERE objid = indexrelid AND refclassid = 'pg_class'::regclass
             ORDER BY attname)::text[],
       NULL
FROM pg_index JOIN pg_class ON pg_class.oid = indrelid
WHERE relnamespace = {HERE} AND relname = ANY(:names) AND indisunique
  AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid AND conrelid = indrelid)
ORDER BY 1, 2
"""  # noqa: S608


@dataclass(frozen=True)
class Table:
    """A relation of any kind.

    `kind` is a pg_class.relkind, or `unlogged`. `owned`: the current role has the privileges of the
    owner. `secured`: row-level security may hide rows from the current role.
    """

    name: str
    kind: str
    owned: bool
    secured: bool


@dataclass(frozen=True)
class Column:
    """`type` and `default` as PostgreSQL prints them; `computed`: generated or identity."""

    type: str
    null: bool = False
    default: str | None = None
    computed: bool = False


@dataclass(frozen=True)
class Constraint:
    """`kind` is a pg_constraint.contype, or `i`: a unique index without a constraint.

    `name` is quoted if SQL requires it, `columns` are sorted, and `target` is the table that a
    foreign key refers to.
    """

    table: str
    name: str
    kind: str
    definition: str
    columns: tuple[str, ...]
    target: str | None = None

    def stands_for(self, other: "Constraint") -> bool:
        """Whether both restrict the same columns; a unique index counts as a unique constraint."""
        return (self.table, self.kind.replace("i", "u"), self.columns, self.target) == (
            other.table,
            other.kind,
            other.columns,
            other.target,
        )


@dataclass(frozen=True)
class Catalog:
    """The tables that exist among the names that were asked for, by name."""

    tables: dict[str, Table]
    columns: dict[str, dict[str, Column]]
    constraints: tuple[Constraint, ...]


def read(connection: Connection, names: Iterable[str]) -> Catalog:
    """Read the tables with these names from the schema in which new tables are created."""
    parameters = {"names": list(names)}
    tables = [Table(*row) for row in connection.execute(text(TABLES), parameters)]
    columns: dict[str, dict[str, Column]] = {table.name: {} for table in tables}
    for table, name, *column in connection.execute(text(COLUMNS), parameters):
        columns[table][name] = Column(*column)
    constraints = tuple(
        Constraint(table, name, kind, definition, tuple(keys), target)
        for table, name, kind, definition, keys, target in connection.execute(
            text(CONSTRAINTS), parameters
        )
    )
    return Catalog({table.name: table for table in tables}, columns, constraints)
