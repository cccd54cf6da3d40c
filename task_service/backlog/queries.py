"""The statements about tasks and leases of all projects. Each looks at so many rows at most.

An exact count of all tasks would look at each of them.
"""

from typing import Any

from sqlalchemy import (
    ARRAY,
    Double,
    Select,
    Text,
    column,
    func,
    select,
    table,
)
from sqlalchemy.dialects.postgresql import array

from shared.database.statement import Statement
from shared.schema import TASK_STATUSES, task_leases, tasks

COUNTED = 10_000
LEASES_COUNTED = 100_000

_task, _lease = tasks.c, task_leases.c
_statuses = func.unnest(array(TASK_STATUSES)).table_valued("status").render_derived("statuses")
_status = _statuses.c.status
_class = table("pg_class", column("oid"), column("reltuples"))
_stats = table(
    "pg_stats",
    *map(column, ("schemaname", "tablename", "attname", "most_common_vals", "most_common_freqs")),
)


def _oldest(*columns: Any) -> Select[Any]:
    """COUNTED tasks, in the order of an index by status: no other plan is as cheap."""
    return select(*columns).order_by(_task.created_at, _task.id).limit(COUNTED)


_of_status = _oldest(_task.id).where(_task.status == _status).correlate(_statuses)

BY_STATUS = Statement(
    f"How many tasks there are in each status, up to {COUNTED:,}.",
    select(
        _status,
        select(func.count()).select_from(_of_status.subquery()).scalar_subquery().label("number"),
    ),
)

_pending = _oldest(_task.ready_at, _task.assigned_user_id).where(_task.status == "pending")
_first = _pending.subquery()
_is_ready = (_first.c.ready_at <= func.now()) & _first.c.assigned_user_id.is_(None)

READY = Statement(
    f"How many of the {COUNTED:,} oldest pending tasks an agent could claim, and for how long.",
    select(
        func.count().filter(_is_ready).label("number"),
        func.coalesce(
            func.extract("epoch", func.now() - func.min(_first.c.ready_at).filter(_is_ready)), 0
        )
        .cast(Double)
        .label("age"),
    ).select_from(_first),
)

_held = select(_lease.expires_at).limit(LEASES_COUNTED).subquery()

LEASES = Statement(
    f"How many leases there are, up to {LEASES_COUNTED:,}, and how many of these have expired.",
    select(
        func.count().label("number"),
        func.count().filter(_held.c.expires_at < func.now()).label("expired"),
    ).select_from(_held),
)

ESTIMATE = Statement(
    "How many tasks the planner believes in, and which part of them is in which status.",
    select(
        _class.c.reltuples.cast(Double).label("number"),
        _stats.c.most_common_vals.cast(Text).cast(ARRAY(Text)).label("statuses"),
        _stats.c.most_common_freqs.cast(ARRAY(Double)).label("parts"),
    )
    .select_from(_class)
    .join(_stats, _stats.c.tablename == "tasks")
    .where(
        _class.c.oid == func.to_regclass("tasks"),
        _stats.c.schemaname == func.current_schema(),
        _stats.c.attname == "status",
    ),
)
