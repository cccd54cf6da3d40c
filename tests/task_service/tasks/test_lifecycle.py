"""Moving tasks from status to status."""

from datetime import datetime
from itertools import product
from typing import Any
from uuid import uuid4

import pytest
from uuid_utils.compat import uuid7

from shared.errors import Reason
from tandem.task.v1.task_service_pb2 import (
    TASK_STATUS_BLOCKED,
    TASK_STATUS_CANCELLED,
    TASK_STATUS_COMPLETED,
    TASK_STATUS_FAILED,
    TASK_STATUS_IN_PROGRESS,
    TASK_STATUS_PENDING,
    TASK_STATUS_REVIEW,
    TASK_STATUS_UNSPECIFIED,
    ListTasksRequest,
    Task,
    TaskStatus,
    UpdateTaskStatusRequest,
)
from tests.refusals import refused
from tests.task_service.steps import completed, move
from tests.world import World

STATUSES = {
    "pending": TASK_STATUS_PENDING,
    "in_progress": TASK_STATUS_IN_PROGRESS,
    "review": TASK_STATUS_REVIEW,
    "blocked": TASK_STATUS_BLOCKED,
    "completed": TASK_STATUS_COMPLETED,
    "failed": TASK_STATUS_FAILED,
    "cancelled": TASK_STATUS_CANCELLED,
}
# As the contract has it, written down a second time.
ALLOWED = {
    "pending": "in_progress, blocked, cancelled",
    "in_progress": "review, blocked, pending, completed, failed, cancelled",
    "review": "in_progress, pending, completed, failed, cancelled",
    "blocked": "pending, in_progress, cancelled",
    "completed": "in_progress",
    "failed": "pending",
    "cancelled": "pending",
}
THEN = datetime.fromisoformat("2020-02-02T02:02:02.020202Z")


def name(status: str) -> str:
    """The name of a status in the protos."""
    return f"TASK_STATUS_{status.upper()}"


async def test_a_revision_has_to_match(world: World) -> None:
    """It is checked first: what the caller knows of the status is old."""
    alice = await world.user()
    task = await alice.task(await alice.project())
    for status in (TASK_STATUS_IN_PROGRESS, TASK_STATUS_COMPLETED):
        found = await refused(move(alice, task, status, revision=2), Reason.REVISION_MISMATCH)
        assert found.metadata == {"revision": "1"}
    assert (await move(alice, task, TASK_STATUS_IN_PROGRESS, revision=1)).revision == 2


