"""Every statement on the edges between tasks, and on the tasks that wait at their ends.

A statement that waits for a row goes on with the snapshot that it had: of that row it sees what is
new, of other rows and of edges it does not. So those who wait are locked by one statement, when
what they wait for is locked, and changed by the next, which sees all that was committed meanwhile.
A counter on each of them says how many it waits for.
"""

from typing import Any, TypeAlias

from sqlalchemy import (
    ARRAY,
    CTE,
    Boolean,
    ColumnElement,
    Integer,
    Select,
    Text,
    Uuid,
    and_,
    any_,
    bindparam,
    case,
    cast,
    delete,
    false,
    func,
    not_,
    null,
    or_,
    select,
    text,
    tuple_,
    update,
)
from sqlalchemy.dialects.postgresql import insert

from shared.database.statement import Statement
from shared.dependents.effects import GIVES_UP, IGNORES, LOST
from shared.errors import IDS_NAMED
from shared.events.recording import Old, as_told, changing_rows, told
from shared.schema import task_dependencies, tasks

Values: TypeAlias = dict[str, ColumnElement[Any]]

WAITING = ("dependencies", "dependency_failed")
# How long only the agent that has split a task can claim it when its parts are done.
PREFERRED = text("interval '10 minutes'")
FOREVER = text("'infinity'::timestamptz")
# What follows for a task from those that it waits for.
SET = (
    "open_dependencies",
    "status",
    "status_reason",
    "status_message",
    "started_at",
    "ready_at",
    "assigned_agent_id",
    "preferred_until",
    "cancel_requested_at",
    "cancel_deadline",
)

# What is known of tasks that may have come to wait.
CONCERNED = (tasks.c.project_id, tasks.c.id, tasks.c.open_dependencies)

_id = bindparam("id", type_=Uuid)
_ids = any_(bindparam("ids", type_=ARRAY(Uuid)))
_project_id = bindparam("project_id", type_=Uuid)
_edges = task_dependencies.c

_dependencies = (
    select(tasks.c.id, tasks.c.status)
    .where(tasks.c.id == _ids, tasks.c.project_id == _project_id)
    .order_by(tasks.c.id)
)
DEPENDENCIES = Statement("Those of the tasks that are of the project.", _dependencies)

LOCK_DEPENDENCIES = Statement(
    "The same, locked: their statuses stay what they are until the end of the transaction.",
    _dependencies.with_for_update(read=True),
)

_unmarked = (
    select(tasks.c.id)
    .where(tasks.c.id == _ids, tasks.c.project_id == _project_id, ~tasks.c.has_dependents)
    .order_by(tasks.c.id)
    .with_for_update(key_share=True)
    .cte("unmarked")
)
MARK = Statement(
    "Says of tasks that others wait for them. A statement that moves one of them, and has to wait "
    "for its row, reads that again, and so knows of an edge that it does not see.",
    update(tasks)
    .where(tasks.c.id == _unmarked.c.id, ~tasks.c.has_dependents)
    .values(has_dependents=True),
)

EXISTING = Statement(
    "Those of the tasks that exist at all.", select(tasks.c.id).where(tasks.c.id == _ids)
)

_above = select(_id.label("task_id")).cte("dependents", recursive=True)
_above = _above.union(
    select(_edges.task_id).where(
        _edges.project_id == _project_id, _edges.depends_on_id == _above.c.task_id
    )
)
DEPENDENTS_AMONG = Statement(
    "Those of the tasks that depend on the task `id`, directly or through others, or are it.",
    select(_above.c.task_id).where(_above.c.task_id == _ids),
)

DROP_EDGES = Statement(
    "Removes the edges of a task to all but these.",
    delete(task_dependencies).where(
        _edges.project_id == _project_id, _edges.task_id == _id, ~(_edges.depends_on_id == _ids)
    ),
)

ADD_EDGES = Statement(
    "Adds the edges of a task to these that it has not yet.",
    insert(task_dependencies)
    .from_select(
        ["project_id", "task_id", "depends_on_id"],
        select(_project_id, _id, func.unnest(bindparam("ids", type_=ARRAY(Uuid)))),
    )
    .on_conflict_do_nothing(),
)

