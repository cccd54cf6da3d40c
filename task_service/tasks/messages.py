"""Tasks between the wire and the rules."""

from collections.abc import Callable, Iterable
from functools import partial
from operator import attrgetter
from typing import Any
from uuid import UUID

from shared.errors import invalid_field
from shared.messages.tasks import (
    TO_ON_FAILURE,
    TO_POLICY,
    TO_PRIORITY,
    TO_REASON,
    TO_STATUS,
    task,
)
from shared.resources.batch import build_batch
from shared.resources.building import Row
from shared.resources.pagination import Listing, Pager, Query, instant
from shared.resources.validation import (
    KIB,
    optional,
    read_new,
    struct,
    timestamp,
    validate,
)
from tandem.task.v1 import task_service_pb2 as pb
from task_service.assignees import Assignee
from task_service.tasks.waiting import Wait

RESULT_BYTES = 1024 * KIB
# What is left to the database if it is not given: a default, or that nothing is referred to.
# A statement locks what it is told of: what is not referred to need not be looked for.
LEFT_TO_DEFAULTS = ("room_id", "assigned_agent_id", "assigned_user_id", "parent_id", "ready_at")
CAPABILITIES_LENGTH = 1000
DEFAULT_ATTEMPTS = 3
WAIT_SECONDS = 60.0
ORDERS = ("created_at", "updated_at", "due_date", "priority")
TIMES = {"created_at": instant, "updated_at": instant}

FROM_STATUS = {status: name for name, status in TO_STATUS.items()}
FROM_PRIORITY = {priority: name for name, priority in TO_PRIORITY.items()}
FROM_REASON = {reason: word for word, reason in TO_REASON.items()}
FROM_POLICY = {policy: word for word, policy in TO_POLICY.items() if word}
FROM_ON_FAILURE = {on_failure: word for word, on_failure in TO_ON_FAILURE.items() if word}
FROM_TYPE = {pb.ASSIGNEE_TYPE_AGENT: "agent", pb.ASSIGNEE_TYPE_USER: "user"}


async def batch(rows: Iterable[Row]) -> pb.BatchGetTasksResponse:
    """Many rows. Raises Refusal(LIMIT_EXCEEDED) if they are more than clients take."""
    response = pb.BatchGetTasksResponse()
    await build_batch(rows, task, response.tasks)
    return response


async def listing(found: Listing, pager: Pager) -> pb.ListTasksResponse:
    """A page of rows."""
    response = pb.ListTasksResponse(total_size=found.total)
    response.next_page_token = await pager.fit(found, task, response.tasks)
    return response


def new_task(request: pb.CreateTaskRequest) -> dict[str, Any]:
    """The columns of a task that is to be created."""
    values = read_new(request, "task", {**COLUMNS, **FIXED_LATER})
    named = {**values, **_assigned(request.task)}
    named = {n: value for n, value in named.items() if value or n not in LEFT_TO_DEFAULTS}
    return {"project_id": UUID(request.task.project_id), **named}


def wait(request: pb.WaitTaskRequest) -> Wait:
    """How long to wait, and for what."""
    validate(request)
    timeout = request.timeout
    seconds = timeout.seconds + timeout.nanos / 1e9 if request.HasField("timeout") else WAIT_SECONDS
    return Wait(seconds, optional(request, "revision"))


def assignee(request: pb.AssignTaskRequest) -> Assignee:
    """The assignee."""
    validate(request)
    return Assignee(UUID(request.assigned_to), FROM_TYPE[request.assigned_to_type])


def new_status(request: pb.UpdateTaskStatusRequest) -> dict[str, Any]:
    """The status that is asked for, and the result if one comes with it."""
    validate(request)
    values: dict[str, Any] = {"status": FROM_STATUS[request.status]}
    if request.HasField("result"):
        values["result"] = struct(request, "result", "result", RESULT_BYTES)
    if request.HasField("fencing_token"):
        values["fence"] = request.fencing_token
    return values


def dependencies(request: pb.VerifyDependenciesRequest) -> list[UUID]:
    """The dependencies that are asked about."""
    validate(request)
    return list(map(UUID, _ids(request)))


def dependency(request: pb.AddDependencyRequest | pb.RemoveDependencyRequest) -> UUID:
    """The task that another is to depend on, or no longer."""
    validate(request)
    return UUID(request.depends_on_id)


def query(request: pb.ListTasksRequest, pager: Pager) -> Query:
    """What a list is asked for."""
    validate(request)
    filters = _filters(request)
    return Query(filters, pager.read(request, filters, ORDERS, TIMES))


