"""Where the rules that tables keep differ, and which rows stand in the way of the expected ones."""

import re
from collections.abc import Iterable, Iterator

from sqlalchemy import Connection

from migrations.catalog import Catalog, Constraint
from migrations.differences import UNUSED, Difference, described
from migrations.expected import COLUMNS, CONSTRAINTS
from migrations.findings import first_of
from shared.schema import metadata

_NAMED = 3

# The rows that a constraint of this kind would refuse.
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
_REFUSED = "SELECT id FROM {table} WHERE NOT {condition}"
BREAKING = {"p": _REPEATED, "u": _REPEATED, "f": _DANGLING, "c": _REFUSED}


def find_differing(
    connection: Connection, catalog: Catalog, expected: Iterable[Constraint], unfit: set[str]
) -> list[Difference]:
    """How the constraints differ. In `unfit` tables, whose columns differ, rows are not read."""
    used: set[Constraint] = set()
    differences: list[Difference] = []
    for constraint in expected:
        alike = [found for found in catalog.constraints if found.stands_for(constraint)]
        kept = _kept(constraint, alike)
        used.update([kept] if kept else alike)
        if holder := _holder(catalog, constraint, alike):
            place = constraint.table, constraint.name
            differences.append(Difference(*place, "nothing else of this name", holder))
        elif kept:
            differences += _renamed(constraint, kept)
        elif not {constraint.table, constraint.target} & unfit:
            differences.append(_replaced(connection, constraint, alike))
    others = [found for found in catalog.constraints if found not in used]
    return [*differences, *_needless(others), *_too_early(others)]


def _holder(catalog: Catalog, expected: Constraint, alike: list[Constraint]) -> str | None:
    """What has the name of a constraint without being it: in its table, or anywhere as an index."""
    for found in catalog.constraints:
        if (found.table, found.name) == (expected.table, expected.name) and found not in alike:
            return found.definition
    own = {found.name for found in alike}
    if expected.kind in "pu" and expected.name in catalog.tables.keys() - own:
        return described(catalog.tables[expected.name])
    return None


def _kept(expected: Constraint, alike: list[Constraint]) -> Constraint | None:
    """The constraint that forbids the same as the expected one, which has its name if one has."""
    same = [found for found in alike if _same(found, expected)]
    return max(same, key=lambda found: found.name == expected.name, default=None)


def _same(found: Constraint, expected: Constraint) -> bool:
    if expected.kind == "u":  # in whatever order it names the columns
        return bool(re.fullmatch(r"UNIQUE \([^()]*\)|unique index", found.definition))
    if expected.kind == "c":
        return _condition(found.definition) == _condition(expected.definition)
    return found.definition == expected.definition


def _condition(definition: str) -> tuple[str, set[str]]:
    """A simple check without what PostgreSQL adds and orders anew at each dump and restore."""
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
        yield Difference(table, name, "this name", f"the name {found.name}", repair)


def _replaced(connection: Connection, expected: Constraint, alike: list[Constraint]) -> Difference:
    found = ", ".join(constraint.definition for constraint in alike) or "none"
    rows, names = _breaking(connection, expected)
    if rows:
        found = f"{found}, and {rows} rows that break it (such as {', '.join(names)})"
    # What others refer to cannot be dropped, and nobody would do without it meanwhile.
    stuck = rows or (alike and expected.kind in "pu")
    dropped = "".join(f"DROP CONSTRAINT {constraint.name}, " for constraint in alike)
    added = f"ADD CONSTRAINT {expected.name} {expected.definition}"
    repair = None if stuck else f"ALTER TABLE {expected.table} {dropped}{added}"
    return Difference(expected.table, expected.name, expected.definition, found, repair, rows)


def _breaking(connection: Connection, expected: Constraint) -> tuple[int, list[str]]:
    statement = BREAKING[expected.kind].format(
        table=expected.table,
        columns=", ".join(expected.columns),
        target=expected.target,
        condition=expected.definition.removeprefix("CHECK "),
    )
    return first_of(connection, statement, _NAMED)


def _needless(constraints: Iterable[Constraint]) -> Iterator[Difference]:
    """What may refuse rows of Tandem's; not what concerns columns that it does not know."""
    for found in constraints:
        known = COLUMNS.get(found.table, {}).keys() & set(found.columns)
        if known and not (found.kind in "ui" and "id" in found.columns):
            yield Difference(found.table, found.name, "no such constraint", found.definition)


def _too_early(constraints: Iterable[Constraint]) -> Iterator[Difference]:
    """What has the name of a constraint that a later migration gives to the same table."""
    for found in constraints:
        names = {str(constraint.name) for constraint in metadata.tables[found.table].constraints}
        if found.name in names - {constraint.name for constraint in CONSTRAINTS}:
            yield Difference(found.table, found.name, UNUSED, found.definition)
