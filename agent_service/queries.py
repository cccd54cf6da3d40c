"""Changes of the tasks that refer to a row, which more than one kind of row needs."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Uuid,
    bindparam,
    exists,
    func,
    null,
    or_,
    select,
    update,
)

from shared.database.statement import Statement
from shared.schema import project_members, tasks


def is_of_project(
    user_id: ColumnElement[Any], project_id: ColumnElement[Any], owner_id: ColumnElement[Any]
) -> ColumnElement[bool]:
    """Whether a user is the owner or a member of a project."""
    members = project_members.c
    member = exists().where(members.project_id == project_id, members.user_id == user_id)
    return or_(owner_id == user_id, member.correlate_except(project_members))


def detach_tasks(
    purpose: str,
    reference: Column[Any],
    values: Mapping[str, ColumnElement[Any]] = MappingProxyType({}),
) -> Statement:
    """Clears `reference` in the tasks of a project that refer to the row `id`, about to be deleted.

    Its foreign key would do so too, but leave their revisions alone.
    """
    return change_tasks(purpose, reference, {reference.name: null(), **values})


def change_tasks(
    purpose: str,
    reference: Column[Any],
    values: Mapping[str, ColumnElement[Any]],
    *conditions: ColumnElement[bool],
) -> Statement:
    """Changes the tasks of a project that refer to the row `id`.

    They are locked in the order of their ids, so that changes that have tasks in common wait for
    each other in that order.
    """
    of_project = tasks.c.project_id == bindparam("of_project", type_=Uuid)
    locked = (
        select(tasks.c.id)
        .where(of_project, reference == bindparam("row_id", type_=Uuid), *conditions)
        .order_by(tasks.c.id)
        .with_for_update(key_share=True)
        .cte("locked")
    )
    return Statement(
        purpose,
        update(tasks)
        .where(of_project, tasks.c.id == locked.c.id)
        .values(**values, revision=tasks.c.revision + 1, updated_at=func.now()),
    )
