"""How agents ask, and are answered: one method, one use case, one transaction."""

from typing import Any
from uuid import UUID

import orjson

from shared.auth.permissions import Permission
from shared.database.pool import Connection, Record
from shared.database.transaction import Database, translate_violations
from shared.dependents.rules import follow
from shared.errors import Reason, Refusal, invalid_transition, lease_lost
from shared.events.recording import Log
from shared.resources.idempotency import IdempotentCall, M
from shared.resources.project_scoped import Values
from shared.resources.validation import Parsed
from shared.schema import PK_TASK_INPUTS
from task_service.inputs import queries
from task_service.leases.queries import ASK
from task_service.leases.rules import end
from task_service.tasks.lifecycle import MOVES
from task_service.tasks.queries import TASKS

CLAIM = Permission.CLAIM_TASKS
MAXIMUM = 100


class InputRules:
    """The use cases."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def ask(self, call: IdempotentCall[M], task_id: str, parsed: Parsed[Values]) -> M:
        """Ask for something under a lease, which ends. A repeated call asks once."""

        async def work(connection: Connection, log: Log) -> Record:
            asked = await TASKS.content(connection, call.caller, task_id, parsed, CLAIM)
            before = await TASKS.lock(connection, call.caller, UUID(task_id), CLAIM)
            lease = {"fence": asked["fence"], "kind": asked["kind"]}
            task = await end(connection, log, call, before["id"], ASK.whole, ASK, lease)
            await _keep(connection, task, asked, is_new=task["revision"] != before["revision"])
            return task

        return await call.transaction(self._database, work)

    async def answer(self, call: IdempotentCall[M], task_id: str, parsed: Parsed[Values]) -> M:
        """Answer what was asked for; the same answer again changes nothing."""

        async def work(connection: Connection, log: Log) -> Record:
            given = await TASKS.content(connection, call.caller, task_id, parsed)
            task = await TASKS.lock(connection, call.caller, UUID(task_id))
            if await _is_answered(connection, task, given):
                return task
            await queries.KEEP_ANSWER.run(connection, **_of(task), **given)
            outcome = await TASKS.decide(
                connection, log, call.caller, queries.UNBLOCK, task["id"], revision=0
            )
            if outcome.row is None:
                status = task["status"]
                others = [each for each in MOVES[status] if each != "pending"]
                raise invalid_transition("TASK_STATUS", status, "pending", others)
            return await follow(connection, log, outcome.row, task["status"])

        return await call.transaction(self._database, work)


async def _keep(connection: Connection, task: Record, asked: Values, *, is_new: bool) -> None:
    """Keep what is asked for. What ended the lease before may have been another call than this."""
    if not is_new:
        if await queries.GET.row(connection, **_of(task), key=asked["key"]) is None:
            raise lease_lost(task["id"], "released")
        return
    refusals = {PK_TASK_INPUTS: lambda of: _refusal(Reason.INPUT_KEY_USED, task, of["key"])}
    found = await queries.NUMBER.row(connection, **_of(task))
    if found and found["number"] >= MAXIMUM:
        message = f"The task has {MAXIMUM} inputs, which is all that it can have."
        raise Refusal(Reason.LIMIT_EXCEEDED, message, {"limit": str(MAXIMUM)})
    with translate_violations(refusals, asked):
        new = {name: value for name, value in asked.items() if name != "fence"}
        await queries.ADD.run(connection, **_of(task), **new)


async def _is_answered(connection: Connection, task: Record, given: Values) -> bool:
    """Whether this answer was given before. Raises Refusal: INPUT_NOT_FOUND, INPUT_ANSWERED."""
    found = await queries.GET.row(connection, **_of(task), key=given["key"])
    if found is None:
        raise _refusal(Reason.INPUT_NOT_FOUND, task, given["key"])
    if found["answered_at"] is None:
        if not found["is_latest"]:
            raise _refusal(Reason.INPUT_NOT_FOUND, task, given["key"], SUPERSEDED)
        return False
    if orjson.loads(found["answer"]) != given["answer"]:
        raise _refusal(Reason.INPUT_ANSWERED, task, given["key"])
    return True


MESSAGES = {
    Reason.INPUT_KEY_USED: "Something was asked for under this key before.",
    Reason.INPUT_NOT_FOUND: "Nothing was asked for under this key.",
    Reason.INPUT_ANSWERED: "It was answered before, with something else.",
}


SUPERSEDED = "Something else was asked for since, and this no more."


def _refusal(reason: Reason, task: Record, key: str, message: str = "") -> Refusal:
    metadata = {"task_id": str(task["id"]), "key": key}
    return Refusal(reason, message or MESSAGES[reason], metadata)


def _of(task: Record) -> dict[str, Any]:
    return {"project_id": task["project_id"], "task_id": task["id"]}
