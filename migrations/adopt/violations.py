"""Finds the rows that a constraint would reject."""

from sqlalchemy import Connection

from migrations.inspect.catalog import Constraint
from migrations.inspect.findings import first_of

_NAMED = 3

_REPEATED = """
SELECT id FROM (
    SELECT id, row_number() OVER (PARTITION BY {columns} ORDER BY id) AS nth
    FROM {table} WHERE num_nulls({columns}) = 0
) AS numbered WHERE nth > 1
"""
_DANGLING = """
SELECT id FROM {table} AS child WHERE {columns} IS NOT NULL
AND NOT EXISTS (SELECT FROM {target} AS parent WHERE parent.id = child.{columns})
"""
_UNCHECKED = "SELECT id FROM {table} WHERE NOT {condition}"

# By the kind of constraint.
_VIOLATING = {"p": _REPEATED, "u": _REPEATED, "f": _DANGLING, "c": _UNCHECKED}


def find_violations(connection: Connection, constraint: Constraint) -> tuple[int, list[str]]:
    """The number of rows that violate a constraint, and the ids of the first three."""
    statement = _VIOLATING[constraint.kind].format(
        table=constraint.table,
        columns=", ".join(constraint.columns),
        target=constraint.target,
        condition=constraint.definition.removeprefix("CHECK "),
    )
    return first_of(connection, statement, _NAMED)
