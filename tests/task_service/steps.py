"""Steps that many tests take."""

from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask

from tandem.agent.v1.project_service_pb2 import Project
from tandem.task.v1.task_service_pb2 import (
    ASSIGNEE_TYPE_AGENT,
    TASK_STATUS_COMPLETED,
    TASK_STATUS_IN_PROGRESS,
    AssigneeType,
    AssignTaskRequest,
    Task,
    TaskStatus,
    UnassignTaskRequest,
    UpdateTaskRequest,
    UpdateTaskStatusRequest,
)
from tests.world import Client


async def move(client: Client, task: Task, status: "TaskStatus.ValueType", **fields: Any) -> Task:
    """Move a task to another status."""
    request = UpdateTaskStatusRequest(task_id=task.id, status=status, **fields)
    moved: Task = await client.tasks.UpdateTaskStatus(request)
    return moved


async def completed(client: Client, project: Project, **fields: Any) -> Task:
    """A new task that is completed."""
    task = await client.task(project, **fields)
    await move(client, task, TASK_STATUS_IN_PROGRESS)
    return await move(client, task, TASK_STATUS_COMPLETED)


async def update(client: Client, mask: list[str], **fields: Any) -> Task:
    """Change the fields of a task that the mask names."""
    request = UpdateTaskRequest(task=Task(**fields), update_mask=FieldMask(paths=mask))
    updated: Task = await client.tasks.UpdateTask(request)
    return updated


async def assign(
    client: Client,
    task: Task,
    assignee: object,
    kind: "AssigneeType.ValueType" = ASSIGNEE_TYPE_AGENT,
    **fields: Any,
) -> Task:
    """Assign a task to an agent or user."""
    request = AssignTaskRequest(
        task_id=task.id, assigned_to=str(assignee), assigned_to_type=kind, **fields
    )
    assigned: Task = await client.tasks.AssignTask(request)
    return assigned


async def unassign(client: Client, task: Task, **fields: Any) -> Task:
    """Take a task off its assignee."""
    request = UnassignTaskRequest(task_id=task.id, **fields)
    unassigned: Task = await client.tasks.UnassignTask(request)
    return unassigned
