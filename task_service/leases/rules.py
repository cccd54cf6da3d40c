"""What an agent may do with a task that it holds: one method, one use case, one transaction."""

from collections.abc import Callable
from uuid import UUID

from shared.auth.permissions import Permission
from shared.database.pool import Connection, Record
from shared.database.transaction import Database
from shared.dependents.rules import follow
from shared.errors import lease_lost
from shared.events.recording import Change, Log, Recorder
from shared.resources.idempotency import IdempotentCall, M
from shared.resources.project_scoped import Values, as_new
from shared.resources.validation import Parsed
from task_service.leases import queries
from task_service.leases.queries import Ending
from task_service.tasks.queries import TASKS
from task_service.tasks.whole import Whole, alone_or_whole

CLAIM = Permission.CLAIM_TASKS


class LeaseRules:
    """The use cases of a task under a lease."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def complete(self, call: IdempotentCall[M], task_id: str, parsed: Parsed[Values]) -> M:
        """Complete a task; the same again if it was completed under the same lease."""
        return await self._end(call, task_id, parsed, _completing)

    async def fail(self, call: IdempotentCall[M], task_id: str, parsed: Parsed[Values]) -> M:
        """Say that an attempt has failed, after which there may be another."""
        return await self._end(call, task_id, parsed, lambda _: queries.FAIL)

    async def release(self, call: IdempotentCall[M], task_id: str, parsed: Parsed[Values]) -> M:
        """Give a task back."""
        return await self._end(call, task_id, parsed, lambda _: queries.RELEASE)

    async def _end(
        self,
        call: IdempotentCall[M],
        task_id: str,
        parsed: Parsed[Values],
        choose: Callable[[Values], Ending],
    ) -> M:
        async def alone(connection: Connection, log: Recorder) -> Record:
            values = await TASKS.content(connection, call.caller, task_id, parsed, CLAIM)
            how = choose(values)
            return await end(connection, log, call, UUID(task_id), how.alone, how, values)

        async def whole(connection: Connection, log: Log) -> Record:
            values = await TASKS.content(connection, call.caller, task_id, parsed, CLAIM)
            how = choose(values)
            return await end(connection, log, call, UUID(task_id), how.whole, how, values)

        return await alone_or_whole(call, self._database, alone, whole)


def _completing(values: Values) -> Ending:
    return queries.COMPLETE_WITH_RESULT if "result" in values else queries.COMPLETE


async def end(
    connection: Connection,
    log: Recorder,
    call: IdempotentCall[M],
    task_id: UUID,
    change: Change,
    how: Ending,
    values: Values,
) -> Record:
    """End the lease `values["fence"]` of a task by one of two changes.

    Raises Refusal: LEASE_LOST and those of `TASKS.decide`; Whole, if other tasks may be concerned.
    """
    fence, new = values["fence"], {n: v for n, v in values.items() if n != "fence"}
    outcome = await TASKS.decide(
        connection, log, call.caller, change, task_id, CLAIM, revision=0, fence=fence, **as_new(new)
    )
    if outcome.row is None:
        return await _not_held(connection, call, outcome.found, fence, how)
    if isinstance(log, Log):
        return await follow(connection, log, outcome.row, outcome.found["found_status"])
    return outcome.row


async def _not_held(
    connection: Connection, call: IdempotentCall[M], found: Record, fence: int, how: Ending
) -> Record:
    """The task, if this very call has ended the lease before. Raises Refusal, Whole."""
    task_id = found["found_id"]
    is_own = call.caller.rights["caller_agent_id"] in (None, found["found_assigned_agent_id"])
    if found["found_leased"] and found["found_fence"] == fence and is_own:
        raise Whole
    ids = {"project_id": found["found_project_id"], "task_id": task_id, "fence": fence}
    attempt = await queries.ATTEMPT.row(connection, **ids)
    is_its = attempt and call.caller.rights["caller_agent_id"] in (None, attempt["agent_id"])
    if attempt is None or not is_its:
        raise lease_lost(task_id, None)
    task = await TASKS.get(connection, call.caller, task_id, CLAIM)
    # What became of the task since is not for an agent that may not read it.
    is_as_left = task["updated_at"] == attempt["ended_at"]
    is_shown = is_as_left or TASKS.is_permitted(call.caller, task, TASKS.read)
    if attempt["outcome"] != how.outcome or not is_shown:
        raise lease_lost(task_id, attempt["outcome"])
    return task
