"""The statements on the attempts at a task, and those by which others end or renew them."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    Boolean,
    ColumnElement,
    Double,
    Integer,
    String,
    Uuid,
    bindparam,
    case,
    false,
    func,
    literal,
    null,
    or_,
    select,
)

from shared.auth.permissions import Permission
from shared.database.statement import Statement
from shared.dependents.queries import WAITS_FOR
from shared.events.recording import Change
from shared.resources.measuring import fitted
from shared.schema import task_attempts, tasks
from task_service.tasks.lifecycle import ENDED
from task_service.tasks.queries import TASKS

_task, _attempt = tasks.c, task_attempts.c
_reason = bindparam("new_reason", type_=String)
_grace = func.make_interval(0, 0, 0, 0, 0, 0, bindparam("new_grace", type_=Double))
# What a task has that can be tried again.
LOST = ("failed", "cancelled")
_NOT_TO_BE_CANCELLED: Mapping[str, ColumnElement[Any]] = {
    "cancel_requested_at": null(),
    "cancel_deadline": null(),
    "preferred_until": null(),
}


class Way(NamedTuple):
    """A change as a statement alone, and within a transaction that looks after others.

    The first declines if the task is held by a lease, or others may wait for it.
    """

    alone: Change
    whole: Change


def _cancelling(purpose: str, pooled: ColumnElement[bool], *conditions: Any) -> Change:
    """`pooled`: the task was assigned to no agent before its lease."""
    is_for_all = or_(pooled, _task.preferred_until.is_not(None))
    return TASKS.changing(
        purpose,
        {
            **_NOT_TO_BE_CANCELLED,
            "status": literal("cancelled", String),
            "status_reason": literal("cancel_requested", String),
            "status_message": _reason,
            "leased": false(),
            "assigned_agent_id": case((is_for_all, null()), else_=_task.assigned_agent_id),
        },
        _task.status.not_in(ENDED),
        *conditions,
        event="task.cancelled",
        permission=Permission.MANAGE_TASKS,
    )


CANCEL = Way(
    _cancelling("Cancels a task.", false(), ~_task.leased, ~_task.has_dependents),
    _cancelling(
        "Cancels a task, whose lease has ended. Others may be concerned.",
        bindparam("pooled", type_=Boolean),
    ),
)
REQUEST_CANCEL = TASKS.changing(
    "Asks the agent that holds a task to stop. The task is cancelled in any case when it has had "
    "the time for that.",
    {
        "cancel_requested_at": func.now(),
        "cancel_deadline": func.now() + _grace,
        "status_message": _reason,
    },
    _task.leased,
    event="task.cancel_requested",
    permission=Permission.MANAGE_TASKS,
)


def _retrying(purpose: str, *conditions: ColumnElement[bool]) -> Change:
    waits, zero = _task.open_dependencies > 0, literal(0, Integer)
    return TASKS.changing(
        purpose,
        {
            **_NOT_TO_BE_CANCELLED,
            "status": case((waits, "blocked"), else_="pending"),
            "status_reason": case((waits, WAITS_FOR)),
            "status_message": null(),
            "started_at": null(),
            "attempt": zero,
            "releases": zero,
            "ready_at": func.now(),
        },
        _task.status.in_(LOST),
        *conditions,
        event="task.retried",
        permission=Permission.MANAGE_TASKS,
    )


RETRY = Way(
    _retrying(
        "Gives a task that has failed or was cancelled new attempts.",
        ~_task.has_dependents,
        _task.open_dependencies == 0,
    ),
    _retrying("The same. Others may be concerned, or it may have to wait for others."),
)


def _page() -> Statement:
    before = bindparam("before", type_=BigInteger)
    rows = (
        select(*task_attempts.c, _attempt.fence.label("page_key"), _attempt.task_id.label("id"))
        .where(
            _attempt.project_id == bindparam("project_id", type_=Uuid),
            _attempt.task_id == bindparam("task_id", type_=Uuid),
            _attempt.fence < before,
        )
        .order_by(_attempt.fence.desc())
        .limit(bindparam("row_limit", type_=Integer))
    )
    return Statement(
        "Attempts at a task, the latest first, as far as a message takes them.",
        fitted(rows, descending=True),
    )


PAGE = _page()
