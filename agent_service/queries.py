"""Changes of tasks and rooms that more than one kind of row needs."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any
from uuid import UUID

from sqlalchemy import (
    Column,
    ColumnElement,
    Uuid,
    and_,
    bindparam,
    case,
    delete,
    null,
    select,
)

from shared.database.pool import Connection
from shared.database.statement import Statement
from shared.dependents.queries import CONCERNED, WAITS_FOR
from shared.dependents.rules import follow_all
from shared.events.recording import Happening, Log, changed_rows, changing_rows
from shared.schema import chat_participants, tasks

UNDER_WAY = tasks.c.status == "in_progress"
_waits = and_(UNDER_WAY, tasks.c.open_dependencies > 0)
# What becomes of a task whose assignee works on it no more: a dependency may have been reopened, or
# added, meanwhile. `follow_all` comes after it.
STOPPED: Mapping[str, ColumnElement[Any]] = {
    "status": case((_waits, "blocked"), (UNDER_WAY, "pending"), else_=tasks.c.status),
    "status_reason": case((_waits, WAITS_FOR), else_=tasks.c.status_reason),
    "started_at": case((UNDER_WAY, null()), else_=tasks.c.started_at),
}


def detach_tasks(
    purpose: str,
    event: str,
    reference: Column[Any],
    values: Mapping[str, ColumnElement[Any]] = MappingProxyType({}),
) -> Statement:
    """Clears `reference` in the tasks of a project that refer to the row `id`, about to be deleted.

    Its foreign key would do so too, but leave their revisions alone.
    """
    return change_tasks(purpose, event, reference, {reference.name: null(), **values})


def change_tasks(
    purpose: str,
    event: Happening,
    reference: Column[Any],
    values: Mapping[str, ColumnElement[Any]],
    *conditions: ColumnElement[bool],
) -> Statement:
    """Changes the tasks of a project that refer to the row `id`.

    They are locked in the order of their ids, so that changes that have tasks in common wait for
    each other in that order. It answers what `follow_all` needs to know.
    """
    of_project = tasks.c.project_id == bindparam("of_project", type_=Uuid)
    rows = (
        select(tasks)
        .where(of_project, reference == bindparam("row_id", type_=Uuid), *conditions)
        .order_by(tasks.c.id)
        .with_for_update(key_share=True)
    )
    return Statement(purpose, changing_rows(tasks, event, rows, values, shown=CONCERNED))


def unassign_tasks(purpose: str, assignee: Column[Any]) -> Statement:
    """As `detach_tasks`, of an assignee: tasks that it was working on are pending again."""
    return detach_tasks(purpose, "task.unassigned", assignee, STOPPED)


UNASSIGN_USER = unassign_tasks(
    "Unassigns a user's tasks in a project; those that the user was working on are pending again.",
    tasks.c.assigned_user_id,
)

_participants = chat_participants.c
_seats = (
    select(_participants.id)
    .where(
        _participants.project_id == bindparam("of_project", type_=Uuid),
        _participants.user_id == bindparam("row_id", type_=Uuid),
    )
    .order_by(_participants.room_id)
    .with_for_update()
    .cte("seats")
)
LEAVE_ROOMS = Statement(
    "Takes a user out of the rooms of a project, in the order of their ids.",
    changed_rows(
        chat_participants,
        "participant.removed",
        delete(chat_participants).where(_participants.id == _seats.c.id).returning(*_participants),
        ends=True,
    ),
)


async def detach_user(connection: Connection, log: Log, project_id: UUID, user_id: UUID) -> None:
    """Unassign a user's tasks in a project, and take the user out of its rooms.

    Those who assign and seat the user have to wait already: see shared.resources.membership.
    """
    of_user: dict[str, Any] = {"of_project": project_id, "row_id": user_id}
    await follow_all(connection, log, await UNASSIGN_USER.rows(connection, **of_user))
    log.add(await LEAVE_ROOMS.rows(connection, **of_user))
