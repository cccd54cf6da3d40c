"""Describes every named statement of the services: where it is, what it is for, and its SQL."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType

import sqlparse
from sqlalchemy import Table

from scripts.protoc import ROOT
from shared.auth.access import Reach
from shared.database.statement import Statement
from shared.events.recording import Change
from shared.resources.batch import BatchGet
from shared.resources.listing import Lister
from shared.resources.pagination import Order
from shared.resources.project_scoped import PROJECTS, ProjectScopedTable
from shared.schema import metadata

# Where statements are: what every resource shares first, then each resource.
QUERIES = (
    "shared/resources/project_scoped.py",
    "*_service/queries.py",
    "*_service/*/queries.py",
    "*_service/*/*/queries.py",
    "shared/*/*.py",
)
WIDTH = 100
PARAMETER = re.compile(r"\$(\d+)(?:::[A-Z]+(?: WITH TIME ZONE)?(?:\[\])?)?")


@dataclass(frozen=True)
class Named:
    """A statement by its name in a module."""

    name: str
    statement: Statement


def sql_reference() -> str:
    """The reference, in Markdown."""
    return "\n\n".join(_chapters())


def named_statements(module: ModuleType) -> Iterator[Named]:
    """Every statement of a module, those of its tables and lists included."""
    for name, value in vars(module).items():
        if isinstance(value, Statement):
            yield Named(name, value)
        elif isinstance(value, Change):
            yield Named(name, value.alone)
        elif isinstance(value, tuple) and hasattr(value, "_asdict"):
            parts = value._asdict().items()
            yield from (Named(f"{name}.{p}", c.alone) for p, c in parts if isinstance(c, Change))
        elif isinstance(value, BatchGet):
            yield Named(name, value.statement)
        elif isinstance(value, ProjectScopedTable) and _is_of(module, value):
            yield from _of_table(name, value, _client_columns(module))
        elif isinstance(value, Lister):
            yield from _of_list(name, value)


def readable(statement: Statement) -> str:
    """The SQL of a statement over several lines, with the names of its parameters.

    A list of all columns of a table is shown as `table.*`.
    """
    sql = re.sub(PARAMETER, lambda number: _name(statement, number), statement.sql)
    for table in metadata.tables.values():
        sql = _abbreviated(sql, table)
    sql = re.sub(r"((\w+)\.found_\w+, )+\2\.found_\w+", r"\2.found_*", sql)
    shown = sqlparse.format(sql, reindent=True, wrap_after=WIDTH)
    return re.sub(r"FOR\s+UPDATE", "FOR UPDATE", re.sub(r" AS anon_\d+", "", shown)).strip()


def _chapters() -> Iterator[str]:
    for path in _modules():
        found = list(named_statements(import_module(path)))
        if not found:
            continue
        yield f"## `{path}`"
        for named in found:
            sql = f"```sql\n{readable(named.statement)}\n```"
            yield f"### {named.name}\n\n{named.statement.purpose}\n\n{sql}"


def _modules() -> Iterable[str]:
    paths = (path for pattern in QUERIES for path in sorted(ROOT.glob(pattern)))
    modules = (".".join(path.relative_to(ROOT).with_suffix("").parts) for path in paths)
    return dict.fromkeys(modules)


def _is_of(module: ModuleType, table: ProjectScopedTable) -> bool:
    """Whether a table is the module's own: that of projects is imported by others."""
    return table is not PROJECTS or module.__name__ == PROJECTS.__module__


def _client_columns(module: ModuleType) -> Mapping[str, object]:
    """The columns that a client may write, which the messages of the resource list."""
    # That of projects is shared by all.
    is_shared = module.__name__.startswith("shared.")
    queries = "agent_service.projects.queries" if is_shared else module.__name__
    messages = import_module(queries.replace("queries", "messages"))
    columns: Mapping[str, object] = getattr(messages, "COLUMNS", {})
    return columns


def _of_table(
    name: str, table: ProjectScopedTable, columns: Mapping[str, object]
) -> Iterator[Named]:
    yield Named(f"{name}.get_by_id", table.get_by_id)
    yield Named(f"{name}.lock_by_id", table.lock_by_id(table.write))
    if columns:
        inserted = table.insert_columns(_inserted(table, columns))
        yield Named(f"{name}.insert_columns", inserted.alone)
        yield Named(f"{name}.update_columns", table.update_columns(frozenset(columns)).alone)
        yield Named(f"{name}.delete_by_id", table.delete_by_id)


def _inserted(table: ProjectScopedTable, columns: Iterable[str]) -> frozenset[str]:
    """What an insert writes: besides what a client may write, the id and every reference."""
    keys = (column.name for column in table.table.c if column.primary_key or column.foreign_keys)
    return frozenset({*columns, *keys})


def _of_list(name: str, lister: Lister) -> Iterator[Named]:
    """One shape of each kind: all filters; each order, continued; each scope; a count."""
    filters, first, *others = frozenset(lister.filters), *lister.orders
    newest = Order(first, descending=True)
    by_filter = lister.page_statement(filters, newest, continued=False, within=Reach.PROJECTS)
    yield Named(f"{name}, every filter", by_filter)
    measured = lister.page_statement(filters, newest, False, Reach.PROJECTS, 0, True)
    yield Named(f"{name}, every filter, of large rows", measured)
    for key in (first, *others):
        order = Order(key.partition(" ")[0], descending=" " in key)
        for part, _ in enumerate(lister.parts(order)):
            within, end = Reach.PROJECTS, ", those that come last" if part else ""
            statement = lister.page_statement(frozenset(), order, True, within, part)
            yield Named(f"{name}, by {key}{end}, continued", statement)
    for within in (Reach.ALL, Reach.OWN):
        statement = lister.page_statement(frozenset(), newest, continued=False, within=within)
        yield Named(f"{name}, for {'superusers' if within is Reach.ALL else 'agents'}", statement)
    yield Named(f"{name}, count", lister.count_statement(filters, Reach.PROJECTS))


def _name(statement: Statement, number: re.Match[str]) -> str:
    return f":{statement.names[int(number[1]) - 1]}"


def _abbreviated(sql: str, table: Table) -> str:
    names = [column.name for column in table.columns]
    for alias in (table.name, "updated", "created"):
        for column in ("{0}.{1}", "{0}.{1} AS {1}"):  # the second stands in subqueries
            columns = ", ".join(column.format(alias, name) for name in names)
            sql = sql.replace(columns, f"{alias}.*")
    return sql
