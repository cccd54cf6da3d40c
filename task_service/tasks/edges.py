"""The dependencies of a task in the database: locked, checked, written."""

from collections.abc import Sequence
from uuid import UUID

from shared.auth.caller import Caller
from shared.database.pool import Connection, Record
from shared.errors import Reason, Refusal, Violation
from shared.events.recording import Log
from task_service.tasks import queries
from task_service.tasks.dependencies import Facts, require_possible
from task_service.tasks.queries import TASKS

# As the protos say of a list.
MAXIMUM = 1000


async def lock(connection: Connection, caller: Caller, task_id: UUID) -> Record:
    """Lock the graph of a task's project, then the task, and answer it.

    Two changes of one graph wait for each other, so that they cannot close a circle together.
    """
    await queries.LOCK_GRAPH.row(connection, caller.rights, id=task_id)
    return await TASKS.lock(connection, caller, task_id)


async def require(
    connection: Connection,
    project_id: UUID,
    task_id: UUID | None,
    wanted: Sequence[UUID],
    *,
    locked: bool,
) -> None:
    """Raise Refusal(DEPENDENCY_…) if a task of the project cannot depend on these.

    `task_id` is None for a task that nothing can depend on yet. With `locked` they cannot change
    until the end of the transaction.
    """
    statement = queries.LOCK_DEPENDENCIES if locked else queries.DEPENDENCIES
    rows = await statement.rows(connection, project_id=project_id, ids=wanted)
    statuses = {row["id"]: row["status"] for row in rows}
    elsewhere: set[UUID] = set()
    dependents: set[UUID] = set()
    if missing := [task for task in wanted if task not in statuses]:
        elsewhere = {row["id"] for row in await queries.EXISTING.rows(connection, ids=missing)}
    if task_id is not None:
        circle = await queries.DEPENDENTS_AMONG.rows(
            connection, project_id=project_id, id=task_id, ids=wanted
        )
        dependents = {row["task_id"] for row in circle}
    require_possible(wanted, Facts(statuses, elsewhere, dependents))


async def write(connection: Connection, task: Record, *, is_new: bool) -> None:
    """Make the edges of a task what the list says that was written in this transaction.

    Raises Refusal(DEPENDENCY_…). Nothing can depend on a new task yet.
    """
    project_id, task_id = task["project_id"], task["id"]
    ids = list(map(UUID, task["dependencies"]))
    await require(connection, project_id, None if is_new else task_id, ids, locked=True)
    await drop(connection, task)
    await queries.ADD_EDGES.run(connection, project_id=project_id, id=task_id, ids=ids)


async def relist(
    connection: Connection,
    log: Log,
    caller: Caller,
    task_id: UUID,
    revision: int,
    listed: Sequence[str],
) -> Record:
    """Give a task that is locked this list of dependencies, and answer it; `write` has to follow.

    Raises Refusal: PROJECT_NOT_ACTIVE, REVISION_MISMATCH.
    """
    change = TASKS.update_columns(frozenset({"dependencies"}))
    return await TASKS.change(
        connection, log, caller, change, task_id, revision=revision, new_dependencies=listed
    )


async def drop(connection: Connection, task: Record) -> None:
    """Remove the edges of a task that its list has no more, as written in this transaction."""
    ids = list(map(UUID, task["dependencies"]))
    await queries.DROP_EDGES.run(connection, project_id=task["project_id"], id=task["id"], ids=ids)


def require_room(listed: Sequence[str]) -> None:
    """Raise Refusal(LIMIT_EXCEEDED) if these are more than a task can depend on."""
    if len(listed) > MAXIMUM:
        message = f"A task can have {MAXIMUM:,} dependencies."
        raise Refusal(Reason.LIMIT_EXCEEDED, message, {"limit": str(MAXIMUM)})


async def detach(connection: Connection, log: Log, task: Record, *, force: bool) -> None:
    """Let nothing depend on a task: with `force` by removing the edges, else by refusing.

    Raises Refusal(TASK_HAS_DEPENDENTS).
    """
    upon = {"project_id": task["project_id"], "id": task["id"]}
    if force:
        log.add(await queries.UNLIST.rows(connection, **upon))
        await queries.DROP_EDGES_UPON.run(connection, **upon)
    elif rows := await queries.DEPENDENTS.rows(connection, **upon):
        reason = Reason.TASK_HAS_DEPENDENTS
        ids = [str(row["task_id"]) for row in rows]
        raise Refusal(
            reason,
            "Other tasks depend on it; delete them first, or use force.",
            metadata={"task_ids": ",".join(ids), "total": str(rows[0]["total"])},
            preconditions=[Violation(task_id, "depends on it", reason.name) for task_id in ids],
        )
