"""The dependencies of a task in the database: locked, checked, written."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from shared.auth.caller import Caller
from shared.database.pool import Connection, Record
from shared.dependents import queries as statements
from shared.dependents.effects import LOST, initial
from shared.dependents.rules import recount, recount_all
from shared.errors import Reason, Refusal, Violation, invalid_field
from shared.events.recording import Log
from shared.resources.project_scoped import Values, require_insertable
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
    waits: bool = False,
) -> Mapping[UUID, str]:
    """Raise Refusal(DEPENDENCY_…) if a task of the project cannot depend on these; their statuses.

    `task_id` is None for a task that nothing can depend on yet. With `locked` they cannot change
    until the end of the transaction.
    """
    statement = statements.LOCK_DEPENDENCIES if locked else statements.DEPENDENCIES
    rows = await statement.rows(connection, project_id=project_id, ids=wanted)
    statuses = {row["id"]: row["status"] for row in rows}
    elsewhere: set[UUID] = set()
    dependents: set[UUID] = set()
    if missing := [task for task in wanted if task not in statuses]:
        elsewhere = {row["id"] for row in await statements.EXISTING.rows(connection, ids=missing)}
    if task_id is not None:
        circle = await statements.DEPENDENTS_AMONG.rows(
            connection, project_id=project_id, id=task_id, ids=wanted
        )
        dependents = {row["task_id"] for row in circle}
    require_possible(wanted, Facts(statuses, elsewhere, dependents, waits))
    return statuses


async def lock_awaited(
    connection: Connection, project_id: UUID, task_id: UUID | None, wanted: Sequence[UUID]
) -> Mapping[UUID, str]:
    """The statuses of tasks that another is to wait for, which stay what they are.

    What moves one of them later on knows of that, though it may not see the edge. Raises Refusal as
    `require`.
    """
    await statements.MARK.run(connection, project_id=project_id, ids=wanted)
    return await require(connection, project_id, task_id, wanted, locked=True, waits=True)


async def lock_for_new(connection: Connection, caller: Caller, task: Values) -> Values:
    """The columns of a new task that follow from what it waits for, which is locked.

    So is what else it refers to, before. Raises Refusal: PROJECT_NOT_FOUND, PROJECT_NOT_ACTIVE,
    DEPENDENCY_…, and those of `access.require`.
    """
    locking = queries.lock_referenced(frozenset(task))
    project = await locking.row(connection, {**caller.rights, **task})
    require_insertable(project, caller, TASKS.create, task["project_id"])
    ids = list(map(UUID, task["dependencies"]))
    statuses = await lock_awaited(connection, task["project_id"], None, ids)
    return initial(task["on_dependency_failure"], statuses.values())


async def require_depth(connection: Connection, parent_id: UUID) -> None:
    """Raise Refusal(INVALID_FIELD) if a task is part of too many others to have parts itself."""
    row = await queries.DEPTH.row(connection, id=parent_id)
    if row and row["depth"] >= queries.MAXIMUM_DEPTH:
        raise too_deep("task.parent_id")


def too_deep(path: str) -> Refusal:
    """The refusal of a task that is part of too many others."""
    return invalid_field(path, f"makes it part of more than {queries.MAXIMUM_DEPTH} others")


async def add_new(connection: Connection, task: Record) -> None:
    """Write the edges of a task that was created in this transaction.

    Raises Refusal(DEPENDENCY_…). What it waits for is locked already.
    """
    project_id, task_id = task["project_id"], task["id"]
    ids = list(map(UUID, task["dependencies"]))
    if not waits(task):
        await require(connection, project_id, None, ids, locked=True)
    await statements.ADD_EDGES.run(connection, project_id=project_id, id=task_id, ids=ids)


async def write(connection: Connection, log: Log, task: Record, before: Sequence[str]) -> Record:
    """Make the edges of a task what the list says that was written in this transaction.

    It listed those `before`. Answers the task as it is then. Raises Refusal(DEPENDENCY_…).
    """
    project_id, task_id, listed = task["project_id"], task["id"], task["dependencies"]
    ids = list(map(UUID, listed))
    if not waits(task):
        await require(connection, project_id, task_id, ids, locked=True)
        await drop(connection, task)
        await statements.ADD_EDGES.run(connection, project_id=project_id, id=task_id, ids=ids)
        return task
    statuses = await lock_awaited(connection, project_id, task_id, ids)
    await drop(connection, task)
    await statements.ADD_EDGES.run(connection, project_id=project_id, id=task_id, ids=ids)
    added = (UUID(each) for each in listed if each not in set(before))
    is_lost = any(statuses[each] in LOST for each in added)
    return await recount(connection, log, task, is_lost=is_lost)


def waits(task: Mapping[str, Any] | Record) -> bool:
    """Whether a task waits for its dependencies; if not, they are completed when it gets them."""
    return bool(task["dependency_policy"] == "wait")


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
    await statements.DROP_EDGES.run(
        connection, project_id=task["project_id"], id=task["id"], ids=ids
    )


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
        rows = await statements.UNLIST.rows(connection, **upon)
        log.add(rows)
        await statements.DROP_EDGES_UPON.run(connection, **upon)
        ids = [row["told_resource_id"] for row in rows]
        await recount_all(connection, log, task["project_id"], ids)
    elif rows := await statements.DEPENDENTS.rows(connection, **upon):
        reason = Reason.TASK_HAS_DEPENDENTS
        named = [str(row["task_id"]) for row in rows]
        raise Refusal(
            reason,
            "Other tasks depend on it; delete them first, or use force.",
            metadata={"task_ids": ",".join(named), "total": str(rows[0]["total"])},
            preconditions=[Violation(task_id, "depends on it", reason.name) for task_id in named],
        )
