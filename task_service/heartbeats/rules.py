"""How agents keep the tasks that they hold: one method, one use case, one statement."""

from uuid import UUID

from shared.auth.caller import Caller, offered
from shared.database.pool import Connection, Record
from shared.database.transaction import Database
from shared.errors import caller_inactive
from shared.resources.validation import Parsed
from task_service.heartbeats import queries
from task_service.heartbeats.heartbeat import Beaten, Heartbeats
from task_service.holders import content, refuse
from task_service.presence.rules import Sign, seen


class HeartbeatRules:
    """The use case."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def beat(
        self, caller: Caller, project_id: str, agent_id: str, parsed: Parsed[Heartbeats]
    ) -> Beaten:
        """Renew leases, and say of each what has become of it. The agent is seen by it."""

        async def unit_of_work(connection: Connection) -> tuple[Sign, Beaten]:
            asked = await content(connection, caller, project_id, agent_id, parsed)
            sign, held = await _renew(connection, caller, asked)
            if len(held) == len(asked.task_ids):
                return sign, Beaten(asked, held, {})
            # Looked up with a snapshot of its own: the first may be older than what ended a lease.
            rows = await queries.OUTCOMES.rows(connection, **asked.parameters)
            return sign, Beaten(asked, held, {row["task_id"]: row["outcome"] for row in rows})

        sign, found = await self._database.single(unit_of_work)
        of = found.asked.project_id, found.asked.agent_id
        await seen(self._database, caller, *of, sign)
        return found


async def _renew(
    connection: Connection, caller: Caller, asked: Heartbeats
) -> tuple[Sign, dict[UUID, Record]]:
    """The sign of life, and the leases that are held.

    Raises a Refusal if the caller may not act for the agent.
    """
    parameters = dict(asked.parameters)
    statement = queries.RENEW
    if any(each is not None for each in asked.progress):
        statement, parameters["progress"] = queries.RENEW_WITH_PROGRESS, asked.progress
    rows = await statement.rows(connection, offered(caller), **parameters)
    if not rows:
        await refuse(connection, caller, asked.project_id, asked.agent_id)
    if not rows[0]["is_usable"]:
        raise caller_inactive()
    held = {row["task_id"]: row for row in rows if row["task_id"] is not None}
    return Sign(rows[0]["agent_status"], rows[0]["is_known"]), held
