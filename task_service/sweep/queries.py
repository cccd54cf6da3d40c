"""The statements that look for what is due, and do it.

What is due is found without locks. The statement that acts locks it and judges by the rows as they
are then, so that a heartbeat in between counts. It passes over what another session has locked:
nothing is waited for but the head of a log, so that the order of the locks does not matter.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

from sqlalchemy import (
    ARRAY,
    CTE,
    ColumnElement,
    Double,
    Select,
    String,
    Table,
    Uuid,
    and_,
    any_,
    bindparam,
    case,
    false,
    func,
    literal,
    not_,
    null,
    or_,
    select,
    update,
)

from shared.database.statement import Statement
from shared.events.recording import Change, Old, told
from shared.resources.leases import backoff, ended, pending_again
from shared.resources.locking import after
from shared.schema import agent_presence, agents, task_leases, tasks

# How many rows one look finds, and how many of a project one statement changes.
FOUND, AT_ONCE = 1_000, 100
ENDED = ("completed", "failed", "cancelled")
PRESENT = ("online", "busy")

_task, _lease, _agent, _presence = tasks.c, task_leases.c, agents.c, agent_presence.c
_project_id = bindparam("project_id", type_=Uuid)
_ids = any_(bindparam("ids", type_=ARRAY(Uuid)))
_silence = bindparam("silence", type_=Double)

_has_expired = _lease.expires_at < func.now()
_grace_is_over = and_(_task.cancel_deadline <= func.now(), _task.status.not_in(ENDED))
_is_preferred_no_more = and_(
    _task.preferred_until < func.now(), _task.status == "pending", ~_task.leased
)
_is_silent = and_(
    _presence.last_seen_at < func.now() - func.make_interval(0, 0, 0, 0, 0, 0, _silence),
    _agent.status.in_(PRESENT),
)
_has_failed = _task.attempt >= _task.max_attempts

_held = task_leases.join(
    tasks, and_(_task.project_id == _lease.project_id, _task.id == _lease.task_id)
)
_present = agent_presence.join(
    agents, and_(_agent.project_id == _presence.project_id, _agent.id == _presence.agent_id)
)
Values: TypeAlias = Mapping[str, ColumnElement[Any]]


class Due(NamedTuple):
    """How what is due is done: rows of a project, those of the `ids` of which it is true.

    `alone` passes over tasks for which others may wait, which `whole` does one by one; the caller
    has to look after those others.
    """

    alone: Change
    whole: Change | None = None


def _found(purpose: str, rows: Select[Any]) -> Statement:
    return Statement(purpose, rows.limit(FOUND))


EXPIRED = _found(
    "Leases that have expired, those first that did so first.",
    select(_lease.project_id, _lease.task_id.label("id"))
    .where(_has_expired)
    .order_by(_lease.expires_at),
)
TO_CANCEL = _found(
    "Tasks whose agents have had the time that they were given to stop.",
    select(_task.project_id, _task.id).where(_grace_is_over).order_by(_task.cancel_deadline),
)
PREFERRED = _found(
    "Tasks that one agent was to be preferred for, and has not claimed.",
    select(_task.project_id, _task.id).where(_is_preferred_no_more).order_by(_task.preferred_until),
)
SILENT = _found(
    "Agents that have given no sign of life for `silence` seconds, and are not offline.",
    select(_presence.project_id, _presence.agent_id.label("id"))
    .select_from(_present)
    .where(_is_silent)
    .order_by(_presence.last_seen_at),
)


def _ending(
    purpose: str,
    event: str,
    outcome: str,
    is_due: ColumnElement[bool],
    concerns: ColumnElement[bool],
    values: Callable[[ColumnElement[bool]], Values],
) -> Due:
    """Ends leases, given what becomes of a task by whether it was assigned to no agent before.

    It `concerns` others, or they the task: they are looked after in a transaction.
    """

    def change(purpose: str, is_its: ColumnElement[bool], limit: int) -> Change:
        old = Old.of(tasks, values(false()))
        rows = select(_task.id, _task.project_id, _task.fence, _lease.pooled, *old.columns)
        rows = rows.select_from(_held).where(_task.leased, _task.fence == _lease.fence)
        rows = rows.where(_lease.project_id == _project_id, _lease.task_id == _ids, is_due, is_its)
        locked = _locked(rows.limit(limit), task_leases, tasks)
        done = after(ended(locked, outcome))
        return _changing(purpose, tasks, event, locked, old, values(locked.c.pooled), done)

    alone = change(purpose, not_(concerns), AT_ONCE)
    one = f"{purpose} One, for which others may wait, or that may have to wait itself."
    return Due(alone, change(one, concerns, 1))


def _locked(rows: Select[Any], *tables: Table) -> CTE:
    return rows.with_for_update(of=tables, key_share=True, skip_locked=True).cte("locked")


def _changing(
    purpose: str,
    table: Table,
    event: str,
    locked: CTE,
    old: Old,
    values: Values,
    *conditions: ColumnElement[bool],
) -> Change:
    """Changes rows that are locked, and tells of each."""
    changed = (
        update(table)
        .where(table.c.project_id == _project_id, table.c.id == locked.c.id, *conditions)
        .values(**values, revision=table.c.revision + 1, updated_at=func.now())
        .returning(*table.c, *old.within(locked).columns)
        .cte("changed")
    )
    was = old.within(changed)
    rows = select(*told(table, event, changed, was)).cte("told")
    shown = [*(changed.c[each.name] for each in table.c), *was.columns]
    return Change(purpose, shown, changed, rows, each=rows.c.told_resource_id == changed.c.id)


def _changing_due(
    purpose: str, event: str, is_due: ColumnElement[bool], values: Values, limit: int = AT_ONCE
) -> Change:
    """Changes tasks without leases."""
    old = Old.of(tasks, values)
    rows = select(_task.id, *old.columns).where(_task.project_id == _project_id, _task.id == _ids)
    locked = _locked(rows.where(is_due).limit(limit), tasks)
    return _changing(purpose, tasks, event, locked, old, values)


def _after_expiry(pooled: ColumnElement[bool]) -> Values:
    again = pending_again(pooled)
    reason = func.coalesce(again["status_reason"], "lease_expired")
    return {
        **again,
        "status": case((_has_failed, "failed"), else_=again["status"]),
        "status_reason": case((_has_failed, "attempts_exhausted"), else_=reason),
        "started_at": case((_has_failed, _task.started_at)),
        "ready_at": case((_has_failed, _task.ready_at), else_=func.now() + backoff()),
    }


def _after_cancellation(pooled: ColumnElement[bool]) -> Values:
    return {
        "assigned_agent_id": pending_again(pooled)["assigned_agent_id"],
        "leased": false(),
        **_CANCELLED,
    }


_CANCELLED: Values = {
    "status": literal("cancelled", String),
    "status_reason": literal("cancel_requested", String),
    "cancel_requested_at": null(),
    "cancel_deadline": null(),
    "preferred_until": null(),
}
_was_asked = _task.cancel_requested_at.is_not(None)
EXPIRE = _ending(
    "Ends leases that have expired. Their tasks are pending again after a pause, or have failed.",
    "task.lease_expired",
    "expired",
    and_(_has_expired, not_(_was_asked)),
    case((_has_failed, _task.has_dependents), else_=_task.open_dependencies > 0),
    _after_expiry,
)
CANCEL_HELD = _ending(
    "Cancels tasks whose agents have not stopped in the time they had, or whose leases have "
    "expired before.",
    "task.cancelled",
    "cancelled",
    or_(_grace_is_over, and_(_has_expired, _was_asked)),
    _task.has_dependents,
    _after_cancellation,
)


def _cancelling(purpose: str, concerns: ColumnElement[bool], limit: int) -> Change:
    is_due = and_(_grace_is_over, ~_task.leased, concerns)
    is_for_all = _task.preferred_until.is_not(None)
    shared: Values = {"assigned_agent_id": case((not_(is_for_all), _task.assigned_agent_id))}
    return _changing_due(purpose, "task.cancelled", is_due, {**shared, **_CANCELLED}, limit)


_purpose = "Cancels tasks that were to be cancelled, and whose agents have given them back."
CANCEL_FREE = Due(
    _cancelling(_purpose, ~_task.has_dependents, AT_ONCE),
    _cancelling(f"{_purpose} One, for which others may wait.", _task.has_dependents, 1),
)
SHARE = Due(
    _changing_due(
        "Unassigns tasks that one agent was to be preferred for, and has not claimed.",
        "task.unassigned",
        _is_preferred_no_more,
        {"assigned_agent_id": null(), "preferred_until": null()},
    )
)


def _gone_offline() -> Change:
    values: Values = {"status": literal("offline", String)}
    old = Old.of(agents, values)
    rows = select(_agent.id, *old.columns).select_from(_present)
    rows = rows.where(_presence.project_id == _project_id, _presence.agent_id == _ids, _is_silent)
    locked = _locked(rows.limit(AT_ONCE), agent_presence, agents)
    return _changing(
        "Sets agents offline that have given no sign of life for `silence` seconds.",
        agents,
        "agent.gone_offline",
        locked,
        old,
        values,
    )


GO_OFFLINE = Due(_gone_offline())
