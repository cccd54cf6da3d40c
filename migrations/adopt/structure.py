"""Compares tables and columns with the baseline.

Missing defaults can be repaired without losing data. Types and nullability require manual action.
"""

import re
from collections.abc import Iterator

from migrations.adopt.baseline import COLUMNS, CONSTRAINTS
from migrations.adopt.difference import RESERVED, Difference
from migrations.inspect.catalog import Catalog, Column, Table
from shared.schema import metadata

_KINDS = {
    "r": "a table",
    "i": "an index",
    "S": "a sequence",
    "v": "a view",
    "m": "a materialized view",
    "f": "a foreign table",
    "p": "a partitioned table",
    "unlogged": "an unlogged table, which is empty after a crash",
}
_UNBOUNDED = ("text", "character varying")


def compare_structure(catalog: Catalog) -> list[Difference]:
    """The differences of tables and columns, which do not depend on the rows."""
    return [*_tables(catalog), *_columns(catalog), *_reserved_names(catalog)]


def describe(table: Table) -> str:
    """The kind of relation, with its article."""
    return _KINDS.get(table.kind, "an object of another kind")


def _tables(catalog: Catalog) -> Iterator[Difference]:
    for name in COLUMNS:
        table = catalog.tables.get(name)
        if not table:
            yield Difference(name, "", "a table", "none")
        elif table.kind != "r":
            yield Difference(name, "", "a table", describe(table))
        elif not table.owned:
            yield Difference(name, "", "the current role as owner", "another owner")
        elif table.secured:
            yield Difference(name, "", "all rows visible", "row-level security")


def _reserved_names(catalog: Catalog) -> Iterator[Difference]:
    of_constraints = {constraint.name for constraint in CONSTRAINTS}
    for name, found in catalog.tables.items():
        if name not in COLUMNS and name not in of_constraints:
            yield Difference(name, "", RESERVED, describe(found))


def _columns(catalog: Catalog) -> Iterator[Difference]:
    for table, expected in COLUMNS.items():
        found = catalog.columns.get(table)
        if found is None:
            continue
        for name, column in expected.items():
            yield from _column(table, name, column, found.get(name))
        for name in found.keys() - expected.keys():
            yield from _extra(table, name, found[name])


def _column(table: str, name: str, expected: Column, found: Column | None) -> Iterator[Difference]:
    if not found:
        yield Difference(table, name, _written(expected), "none")
    elif not _accepts(expected, found):
        yield Difference(table, name, _written(expected), _written(found))
    elif expected.default and found.default != expected.default:
        yield Difference(
            table,
            name,
            f"default {expected.default}",
            f"default {found.default}" if found.default else "no default",
            f"ALTER TABLE {table} ALTER COLUMN {name} SET DEFAULT {expected.default}",
        )


def _extra(table: str, name: str, found: Column) -> Iterator[Difference]:
    if name in metadata.tables[table].columns:
        yield Difference(
            table, name, "no such column, because a migration adds it", _written(found)
        )
    elif not (found.null or found.default or found.computed):
        yield Difference(table, name, "no other column that requires a value", _written(found))


def _accepts(expected: Column, found: Column) -> bool:
    """Whether a column stores every value of the expected one unchanged."""
    return (
        _type_accepts(expected.type, found.type)
        and expected.null == found.null
        and not found.computed
    )


def _type_accepts(expected: str, found: str) -> bool:
    if found == expected or (found in _UNBOUNDED and expected.startswith(_UNBOUNDED)):
        return True
    lengths = [re.fullmatch(r"character varying\((\d+)\)", type_) for type_ in (expected, found)]
    return all(lengths) and int(lengths[0][1]) <= int(lengths[1][1])  # type: ignore[index]


def _written(column: Column) -> str:
    computed = " (computed)" if column.computed else ""
    return f"{column.type}{'' if column.null else ' NOT NULL'}{computed}"