def counted(request: pb.CountTasksRequest) -> dict[str, Any]:
    """Which tasks are to be counted."""
    validate(request)
    return _filters(request)


def counts(rows: Iterable[Row]) -> pb.CountTasksResponse:
    """Rows of a status and a number, in the order of the statuses."""
    numbers = {TO_STATUS[row["status"]]: row["number"] for row in rows}
    response = pb.CountTasksResponse(total=sum(numbers.values()))
    for status in sorted(numbers):
        response.counts.add(status=status, count=numbers[status])
    return response


def _filters(request: pb.ListTasksRequest | pb.CountTasksRequest) -> dict[str, Any]:
    return {
        "project_id": UUID(request.project_id) if request.project_id else None,
        "room_id": UUID(request.room_id) if request.room_id else None,
        "statuses": [FROM_STATUS[status] for status in request.statuses] or None,
        "priorities": [FROM_PRIORITY[p] or "" for p in request.priorities] or None,
        "assigned_to": UUID(request.assigned_to) if request.assigned_to else None,
        "assigned_to_type": FROM_TYPE.get(request.assigned_to_type),
        "created_by": UUID(request.created_by) if request.created_by else None,
        "due_after": timestamp(request, "due_after", "due_after"),
        "due_before": timestamp(request, "due_before", "due_before"),
        "overdue": request.overdue if request.HasField("overdue") else None,
        "title_contains": request.title_contains or None,
        "ready": request.ready if request.HasField("ready") else None,
        "depends_on": UUID(request.depends_on) if request.depends_on else None,
        "status_reasons": [FROM_REASON[reason] for reason in request.status_reasons] or None,
        "parent_id": UUID(request.parent_id) if request.parent_id else None,
    }


def _assigned(task: pb.Task) -> dict[str, UUID | None]:
    if task.HasField("assigned_to") != bool(task.assigned_to_type):
        path = "assigned_to_type" if task.HasField("assigned_to") else "assigned_to"
        raise invalid_field(f"task.{path}", "is required if the task is assigned")
    if not task.HasField("assigned_to"):
        return {}
    return Assignee(UUID(task.assigned_to), FROM_TYPE[task.assigned_to_type]).columns


def _ids(message: pb.Task | pb.VerifyDependenciesRequest) -> list[str]:
    """Distinct also if the same id is written in two ways."""
    return list(dict.fromkeys(str(UUID(text)) for text in message.dependencies))


def _required_capabilities(task: pb.Task) -> str:
    joined = ",".join(sorted(task.required_capabilities))
    if len(joined) > CAPABILITIES_LENGTH:
        raise invalid_field(
            "task.required_capabilities",
            f"must have at most {CAPABILITIES_LENGTH:,} characters in all",
        )
    return joined


# What a client may set and change. Each is read by itself: what is not changed is not looked at.
COLUMNS: dict[str, Callable[[pb.Task], Any]] = {
    "room_id": partial(optional, name="room_id", of=UUID),
    "title": attrgetter("title"),
    "description": partial(optional, name="description"),
    "priority": lambda task: FROM_PRIORITY[task.priority],
    "dependencies": _ids,
    "due_date": partial(timestamp, name="due_date", path="task.due_date"),
    "result": partial(struct, name="result", path="task.result", limit=RESULT_BYTES),
    "required_capabilities": _required_capabilities,
    "ready_at": partial(timestamp, name="ready_at", path="task.ready_at"),
    "max_attempts": lambda task: task.max_attempts or DEFAULT_ATTEMPTS,
    "lock_key": partial(optional, name="lock_key"),
    "estimate": partial(optional, name="estimate"),
}
# What a client may set at creation, and not change.
FIXED_LATER: dict[str, Callable[[pb.Task], Any]] = {
    "dependency_policy": lambda task: FROM_POLICY.get(task.dependency_policy, "strict"),
    "on_dependency_failure": (
        lambda task: FROM_ON_FAILURE.get(task.on_dependency_failure, "keep_blocked")
    ),
    "parent_id": partial(optional, name="parent_id", of=UUID),
}
# What no Update changes, but a client may send back.
FIXED: dict[str, Callable[[pb.Task], Any]] = {
    "project_id": lambda task: UUID(task.project_id),
    "assigned_to": partial(optional, name="assigned_to", of=UUID),
    "assigned_to_type": lambda task: FROM_TYPE.get(task.assigned_to_type),
    **FIXED_LATER,
}
