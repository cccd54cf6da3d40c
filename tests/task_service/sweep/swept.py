"""Time that passes at once, and what is swept then."""

from typing import Any
from uuid import UUID

from shared.database.pool import Connection
from tandem.task.v1.task_service_pb2 import GetTaskRequest, Task, TaskStatus, TaskStatusReason
from task_service.sweep.rules import sweep
from tests.coordination.invariants import broken
from tests.task_service.team import Team
from tests.world import World

SILENCE = 90.0
EXPIRE = (
    "UPDATE task_leases SET expires_at = now() - interval '1 second'"
    " WHERE task_id = ANY($1::uuid[])"
)
PAUSE = "SELECT extract(epoch FROM ready_at - updated_at)::float8 FROM tasks WHERE id = $1"
EVENTS = (
    "SELECT array_agg(type || ' ' || actor_type ORDER BY sequence) FROM events"
    " WHERE resource_id = $1 AND type NOT IN ('task.created', 'agent.created')"
)
OUTCOMES = "SELECT array_agg(outcome ORDER BY fence) FROM task_attempts WHERE task_id = $1"


async def expire(world: World, *task_ids: str) -> None:
    """Let the leases of tasks be over since a second."""
    await world.execute(EXPIRE, [UUID(each) for each in task_ids])


async def swept(world: World, team: Team) -> bool:
    """Sweep, and check that all holds that has to hold at any time; whether there is more."""
    has_more = await sweep(world.database, SILENCE)
    await checked(world, team)
    return has_more


async def checked(world: World, team: Team) -> None:
    """Check that all holds that has to hold at any time."""

    async def check(connection: Connection) -> list[str]:
        return await broken(connection, team.project.id)

    assert await world.owner.read(check) == []


async def events_of(world: World, resource_id: str) -> list[str]:
    """The events of a task or agent, each with the kind of its actor."""
    found: list[str] = await world.value(EVENTS, UUID(resource_id))
    return found


async def state(team: Team, task_id: str) -> tuple[Task, str, str]:
    """A task as it is now, its status, and the reason."""
    found: Task = await team.owner.tasks.GetTask(GetTaskRequest(task_id=task_id))
    reason = TaskStatusReason.Name(found.status_reason).removeprefix("TASK_STATUS_REASON_")
    return found, TaskStatus.Name(found.status).removeprefix("TASK_STATUS_"), reason


async def outcomes(world: World, task_id: str) -> Any:
    """How the attempts at a task ended."""
    return await world.value(OUTCOMES, UUID(task_id))
