"""Splits a task under a lease."""

from uuid import UUID

from shared.auth.caller import Agent, Caller
from shared.auth.permissions import Permission
from shared.database.pool import Connection, Record
from shared.dependents import queries as statements
from shared.dependents.effects import initial
from shared.dependents.rules import propagate
from shared.errors import conflict, invalid_field, lease_lost
from shared.events.recording import Log
from shared.resources.project_scoped import as_new
from task_service.graph import queries
from task_service.graph.creation import create_all
from task_service.graph.shape import Parts, Split
from task_service.leases import queries as of_leases
from task_service.tasks import edges
from task_service.tasks.queries import TASKS

CLAIM = Permission.CLAIM_TASKS
FREE = {"status": "pending", "status_reason": None, "open_dependencies": 0}


async def split(
    connection: Connection, log: Log, caller: Caller, task_id: UUID, asked: Split
) -> Parts:
    """Create the parts of a task, and let it wait for them.

    Raises Refusal: LEASE_LOST, LIMIT_EXCEEDED, those of `TASKS.decide` and of `create_all`.
    """
    await queries.LOCK_GRAPH.row(connection, caller.rights, id=task_id)
    task = await TASKS.lock(connection, caller, task_id, CLAIM)
    await _require_held(connection, caller, task, asked.fence)
    project_id = task["project_id"]
    for number, each in enumerate(asked.parts.tasks):
        if each.project_id not in (None, project_id):
            raise invalid_field(f"tasks[{number}].task.project_id", "must be that of the task")
    parts = await create_all(connection, log, caller, project_id, asked.parts)
    listed = [*task["dependencies"], *(str(part["id"]) for part in parts)]
    edges.require_room(listed)
    ids = list(map(UUID, listed))
    statuses = await edges.lock_awaited(connection, project_id, task_id, ids)
    await statements.ADD_EDGES.run(connection, project_id=project_id, id=task_id, ids=ids)
    state = {**FREE, **initial(task["on_dependency_failure"], statuses.values())}
    new = as_new({"dependencies": listed, **state})
    outcome = await TASKS.decide(
        connection, log, caller, queries.SPLIT, task_id, CLAIM, revision=0, fence=asked.fence, **new
    )
    if outcome.row is None:
        raise conflict()
    await propagate(connection, log, outcome.row, task["status"])
    return Parts(outcome.row, parts)


async def _require_held(connection: Connection, caller: Caller, task: Record, fence: int) -> None:
    """Raise Refusal(LEASE_LOST) unless the caller holds a task that is locked by this lease."""
    is_own = not isinstance(caller, Agent) or task["assigned_agent_id"] == caller.id
    if task["leased"] and task["fence"] == fence and is_own:
        return
    ids = {"project_id": task["project_id"], "task_id": task["id"], "fence": fence}
    attempt = await of_leases.ATTEMPT.row(connection, **ids)
    is_its = attempt and (not isinstance(caller, Agent) or attempt["agent_id"] == caller.id)
    raise lease_lost(task["id"], attempt["outcome"] if attempt and is_its else None)
