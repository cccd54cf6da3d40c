"""Every statement on tasks and the edges between them."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    ColumnElement,
    FromClause,
    Integer,
    String,
    Text,
    Uuid,
    and_,
    any_,
    bindparam,
    case,
    cast,
    extract,
    false,
    func,
    literal,
    not_,
    null,
    or_,
    select,
    text,
)

from shared.auth.access import RIGHTS, allowed
from shared.auth.permissions import Permission
from shared.database.statement import Statement
from shared.errors import Reason
from shared.events.recording import Change
from shared.resources.batch import BatchGet
from shared.resources.listing import Lister
from shared.resources.locking import after, referenced
from shared.resources.membership import locked
from shared.resources.ordering import Part, Parts, by, last
from shared.resources.pagination import DEFAULT_PAGE_SIZE
from shared.resources.project_scoped import PROJECTS, ProjectScopedTable, new_values
from shared.schema import (
    PRIORITIES_IN_ORDER,
    TASK_STATUSES,
    WITHOUT_PRIORITY,
    chat_rooms,
    projects,
    task_dependencies,
    tasks,
    urgency,
)
from task_service.tasks.lifecycle import ENDED

FOREVER = 9 * 10**18
# How many tasks a task can be a part of, one in the other.
MAXIMUM_DEPTH = 10
# Statuses that a task cannot have while it waits for dependencies.
GOING = ("pending", "in_progress")
# What no lease and no earlier status leaves in a task that is moved.
_MOVED: Mapping[str, ColumnElement[Any]] = {"leased": false(), "preferred_until": null()}
# Statuses to which a move is an event of a type of its own.
OF_THEIR_OWN = ("completed", "failed", "cancelled", "blocked")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

# The caller's own: assigned to the caller.
_own = or_(
    tasks.c.assigned_agent_id == RIGHTS["caller_agent_id"],
    tasks.c.assigned_user_id == RIGHTS["caller_id"],
)
TASKS = ProjectScopedTable(
    tasks,
    Reason.TASK_NOT_FOUND,
    Permission.READ_TASKS,
    Permission.MANAGE_TASKS,
    Permission.CREATE_TASKS,
    own=_own,
    seen=(
        tasks.c.leased,
        tasks.c.fence,
        tasks.c.assigned_agent_id,
        tasks.c.has_dependents,
        tasks.c.open_dependencies,
    ),
)

GET_MANY = BatchGet(TASKS)

_id = bindparam("id", type_=Uuid)
_project_id = bindparam("project_id", type_=Uuid)
_parent = tasks.alias("parent")
_edges = task_dependencies.c


def _of_move(before: FromClause, after: FromClause) -> ColumnElement[str]:
    """The event of a move."""
    return case(
        (after.c.status.in_(OF_THEIR_OWN), func.concat("task.", after.c.status)),
        (before.c.found_status == "blocked", "task.unblocked"),
        else_="task.status_changed",
    )


class Move(NamedTuple):
    """A move that is a statement alone, and the same within a transaction that looks after others.

    The first declines if an agent holds the task by a lease, or other tasks may wait for it.
    """

    alone: Change
    whole: Change


def _cancelled_as_asked(status: ColumnElement[str]) -> dict[str, ColumnElement[Any]]:
    """A task that is to be cancelled, and is moved without ending, is due to be cancelled."""
    asked_at = tasks.c.cancel_requested_at
    is_due = and_(asked_at.is_not(None), status.not_in(ENDED))
    return {
        "cancel_requested_at": case((is_due, asked_at)),
        "cancel_deadline": case((is_due, func.now())),
        "status_message": case((is_due, tasks.c.status_message)),
    }


def _given_back(
    status: ColumnElement[str], pooled: ColumnElement[bool]
) -> dict[str, ColumnElement[Any]]:
    """A task that is pending again is for all, if its agent had it of all or was only preferred."""
    was_for_all = or_(pooled, tasks.c.preferred_until.is_not(None))
    is_for_all = and_(was_for_all, status == "pending")
    return {"assigned_agent_id": case((is_for_all, null()), else_=tasks.c.assigned_agent_id)}


def _move(purpose: str, *names: str) -> Move:
    values = new_values(tasks, names)
    status = values["status"]
    started = func.coalesce(tasks.c.started_at, func.now())
    changed = {
        **values,
        "started_at": case(
            (status == "in_progress", started),
            (status == "pending", null()),
            else_=tasks.c.started_at,
        ),
        # A transaction that had to wait for the one before may have begun before it.
        "completed_at": case(
            (status == "completed", func.greatest(func.now(), tasks.c.started_at))
        ),
        **_MOVED,
        **_cancelled_as_asked(status),
        "status_reason": case((status == "blocked", "external")),
    }
    may = (
        tasks.c.status == any_(bindparam("sources", type_=ARRAY(String))),
        or_(tasks.c.open_dependencies == 0, status.not_in(GOING)),
    )
    how: dict[str, Any] = {"event": _of_move, "permission": Permission.MOVE_TASKS}
    return Move(
        TASKS.changing(
            purpose,
            {**changed, **_given_back(status, false())},
            *may,
            ~tasks.c.leased,
            ~tasks.c.has_dependents,
            **how,
        ),
        TASKS.changing(
            f"{purpose} Others may be concerned.",
            {**changed, **_given_back(status, bindparam("pooled", type_=Boolean))},
            *may,
            **how,
        ),
    )


MOVE = _move("Moves the status of a task from one of `sources`, by the database's clock.", "status")
MOVE_WITH_RESULT = _move("The same, and keeps a result.", "status", "result")


@lru_cache(maxsize=8)
def create_for_user(names: frozenset[str]) -> Change:
    """Creates a task that is assigned to a user."""
    user_id = bindparam("assigned_user_id", type_=Uuid)
    return TASKS.creating(
        "Creates one task that is assigned to a user, if the user is the owner or a member.",
        names,
        lambda project_id: locked(user_id, project_id).is_of_project,
    )


@lru_cache(maxsize=64)
def lock_referenced(names: frozenset[str]) -> Statement:
    """What decides whether a task can be created, and what one with these columns refers to."""
    values = {name: bindparam(name, type_=tasks.c[name].type) for name in sorted(names)}
    project = (
        select(
            projects.c.id.label("found_project_id"),
            projects.c.status.label("found_project_status"),
            PROJECTS.decisive[0],
        )
        .where(projects.c.id == _project_id)
        .cte("project")
    )
    permitted = allowed(TASKS.create, project.c.found_project_id, project.c.found_role)
    of_project = select(project.c.found_project_id).where(permitted).scalar_subquery()
    return Statement(
        "A project in which a task is to be created, and what decides whether the caller may. If "
        "so, what the task will refer to is locked.",
        select(*project.c, after(referenced(tasks, values, of_project)).label("locked")),
    )


_parents = (
    select(_parent.c.parent_id.label("id"), literal(1, Integer).label("depth"))
    .where(_parent.c.id == _id)
    .cte("parents", recursive=True)
)
_parents = _parents.union_all(
    select(_parent.c.parent_id, _parents.c.depth + 1)
    .select_from(_parents.join(_parent, _parent.c.id == _parents.c.id))
    .where(_parents.c.depth <= MAXIMUM_DEPTH)
)
DEPTH = Statement(
    "How many tasks a task is a part of, one in the other; one more than it may be at most.",
    select(func.count().label("depth")).select_from(_parents).where(_parents.c.id.is_not(None)),
)

LOCK_GRAPH = Statement(
    "Locks the graph of a task's project: one transaction at a time changes existing edges in it.",
    select(projects.c.id)
    .select_from(TASKS.with_project)
    .where(tasks.c.id == _id, TASKS.permits(Permission.MANAGE_TASKS))
    .with_for_update(of=projects, key_share=True),
)

# In microseconds since 1970, exactly: extract answers a numeric. The first and the last time that
# the wire can say are kept as infinities.
_microseconds = extract("epoch", tasks.c.due_date) * literal(1_000_000, Integer)
_due = cast(
    func.least(func.greatest(_microseconds, -FOREVER), FOREVER, type_=BigInteger), BigInteger
)


def _due_date(microseconds: int) -> datetime:
    """The due date whose key is this."""
    if abs(microseconds) == FOREVER:
        return (datetime.max if microseconds > 0 else datetime.min).replace(tzinfo=UTC)
    return EPOCH + timedelta(microseconds=microseconds)


def _by_due_date(without: int) -> Parts:
    dated = Part(tasks.c.due_date, _due, tasks.c.due_date.is_not(None), bound=_due_date)
    return dated, last(tasks.c.due_date.is_(None), tasks.c.due_date, without)


_overdue: ColumnElement[Any] = and_(tasks.c.due_date < func.now(), tasks.c.status.not_in(ENDED))
_is_asked_for_overdue = bindparam("overdue", type_=Boolean)


def _folded(text: ColumnElement[str]) -> ColumnElement[str]:
    # Both steps: some letters have two lower-case forms ("ς"), others two upper-case ones.
    return func.replace(func.upper(func.lower(text)), "ß", "SS")


_title_part = _folded(bindparam("title_contains", type_=Text))

_project_of_room = (
    select(chat_rooms.c.project_id)
    .where(chat_rooms.c.id == bindparam("room_id", type_=Uuid))
    .scalar_subquery()
)

_project_of_parent = (
    select(_parent.c.project_id)
    .where(_parent.c.id == bindparam("parent_id", type_=Uuid))
    .scalar_subquery()
)

_dependency = tasks.alias("dependency")
_depends_on = bindparam("depends_on", type_=Uuid)
_project_of_dependency = (
    select(_dependency.c.project_id).where(_dependency.c.id == _depends_on).scalar_subquery()
)
_ids_upon_it = (
    select(_edges.task_id)
    .where(_edges.project_id == _project_of_dependency, _edges.depends_on_id == _depends_on)
    .scalar_subquery()
)
# Not EXISTS, for which a plan may read the edges of all projects first. It reads the dependencies
# of a task up to the first that is not completed.
_waits = (
    select(text("false"))
    .select_from(task_dependencies.join(_dependency, _dependency.c.id == _edges.depends_on_id))
    .where(
        _edges.project_id == tasks.c.project_id,
        _edges.task_id == tasks.c.id,
        _dependency.c.status != "completed",
    )
    .correlate(tasks)
    .limit(1)
    .scalar_subquery()
)


def _rank(without: int) -> ColumnElement[int]:
    ranks = {name: rank for rank, name in enumerate(PRIORITIES_IN_ORDER.split(), start=1)}
    return case(ranks, value=tasks.c.priority, else_=literal(without, Integer))


def _urgency_of(rank: int) -> int:
    """What an index has for the priority with this rank."""
    found = PRIORITIES_IN_ORDER.split()[rank - 1 : rank]
    return PRIORITIES_IN_ORDER.index(found[0]) + 1 if found else WITHOUT_PRIORITY


LIST = Lister(
    tasks,
    tasks.c,
    filters={
        "project_id": tasks.c.project_id == _project_id,
        # The project is said for the index, which begins with it.
        "room_id": and_(
            tasks.c.room_id == bindparam("room_id", type_=Uuid),
            tasks.c.project_id == _project_of_room,
        ),
        "statuses": tasks.c.status == any_(bindparam("statuses", type_=ARRAY(String))),
        "priorities": func.coalesce(tasks.c.priority, "")
        == any_(bindparam("priorities", type_=ARRAY(String))),
        "assigned_to": tasks.c.assigned_to == bindparam("assigned_to", type_=Uuid),
        "assigned_to_type": tasks.c.assigned_to_type == bindparam("assigned_to_type", type_=String),
        "created_by": tasks.c.created_by == bindparam("created_by", type_=Uuid),
        "due_after": tasks.c.due_date >= bindparam("due_after", type_=tasks.c.due_date.type),
        "due_before": tasks.c.due_date < bindparam("due_before", type_=tasks.c.due_date.type),
        "overdue": func.coalesce(_overdue, text("false")) == _is_asked_for_overdue,
        "title_contains": func.strpos(_folded(tasks.c.title), _title_part) > 0,
        "ready": func.coalesce(_waits, text("true")) == bindparam("ready", type_=Boolean),
        "depends_on": tasks.c.id == any_(func.array(_ids_upon_it)),
        "status_reasons": tasks.c.status_reason
        == any_(bindparam("status_reasons", type_=ARRAY(String))),
        # The project is said for the index, which begins with it.
        "parent_id": and_(
            tasks.c.parent_id == bindparam("parent_id", type_=Uuid),
            tasks.c.project_id == _project_of_parent,
        ),
    },
    # Those without a due date or a priority come last in both directions.
    orders={
        "created_at": by(tasks.c.created_at),
        "updated_at": by(tasks.c.updated_at),
        "due_date": _by_due_date(without=2**63 - 1),
        "due_date desc": _by_due_date(without=-(2**63)),
        "priority": (Part(urgency, _rank(without=5), bound=_urgency_of),),
        "priority desc": (
            Part(urgency, _rank(without=0), urgency < WITHOUT_PRIORITY, bound=_urgency_of),
            last(urgency == WITHOUT_PRIORITY, urgency, only=0),
        ),
    },
    batch_size=DEFAULT_PAGE_SIZE + 1,
    project_of={
        "project_id": _project_id,
        "room_id": _project_of_room,
        "depends_on": _project_of_dependency,
        "parent_id": _project_of_parent,
    },
    permission=Permission.READ_TASKS,
    own=_own,
    user_id=tasks.c.assigned_user_id,
    assignee=tasks.c.assigned_to,
    statuses=TASK_STATUSES,
    by_status=("due_date", "priority"),
    by_id={"depends_on"},
    of_status={"overdue": lambda status: not_(and_(_is_asked_for_overdue, status.in_(ENDED)))},
)
