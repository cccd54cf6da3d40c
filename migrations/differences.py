"""Where tables that something else made differ from those that the next migrations build upon.

What loses nothing is repaired: defaults, names, and rules that all rows keep already. Types,
nullability and rows that break a rule are for a person to decide.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from migrations.catalog import Catalog, Column, Table
from migrations.expected import COLUMNS, CONSTRAINTS
from shared.schema import metadata

KINDS = {
    "r": "a table",
    "i": "an index",
    "S": "a sequence",
    "v": "a view",
    "m": "a materialized view",
    "f": "a foreign table",
    "p": "a partitioned table",
    "unlogged": "an unlogged table, which a crash empties",
}
UNUSED = "nothing of this name, which a migration makes"
UNBOUNDED = ("text", "character varying")


@dataclass(frozen=True)
class Difference:
    """One place where the database is not as expected.

    `part` is a column, a constraint or an index; empty for the table itself. `repair` is a
    statement that makes it as expected and loses nothing; None: a person has to. `rows`: so many
    rows break a rule that is not there.
    """

    table: str
    part: str
    expected: str
    found: str
    repair: str | None = None
    rows: int = 0

    @property
    def place(self) -> str:
        """`table` or `table.part`."""
        return f"{self.table}.{self.part}" if self.part else self.table

    def __str__(self) -> str:
        return f"{self.place}: expected {self.expected}; found {self.found}"


def find_structural(catalog: Catalog) -> list[Difference]:
    """Differences of the tables and their columns, whatever rows there are."""
    return [*_tables(catalog), *_columns(catalog), *_names_of_later_ones(catalog)]


def _tables(catalog: Catalog) -> Iterator[Difference]:
    for name in COLUMNS:
        table = catalog.tables.get(name)
        if not table:
            yield Difference(name, "", "a table", "none")
        elif table.kind != "r":
            yield Difference(name, "", "a table", described(table))
        elif not table.owned:
            yield Difference(name, "", "to belong to who migrates", "another owner")
        elif table.secured:
            yield Difference(name, "", "all rows to be seen", "row security")


def _names_of_later_ones(catalog: Catalog) -> Iterator[Difference]:
    of_constraints = {constraint.name for constraint in CONSTRAINTS}
    for name, found in catalog.tables.items():
        if name not in COLUMNS and name not in of_constraints:
            yield Difference(name, "", UNUSED, described(found))


def described(table: Table) -> str:
    """Which kind of relation it is."""
    return KINDS.get(table.kind, "something else")


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
    elif not holds(expected, found):
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
        yield Difference(table, name, "no such column, which a migration adds", _written(found))
    elif not (found.null or found.default or found.computed):
        yield Difference(table, name, "no column that a new row has to fill", _written(found))


def holds(expected: Column, found: Column) -> bool:
    """Whether a column takes every value that the expected one takes, and gives it back alike."""
    return (
        _type_holds(expected.type, found.type)
        and expected.null == found.null
        and not found.computed
    )


def _type_holds(expected: str, found: str) -> bool:
    if found == expected or (found in UNBOUNDED and expected.startswith(UNBOUNDED)):
        return True
    lengths = [re.fullmatch(r"character varying\((\d+)\)", type_) for type_ in (expected, found)]
    return all(lengths) and int(lengths[0][1]) <= int(lengths[1][1])  # type: ignore[index]


def _written(column: Column) -> str:
    computed = " (computed)" if column.computed else ""
    return f"{column.type}{'' if column.null else ' NOT NULL'}{computed}"
