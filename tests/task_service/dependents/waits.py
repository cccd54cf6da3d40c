"""Tasks that wait for others, and moves of those."""

from typing import Any
from uuid import UUID

from shared.database.pool import Connection, Record
from shared.events.recording import Log, recorded
from tandem.agent.v1.project_service_pb2 import Project
from tandem.task.v1.task_service_pb2 import (
    DEPENDENCY_POLICY_WAIT,
    GetTaskRequest,
    Task,
    TaskStatus,
    TaskStatusReason,
)
from task_service.dependents.rules import propagate
from tests.world import Client, World

MOVED = (
    "UPDATE tasks SET status = $2::varchar, status_reason = NULL, revision = revision + 1,"
    " updated_at = now(), completed_at = CASE WHEN $2::varchar = 'completed' THEN now() END"
    " WHERE id = $1 RETURNING *"
)
EVENTS = "SELECT array_agg(type ORDER BY sequence) FROM events WHERE resource_id = $1"


async def waiting(client: Client, project: Project, *upon: Task, **fields: Any) -> Task:
    """A new task that waits for these."""
    return await client.task(
        project,
        dependency_policy=DEPENDENCY_POLICY_WAIT,
        dependencies=[task.id for task in upon],
        **fields,
    )


async def now(client: Client, task: Task) -> Task:
    """A task as it is now."""
    found: Task = await client.tasks.GetTask(GetTaskRequest(task_id=task.id))
    return found


async def state(client: Client, task: Task) -> tuple[str, str, int]:
    """The status of a task now, its reason, and how many it waits for."""
    found = await now(client, task)
    status = TaskStatus.Name(found.status).removeprefix("TASK_STATUS_")
    reason = TaskStatusReason.Name(found.status_reason).removeprefix("TASK_STATUS_REASON_")
    return status, "" if reason == "UNSPECIFIED" else reason, found.open_dependencies


async def events_of(world: World, task: Task) -> list[str]:
    """The types of the events of a task."""
    found: list[str] = await world.value(EVENTS, UUID(task.id))
    return found


async def moved(world: World, task: Task, status: str) -> None:
    """Move a task, whatever its status, and let those know that wait for it."""

    async def work(connection: Connection, log: Log) -> None:
        await moving(connection, log, task, status)

    await world.database.transaction(recorded(work))


async def moving(connection: Connection, log: Log, task: Task, status: str) -> Record:
    """The same within a transaction."""
    lock = "SELECT * FROM tasks WHERE id = $1 FOR NO KEY UPDATE"
    before = await connection.fetchrow(lock, UUID(task.id))
    row = await connection.fetchrow(MOVED, UUID(task.id), status)
    assert before
    assert row
    await propagate(connection, log, row, before["status"])
    return row
