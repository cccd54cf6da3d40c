"""Creating tasks."""

from datetime import UTC, datetime
from uuid import uuid4

import pytest
from uuid_utils.compat import uuid7

from shared.errors import Reason
from tandem.task.v1.task_service_pb2 import (
    ASSIGNEE_TYPE_AGENT,
    ASSIGNEE_TYPE_USER,
    TASK_PRIORITY_HIGH,
    TASK_STATUS_PENDING,
    CreateTaskRequest,
    GetTaskRequest,
    Task,
)
from tests.refusals import refused
from tests.world import World


async def test_a_task_is_answered_as_it_is_kept(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    due = datetime(2030, 1, 2, 3, 4, 5, 678901, UTC)
    created = await alice.task(
        project,
        title="Write",
        description="All of it",
        priority=TASK_PRIORITY_HIGH,
        due_date=due,
        result={"draft": 1},
    )
    assert (created.status, created.revision) == (TASK_STATUS_PENDING, 1)
    assert created.created_by == str(alice.id)
    assert (created.title, created.description) == ("Write", "All of it")
    assert created.priority == TASK_PRIORITY_HIGH
    assert created.due_date.ToDatetime(UTC) == due
    assert dict(created.result) == {"draft": 1}
    assert not created.HasField("started_at")
    assert not created.HasField("completed_at")
    assert not created.HasField("assigned_to")
    assert await alice.tasks.GetTask(GetTaskRequest(task_id=created.id)) == created
