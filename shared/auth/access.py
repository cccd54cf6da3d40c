"""What a caller may reach: the projects that are theirs, for a superuser all, for an agent its own.

An agent reaches in its project what is its own, and nothing else.
"""

from typing import Any
from uuid import UUID

from sqlalchemy import Boolean, ColumnElement, Uuid, and_, bindparam, func, or_, select

from shared.auth.caller import Agent, Caller, User
from shared.database.pool import Connection
from shared.database.statement import Statement
from shared.errors import Reason, Refusal, not_allowed_for_agent, not_found
from shared.schema import agent_api_keys, projects

# Whose a project is, and whether it is active.
PROJECT = Statement(
    select(projects.c.owner_id, projects.c.status).where(projects.c.id == bindparam("id"))
)


async def require_project(connection: Connection, caller: Caller, project_id: str) -> None:
    """Raise a Refusal unless the caller may look for something in the project.

    PROJECT_NOT_FOUND, NOT_PROJECT_OWNER or NOT_ALLOWED_FOR_AGENT. A malformed id is let through: it
    is refused with the rest of the request's content.
    """
    known = as_uuid(project_id)
    if known is None:
        return
    row = await PROJECT.row(connection, id=known)
    if row is None:
        raise not_found(Reason.PROJECT_NOT_FOUND, known)
    if not (isinstance(caller, Agent) and caller.project_id == known):
        require_reach(caller, row["owner_id"], project_id=known)


def as_uuid(text: str) -> UUID | None:
    """The id, None where it is not one in the 36-character form."""
    try:
        known = UUID(text)
    except ValueError:
        return None
    return known if str(known) == text.lower() else None


def require_reach(
    caller: Caller,
    owner_id: UUID,
    agent_id: UUID | None = None,
    *,
    project_id: UUID | None = None,
) -> None:
    """Raise Refusal(NOT_PROJECT_OWNER or NOT_ALLOWED_FOR_AGENT) unless the caller reaches a row.

    `owner_id` is the owner of its project, `agent_id` the agent that it is, or is assigned to.
    `project_id` is repeated to the caller: only where the caller has named it.
    """
    if _reaches(caller, owner_id, agent_id):
        return
    if isinstance(caller, Agent):
        raise not_allowed_for_agent()
    metadata = {"project_id": str(project_id)} if project_id else {}
    message = "It belongs to a project that is not yours."
    raise Refusal(Reason.NOT_PROJECT_OWNER, message, metadata)


def require_active(project_id: UUID, status: str) -> None:
    """Raise Refusal(PROJECT_NOT_ACTIVE) unless what is in the project can be changed."""
    if status != "active":
        raise Refusal(
            Reason.PROJECT_NOT_ACTIVE,
            f"The project is {status}; what is in it cannot be changed.",
            metadata={"project_id": str(project_id), "status": status},
        )


def _reaches(caller: Caller, owner_id: UUID, agent_id: UUID | None) -> bool:
    """What shared.database.statement.visible says in SQL."""
    if isinstance(caller, User):
        return caller.is_superuser or owner_id == caller.id
    return agent_id == caller.id


def visible(
    owner_id: ColumnElement[Any], agent_id: ColumnElement[Any] | None = None
) -> ColumnElement[bool]:
    """Whether the caller may see a row: see require_reach. `agent_id` None: of no agent."""
    reached = [
        bindparam("superuser", type_=Boolean),
        owner_id == bindparam("caller_id", type_=Uuid),
    ]
    if agent_id is not None:
        reached.append(agent_id == bindparam("caller_agent_id", type_=Uuid))
    return or_(*reached)


def writable(
    owner_id: ColumnElement[Any],
    status: ColumnElement[Any],
    agent_id: ColumnElement[Any] | None = None,
) -> ColumnElement[bool]:
    """Whether the caller may change a row that is in a project with this owner and this status."""
    return and_(visible(owner_id, agent_id), status == "active")


def usable(at: ColumnElement[Any] | None = None) -> ColumnElement[bool]:
    """Whether an API key can prove who an agent is, when the transaction began or `at` a time."""
    keys = agent_api_keys.c
    ends_later = keys.expires_at > (func.now() if at is None else at)
    return and_(keys.status == "active", or_(keys.expires_at.is_(None), ends_later))
