"""Calls that meet: what the outcome may be, whichever comes first."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from shared.errors import Reason
from tandem.agent.v1.agent_service_pb2 import DeleteAgentRequest
from tandem.task.v1.task_service_pb2 import (
    ASSIGNEE_TYPE_AGENT,
    TASK_STATUS_CANCELLED,
    TASK_STATUS_FAILED,
    TASK_STATUS_IN_PROGRESS,
    AssignTaskRequest,
    DeleteTaskRequest,
    GetTaskRequest,
)
from tests.locks import WAITING
from tests.refusals import outcome, refused
from tests.task_service.steps import completed, move, update
from tests.task_service.tasks.test_create import edges
from tests.waiting import until
from tests.world import World

MANY = 10


async def outcomes(*calls: Awaitable[Any]) -> Counter[str]:
    return Counter(await asyncio.gather(*map(outcome, calls)))


@asynccontextmanager
async def transaction(world: World) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    """A transaction past the services, committed at the end of the block."""
    assert world.settings.database_url
    connection = await asyncpg.connect(world.settings.database_url.get_secret_value())
    try:
        async with connection.transaction():
            yield connection
    finally:
        await connection.close()


async def waiting(world: World) -> None:
    """Until a statement waits for a lock."""

    async def is_waiting() -> bool:
        return bool(await world.value(WAITING))

    await until(is_waiting)


async def test_one_of_many_moves_at_once_wins(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    ends = (TASK_STATUS_FAILED, TASK_STATUS_CANCELLED)  # neither leads to the other
    for _ in range(5):
        task = await move(alice, await alice.task(project), TASK_STATUS_IN_PROGRESS)
        found = await outcomes(*(move(alice, task, ends[n % 2]) for n in range(MANY)))
        assert found == {"OK": 1, "INVALID_STATUS_TRANSITION": MANY - 1}
        now = await alice.tasks.GetTask(GetTaskRequest(task_id=task.id))
        assert now.revision == task.revision + 1


async def test_one_of_many_updates_of_a_revision_wins(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    for _ in range(5):
        task = await alice.task(project)
        found = await outcomes(
            *(
                update(alice, ["title"], id=task.id, title=f"Title {number}", revision=1)
                for number in range(MANY)
            )
        )
        assert found == {"OK": 1, "REVISION_MISMATCH": MANY - 1}
        now = await alice.tasks.GetTask(GetTaskRequest(task_id=task.id))
        assert now.revision == 2


async def test_a_move_is_decided_by_the_status_that_the_one_before_has_left(
    world: World,
) -> None:
    alice = await world.user()
    task = await alice.task(await alice.project())
    async with transaction(world) as other:
        await other.execute("UPDATE tasks SET status = 'failed' WHERE id = $1", task.id)
        call = move(alice, task, TASK_STATUS_IN_PROGRESS)
        waits = asyncio.ensure_future(refused(call, Reason.INVALID_STATUS_TRANSITION))
        await waiting(world)
    assert (await waits).metadata == {
        "from": "TASK_STATUS_FAILED",
        "to": "TASK_STATUS_IN_PROGRESS",
        "allowed": "TASK_STATUS_PENDING",
    }


async def test_an_update_is_decided_by_the_revision_that_the_one_before_has_left(
    world: World,
) -> None:
    alice = await world.user()
    task = await alice.task(await alice.project())
    async with transaction(world) as other:
        await other.execute("UPDATE tasks SET revision = 2 WHERE id = $1", task.id)
        call = update(alice, ["title"], id=task.id, title="New", revision=1)
        waits = asyncio.ensure_future(refused(call, Reason.REVISION_MISMATCH))
        await waiting(world)
    assert (await waits).metadata == {"revision": "2"}


async def test_every_update_without_a_revision_counts(world: World) -> None:
    alice = await world.user()
    task = await alice.task(await alice.project())
    titles = [f"Title {number}" for number in range(MANY)]
    found = await outcomes(*(update(alice, ["title"], id=task.id, title=t) for t in titles))
    assert found == {"OK": MANY}
    now = await alice.tasks.GetTask(GetTaskRequest(task_id=task.id))
    assert now.revision == 1 + MANY


async def test_no_task_is_left_with_an_agent_that_is_deleted(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    tasks = [await alice.task(project) for _ in range(MANY)]
    for _ in range(5):
        agent = await alice.agent(project)
        fields: dict[str, Any] = {"assigned_to": agent.id, "assigned_to_type": ASSIGNEE_TYPE_AGENT}
        assignments = [
            alice.tasks.AssignTask(AssignTaskRequest(task_id=task.id, **fields)) for task in tasks
        ]
        delete = alice.agents.DeleteAgent(DeleteAgentRequest(agent_id=agent.id))
        creations = [alice.task(project, **fields) for _ in range(MANY)]
        found = await outcomes(*assignments, delete, *creations)
        assert set(found) <= {"OK", "ASSIGNEE_NOT_FOUND"}
        dangling = "SELECT count(*) FROM tasks WHERE assigned_to = $1"
        assert await world.value(dangling, agent.id) == 0


async def test_the_assignee_is_locked_before_the_task(world: World) -> None:
    # As DeleteAgent does. The other way round the two would wait for each other.
    alice = await world.user()
    project = await alice.project()
    agent, task = await alice.agent(project), await alice.task(project)
    request = AssignTaskRequest(
        task_id=task.id, assigned_to=agent.id, assigned_to_type=ASSIGNEE_TYPE_AGENT
    )
    async with transaction(world) as other:
        await other.execute("SELECT FROM agents WHERE id = $1 FOR UPDATE", agent.id)
        call = asyncio.ensure_future(outcome(alice.tasks.AssignTask(request)))
        await waiting(world)
        await other.execute("SELECT FROM tasks WHERE id = $1 FOR UPDATE NOWAIT", task.id)
        await other.execute("DELETE FROM agents WHERE id = $1", agent.id)
    assert await call == "ASSIGNEE_NOT_FOUND"


async def test_two_changes_cannot_close_a_circle_together(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    for _ in range(10):
        one, two = await completed(alice, project), await completed(alice, project)
        found = await outcomes(
            update(alice, ["dependencies"], id=one.id, dependencies=[two.id]),
            update(alice, ["dependencies"], id=two.id, dependencies=[one.id]),
        )
        assert found == {"OK": 1, "DEPENDENCY_CYCLE": 1}


async def test_many_changes_cannot_close_a_long_circle_together(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    ring = [await completed(alice, project) for _ in range(MANY)]
    found = await outcomes(
        *(
            update(alice, ["dependencies"], id=task.id, dependencies=[after.id])
            for task, after in zip(ring, [*ring[1:], ring[0]], strict=True)
        )
    )
    assert found == {"OK": MANY - 1, "DEPENDENCY_CYCLE": 1}


async def test_two_changes_cannot_close_a_circle_through_others(world: World) -> None:
    # The two have no task in common: only the graph as a whole can be what they wait for.
    alice = await world.user()
    project = await alice.project()
    for _ in range(10):
        a, b, c, d = [await completed(alice, project) for _ in "abcd"]
        await update(alice, ["dependencies"], id=b.id, dependencies=[c.id])
        await update(alice, ["dependencies"], id=d.id, dependencies=[a.id])
        found = await outcomes(
            update(alice, ["dependencies"], id=a.id, dependencies=[b.id]),
            update(alice, ["dependencies"], id=c.id, dependencies=[d.id]),
        )
        assert found == {"OK": 1, "DEPENDENCY_CYCLE": 1}


async def test_a_stranger_neither_holds_the_graph_nor_waits_for_it(world: World) -> None:
    alice, bob = await world.user(), await world.user()
    task = await alice.task(await alice.project())
    async with transaction(world) as other:
        await other.execute("SELECT FROM projects FOR NO KEY UPDATE")
        # A call that waited would end with CONFLICT.
        await refused(update(bob, ["dependencies"], id=task.id), Reason.NOT_PROJECT_OWNER)


async def test_a_dependency_that_is_being_reopened_is_waited_for(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    first, task = await completed(alice, project), await alice.task(project)
    reopen = "UPDATE tasks SET status = 'in_progress' WHERE id = $1"
    for call in (
        alice.task(project, dependencies=[first.id]),
        update(alice, ["dependencies"], id=task.id, dependencies=[first.id]),
    ):
        await world.execute("UPDATE tasks SET status = 'completed' WHERE id = $1", first.id)
        async with transaction(world) as other:
            await other.execute(reopen, first.id)
            waits = asyncio.ensure_future(refused(call, Reason.DEPENDENCY_NOT_COMPLETED))
            await waiting(world)
        await waits
    assert await edges(world, task) == set()


async def test_a_dependency_is_not_reopened_before_the_task_upon_it_is_there(
    world: World,
) -> None:
    # The call that reopens it waits for the creation; then the whole task is visible.
    alice = await world.user()
    project = await alice.project()
    for _ in range(10):
        first = await completed(alice, project)
        created, reopened = await asyncio.gather(
            outcome(alice.task(project, title=first.id, dependencies=[first.id])),
            outcome(move(alice, first, TASK_STATUS_IN_PROGRESS)),
        )
        assert reopened == "OK"
        assert created in ("OK", "DEPENDENCY_NOT_COMPLETED")
        rows = "SELECT count(*) FROM tasks WHERE title = $1"
        assert await world.value(rows, first.id) == (created == "OK")


async def test_no_task_depends_on_one_that_is_deleted(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    allowed = [
        {"creation": "OK", "deletion": "TASK_HAS_DEPENDENTS"},
        {"creation": "DEPENDENCY_NOT_FOUND", "deletion": "OK"},
    ]
    for _ in range(15):
        first = await completed(alice, project)
        creation, deletion = await asyncio.gather(
            outcome(alice.task(project, dependencies=[first.id])),
            outcome(alice.tasks.DeleteTask(DeleteTaskRequest(task_id=first.id))),
        )
        assert {"creation": creation, "deletion": deletion} in allowed


async def test_a_task_that_is_being_deleted_is_waited_for(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    first = await completed(alice, project)
    async with transaction(world) as other:
        await other.execute("DELETE FROM tasks WHERE id = $1", first.id)
        call = alice.task(project, dependencies=[first.id])
        waits = asyncio.ensure_future(refused(call, Reason.DEPENDENCY_NOT_FOUND))
        await waiting(world)
    await waits


async def test_a_task_that_another_is_being_created_upon_is_waited_for(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    first, task = await completed(alice, project), await alice.task(project)
    async with transaction(world) as other:
        await other.execute("SELECT FROM tasks WHERE id = $1 FOR SHARE", first.id)
        await other.execute(
            "INSERT INTO task_dependencies (project_id, task_id, depends_on_id)"
            " VALUES ($1, $2, $3)",
            project.id,
            task.id,
            first.id,
        )
        call = alice.tasks.DeleteTask(DeleteTaskRequest(task_id=first.id))
        waits = asyncio.ensure_future(refused(call, Reason.TASK_HAS_DEPENDENTS))
        await waiting(world)
    assert (await waits).preconditions == {task.id: "TASK_HAS_DEPENDENTS"}


async def test_force_leaves_no_trace_in_lists_that_change_meanwhile(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    for _ in range(5):
        gone, stays = await completed(alice, project), await completed(alice, project)
        task = await alice.task(project, dependencies=[gone.id])
        found = await outcomes(
            alice.tasks.DeleteTask(DeleteTaskRequest(task_id=gone.id, force=True)),
            update(alice, ["dependencies"], id=task.id, dependencies=[stays.id, gone.id]),
            update(alice, ["title"], id=task.id, title="Meanwhile"),
            alice.task(project, dependencies=[stays.id, gone.id]),
        )
        assert set(found) <= {"OK", "DEPENDENCY_NOT_FOUND"}
        listing = "SELECT count(*) FROM tasks WHERE dependencies ? $1"
        assert await world.value(listing, gone.id) == 0
        now = await alice.tasks.GetTask(GetTaskRequest(task_id=task.id))
        assert await edges(world, task) == set(now.dependencies)


async def test_a_request_id_used_many_times_at_once_changes_once(world: World) -> None:
    alice = await world.user()
    task = await alice.task(await alice.project())
    request_id = "0192d3a0-0000-7000-8000-000000000001"
    calls = (move(alice, task, TASK_STATUS_IN_PROGRESS, request_id=request_id) for _ in range(MANY))
    answers = await asyncio.gather(*calls)
    assert all(answer == answers[0] for answer in answers)
    now = await alice.tasks.GetTask(GetTaskRequest(task_id=task.id))
    assert now.revision == 2
