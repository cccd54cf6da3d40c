"""Compares constraints with the baseline.

A constraint that is missing or has another name can be repaired if every row satisfies it.
"""

import re
from collections.abc import Iterable, Iterator

from sqlalchemy import Connection

from migrations.adopt.baseline import COLUMNS, CONSTRAINTS
from migrations.adopt.difference import RESERVED, Difference
from migrations.adopt.structure import describe
from migrations.adopt.violations import find_violations
from migrations.inspect.catalog import Catalog, Constraint
from shared.schema import metadata


def compare_constraints(
    connection: Connection, catalog: Catalog, expected: Iterable[Constraint], unfit: set[str]
) -> list[Difference]:
    """The differences of constraints.

    Rows of tables in `unfit`, whose columns differ, are not read.
    """
    used: set[Constraint] = set()
    differences: list[Difference] = []
    for constraint in expected:
        alike = [found for found in catalog.constraints if found.stands_for(constraint)]
        kept = _equivalent(constraint, alike)
        used.update([kept] if kept else alike)
        if holder := _holder_of_name(catalog, constraint, alike):
            place = constraint.table, constraint.name
            differences.append(Difference(*place, "no other object of this name", holder))
        elif kept:
            differences += _renamed(constraint, kept)
        elif not {constraint.table, constraint.target} & unfit:
            differences.append(_replaced(connection, constraint, alike))
    others = [found for found in catalog.constraints if found not in used]
    return [*differences, *_unknown(others), *_reserved_names(others)]


def _holder_of_name(catalog: Catalog, expected: Constraint, alike: list[Constraint]) -> str | None:
    """Describe another object that has the name: a constraint of the table, or any index."""
    for found in catalog.constraints:
        if (found.table, found.name) == (expected.table, expected.name) and found not in alike:
            return found.definition
    own = {found.name for found in alike}
    if expected.kind in "pu" and expected.name in catalog.tables.keys() - own:
        return describe(catalog.tables[expected.name])
    return None


def _equivalent(expected: Constraint, alike: list[Constraint]) -> Constraint | None:
    """A constraint that rejects the same rows; preferably the one with the expected name."""
    same = [found for found in alike if _rejects_the_same(found, expected)]
    return max(same, key=lambda found: found.name == expected.name, default=None)


def _rejects_the_same(found: Constraint, expected: Constraint) -> bool:
    if expected.kind == "u":  # the order of the columns does not matter
        return bool(re.fullmatch(r"UNIQUE \([^()]*\)|unique index", found.definition))
    if expected.kind == "c":
        return _condition(found.definition) == _condition(expected.definition)
    return found.definition == expected.definition


def _condition(definition: str) -> tuple[str, set[str]]:
    """A simple check without what PostgreSQL adds, and reorders, with each dump and restore."""
    skeleton = re.sub(r"'[^']*'|::(character varying|text)|[][(),]", " ", definition)
    words = " ".join(skeleton.split()).replace("= ANY ARRAY", "IN")
    return words, set(re.findall(r"'[^']*'", definition))


def _renamed(expected: Constraint, found: Constraint) -> Iterator[Difference]:
    table, name = expected.table, expected.name
    if found.kind == "i":
        repair = f"ALTER TABLE {table} ADD CONSTRAINT {name} UNIQUE USING INDEX {found.name}"
        yield Difference(table, name, "a constraint", f"the unique index {found.name}", repair)
    elif found.name != name:
        repair = f"ALTER TABLE {table} RENAME CONSTRAINT {found.name} TO {name}"
        yield Difference(table, name, f"the name {name}", f"the name {found.name}", repair)


def _replaced(connection: Connection, expected: Constraint, alike: list[Constraint]) -> Difference:
    found = ", ".join(constraint.definition for constraint in alike) or "none"
    rows, names = find_violations(connection, expected)
    if rows:
        found = f"{found}, and rows that violate it: {rows} (such as {', '.join(names)})"
    # A key that foreign keys refer to cannot be dropped.
    stuck = rows or (alike and expected.kind in "pu")
    dropped = "".join(f"DROP CONSTRAINT {constraint.name}, " for constraint in alike)
    added = f"ADD CONSTRAINT {expected.name} {expected.definition}"
    repair = None if stuck else f"ALTER TABLE {expected.table} {dropped}{added}"
    return Difference(expected.table, expected.name, expected.definition, found, repair, rows)


def _unknown(constraints: Iterable[Constraint]) -> Iterator[Difference]:
    """Constraints that may reject rows of Tandem, because they restrict columns that it writes."""
    for found in constraints:
        known = COLUMNS.get(found.table, {}).keys() & set(found.columns)
        if known and not (found.kind in "ui" and "id" in found.columns):
            yield Difference(found.table, found.name, "no such constraint", found.definition)


def _reserved_names(constraints: Iterable[Constraint]) -> Iterator[Difference]:
    """Constraints with a name that a later migration gives to a constraint of the same table."""
    for found in constraints:
        names = {str(constraint.name) for constraint in metadata.tables[found.table].constraints}
        if found.name in names - {constraint.name for constraint in CONSTRAINTS}:
            yield Difference(found.table, found.name, RESERVED, found.definition)
