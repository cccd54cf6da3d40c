"""Every statement on many tasks at once."""

from typing import Any

from sqlalchemy import (
    ARRAY,
    CTE,
    Boolean,
    ColumnElement,
    DateTime,
    Double,
    Integer,
    Select,
    SmallInteger,
    String,
    Table,
    Text,
    Uuid,
    any_,
    bindparam,
    case,
    cast,
    column,
    func,
    insert,
    literal,
    null,
    select,
)
from sqlalchemy.dialects.postgresql import JSONB

from shared.auth.permissions import Permission
from shared.database.statement import Statement
from shared.dependents.queries import FOREVER, PREFERRED
from shared.events.recording import as_told, told
from shared.resources.leases import UNCOUNTED, ended
from shared.resources.membership import locked
from shared.resources.project_scoped import new_values
from shared.schema import agents, chat_rooms, projects, task_dependencies, task_leases, tasks
from task_service.leases.queries import CLEARED, HOLDS, STILL_TO_BE_CANCELLED
from task_service.tasks.queries import TASKS

_project_id = bindparam("project_id", type_=Uuid)
_ids = bindparam("ids", type_=ARRAY(Uuid))
_edges = task_dependencies.c
_room = bindparam("room", type_=Integer)

IS_OF_PROJECT = Statement(
    "Whether a user is the owner or a member of a project, which stays so.",
    select(locked(bindparam("user_id", type_=Uuid), _project_id).is_of_project.label("is_one")),
)


def _kept(table: Table) -> Select[Any]:
    """Those of the rows that are of the project, locked against deletion."""
    rows = select(table.c.id).where(table.c.id == any_(_ids), table.c.project_id == _project_id)
    return rows.order_by(table.c.id).with_for_update(read=True, key_share=True)


KEEP_AGENTS = Statement("Those of the agents that are of the project, locked.", _kept(agents))
KEEP_ROOMS = Statement("Those of the rooms that are of the project, locked.", _kept(chat_rooms))
KEEP_TASKS = Statement("Those of the tasks that are of the project, locked.", _kept(tasks))

# The columns of a new task, in the types in which JSON is read.
COLUMNS: dict[str, Any] = {
    "id": Uuid,
    "room_id": Uuid,
    "title": Text,
    "description": Text,
    "status": Text,
    "status_reason": Text,
    "priority": Text,
    "assigned_agent_id": Uuid,
    "assigned_user_id": Uuid,
    "created_by": Uuid,
    "created_by_agent_id": Uuid,
    "dependencies": JSONB,
    "due_date": DateTime(timezone=True),
    "result": JSONB,
    "required_capabilities": Text,
    "ready_at": DateTime(timezone=True),
    "max_attempts": SmallInteger,
    "lock_key": Text,
    "estimate": Double,
    "dependency_policy": Text,
    "on_dependency_failure": Text,
    "parent_id": Uuid,
    "open_dependencies": Integer,
    "has_dependents": Boolean,
}
_new = (
    func.jsonb_to_recordset(cast(bindparam("rows", type_=Text), JSONB))
    .table_valued(*(column(name, kind) for name, kind in COLUMNS.items()))
    .render_derived("new", with_types=True)
)
_values = {
    **{name: _new.c[name] for name in COLUMNS},
    "project_id": _project_id,
    "ready_at": func.greatest(func.now(), _new.c.ready_at),
}


def _created() -> Select[Any]:
    rows = select(*_values.values())
    created = insert(tasks).from_select(list(_values), rows).returning(*tasks.c).cte("created")
    found = select(*told(tasks, "task.created", created), *created.c).subquery("told")
    shown = (found.c[each.name] for each in tasks.c)
    return select(*shown, *as_told(found)).order_by(found.c.id)


CREATE = Statement(
    "Creates tasks, of JSON, and tells a Log of them in the order of their ids.", _created()
)

