"""What a caller may reach: the projects that are theirs, and for a superuser all."""

from uuid import UUID

from sqlalchemy import bindparam, select

from shared.caller import Caller
from shared.database import Connection
from shared.errors import Reason, Refusal, not_found
from shared.schema import projects
from shared.statements import Statement

# Whose a project is, and whether it is active.
PROJECT = Statement(
    select(projects.c.owner_id, projects.c.status).where(projects.c.id == bindparam("id"))
)


async def require_project(connection: Connection, caller: Caller, project_id: str) -> None:
    """Raise Refusal(PROJECT_NOT_FOUND or NOT_PROJECT_OWNER) unless the caller may see the project.

    A malformed id is let through: it is refused with the rest of the request's content.
    """
    known = as_uuid(project_id)
    if known is None:
        return
    row = await PROJECT.row(connection, id=known)
    if row is None:
        raise not_found(Reason.PROJECT_NOT_FOUND, known)
    require_owner(caller, row["owner_id"], known)


def as_uuid(text: str) -> UUID | None:
    """The id, None where it is not one in the 36-character form."""
    try:
        known = UUID(text)
    except ValueError:
        return None
    return known if str(known) == text.lower() else None


def require_owner(caller: Caller, owner_id: UUID, project_id: UUID | None = None) -> None:
    """Raise Refusal(NOT_PROJECT_OWNER) unless the caller owns the project or is a superuser.

    `project_id` is repeated to the caller: only where the caller has named it.
    """
    if owner_id != caller.id and not caller.is_superuser:
        metadata = {"project_id": str(project_id)} if project_id else {}
        message = "It belongs to a project that is not yours."
        raise Refusal(Reason.NOT_PROJECT_OWNER, message, metadata)


def require_writable(caller: Caller, owner_id: UUID, project_id: UUID, status: str) -> None:
    """As `require_owner`; and raise Refusal(PROJECT_NOT_ACTIVE) unless the project is active."""
    require_owner(caller, owner_id)
    if status != "active":
        raise Refusal(
            Reason.PROJECT_NOT_ACTIVE,
            f"The project is {status}; what is in it cannot be changed.",
            metadata={"project_id": str(project_id), "status": status},
        )
