"""Rows that a statement locks before it looks for others, so that all lock in one order."""

from typing import Any

from sqlalchemy import CTE, ColumnElement, Select, func, select


def key_share(rows: Select[Any], name: str) -> CTE:
    """Rows locked against deletion, and against those who lock to change what their key stands for.

    They are locked only if they are used, which `after` does.
    """
    return rows.with_for_update(read=True, key_share=True).cte(name)


def after(first: CTE) -> ColumnElement[bool]:
    """Always true; but what it counts has to be found, and locked, before any row is looked for."""
    found: ColumnElement[bool] = select(func.count()).select_from(first).scalar_subquery() >= 0
    return found