ADD_EDGES = Statement(
    "Adds edges.",
    insert(task_dependencies).from_select(
        ["project_id", "task_id", "depends_on_id"],
        select(
            _project_id,
            func.unnest(bindparam("task_ids", type_=ARRAY(Uuid))),
            func.unnest(bindparam("depends_on_ids", type_=ARRAY(Uuid))),
        ),
    ),
)

LOCK_GRAPH = Statement(
    "Locks the graph of a task's project for an agent that works on the task.",
    select(projects.c.id)
    .select_from(TASKS.with_project)
    .where(tasks.c.id == bindparam("id", type_=Uuid), TASKS.permits(Permission.CLAIM_TASKS))
    .with_for_update(of=projects, key_share=True),
)

# The lease is there in the snapshot: the task is locked since a statement before.
_pooled = (
    select(task_leases.c.pooled)
    .where(task_leases.c.project_id == tasks.c.project_id, task_leases.c.task_id == tasks.c.id)
    .scalar_subquery()
)
_split = new_values(tasks, ["dependencies", "status", "status_reason", "open_dependencies"])


def _of_split(_before: CTE, after: CTE) -> ColumnElement[str]:
    status = after.c.status
    return case((status == "pending", "task.status_changed"), else_=func.concat("task.", status))


SPLIT = TASKS.changing(
    "Lets a task wait for its parts: the lease `fence` ends. An agent that had it of all others is "
    "preferred when they are done.",
    {
        **CLEARED,
        **STILL_TO_BE_CANCELLED,
        **_split,
        "dependency_policy": literal("wait", String),
        "started_at": null(),
        "attempt": UNCOUNTED,
        "preferred_until": case(
            (~_pooled, null()),
            (_split["status"] == "blocked", FOREVER),
            (_split["status"] == "pending", func.now() + PREFERRED),
        ),
    },
    HOLDS,
    event=_of_split,
    then=lambda task: ended(task, "split"),
    permission=Permission.CLAIM_TASKS,
)

# What a node has not.
_WITHOUT = {"description": null(), "result": null(), "dependencies": cast(literal("[]"), JSONB)}
_node = [_WITHOUT.get(each.name, each).label(each.name) for each in tasks.c]

NEWEST = Statement(
    "The newest tasks of a project, without what is large.",
    select(*_node)
    .where(tasks.c.project_id == _project_id)
    .order_by(tasks.c.created_at.desc(), tasks.c.id.desc())
    .limit(_room),
)
NODES = Statement(
    "Tasks, without what is large.",
    select(*_node).where(tasks.c.id == any_(_ids), tasks.c.project_id == _project_id),
)
ROOTS = Statement(
    "Tasks, and what decides who may do what with them.",
    select(tasks.c.id, tasks.c.project_id, *TASKS.decisive)
    .select_from(TASKS.with_project)
    .where(tasks.c.id == any_(_ids)),
)


def _next(known: Any, found: Any) -> Select[Any]:
    """The tasks one edge further, at most one more than there is room for."""
    seen = bindparam("seen", type_=ARRAY(Uuid))
    return (
        select(found.label("id"))
        .distinct()
        .where(_edges.project_id == _project_id, known == any_(_ids), ~(found == any_(seen)))
        .order_by(found)
        .limit(_room)
    )


DEPENDENCIES = Statement(
    "The first tasks that these depend on, besides those seen.",
    _next(_edges.task_id, _edges.depends_on_id),
)
DEPENDENTS = Statement(
    "The first tasks that depend on these, besides those seen.",
    _next(_edges.depends_on_id, _edges.task_id),
)
EDGES = Statement(
    "The edges between tasks.",
    select(_edges.task_id, _edges.depends_on_id)
    .where(
        _edges.project_id == _project_id,
        _edges.task_id == any_(_ids),
        _edges.depends_on_id == any_(_ids),
    )
    .order_by(_edges.task_id, _edges.depends_on_id)
    .limit(_room),
)
