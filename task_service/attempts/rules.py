"""What those who manage a task do with its attempts: one method, one use case."""

from uuid import UUID

from shared.auth.caller import Caller
from shared.auth.permissions import Permission
from shared.database.pool import Connection, Record
from shared.database.transaction import Database
from shared.dependents.rules import follow, propagate
from shared.errors import invalid_transition
from shared.events.recording import Change, Log, Recorder
from shared.resources import leases
from shared.resources.idempotency import IdempotentCall, M
from shared.resources.pagination import Listing, Query
from shared.resources.project_scoped import Values, as_new
from shared.resources.validation import Parsed
from task_service.attempts import queries
from task_service.tasks.lifecycle import MOVES
from task_service.tasks.queries import TASKS
from task_service.tasks.whole import Whole, alone_or_whole

MANAGE = Permission.MANAGE_TASKS
LATEST = 2**63 - 1


class AttemptRules:
    """The use cases."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def cancel(self, call: IdempotentCall[M], task_id: str, parsed: Parsed[Values]) -> M:
        """Cancel a task, or ask the agent that holds it to stop."""

        async def alone(connection: Connection, log: Recorder) -> Record:
            values = await TASKS.content(connection, call.caller, task_id, parsed)
            change = queries.CANCEL.alone
            return await _cancel(connection, log, call.caller, UUID(task_id), values, change)

        async def whole(connection: Connection, log: Log) -> Record:
            values = await TASKS.content(connection, call.caller, task_id, parsed)
            before = await TASKS.lock(connection, call.caller, UUID(task_id))
            return await _cancel_whole(connection, log, call.caller, before, values)

        return await alone_or_whole(call, self._database, alone, whole)

    async def retry(self, call: IdempotentCall[M], task_id: str, parsed: Parsed[int]) -> M:
        """Give a task that has failed or was cancelled new attempts."""

        async def alone(connection: Connection, log: Recorder) -> Record:
            revision = await TASKS.content(connection, call.caller, task_id, parsed)
            change = queries.RETRY.alone
            return await _retry(connection, log, call.caller, UUID(task_id), revision, change)

        async def whole(connection: Connection, log: Log) -> Record:
            revision = await TASKS.content(connection, call.caller, task_id, parsed)
            before = await TASKS.lock(connection, call.caller, UUID(task_id))
            change = queries.RETRY.whole
            row = await _retry(connection, log, call.caller, before["id"], revision, change)
            return await follow(connection, log, row, before["status"])

        return await alone_or_whole(call, self._database, alone, whole)

    async def list(self, caller: Caller, task_id: str, query: Parsed[Query]) -> Listing:
        """A page of the attempts at a task."""

        async def unit_of_work(connection: Connection) -> Listing:
            given = await TASKS.content(connection, caller, task_id, query, TASKS.read)
            task = await TASKS.get(connection, caller, UUID(task_id))
            before = given.page.after[0] if given.page.after else LATEST
            limit = given.page.size + 1
            ids = {"project_id": task["project_id"], "task_id": task["id"]}
            rows = await queries.PAGE.rows(connection, **ids, before=before, row_limit=limit)
            truncated = bool(rows) and len(rows) < rows[0]["batch_rows"]
            return Listing(given, rows, None, truncated)

        return await self._database.read(unit_of_work)


async def _cancel(
    connection: Connection,
    log: Recorder,
    caller: Caller,
    task_id: UUID,
    values: Values,
    change: Change,
    **others: bool,
) -> Record:
    """Cancel a task by one of two changes. Raises Refusal; Whole, if one statement cannot."""
    outcome = await TASKS.decide(
        connection,
        log,
        caller,
        change,
        task_id,
        MANAGE,
        revision=values["revision"],
        **as_new({"reason": values["reason"]}),
        **others,
    )
    if outcome.row is not None:
        return outcome.row
    status = outcome.found["found_status"]
    if status == "cancelled":
        return await TASKS.get(connection, caller, task_id)
    if "cancelled" in MOVES[status]:
        raise Whole
    raise invalid_transition("TASK_STATUS", status, "cancelled", MOVES[status])


async def _cancel_whole(
    connection: Connection, log: Log, caller: Caller, task: Record, values: Values
) -> Record:
    """Cancel a task that is locked: others may wait for it, or an agent may hold it."""
    pooled = False
    if task["leased"] and values["grace"] > 0:
        return await _request(connection, log, caller, task, values)
    if task["leased"]:
        ids = {"project_id": task["project_id"], "task_id": task["id"]}
        lease = await leases.END.row(connection, **ids, outcome="cancelled")
        pooled = bool(lease and lease["pooled"])
    change = queries.CANCEL.whole
    row = await _cancel(connection, log, caller, task["id"], values, change, pooled=pooled)
    await propagate(connection, log, row, task["status"])
    return row


async def _request(
    connection: Connection, log: Log, caller: Caller, task: Record, values: Values
) -> Record:
    """Ask the agent that holds a task to stop, unless it is asked already."""
    if task["cancel_requested_at"]:
        return task
    new = as_new({"reason": values["reason"], "grace": values["grace"]})
    return await TASKS.change(
        connection,
        log,
        caller,
        queries.REQUEST_CANCEL,
        task["id"],
        MANAGE,
        revision=values["revision"],
        **new,
    )


async def _retry(
    connection: Connection,
    log: Recorder,
    caller: Caller,
    task_id: UUID,
    revision: int,
    change: Change,
) -> Record:
    outcome = await TASKS.decide(connection, log, caller, change, task_id, revision=revision)
    if outcome.row is not None:
        return outcome.row
    status = outcome.found["found_status"]
    if status in queries.LOST:
        raise Whole
    others = [each for each in MOVES[status] if each != "pending"]
    raise invalid_transition("TASK_STATUS", status, "pending", others)