_upon = and_(_edges.project_id == _project_id, _edges.depends_on_id == _id)
DEPENDENTS = Statement(
    "The first of the tasks that depend directly on a task, each with how many there are.",
    select(_edges.task_id, func.count().over().label("total"))
    .where(_upon)
    .order_by(_edges.task_id)
    .limit(IDS_NAMED),
)

UNLIST = Statement(
    "Takes a task out of the lists of those that depend on it.",
    changing_rows(
        tasks,
        "task.updated",
        select(tasks)
        .where(
            tasks.c.project_id == _project_id, tasks.c.id.in_(select(_edges.task_id).where(_upon))
        )
        .order_by(tasks.c.id)
        .with_for_update(key_share=True),
        {"dependencies": tasks.c.dependencies.op("-")(cast(_id, Text))},
    ),
)
DROP_EDGES_UPON = Statement(
    "Removes the edges of others to a task.", delete(task_dependencies).where(_upon)
)


def _locked(*conditions: ColumnElement[bool]) -> Select[Any]:
    """Those of the tasks that wait, locked in the order of their ids."""
    found = select(tasks).where(
        tasks.c.project_id == _project_id, tasks.c.dependency_policy == "wait", *conditions
    )
    return found.order_by(tasks.c.id).with_for_update(key_share=True)


_upstream = and_(_edges.project_id == _project_id, _edges.depends_on_id == _ids)
_waiting = _locked(tasks.c.id.in_(select(_edges.task_id).where(_upstream)))
LOCK_WAITING = Statement(
    "Locks the tasks that wait for these, which are locked.", _waiting.with_only_columns(tasks.c.id)
)

_dependency = tasks.alias("dependency")
_its_edges = task_dependencies.join(
    _dependency,
    and_(_dependency.c.project_id == _edges.project_id, _dependency.c.id == _edges.depends_on_id),
)
_is_its_edge = and_(_edges.project_id == tasks.c.project_id, _edges.task_id == tasks.c.id)
_ignores = tasks.c.on_dependency_failure == IGNORES
# Not EXISTS, for which a plan may read the edges of all projects first.
_a_lost_one = (
    select(_dependency.c.id)
    .select_from(_its_edges)
    .where(_is_its_edge, _dependency.c.status.in_(LOST))
    .correlate(tasks)
    .limit(1)
    .scalar_subquery()
)
_has_lost = and_(not_(_ignores), _a_lost_one.is_not(None))
# Why a task is blocked that has open dependencies and is not worked on any more. It judges by the
# snapshot, which may be older than the row: RECOUNT has to follow in the same transaction.
WAITS_FOR = case((_has_lost, "dependency_failed"), else_="dependencies")
_is_lost = bindparam("is_lost", type_=Boolean)
_waits = and_(tasks.c.status == "blocked", tasks.c.status_reason.in_(WAITING))


def _settled(left: ColumnElement[int], has_lost: ColumnElement[bool]) -> Values:
    """The columns of a task that waits, or might, if so many tasks are `left` to wait for.

    What has begun goes on. What is blocked for another reason gives up only if one `is_lost` now.
    """
    is_held, may_begin = left > 0, or_(_waits, tasks.c.status == "pending")
    is_freed, is_blocked = and_(_waits, not_(is_held)), and_(is_held, may_begin)
    gives_up = and_(
        is_held,
        tasks.c.on_dependency_failure.in_(GIVES_UP),
        or_(and_(_is_lost, tasks.c.status == "blocked"), and_(has_lost, may_begin)),
    )
    status = case(
        (gives_up, case(GIVES_UP, value=tasks.c.on_dependency_failure)),
        (is_freed, "pending"),
        (is_blocked, "blocked"),
        else_=tasks.c.status,
    )
    reason = case(
        (gives_up, "dependency_failed"),
        (is_freed, null()),
        (is_blocked, case((has_lost, "dependency_failed"), else_="dependencies")),
        else_=tasks.c.status_reason,
    )
    return {
        "open_dependencies": left,
        "status": status,
        "status_reason": reason,
        "status_message": case((status == tasks.c.status, tasks.c.status_message)),
        **_started(is_freed),
        **_preferred(is_freed, gives_up),
        "cancel_requested_at": case((not_(gives_up), tasks.c.cancel_requested_at)),
        "cancel_deadline": case((not_(gives_up), tasks.c.cancel_deadline)),
    }


