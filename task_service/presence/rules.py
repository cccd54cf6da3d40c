"""What follows from a sign of life of an agent: it is noted, and the agent is online."""

from typing import Any, NamedTuple
from uuid import UUID

import asyncpg
import structlog

from shared.auth.caller import Caller, offered
from shared.database.transaction import Database
from shared.errors import Refusal
from task_service.presence import queries

log = structlog.get_logger()


class Sign(NamedTuple):
    """A sign of life of an agent: its status, and whether another sign is a few seconds old."""

    status: str
    is_known: bool


async def seen(
    database: Database, caller: Caller, project_id: UUID, agent_id: UUID, sign: Sign
) -> None:
    """Note that an agent was seen, unless that is known, and that it is online.

    What was done for the agent before is done: a failure of this is logged, and not raised.
    """
    of: dict[str, Any] = {"project_id": project_id, "agent_id": agent_id}
    try:
        if not sign.is_known:
            await database.single(lambda connection: queries.NOTE.run(connection, **of))
        if sign.status == "offline":
            online, origin = queries.GO_ONLINE.alone, offered(caller)
            await database.single(lambda connection: online.run(connection, origin, **of))
    except (Refusal, asyncpg.PostgresError) as error:  # it may be deleted by now
        log.warning("agent not noted as seen", agent_id=str(agent_id), cause=repr(error))
