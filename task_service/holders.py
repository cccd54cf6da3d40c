"""The agents that may hold tasks, and who may act for them: the agent itself, or an admin."""

from typing import NoReturn, TypeVar
from uuid import UUID

from shared.auth.caller import Agent, Caller
from shared.auth.permissions import Permission
from shared.database.pool import Connection
from shared.errors import Reason, not_allowed_for_agent, not_found
from shared.resources.project_scoped import PROJECTS, ProjectScopedTable
from shared.resources.validation import Parsed, as_uuid
from shared.schema import agents

T = TypeVar("T")
CLAIM = Permission.CLAIM_TASKS

# What is asked of an agent that works is asked of whoever acts for it.
HOLDERS = ProjectScopedTable(agents, Reason.AGENT_NOT_FOUND, CLAIM, CLAIM)


async def content(
    connection: Connection,
    caller: Caller,
    project_id: str,
    agent_id: str,
    parsed: Parsed[T],
) -> T:
    """What is asked for the agent. If that is refused, a refusal of access comes first."""
    if isinstance(caller, Agent) and as_uuid(agent_id) not in (None, caller.id):
        raise not_allowed_for_agent()
    if parsed.refusal is not None:
        await PROJECTS.require(connection, caller, project_id, CLAIM)
        await HOLDERS.require(connection, caller, agent_id, CLAIM)
    return parsed.value


async def refuse(
    connection: Connection, caller: Caller, project_id: UUID, agent_id: UUID
) -> NoReturn:
    """Say why a statement did not find the agent in the project."""
    await PROJECTS.get(connection, caller, project_id, CLAIM)
    await HOLDERS.get(connection, caller, agent_id, CLAIM)
    raise not_found(Reason.AGENT_NOT_FOUND, agent_id)
