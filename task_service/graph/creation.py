"""Creates the tasks of a batch: what they refer to is locked, then each table is written once."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from uuid import UUID

import orjson
from uuid_utils.compat import uuid7

from shared.auth.caller import Caller
from shared.database.pool import Connection, Record
from shared.database.statement import Statement
from shared.database.transaction import translate_violations
from shared.errors import Reason, Refusal, assignee_not_found, not_found
from shared.events.recording import Log
from shared.resources.membership import unless_of_project
from task_service.graph import queries
from task_service.graph.batch import Batch, New, depth, states
from task_service.tasks import edges
from task_service.tasks import queries as of_tasks
from task_service.tasks.rules import REFUSALS

DEFAULTS = {"status": "pending", "open_dependencies": 0}
# What a row can refer to, by its column: the statement that locks it, and the refusal of the rest.
REFERENCES: Mapping[str, tuple[Statement, Callable[[UUID], Refusal]]] = {
    "assigned_agent_id": (queries.KEEP_AGENTS, lambda id_: assignee_not_found(id_, "agent")),
    "room_id": (queries.KEEP_ROOMS, lambda id_: not_found(Reason.ROOM_NOT_FOUND, id_)),
    "parent_id": (queries.KEEP_TASKS, lambda id_: not_found(Reason.TASK_NOT_FOUND, id_)),
}


async def create_all(
    connection: Connection, log: Log, caller: Caller, project_id: UUID, batch: Batch
) -> list[Record]:
    """Create the tasks of a batch, for a caller who may; the rows in its order.

    Raises Refusal: ROOM_NOT_FOUND, TASK_NOT_FOUND, ASSIGNEE_NOT_FOUND, DEPENDENCY_…, INVALID_FIELD.
    """
    await _keep_references(connection, project_id, batch.tasks)
    await _require_depths(connection, batch)
    outside = await _lock_dependencies(connection, project_id, batch.tasks)
    ids = sorted(uuid7() for _ in batch.tasks)
    found = zip(batch.tasks, states(batch, ids, outside), strict=True)
    awaited = batch.awaited
    rows = [
        {**DEFAULTS, **caller.as_creator, **task.values, **state, "has_dependents": n in awaited}
        for n, (task, state) in enumerate(found)
    ]
    text = orjson.dumps(
        rows, default=str
    ).decode()  # an id can be of a kind that orjson does not know
    with translate_violations(REFUSALS, {}):
        created = await queries.CREATE.rows(connection, project_id=project_id, rows=text)
    log.add(created)
    await _add_edges(connection, project_id, created)
    return created


async def _keep_references(connection: Connection, project_id: UUID, tasks: Sequence[New]) -> None:
    for user_id in _distinct(tasks, "assigned_user_id"):
        row = await queries.IS_OF_PROJECT.row(connection, project_id=project_id, user_id=user_id)
        if not row or not row["is_one"]:
            missing = assignee_not_found(user_id, "user")
            raise await unless_of_project(connection, project_id, user_id, missing)
    for name, (statement, refusal) in REFERENCES.items():
        if ids := _distinct(tasks, name):
            rows = await statement.rows(connection, project_id=project_id, ids=ids)
            kept = {row["id"] for row in rows}
            if missing_ids := [each for each in ids if each not in kept]:
                raise refusal(missing_ids[0])


async def _require_depths(connection: Connection, batch: Batch) -> None:
    outside: dict[UUID, int] = {}
    for parent_id in _distinct(batch.tasks, "parent_id"):
        row = await of_tasks.DEPTH.row(connection, id=parent_id)
        outside[parent_id] = 1 + (row["depth"] if row else 0)
    for place in range(len(batch.tasks)) if outside else ():
        root = batch.root(place)
        above = outside.get(batch.tasks[root].values.get("parent_id"), 0)  # type: ignore[arg-type]
        if above + depth(batch, place) > of_tasks.MAXIMUM_DEPTH:
            raise edges.too_deep(f"tasks[{place}].task.parent_id")


async def _lock_dependencies(
    connection: Connection, project_id: UUID, tasks: Sequence[New]
) -> Mapping[UUID, str]:
    """The statuses of the tasks outside the batch that those in it depend on."""
    waiting = [task for task in tasks if edges.waits(task.values)]
    strict = [task for task in tasks if not edges.waits(task.values)]
    statuses: dict[UUID, str] = {}
    if wanted := _dependencies(waiting):
        statuses |= await edges.lock_awaited(connection, project_id, None, wanted)
    if wanted := _dependencies(strict):
        statuses |= await edges.require(connection, project_id, None, wanted, locked=True)
    return statuses


async def _add_edges(connection: Connection, project_id: UUID, created: Iterable[Record]) -> None:
    pairs = [(row["id"], UUID(upon)) for row in created for upon in row["dependencies"]]
    if pairs:
        await queries.ADD_EDGES.run(
            connection,
            project_id=project_id,
            task_ids=[task_id for task_id, _ in pairs],
            depends_on_ids=[upon for _, upon in pairs],
        )


def _distinct(tasks: Iterable[New], name: str) -> list[UUID]:
    return sorted({each for task in tasks if (each := task.values.get(name))})


def _dependencies(tasks: Iterable[New]) -> list[UUID]:
    return list(dict.fromkeys(UUID(id_) for task in tasks for id_ in task.values["dependencies"]))
