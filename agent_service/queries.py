"""The statements that the deletion of more than one kind of row needs."""

from typing import Any

from sqlalchemy import Column, Uuid, bindparam, func, null, select, update

from shared.database.statement import Statement
from shared.schema import tasks


def detach_tasks(purpose: str, reference: Column[Any]) -> Statement:
    """Clears `reference` in the tasks of a project that refer to the row `id`, about to be deleted.

    Its foreign key would do so too, but leave their revisions alone. They are locked in the order
    of their ids, so that deletions that have tasks in common wait for each other in that order.
    """
    of_project = tasks.c.project_id == bindparam("of_project", type_=Uuid)
    locked = (
        select(tasks.c.id)
        .where(of_project, reference == bindparam("row_id", type_=Uuid))
        .order_by(tasks.c.id)
        .with_for_update(key_share=True)
        .cte("locked")
    )
    return Statement(
        purpose,
        update(tasks)
        .where(of_project, tasks.c.id == locked.c.id)
        .values({reference: null(), "revision": tasks.c.revision + 1, "updated_at": func.now()}),
    )
