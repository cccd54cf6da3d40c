"""Rows that are a user's own, in projects that the user does not reach.

There are hardly any: a member who is removed is unassigned. So first the projects are found in
which the user has rows, one after the other by an index that begins with the user and the project,
and of those only the few that are not reached are looked into. Arrays keep the planner from reading
all rows in their order until it has met enough of the user's.
"""

from typing import Any

from sqlalchemy import ColumnElement, Select, any_, func, select

from shared.auth.access import RIGHTS


def in_unreached(user_id: ColumnElement[Any], reached: Select[Any]) -> ColumnElement[bool]:
    """The rows whose `user_id` is the caller, except in projects that are `reached`."""
    rows = user_id.table.alias("own")
    mine = rows.c[user_id.name] == RIGHTS["caller_id"]
    first = select(rows.c.project_id).where(mine).order_by(rows.c.project_id).limit(1)
    found = select(first.scalar_subquery().label("id")).cte("own_projects", recursive=True)
    following = first.where(rows.c.project_id > found.c.id).correlate(found).scalar_subquery()
    found = found.union_all(select(following).where(found.c.id.is_not(None)))
    unreached = select(found.c.id).where(found.c.id.is_not(None), found.c.id.not_in(reached))
    return _in(user_id, unreached)


def in_named(
    user_id: ColumnElement[Any], project_id: ColumnElement[Any], *conditions: ColumnElement[bool]
) -> ColumnElement[bool]:
    """The rows of one project whose `user_id` is the caller, if the conditions hold."""
    return _in(user_id, select(project_id).where(*conditions))


def _in(user_id: ColumnElement[Any], project_ids: Select[Any]) -> ColumnElement[bool]:
    rows = user_id.table.alias("mine")
    ids = select(rows.c.id).where(
        rows.c[user_id.name] == RIGHTS["caller_id"],
        rows.c.project_id == any_(func.array(project_ids.scalar_subquery())),
    )
    found: ColumnElement[bool] = user_id.table.c.id == any_(func.array(ids.scalar_subquery()))
    return found
