"""A task that an agent holds, and what has become of it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from tandem.task.v1.task_service_pb2 import (
    AttemptOutcome,
    CancelTaskRequest,
    ClaimedTask,
    CompleteTaskRequest,
    FailTaskRequest,
    GetTaskRequest,
    Input,
    ReleaseTaskRequest,
    RequestInputRequest,
    Task,
    TaskStatus,
    TaskStatusReason,
)
from tests.task_service.team import Team, Worker
from tests.world import Client, World

EVENTS = "SELECT array_agg(type ORDER BY sequence) FROM events WHERE resource_id = $1"
OUTCOMES = "SELECT array_agg(outcome ORDER BY fence) FROM task_attempts WHERE task_id = $1"
LEASES = "SELECT count(*) FROM task_leases"
READY = "UPDATE tasks SET ready_at = now() WHERE id = $1"
# Every row that a call could have changed.
STATE = """
SELECT (SELECT jsonb_agg(to_jsonb(t) ORDER BY id) FROM tasks t)::text
    || (SELECT jsonb_agg(to_jsonb(a) ORDER BY task_id, fence) FROM task_attempts a)::text
    || coalesce((SELECT jsonb_agg(to_jsonb(l) ORDER BY task_id) FROM task_leases l)::text, '')
    || (SELECT count(*) FROM events)
"""


@dataclass(frozen=True)
class Held:
    """A task, and who holds it."""

    worker: Worker
    claimed: ClaimedTask

    @property
    def id(self) -> UUID:
        return UUID(self.claimed.task.id)

    @property
    def fence(self) -> int:
        return self.claimed.lease.fencing_token

    async def complete(self, by: Client | None = None, **fields: Any) -> Task:
        return await self._end("CompleteTask", CompleteTaskRequest, by, fields)

    async def fail(self, by: Client | None = None, **fields: Any) -> Task:
        return await self._end("FailTask", FailTaskRequest, by, fields)

    async def release(self, by: Client | None = None, **fields: Any) -> Task:
        return await self._end("ReleaseTask", ReleaseTaskRequest, by, fields)

    async def ask(self, by: Client | None = None, **fields: Any) -> Task:
        """Request an input."""
        fields = {"input": Input(key="k", prompt="Which?"), **fields}
        return await self._end("RequestInput", RequestInputRequest, by, fields)

    async def _end(
        self, method: str, request: Callable[..., Any], by: Client | None, fields: dict[str, Any]
    ) -> Task:
        fields = {"task_id": str(self.id), "fencing_token": self.fence, **fields}
        found: Task = await getattr((by or self.worker.client).tasks, method)(request(**fields))
        return found


# What ends a lease, each as its holder calls it.
ENDINGS = ("complete", "fail", "release", "ask")


async def held(team: Team, worker: Worker | None = None, **fields: Any) -> Held:
    """A new task that a worker has claimed."""
    worker = worker or await team.worker()
    task = await team.owner.task(team.project, **fields)
    return await claimed(worker, task.id)


async def claimed(worker: Worker, task_id: object) -> Held:
    """A task that a worker claims."""
    [found] = await worker.claim(task_ids=[str(task_id)])
    return Held(worker, found)


async def cancelled(team: Team, task_id: object, **fields: Any) -> Task:
    """A task that the owner cancels."""
    request = CancelTaskRequest(task_id=str(task_id), **fields)
    found: Task = await team.owner.tasks.CancelTask(request)
    return found


def status(task: Task) -> tuple[str, str]:
    """The status of a task and its reason."""
    name = TaskStatus.Name(task.status).removeprefix("TASK_STATUS_")
    reason = TaskStatusReason.Name(task.status_reason).removeprefix("TASK_STATUS_REASON_")
    return name, "" if reason == "UNSPECIFIED" else reason


def outcome(value: int) -> str:
    """The name of an outcome."""
    return AttemptOutcome.Name(value).removeprefix("ATTEMPT_OUTCOME_")  # type: ignore[arg-type]


async def now(team: Team, task_id: object) -> Task:
    """A task as it is now."""
    found: Task = await team.owner.tasks.GetTask(GetTaskRequest(task_id=str(task_id)))
    return found


async def events(world: World, task_id: UUID) -> list[str]:
    """The types of the events of a task."""
    found: list[str] = await world.value(EVENTS, task_id)
    return found


async def outcomes(world: World, task_id: UUID) -> list[str]:
    """How the attempts at a task have ended."""
    found: list[str] = await world.value(OUTCOMES, task_id)
    return found
