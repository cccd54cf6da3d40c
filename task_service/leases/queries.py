"""The statements by which agents work on tasks that they hold."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    Boolean,
    ColumnElement,
    Double,
    String,
    Uuid,
    and_,
    bindparam,
    case,
    false,
    func,
    literal,
    not_,
    null,
    or_,
    select,
)
from sqlalchemy.dialects.postgresql import JSONB

from shared.auth.access import RIGHTS
from shared.auth.permissions import Permission
from shared.database.statement import Statement
from shared.dependents.queries import FOREVER
from shared.events.recording import Change
from shared.resources.leases import UNCOUNTED, backoff, ended, pending_again
from shared.resources.project_scoped import Event, new_values
from shared.schema import task_attempts, task_leases, tasks
from task_service.tasks.queries import TASKS

# So often a task can be given back without that it counts as an attempt.
MAXIMUM_RELEASES = 100

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


# What becomes of a wish to cancel a task that its agent leaves without ending it: it is due.
STILL_TO_BE_CANCELLED = {
    "cancel_requested_at": _task.cancel_requested_at,
    "cancel_deadline": case((_task.cancel_requested_at.is_not(None), func.now())),
    "status_message": case((_task.cancel_requested_at.is_not(None), _task.status_message)),
}


class Ending(NamedTuple):
    """What ends a lease: as a statement alone, and within a transaction that looks after others.

    The first declines if other tasks may wait for this one, or this one for others. `outcome` is
    that of the attempt.
    """

    outcome: str
    alone: Change
    whole: Change


def _ending(
    purpose: str,
    outcome: str,
    event: Event,
    values: Mapping[str, ColumnElement[Any]],
    concerns_none: ColumnElement[bool] = ~_task.has_dependents,
    **attempt: ColumnElement[Any],
) -> Ending:
    """Ends the lease `fence` of the task `id`: the task gets `values`, the attempt `attempt`.

    It may concern those that wait for the task, or the task may have to wait for others itself.
    """

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

    alone = change(purpose, concerns_none)
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

# Whether the task was assigned to no agent before. Whoever knows the fence of a lease has seen it
# begin, so that it is found if the row of the task says that it has not ended.
POOLED = func.coalesce(
    select(task_leases.c.pooled)
    .where(
        task_leases.c.project_id == _task.project_id,
        task_leases.c.task_id == _task.id,
        task_leases.c.fence == _task.fence,
    )
    .correlate(tasks)
    .scalar_subquery(),
    false(),
)
# If it is to be cancelled, that is not forgotten: it is done at the next look at what is due.
AGAIN = {**pending_again(POOLED), "cancel_requested_at": _task.cancel_requested_at}


_WAITS_FOR_NONE = _task.open_dependencies == 0


def _failing() -> Ending:
    is_retryable = bindparam("new_retryable", type_=Boolean)
    message = bindparam("new_message", type_=String)
    pause = func.make_interval(0, 0, 0, 0, 0, 0, bindparam("new_pause", type_=Double))
    is_final = or_(not_(is_retryable), _task.attempt >= _task.max_attempts)
    reason = case((is_retryable, "attempts_exhausted"), else_="not_retryable")
    reason_again = func.coalesce(AGAIN["status_reason"], "attempt_failed")
    values = {
        "status": case((is_final, "failed"), else_=AGAIN["status"]),
        "status_reason": case((is_final, reason), else_=reason_again),
        "status_message": case(
            (is_final, message), else_=func.coalesce(AGAIN["status_message"], message)
        ),
        "ready_at": case(
            (is_final, _task.ready_at), else_=func.now() + func.coalesce(pause, backoff())
        ),
        "assigned_agent_id": AGAIN["assigned_agent_id"],
        **{
            name: case((is_final, lasting), else_=AGAIN[name])
            for name, lasting in _IF_FINAL.items()
        },
    }
    return _ending(
        "Says that an attempt under a lease has failed: the task is pending again after a pause, "
        "or has failed.",
        "failed",
        lambda _, left: case((left.c.status == "failed", "task.failed"), else_="task.retried"),
        values,
        case((is_final, ~_task.has_dependents), else_=_WAITS_FOR_NONE),
        error=bindparam("new_error", type_=JSONB),
    )


# What stays, or is cleared, in a task that has failed.
_IF_FINAL: Mapping[str, ColumnElement[Any]] = {
    "started_at": _task.started_at,
    "cancel_requested_at": null(),
    "cancel_deadline": null(),
}
FAIL = _failing()

_is_uncounted = _task.releases < MAXIMUM_RELEASES
RELEASE = _ending(
    "Gives a task back that is held by a lease: it is pending at once.",
    "released",
    "task.released",
    {
        **AGAIN,
        "attempt": case((_is_uncounted, UNCOUNTED), else_=_task.attempt),
        "releases": case((_is_uncounted, _task.releases + 1), else_=_task.releases),
    },
    _WAITS_FOR_NONE,
)

ASK = _ending(
    "Blocks a task that is held by a lease, which ends, until what its agent asks for is answered. "
    "It stays the agent's: `preferred_until` says that it was assigned to no agent before.",
    "released",
    "task.blocked",
    {
        "status": literal("blocked", String),
        "status_reason": bindparam("new_kind", type_=String),
        "status_message": AGAIN["status_message"],
        "cancel_requested_at": AGAIN["cancel_requested_at"],
        "cancel_deadline": AGAIN["cancel_deadline"],
        "attempt": UNCOUNTED,
        "preferred_until": case((POOLED, FOREVER)),
    },
)
