"""How agents take tasks: one method, one use case, one transaction."""

from collections.abc import Sequence
from typing import Any, NamedTuple
from uuid import UUID

from shared.auth.access import require_active
from shared.auth.caller import Caller, offered
from shared.database.pool import Connection, Record
from shared.database.transaction import Database
from shared.errors import (
    Reason,
    Refusal,
    of_assignee,
)
from shared.events.recording import Recorder
from shared.resources.idempotency import IdempotentCall, M
from shared.resources.validation import Parsed
from task_service.claims import queries
from task_service.claims.claim import Claim, Claimed
from task_service.holders import content, refuse

# Of calls that take the same slot or lock key at the same time, one gets it. The others look again.
ATTEMPTS = 5


class Nothing(Exception):  # noqa: N818
    """There is no task to be claimed; nothing has changed."""


class Attempt(NamedTuple):
    """What a statement has claimed, and whether it has chosen more than it got."""

    rows: list[Record]
    has_lost: bool


class ClaimRules:
    """The use case."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def claim(
        self, call: IdempotentCall[M], project_id: str, agent_id: str, parsed: Parsed[Claim]
    ) -> M:
        """Claim tasks; none, if there are none."""

        async def work(connection: Connection, log: Recorder) -> Claimed:
            claim = await content(connection, call.caller, project_id, agent_id, parsed)
            found = await _claim(connection, log, call.caller, claim)
            if not found:
                raise Nothing
            return await _with_history(connection, claim, found)

        try:
            return await call.single(self._database, work)
        except Nothing:
            nothing: M = call.to_response(Claimed((), 0))
            return nothing


async def _claim(
    connection: Connection, log: Recorder, caller: Caller, claim: Claim
) -> list[Record]:
    for _ in range(ATTEMPTS):
        rows, has_lost = await _attempt(connection, log, caller, claim)
        if rows or not has_lost:
            break
    if not rows and claim.task_ids:
        message = "None of these tasks can be claimed by the agent now."
        raise Refusal(Reason.NOT_CLAIMABLE, message)
    return rows


async def _attempt(connection: Connection, log: Recorder, caller: Caller, claim: Claim) -> Attempt:
    change = queries.CLAIM_NAMED if claim.task_ids else queries.CLAIM
    rows = await log.run_all(connection, change, offered(caller), dict(claim.parameters))
    if not rows:
        await refuse(connection, caller, claim.project_id, claim.agent_id)
    found = rows[0]
    require_active(claim.project_id, found["found_project_status"])
    if not found["found_is_active"]:
        metadata = of_assignee(claim.agent_id, "agent")
        raise Refusal(Reason.ASSIGNEE_INACTIVE, "The agent is not active.", metadata)
    claimed = [row for row in rows if row["id"] is not None]
    return Attempt(claimed, found["found_number"] > len(claimed))


async def _with_history(connection: Connection, claim: Claim, rows: list[Record]) -> Claimed:
    """With what came before, which is looked for only if there can be any."""
    order = sorted(rows, key=lambda row: (row["rank"], row["ready_at"], row["id"]))
    again = [row["id"] for row in order if row["fence"] > 1]
    if not again:
        return Claimed(order, claim.seconds)
    of: dict[str, Any] = {"project_id": claim.project_id, "task_ids": again}
    previous = await queries.PREVIOUS_ATTEMPTS.rows(connection, **of)
    inputs = await queries.INPUTS.rows(connection, **of)
    return Claimed(order, claim.seconds, _by_task(previous), _by_task(inputs))


def _by_task(rows: Sequence[Record]) -> dict[UUID, list[Record]]:
    found: dict[UUID, list[Record]] = {}
    for row in rows:
        found.setdefault(row["task_id"], []).append(row)
    return found
