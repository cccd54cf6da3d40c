"""Draws the tables, their columns and their foreign keys as a Mermaid diagram."""

from collections.abc import Iterator

from sqlalchemy import Column, ForeignKeyConstraint, MetaData, Table
from sqlalchemy.dialects import postgresql

DIALECT = postgresql.dialect()  # type: ignore[no-untyped-call]
SHORT = {"timestamp with time zone": "timestamptz", "double precision": "float8"}


def entity_diagram(metadata: MetaData) -> str:
    """The schema as a fenced `erDiagram`, tables by name, columns in their order."""
    tables = sorted(metadata.tables.values(), key=lambda table: table.name)
    lines = [line for table in tables for line in _references(table)]
    lines += [line for table in tables for line in _entity(table)]
    return "\n".join(["```mermaid", "erDiagram", *(f"    {line}" for line in lines), "```"])


def _references(table: Table) -> Iterator[str]:
    keys = table.foreign_key_constraints
    for key in sorted(keys, key=lambda key: list(key.column_keys)):
        column = _own_column(key)
        many = "|o" if column.nullable else "||"
        rule = key.ondelete or "NO ACTION"
        yield f'{key.referred_table.name} {many}--o{{ {table.name} : "{column.name} {rule}"'


def _own_column(key: ForeignKeyConstraint) -> Column[object]:
    # (project_id, x) → (project_id, id) is a reference by x to a row of the same project.
    return key.columns.values()[-1]


def _entity(table: Table) -> Iterator[str]:
    yield f"{table.name} {{"
    yield from (f"    {_column(column)}" for column in table.columns)
    yield "}"


def _column(column: Column[object]) -> str:
    keys = ["PK"] * column.primary_key + ["FK"] * bool(column.foreign_keys)
    notes = ["null"] * bool(column.nullable) + ["generated"] * (column.computed is not None)
    note = f'"{", ".join(notes)}"' if notes else ""
    return " ".join(filter(None, [_type(column), column.name, ", ".join(keys), note]))


def _type(column: Column[object]) -> str:
    name: str = column.type.compile(dialect=DIALECT).lower().partition(" collate ")[0]
    # Of one word, as the diagram wants it.
    return SHORT.get(name, name)
