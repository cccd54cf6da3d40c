"""The statements by which agents work on tasks that they hold."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    String,
    Uuid,
    and_,
    bindparam,
    false,
    func,
    literal,
    null,
    or_,
    select,
)

from shared.auth.access import RIGHTS
from shared.auth.permissions import Permission
from shared.database.statement import Statement
from shared.events.recording import Change
from shared.resources.leases import ended
from shared.resources.project_scoped import Event, new_values
from shared.schema import task_attempts, tasks
from task_service.tasks.queries import TASKS

_task = tasks.c
_project_id = bindparam("project_id", type_=Uuid)
_task_id = bindparam("task_id", type_=Uuid)
_fence = bindparam("fence", type_=BigInteger)

ATTEMPT = Statement(
    "One attempt at a task.",
    select(task_attempts).where(
        task_attempts.c.project_id == _project_id,
        task_attempts.c.task_id == _task_id,
        task_attempts.c.fence == _fence,
    ),
)

# Whether the caller's agent, or for a user any, holds the task by the lease `fence`. The row of the
# task alone says so, which is locked.
HOLDS = and_(
    _task.leased,
    _task.fence == _fence,
    or_(RIGHTS["caller_agent_id"].is_(None), _task.assigned_agent_id == RIGHTS["caller_agent_id"]),
)
# What a lease leaves in no task.
CLEARED: Mapping[str, ColumnElement[Any]] = {
    "leased": false(),
    "status_reason": null(),
    "status_message": null(),
    "cancel_requested_at": null(),
    "cancel_deadline": null(),
}


class Ending(NamedTuple):
    """What ends a lease: as a statement alone, and within a transaction that looks after others.

    The first declines if other tasks may wait for this one. `outcome` is that of the attempt.
    """

    outcome: str
    alone: Change
    whole: Change


def _ending(
    purpose: str,
    outcome: str,
    event: Event,
    values: Mapping[str, ColumnElement[Any]],
    **attempt: ColumnElement[Any],
) -> Ending:
    """Ends the lease `fence` of the task `id`: the task gets `values`, the attempt `attempt`."""

    def change(purpose: str, *conditions: ColumnElement[bool]) -> Change:
        return TASKS.changing(
            purpose,
            {**CLEARED, **values},
            HOLDS,
            *conditions,
            event=event,
            then=lambda task: ended(task, outcome, **attempt),
            permission=Permission.CLAIM_TASKS,
        )

    alone = change(purpose, ~_task.has_dependents)
    return Ending(outcome, alone, change(f"{purpose} Others may be concerned."))


def _completing(purpose: str, *names: str) -> Ending:
    values = {
        **new_values(tasks, names),
        "status": literal("completed", String),
        "completed_at": func.greatest(func.now(), _task.started_at),
    }
    return _ending(purpose, "completed", "task.completed", values)


COMPLETE = _completing("Completes a task under a lease.")
COMPLETE_WITH_RESULT = _completing("Completes a task under a lease, with a result.", "result")
