"""Whether a database at the newest revision is what the schema says, and no reference dangles."""

from collections.abc import Iterator, Mapping

from sqlalchemy import Connection, ForeignKeyConstraint, text

from migrations.catalog import HERE, Catalog, read
from migrations.findings import Finding, Kind, count, listed
from shared.schema import metadata

MISSING = Kind("missing", "tables, columns, constraints or indexes are missing", blocks=True)
INVALID = Kind("invalid", "constraints or indexes are not valid", blocks=True)
DANGLING = Kind("dangling", "references lead nowhere", blocks=True)

INDEXES = f"""
SELECT relname, indisvalid AND indisready FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
WHERE relnamespace = {HERE}
"""  # noqa: S608


# How the definition of a constraint ends that old rows, or all rows, may break.
UNKEPT = ("NOT VALID", "NOT ENFORCED")

# The rows that refer to a row that is not there, although a foreign key may say so.
LOST = """
SELECT '{name}: ' || concat_ws(' ', {row}) FROM {table} AS child
WHERE num_nulls({columns}) = 0 AND NOT EXISTS (SELECT FROM {target} AS parent WHERE {same})
"""


def examine(connection: Connection) -> list[Finding]:
    """What is missing, not valid or dangling in the newest schema."""
    catalog = read(connection, metadata.tables)
    indexes = {str(name): bool(valid) for name, valid in connection.execute(text(INDEXES))}
    missing = list(_missing(catalog, indexes))
    findings = [listed(MISSING, missing), listed(INVALID, _invalid(catalog, indexes))]
    if not missing:
        lost = " UNION ALL ".join(map(_lost, _references()))
        findings.append(count(connection, DANGLING, lost))
    return findings


def _missing(catalog: Catalog, indexes: Mapping[str, bool]) -> Iterator[str]:
    constraints = {constraint.name for constraint in catalog.constraints}
    for name, table in metadata.tables.items():
        if name not in catalog.tables:
            yield f"table {name}"
            continue
        for column in table.columns.keys() - catalog.columns[name].keys():
            yield f"column {name}.{column}"
        for constraint in {str(each.name) for each in table.constraints} - constraints:
            yield f"constraint {constraint}"
        for index in {str(each.name) for each in table.indexes} - indexes.keys():
            yield f"index {index}"


def _invalid(catalog: Catalog, indexes: Mapping[str, bool]) -> Iterator[str]:
    for constraint in catalog.constraints:
        if constraint.definition.endswith(UNKEPT):
            yield f"constraint {constraint.name}"
    for name, valid in indexes.items():
        if not valid:
            yield f"index {name}"


def _references() -> Iterator[ForeignKeyConstraint]:
    for table in metadata.tables.values():
        yield from table.foreign_key_constraints


def _lost(reference: ForeignKeyConstraint) -> str:
    pairs = [(key.parent.name, key.column.name) for key in reference.elements]
    return LOST.format(
        name=reference.name,
        row=", ".join(f"child.{column.name}" for column in reference.table.primary_key),
        table=reference.table.name,
        columns=", ".join(f"child.{column}" for column, _ in pairs),
        target=reference.referred_table.name,
        same=" AND ".join(f"parent.{parent} = child.{child}" for child, parent in pairs),
    )
