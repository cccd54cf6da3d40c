"""The statements that assign tasks."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from sqlalchemy import CTE, ColumnElement, Uuid, bindparam, false, null, or_, select

from shared.database.statement import Statement
from shared.events.recording import Change
from shared.resources.leases import OVERRIDDEN
from shared.resources.locking import after, key_share
from shared.resources.membership import locked
from shared.resources.project_scoped import new_values
from shared.schema import agents, tasks
from task_service.tasks import queries

_id = bindparam("id", type_=Uuid)
_assignee_id = bindparam("assignee_id", type_=Uuid)
_assignee = new_values(tasks, ["assigned_agent_id", "assigned_user_id"])
# A deletion of an agent locks it before its tasks; so does an assignment.
_agent = key_share(select(agents.c.id).where(agents.c.id == _assignee_id), "assignee")


class Reassignment(NamedTuple):
    """A change of the assignee as a statement alone, which declines if a lease would have to end.

    In a transaction `lock` comes first, then the end of the lease, then `whole`.
    """

    alone: Change
    whole: Change
    lock: Statement


def _reassignment(
    purpose: str,
    values: Mapping[str, ColumnElement[Any]],
    *conditions: ColumnElement[bool],
    event: str,
    first: CTE | None = None,
    keeps: ColumnElement[bool] | None = None,
) -> Reassignment:
    changed = {**values, "preferred_until": null()}
    may = or_(~tasks.c.leased, false() if keeps is None else keeps)
    overridden = {**changed, **OVERRIDDEN}
    how: dict[str, Any] = {"event": event, "first": first}
    return Reassignment(
        queries.TASKS.changing(purpose, changed, may, *conditions, **how),
        queries.TASKS.changing(f"{purpose} Its lease ends.", overridden, *conditions, **how),
        Statement("Locks who will be the assignee, if any.", select(after(first))),
    )


ASSIGN_AGENT = _reassignment(
    "Assigns a task to the agent `assignee_id`.",
    _assignee,
    event="task.assigned",
    first=_agent,
    keeps=tasks.c.assigned_agent_id == _assignee_id,
)

_project_of_task = select(tasks.c.project_id).where(tasks.c.id == _id).scalar_subquery()
_user = locked(_assignee_id, _project_of_task)
ASSIGN_USER = _reassignment(
    "Assigns a task to the user `assignee_id`, if the user is the owner or a member.",
    _assignee,
    _user.is_of_project,
    event="task.assigned",
    first=_user.member,
)

UNASSIGN = _reassignment(
    "Takes the assignee off a task.",
    {"assigned_agent_id": null(), "assigned_user_id": null()},
    event="task.unassigned",
)
