"""The statements that renew leases. They lock no task, and write no event."""

from typing import Any

from sqlalchemy import (
    ARRAY,
    CTE,
    BigInteger,
    ColumnElement,
    Table,
    Uuid,
    and_,
    any_,
    bindparam,
    extract,
    func,
    literal_column,
    select,
    true,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.sql.elements import Grouping

from shared.auth.permissions import Permission
from shared.database.statement import Statement
from shared.resources.leases import is_proof
from shared.resources.locking import after
from shared.schema import agents, task_attempts, task_leases, tasks
from task_service.holders import HOLDERS
from task_service.presence.queries import is_known

_project_id = bindparam("project_id", type_=Uuid)
_agent_id = bindparam("agent_id", type_=Uuid)
_task_ids = bindparam("task_ids", type_=ARRAY(Uuid))
_fences = bindparam("fences", type_=ARRAY(BigInteger))
_progress = bindparam("progress", type_=ARRAY(JSONB))


def _of(given: ColumnElement[Any], task_id: ColumnElement[Any]) -> ColumnElement[Any]:
    """What is given for a task: each list has it at the place of its id in `task_ids`."""
    return Grouping(given)[func.array_position(_task_ids, task_id)]


def _named(table: Table) -> ColumnElement[bool]:
    """The rows of the leases that are given, each looked up by its key.

    Not joined with `unnest(task_ids, fences)`: planned without its parameters, that reads the
    whole table.
    """
    of = table.c
    is_of_task = and_(of.project_id == _project_id, of.task_id == any_(_task_ids))
    return and_(is_of_task, of.fence == _of(_fences, of.task_id), of.agent_id == _agent_id)


def _locked(agent: CTE) -> CTE:
    """In the order of their tasks: two calls with the same leases do not wait for each other."""
    is_permitted = select(agent.c.id).where(agent.c.is_usable).exists()
    leases = select(task_leases.c.task_id).where(_named(task_leases), is_permitted)
    return leases.order_by(task_leases.c.task_id).with_for_update(key_share=True).cte("locked")


def _renewed(agent: CTE) -> CTE:
    lease, locked = task_leases.c, _locked(agent)
    renewed = (
        update(task_leases)
        .where(
            _named(task_leases),
            after(locked),
            select(agent.c.id).where(agent.c.is_usable).exists(),
        )
        .values(
            expires_at=func.now() + func.make_interval(0, 0, 0, 0, 0, 0, lease.seconds),
            api_key_id=bindparam("actor_api_key_id", type_=Uuid),
        )
    )
    return renewed.returning(lease.task_id, lease.fence, lease.seconds).cte("renewed")


def _kept(renewed: CTE) -> CTE:
    """The progress of those that are renewed, where some is given."""
    attempt = task_attempts.c
    changed = (
        update(task_attempts)
        .where(
            attempt.project_id == _project_id,
            attempt.task_id == renewed.c.task_id,
            attempt.fence == renewed.c.fence,
            _of(_progress, attempt.task_id).is_not(None),
        )
        .values(progress=_of(_progress, attempt.task_id))
    )
    return changed.returning(literal_column("1")).cte("kept")


def _renewing(purpose: str, *, with_progress: bool) -> Statement:
    agent = (
        select(agents.c.id, agents.c.status)
        .select_from(HOLDERS.with_project)
        .where(
            agents.c.project_id == _project_id,
            agents.c.id == _agent_id,
            HOLDERS.permits(Permission.CLAIM_TASKS),
        )
        .cte("agent")
    )
    is_usable = is_proof(agent, agent.c.id).label("is_usable")
    agent = select(*agent.c, is_usable).cte("proved")
    renewed = _renewed(agent)
    task = tasks.c
    left = extract("epoch", task.cancel_deadline - func.now())
    held = (
        select(
            renewed.c.task_id,
            renewed.c.seconds,
            task.cancel_requested_at.is_not(None).label("is_cancelled"),
            func.greatest(left, 0).label("seconds_left"),
            task.status_message,
        )
        .select_from(renewed.join(tasks, task.id == renewed.c.task_id))
        .where(task.project_id == _project_id, after(_kept(renewed) if with_progress else None))
        .subquery("held")
    )
    status = agent.c.status.label("agent_status")
    answer = select(status, agent.c.is_usable, is_known().label("is_known"), *held.c)
    return Statement(purpose, answer.select_from(agent.outerjoin(held, true())))


RENEW = _renewing(
    "Renews leases of an agent, if the caller may act for it, and says which are held. It answers "
    "one row without a lease if none is, and none if the caller may not.",
    with_progress=False,
)
RENEW_WITH_PROGRESS = _renewing("The same, and keeps progress.", with_progress=True)

OUTCOMES = Statement(
    "How attempts of an agent have ended, of those that are over.",
    select(task_attempts.c.task_id, task_attempts.c.outcome).where(_named(task_attempts)),
)
