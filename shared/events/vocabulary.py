"""The words of the log: types of events, kinds of resources, and what is kept of a row."""

from typing import Any
from uuid import UUID

from sqlalchemy import FromClause, Table

from shared.schema import (
    agent_api_keys,
    agents,
    chat_participants,
    chat_rooms,
    project_members,
    projects,
    tasks,
    users,
)

# The project of what is of none: users.
NIL = UUID(int=0)

RESOURCE_TYPES: dict[str, Table] = {
    "task": tasks,
    "agent": agents,
    "project": projects,
    "room": chat_rooms,
    "participant": chat_participants,
    "api_key": agent_api_keys,
    "member": project_members,
    "user": users,
}

EVENT_TYPES = (
    "task.created",
    "task.updated",
    "task.assigned",
    "task.unassigned",
    "task.status_changed",
    "task.completed",
    "task.failed",
    "task.cancelled",
    "task.blocked",
    "task.unblocked",
    "task.deleted",
    "task.claimed",
    "task.released",
    "task.lease_expired",
    "task.retried",
    "task.cancel_requested",
    "agent.created",
    "agent.updated",
    "agent.status_changed",
    "agent.deleted",
    "agent.gone_offline",
    "project.created",
    "project.updated",
    "project.transferred",
    "project.deleted",
    "room.created",
    "room.updated",
    "room.deleted",
    "participant.added",
    "participant.removed",
    "key.created",
    "key.rotated",
    "key.revoked",
    "member.added",
    "member.updated",
    "member.removed",
    "user.created",
    "user.updated",
    "user.deleted",
)

# What can be large: an event says that it has changed, and Get what it is now.
LARGE = frozenset({"description", "config", "settings", "result", "status_message"})
# What is read from the generated columns, as clients read it.
READ_AS = {
    "assigned_agent_id": ("assigned_to", "assigned_to_type"),
    "assigned_user_id": ("assigned_to", "assigned_to_type"),
}
# What no event has besides: the hash of a key and what the key is found by, because viewers read
# the log, and what changes without an event or follows from the rest.
LEFT_OUT = frozenset(
    {*READ_AS, "api_key_hash", "key_id", "key_prefix", "last_used_at", "rank", "lane"}
    | {"releases", "fence", "cancel_deadline", "preferred_until", "has_dependents"}
)
# Columns of a statement that have what a row was begin so.
OLD = "old_"


_CREATED = {"participant": "participant.added", "member": "member.added", "api_key": "key.created"}
_DELETED = {"participant": "participant.removed", "member": "member.removed"}


def created(table: Table) -> str:
    """The event of a row that is new."""
    kind = kind_of(table)
    return _CREATED.get(kind, f"{kind}.created")


def updated(table: Table) -> str:
    """The event of a row of which fields are changed."""
    return f"{kind_of(table)}.updated"


def deleted(table: Table) -> str:
    """The event of a row that is deleted."""
    kind = kind_of(table)
    return _DELETED.get(kind, f"{kind}.deleted")


def kind_of(table: Table) -> str:
    """The kind of the resources in a table: "task"."""
    return next(kind for kind, of in RESOURCE_TYPES.items() if of is table)


def kept(row: FromClause) -> dict[str, Any]:
    """The columns of a row that `after` has, by name."""
    names = (name for name in row.c.keys() if name not in LARGE | LEFT_OUT)  # noqa: SIM118
    return {name: row.c[name] for name in names if not name.startswith(OLD)}
