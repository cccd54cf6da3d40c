"""What a caller may reach, said once: the same rules decide in SQL and in Python.

A user reaches the projects that the user owns, a superuser all of them; an agent reaches in its
project what is its own, and nothing else. A statement decides by these rules; Python says by the
same ones why a statement has refused.
"""

from collections.abc import Mapping
from enum import Enum, auto
from functools import reduce
from operator import or_
from typing import Any
from uuid import UUID

from sqlalchemy import Boolean, ColumnElement, Uuid, and_, bindparam, func
from sqlalchemy import or_ as sql_or

from shared.auth.caller import Agent, Caller, User
from shared.errors import Reason, Refusal, enum_name, not_allowed_for_agent
from shared.schema import agent_api_keys

ACTIVE = "active"
# The parameters that a caller's rights offer to every statement; see Caller.rights.
RIGHTS: Mapping[str, Any] = {
    "superuser": bindparam("superuser", type_=Boolean),
    "caller_id": bindparam("caller_id", type_=Uuid),
    "caller_agent_id": bindparam("caller_agent_id", type_=Uuid),
}


class Scope(Enum):
    """Which rows a caller reaches: all, those of the caller's projects, or the agent's own."""

    ALL = auto()
    PROJECTS = auto()
    AGENT = auto()


def scope(caller: Caller) -> Scope:
    """The one scope through which a caller reaches rows."""
    if isinstance(caller, User):
        return Scope.ALL if caller.is_superuser else Scope.PROJECTS
    return Scope.AGENT


def reached_by(rights: Mapping[str, Any], owner_id: Any, agent_id: Any) -> dict[Scope, Any]:
    """Whether a row is reached, by scope: the rule itself.

    Takes columns and the parameters RIGHTS, and answers conditions; or takes values and a caller's
    rights, and answers booleans. `owner_id` is the owner of the row's project; `agent_id` is the
    agent that the row is, or is assigned to: None if it is of no agent.
    """
    reached = {Scope.ALL: rights["superuser"], Scope.PROJECTS: owner_id == rights["caller_id"]}
    if agent_id is not None:
        reached[Scope.AGENT] = agent_id == rights["caller_agent_id"]
    return reached


def visible(
    owner_id: ColumnElement[Any], agent_id: ColumnElement[Any] | None = None
) -> ColumnElement[bool]:
    """Whether the caller reaches a row, as a condition of a statement."""
    return sql_or(*reached_by(RIGHTS, owner_id, agent_id).values())


def reaches(caller: Caller, owner_id: UUID, agent_id: UUID | None = None) -> bool:
    """Whether the caller reaches a row with these values."""
    return bool(reduce(or_, reached_by(caller.rights, owner_id, agent_id).values()))


def is_in_project(caller: Caller, project_id: UUID) -> bool:
    """Whether the caller is an agent of the project: it may look in it for what is its own."""
    return isinstance(caller, Agent) and caller.project_id == project_id


def usable(at: ColumnElement[Any] | None = None) -> ColumnElement[bool]:
    """Whether an API key can prove who an agent is, when the transaction began or `at` a time."""
    keys = agent_api_keys.c
    ends_later = keys.expires_at > (func.now() if at is None else at)
    return and_(keys.status == "active", sql_or(keys.expires_at.is_(None), ends_later))


def require_reach(
    caller: Caller,
    owner_id: UUID,
    agent_id: UUID | None = None,
    *,
    project_id: UUID | None = None,
) -> None:
    """Raise Refusal(NOT_PROJECT_OWNER or NOT_ALLOWED_FOR_AGENT) unless the caller reaches a row.

    `project_id` is repeated to the caller: give it only if the caller has named it.
    """
    if reaches(caller, owner_id, agent_id):
        return
    if isinstance(caller, Agent):
        raise not_allowed_for_agent()
    metadata = {"project_id": str(project_id)} if project_id else {}
    message = "It belongs to a project that is not yours."
    raise Refusal(Reason.NOT_PROJECT_OWNER, message, metadata)


def require_active(project_id: UUID, status: str) -> None:
    """Raise Refusal(PROJECT_NOT_ACTIVE) unless what is in the project can be changed."""
    if status != ACTIVE:
        raise Refusal(
            Reason.PROJECT_NOT_ACTIVE,
            f"The project is {status}; what is in it cannot be changed.",
            metadata={"project_id": str(project_id), "status": enum_name("PROJECT_STATUS", status)},
        )
