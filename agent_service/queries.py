"""The statements that the deletion of more than one kind of row needs."""

from typing import Any

from sqlalchemy import Column, bindparam, func, null, select, update

from shared.database.statement import Statement
from shared.schema import tasks


def clear(reference: Column[Any], parameter: str) -> Statement:
    """Clears what the tasks of the project `of_project` say of a row that is about to be deleted.

    Its foreign key would do so too, but leave their revisions alone. They are locked in the order
    of their ids, so that deletions that have tasks in common wait for each other in that order.
    """
    held = (
        select(tasks.c.id)
        .where(tasks.c.project_id == bindparam("of_project"), reference == bindparam(parameter))
        .order_by(tasks.c.id)
        .with_for_update(key_share=True)
        .cte("held")
    )
    return Statement(
        update(tasks)
        .where(tasks.c.project_id == bindparam("of_project"), tasks.c.id == held.c.id)
        .values({reference: null(), "revision": tasks.c.revision + 1, "updated_at": func.now()})
    )
