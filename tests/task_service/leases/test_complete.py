"""CompleteTask: the result, and those that wait for the task."""

from shared.errors import Reason
from shared.resources.struct_json import to_struct
from tandem.task.v1.task_service_pb2 import (
    DEPENDENCY_POLICY_WAIT,
    TASK_STATUS_BLOCKED,
    TASK_STATUS_PENDING,
    CompleteTaskRequest,
    GetTaskRequest,
)
from tests.refusals import refused
from tests.task_service.sweep.swept import checked
from tests.task_service.team import Team
from tests.world import World

BATCHES = "SELECT count(DISTINCT batch) FROM events WHERE type IN ('task.completed', $1)"


async def test_those_that_wait_for_it_alone_are_pending_by_the_same_transaction(
    team: Team, world: World
) -> None:
    first, second = [await team.owner.task(team.project) for _ in range(2)]
    waits = {"dependency_policy": DEPENDENCY_POLICY_WAIT}
    one = await team.owner.task(team.project, dependencies=[first.id], **waits)
    both = await team.owner.task(team.project, dependencies=[first.id, second.id], **waits)
    worker = await team.worker()
    await worker.claim(task_ids=[first.id])
    request = CompleteTaskRequest(task_id=first.id, fencing_token=1)
    await worker.client.tasks.CompleteTask(request)
    found = [await team.owner.tasks.GetTask(GetTaskRequest(task_id=t.id)) for t in (one, both)]
    assert [task.status for task in found] == [TASK_STATUS_PENDING, TASK_STATUS_BLOCKED]
    assert [task.open_dependencies for task in found] == [0, 1]
    assert await world.value(BATCHES, "task.unblocked") == 1
    await checked(world, team)
    await worker.client.tasks.CompleteTask(request)
    assert (await team.owner.tasks.GetTask(GetTaskRequest(task_id=both.id))) == found[1]


async def test_the_result_is_kept_and_a_lost_lease_leaves_it(team: Team) -> None:
    task = await team.owner.task(team.project)
    worker = await team.worker()
    await worker.claim()
    request = CompleteTaskRequest(
        task_id=task.id, fencing_token=2, result=to_struct(b'{"answer": 41}')
    )
    await refused(worker.client.tasks.CompleteTask(request), Reason.LEASE_LOST)
    request = CompleteTaskRequest(
        task_id=task.id, fencing_token=1, result=to_struct(b'{"answer": 42}')
    )
    await worker.client.tasks.CompleteTask(request)
    found = await team.owner.tasks.GetTask(GetTaskRequest(task_id=task.id))
    assert found.result["answer"] == 42
