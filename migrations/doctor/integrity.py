"""Checks that a database at the newest revision has the whole schema and no dangling reference."""

from collections.abc import Iterator, Mapping

from sqlalchemy import Connection, ForeignKeyConstraint, text

from migrations.doctor.logs import check_logs
from migrations.doctor.waiting import check_waiting
from migrations.inspect.catalog import HERE, Catalog, read
from migrations.inspect.findings import Finding, Kind, count, listed
from shared.schema import metadata

MISSING = Kind("missing", "missing tables, columns, constraints or indexes", blocks=True)
INVALID = Kind("invalid", "constraints or indexes that are not valid", blocks=True)
DANGLING = Kind("dangling", "references to rows that do not exist", blocks=True)

_INDEXES = f"""
SELECT relname, indisvalid AND indisready FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
WHERE relnamespace = {HERE}
"""  # noqa: S608

# The end of the definition of a constraint that existing rows, or all rows, may violate.
_NOT_GUARANTEED = ("NOT VALID", "NOT ENFORCED")

# Rows that refer to a missing row, which is possible in spite of a valid foreign key.
_DANGLING_ROWS = """
SELECT '{name}: ' || concat_ws(' ', {row}) FROM {table} AS child
WHERE num_nulls({columns}) = 0 AND NOT EXISTS (SELECT FROM {target} AS parent WHERE {same})
"""


def check_integrity(connection: Connection) -> list[Finding]:
    """What is missing, not valid or dangling in the newest schema, in the logs, and among tasks."""
    catalog = read(connection, metadata.tables)
    indexes = {str(name): bool(valid) for name, valid in connection.execute(text(_INDEXES))}
    missing = list(_missing(catalog, indexes))
    findings = [listed(MISSING, missing), listed(INVALID, _invalid(catalog, indexes))]
    if not missing:
        dangling = " UNION ALL ".join(map(_dangling_rows, _foreign_keys()))
        findings.append(count(connection, DANGLING, dangling))
        findings += [*check_logs(connection), *check_waiting(connection)]
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
        if constraint.definition.endswith(_NOT_GUARANTEED):
            yield f"constraint {constraint.name}"
    for name, valid in indexes.items():
        if not valid:
            yield f"index {name}"


def _foreign_keys() -> Iterator[ForeignKeyConstraint]:
    for table in metadata.tables.values():
        yield from table.foreign_key_constraints


def _dangling_rows(key: ForeignKeyConstraint) -> str:
    pairs = [(element.parent.name, element.column.name) for element in key.elements]
    return _DANGLING_ROWS.format(
        name=key.name,
        row=", ".join(f"child.{column.name}" for column in key.table.primary_key),
        table=key.table.name,
        columns=", ".join(f"child.{column}" for column, _ in pairs),
        target=key.referred_table.name,
        same=" AND ".join(f"parent.{parent} = child.{child}" for child, parent in pairs),
    )
