"""A claim answers no more than clients take: all leases, and a part of what is large."""

from typing import Any

import pytest

from tandem.task.v1.task_service_pb2 import ClaimTasksRequest, ClaimTasksResponse, GetTaskRequest
from tests.task_service.steps import completed
from tests.task_service.team import Team, Worker
from tests.world import World

MIB = 1024 * 1024
CLIENTS_TAKE = 4 * MIB
ASKED = """
INSERT INTO task_inputs (project_id, task_id, key, kind, prompt, requested_at, schema)
SELECT project_id, id, 'k' || n, 'input', 'Which?', now() + make_interval(secs => n),
    jsonb_build_object('text', repeat(md5(n::text), 2000))
FROM tasks, generate_series(1, 100) n
"""
TRIED = """
INSERT INTO task_attempts
    (project_id, task_id, fence, attempt, agent_id, ended_at, outcome, error, progress)
SELECT project_id, id, n, 1, $1, now(), 'failed',
    jsonb_build_object('text', repeat(md5(n::text), 2000)),
    jsonb_build_object('text', repeat(md5(n::text), 2000))
FROM tasks, generate_series(1, 5) n
"""
FENCES = "UPDATE tasks SET fence = 5"


async def claimed(worker: Worker, number: int) -> ClaimTasksResponse:
    request = ClaimTasksRequest(
        project_id=worker.agent.project_id, agent_id=worker.agent.id, max_tasks=number
    )
    response: ClaimTasksResponse = await worker.client.tasks.ClaimTasks(request)
    return response


@pytest.mark.parametrize("size", [10, 1000, 5000, 60_000])
async def test_what_has_room_is_answered_whole(team: Team, size: int) -> None:
    done: Any = {"text": "é" * size, "list": [None, 1.5, {}]}
    first = await completed(team.owner, team.project)
    for _ in range(2):
        fields = {"description": "d" * size, "result": done, "dependencies": [first.id]}
        await team.owner.task(team.project, **fields)
    response = await claimed(await team.worker(), 3)
    assert not response.incomplete
    assert len(response.tasks) == 2
    for each in response.tasks:
        found = await team.owner.tasks.GetTask(GetTaskRequest(task_id=each.task.id))
        assert each.task == found


async def test_of_the_last_tasks_what_is_large_is_left_out(team: Team, world: World) -> None:
    done: Any = {"text": "x" * (MIB - 100)}
    # The fourth is more than there is room for, although there is some when its turn comes.
    await team.owner.task(team.project, result={"text": "x" * 1000})
    for _ in range(5):
        await team.owner.task(team.project, result=done, description="d" * 1000)
    response = await claimed(await team.worker(), 10)
    assert response.incomplete
    assert response.ByteSize() < CLIENTS_TAKE
    assert [each.task.HasField("result") for each in response.tasks] == [True] * 3 + [False] * 3
    assert [each.lease.fencing_token for each in response.tasks] == [1] * 6
    assert await world.value("SELECT count(*) FROM task_leases") == 6


async def test_the_latest_inputs_and_attempts_are_answered_as_far_as_there_is_room(
    team: Team, world: World
) -> None:
    worker = await team.worker()
    for _ in range(2):
        await team.owner.task(team.project)
    await world.execute(ASKED)
    await world.execute(TRIED, worker.agent.id)
    await world.execute(FENCES)
    response = await claimed(worker, 2)
    assert response.incomplete
    assert response.ByteSize() < CLIENTS_TAKE
    for each in response.tasks:
        keys = [int(one.key[1:]) for one in each.inputs]
        assert keys == list(range(101 - len(keys), 101))
    assert len(response.tasks[0].inputs) > 20
