"""Rows that a statement locks before it looks for others, so that all lock in one order."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import CTE, ColumnElement, ForeignKeyConstraint, Select, Table, func, select, true

from shared.schema import agents, chat_rooms, projects, tasks, users

# The order in which rows are locked that others refer to.
ORDER = (users, projects, agents, chat_rooms, tasks)


def key_share(rows: Select[Any], name: str) -> CTE:
    """Rows locked against deletion, and against those who lock to change what their key stands for.

    They are locked only if they are used, which `after` does.
    """
    return rows.with_for_update(read=True, key_share=True).cte(name)


def after(first: CTE | None) -> ColumnElement[bool]:
    """Always true; but what it counts has to be found, and locked, before any row is looked for."""
    if first is None:
        return true()
    found: ColumnElement[bool] = select(func.count()).select_from(first).scalar_subquery() >= 0
    return found


def referenced(
    table: Table, values: Mapping[str, ColumnElement[Any]], project_id: ColumnElement[Any]
) -> CTE | None:
    """The rows that a row of a table refers to by these values, locked; none without a project.

    PostgreSQL locks them too, but only when the statement has written its event: whoever deletes
    one of them, and then writes an event, would wait for that.
    """
    first = None
    for constraint in sorted(table.foreign_key_constraints, key=_rank):
        *of_project, name = constraint.column_keys  # (project_id, name), or name alone
        if name in values:
            target = constraint.referred_table
            there = target.c.project_id == project_id if of_project else project_id.is_not(None)
            rows = select(target.c.id).where(target.c.id == values[name], there, after(first))
            first = key_share(rows, f"referenced_{name}")
    return first


def _rank(constraint: ForeignKeyConstraint) -> tuple[int, str]:
    return ORDER.index(constraint.referred_table), str(constraint.name)