async def test_every_pair_of_statuses(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    for source, target in product(STATUSES, STATUSES):
        task = await alice.task(project)
        await world.execute("UPDATE tasks SET status = $2 WHERE id = $1", task.id, source)
        call = move(alice, task, STATUSES[target])
        allowed = ALLOWED[source].split(", ")
        if target in allowed:
            moved = await call
            assert (moved.status, moved.revision) == (STATUSES[target], 2)
        else:
            found = await refused(call, Reason.INVALID_STATUS_TRANSITION)
            assert found.metadata == {
                "from": name(source),
                "to": name(target),
                "allowed": ",".join(map(name, allowed)),
            }
            assert found.preconditions == {"status": "INVALID_STATUS_TRANSITION"}
            assert await world.value("SELECT status FROM tasks WHERE id = $1", task.id) == source


@pytest.mark.parametrize(
    ("source", "target", "started", "ended"),
    [
        ("pending", "in_progress", "now", None),
        ("pending", "blocked", None, None),
        ("in_progress", "review", "then", None),
        ("in_progress", "blocked", "then", None),
        ("in_progress", "pending", None, None),
        ("in_progress", "completed", "then", "now"),
        ("in_progress", "failed", "then", None),
        ("review", "in_progress", "then", None),
        ("review", "pending", None, None),
        ("review", "completed", "then", "now"),
        ("blocked", "pending", None, None),
        ("blocked", "in_progress", "then", None),
        ("completed", "in_progress", "then", None),
        ("failed", "pending", None, None),
        ("cancelled", "pending", None, None),
    ],
)
async def test_both_times_come_from_the_database_s_clock(
    world: World, source: str, target: str, started: str | None, ended: str | None
) -> None:
    alice = await world.user()
    task = await alice.task(await alice.project())
    await world.execute(
        "UPDATE tasks SET status = $2, started_at = $3, completed_at = $4 WHERE id = $1",
        task.id,
        source,
        None if source == "pending" else THEN,
        THEN if source == "completed" else None,
    )
    before = await world.value("SELECT clock_timestamp()")
    moved = await move(alice, task, STATUSES[target])
    after = await world.value("SELECT clock_timestamp()")

    def kind(name: str) -> str | None:
        if not moved.HasField(name):  # type: ignore[arg-type]
            return None
        at = getattr(moved, name).ToDatetime(before.tzinfo)
        assert at == THEN or before <= at <= after
        return "then" if at == THEN else "now"

    assert (kind("started_at"), kind("completed_at")) == (started, ended)


async def test_a_task_is_not_completed_before_it_was_started(world: World) -> None:
    alice = await world.user()
    task = await alice.task(await alice.project())
    await world.execute(
        "UPDATE tasks SET status = 'in_progress', started_at = now() + interval '1 hour'"
    )
    done = await move(alice, task, TASK_STATUS_COMPLETED)
    assert done.completed_at == done.started_at


async def test_a_result_comes_with_the_status_or_stays(world: World) -> None:
    alice = await world.user()
    task = await alice.task(await alice.project(), result={"old": 1})
    assert dict((await move(alice, task, TASK_STATUS_IN_PROGRESS)).result) == {"old": 1}
    done = await move(alice, task, TASK_STATUS_COMPLETED, result={"new": [1, None]})
    assert "old" not in done.result
    assert list(done.result["new"]) == [1, None]  # type: ignore[arg-type]
    again = await move(alice, task, TASK_STATUS_IN_PROGRESS, result={})
    assert again.HasField("result")
    assert not dict(again.result)


def nested(objects: int, lists: int) -> dict[str, Any]:
    """JSON that deep: lists inside of objects."""
    content: Any = True
    for _ in range(lists):
        content = [content]
    for _ in range(objects):
        content = {"a": content}
    return {"a": content}


@pytest.mark.parametrize(("objects", "lists"), [(29, 0), (0, 29), (14, 15)])
async def test_a_result_of_thirty_levels_can_be_read_in_every_answer(
    world: World, objects: int, lists: int
) -> None:
    alice = await world.user()
    task = await alice.task(await alice.project())
    moved = await move(alice, task, TASK_STATUS_IN_PROGRESS, result=nested(objects, lists))
    assert list((await alice.tasks.ListTasks(ListTasksRequest())).tasks) == [moved]


# The last of them fits into this request, and would not fit into a list any more.
@pytest.mark.parametrize(("objects", "lists"), [(30, 0), (0, 30), (1, 47)])
async def test_a_result_that_is_deeper_is_refused(world: World, objects: int, lists: int) -> None:
    alice = await world.user()
    task = await alice.task(await alice.project())
    call = move(alice, task, TASK_STATUS_IN_PROGRESS, result=nested(objects, lists))
    assert (await refused(call, Reason.INVALID_FIELD)).fields == {
        "result": "must not be nested more than 30 levels deep"
    }


async def test_a_result_is_bounded(world: World) -> None:
    alice = await world.user()
    task = await alice.task(await alice.project())
    call = move(alice, task, TASK_STATUS_IN_PROGRESS, result={"t": "x" * 1024 * 1024})
    assert list((await refused(call, Reason.INVALID_FIELD)).fields) == ["result"]


@pytest.mark.parametrize("status", [TASK_STATUS_UNSPECIFIED, 99])
async def test_a_status_has_to_be_one(world: World, status: "TaskStatus.ValueType") -> None:
    alice = await world.user()
    task = await alice.task(await alice.project())
    found = await refused(move(alice, task, status), Reason.INVALID_FIELD)
    assert list(found.fields) == ["status"]


async def test_access_comes_first(world: World) -> None:
    alice, bob = await world.user(), await world.user()
    task = await alice.task(await alice.project())
    for status in (TASK_STATUS_UNSPECIFIED, TASK_STATUS_COMPLETED, TASK_STATUS_IN_PROGRESS):
        await refused(move(bob, task, status), Reason.NOT_PROJECT_OWNER)
        await refused(move(alice, Task(id=str(uuid7())), status), Reason.TASK_NOT_FOUND)
    await refused(move(alice, Task(id="x"), TASK_STATUS_FAILED), Reason.INVALID_FIELD)
    await world.execute("UPDATE projects SET status = 'suspended'")
    await refused(move(alice, task, TASK_STATUS_IN_PROGRESS), Reason.PROJECT_NOT_ACTIVE)


async def test_a_repeated_request_id_gets_the_first_answer(world: World) -> None:
    alice = await world.user()
    task = await completed(alice, await alice.project())
    request = UpdateTaskStatusRequest(
        task_id=task.id, status=TASK_STATUS_IN_PROGRESS, request_id=str(uuid4())
    )
    first = await alice.tasks.UpdateTaskStatus(request)
    assert await alice.tasks.UpdateTaskStatus(request) == first
    request.status = TASK_STATUS_FAILED
    await refused(alice.tasks.UpdateTaskStatus(request), Reason.REQUEST_ID_REUSED)
