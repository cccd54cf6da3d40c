"""Tasks that wait for others, and moves of those."""

from typing import Any
from uuid import UUID

from shared.messages.tasks import TO_STATUS
from tandem.agent.v1.project_service_pb2 import Project
from tandem.task.v1.task_service_pb2 import (
    DEPENDENCY_POLICY_WAIT,
    GetTaskRequest,
    Task,
    TaskStatus,
    TaskStatusReason,
)
from task_service.tasks.lifecycle import MOVES
from tests.task_service.steps import move
from tests.world import Client, World

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


async def moved(client: Client, task: Task, status: str) -> None:
    """Move a task to a status, through others if need be."""
    for step in _way((await now(client, task)).status, status):
        await move(client, task, TO_STATUS[step])


def _way(found: "TaskStatus.ValueType", wanted: str) -> list[str]:
    """The shortest way from one status to another, without the first."""
    (before,) = (word for word, status in TO_STATUS.items() if status == found)
    ways = [[before]]
    for way in ways:  # which grows
        if way[-1] == wanted:
            return way[1:]
        ways += [[*way, step] for step in MOVES[way[-1]] if step not in way]
    raise AssertionError("there is no way")