def _started(is_freed: ColumnElement[bool]) -> Values:
    ready_at = func.greatest(func.now(), tasks.c.ready_at)
    return {
        "started_at": case((not_(is_freed), tasks.c.started_at)),
        "ready_at": case((is_freed, ready_at), else_=tasks.c.ready_at),
    }


def _preferred(is_freed: ColumnElement[bool], gives_up: ColumnElement[bool]) -> Values:
    """An agent that was only preferred is the assignee no longer if the task is given up."""
    until = tasks.c.preferred_until
    ends = and_(gives_up, until.is_not(None))
    begins = and_(is_freed, until == FOREVER)
    return {
        "assigned_agent_id": case((not_(ends), tasks.c.assigned_agent_id)),
        "preferred_until": case((ends, null()), (begins, func.now() + PREFERRED), else_=until),
    }


def _changes(values: Values) -> ColumnElement[bool]:
    names = ("open_dependencies", "status", "status_reason")
    new, old = (tuple_(*(of[name] for name in names)) for of in (values, tasks.c))
    return new.is_distinct_from(old)


def _event(changed: CTE) -> ColumnElement[str]:
    return case(
        (changed.c.status == changed.c.old_status, "task.updated"),
        (changed.c.status == "pending", "task.unblocked"),
        else_=func.concat("task.", changed.c.status),
    )


def _settling(
    rows: Select[Any], left: ColumnElement[int], has_lost: ColumnElement[bool]
) -> Select[Any]:
    """Changes rows that are locked, each if something follows for it; what it left is counted once.

    It answers the rows as they are then, and what is told of them.
    """
    old = Old.of(tasks, SET)
    counted = (cast(left, Integer).label("left"), has_lost.label("has_lost"))
    found = rows.with_only_columns(tasks.c.id, *counted, *old.columns).cte("found")
    lost_by_now = or_(and_(_is_lost, not_(_ignores)), found.c.has_lost)
    values = _settled(found.c.left, lost_by_now)
    assert values.keys() == set(SET)
    changed = (
        update(tasks)
        .where(tasks.c.id == found.c.id, _changes(values))
        .values(**values, revision=tasks.c.revision + 1, updated_at=func.now())
        .returning(*tasks.c, *old.within(found).columns)
        .cte("changed")
    )
    events = told(tasks, _event(changed), changed, old.within(changed))
    told_rows = select(*events, *(changed.c[each.name] for each in tasks.c)).subquery("told")
    return select(*(told_rows.c[each.name] for each in tasks.c), *as_told(told_rows))


_number = (
    select(func.count())
    .select_from(task_dependencies)
    .where(_is_its_edge, _edges.depends_on_id == _ids)
    .correlate(tasks)
    .scalar_subquery()
)
_step = case(
    (_ignores, bindparam("step_if_ignored", type_=Integer)), else_=bindparam("step", type_=Integer)
)
_stepped = tasks.c.open_dependencies + case((_step == 0, 0), else_=_step * _number)
# Only one that says so can have lost another one than that which has moved.
_has_lost_another = case((tasks.c.status_reason == "dependency_failed", _has_lost), else_=false())
SETTLE = Statement(
    "Lets the tasks that wait for these, and are locked, know of their move: their counters, and "
    "what follows from them.",
    _settling(_waiting, _stepped, _has_lost_another),
)

_counted = (
    select(func.count())
    .select_from(_its_edges)
    .where(
        _is_its_edge,
        _dependency.c.status != "completed",
        not_(and_(_ignores, _dependency.c.status.in_(LOST))),
    )
    .correlate(tasks)
    .scalar_subquery()
)
RECOUNT = Statement(
    "Counts what tasks wait for that are locked since a statement before, after they or their "
    "edges have changed, and what follows. `is_lost`: a dependency that was added is.",
    _settling(_locked(tasks.c.id == _ids), _counted, _has_lost),
)
