"""Adding and removing one dependency."""

import asyncio
from typing import Any
from uuid import uuid4

import pytest
from uuid_utils.compat import uuid7

from shared.errors import Reason
from tandem.task.v1.task_service_pb2 import (
    TASK_STATUS_IN_PROGRESS,
    AddDependencyRequest,
    DeleteTaskRequest,
    GetTaskRequest,
    RemoveDependencyRequest,
    Task,
)
from tests.locks import under_way
from tests.refusals import outcomes, refused
from tests.task_service.steps import completed, move, update
from tests.task_service.tasks.test_create import edges
from tests.task_service.tasks.test_dependencies import many_completed
from tests.world import Client, World


async def add(client: Client, task: Task, upon: Task | str, **fields: Any) -> Task:
    """Let a task depend on one more."""
    upon_id = upon if isinstance(upon, str) else upon.id
    request = AddDependencyRequest(task_id=task.id, depends_on_id=upon_id, **fields)
    changed: Task = await client.tasks.AddDependency(request)
    return changed


async def remove(client: Client, task: Task, upon: Task | str, **fields: Any) -> Task:
    """Let a task depend on one less."""
    upon_id = upon if isinstance(upon, str) else upon.id
    request = RemoveDependencyRequest(task_id=task.id, depends_on_id=upon_id, **fields)
    changed: Task = await client.tasks.RemoveDependency(request)
    return changed


async def now(client: Client, task: Task) -> Task:
    found: Task = await client.tasks.GetTask(GetTaskRequest(task_id=task.id))
    return found


async def test_a_dependency_that_is_added_comes_last(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    one, two, three = [await completed(alice, project) for _ in range(3)]
    task = await alice.task(project, dependencies=[three.id])
    await add(alice, task, one)
    changed = await add(alice, task, two)
    assert list(changed.dependencies) == [three.id, one.id, two.id]
    assert changed.revision == 3
    assert changed.updated_at.ToDatetime() > task.updated_at.ToDatetime()
    assert await now(alice, task) == changed
    assert await edges(world, task) == {one.id, two.id, three.id}


async def test_a_dependency_that_is_removed_leaves_the_order_of_the_others(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    names = [(await completed(alice, project)).id for _ in range(4)]
    task = await alice.task(project, dependencies=names)
    changed = await remove(alice, task, names[1])
    assert list(changed.dependencies) == [names[0], *names[2:]]
    assert (changed.revision, await now(alice, task)) == (2, changed)
    assert await edges(world, task) == {names[0], *names[2:]}


async def test_what_changes_nothing_is_no_change(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    one, two = await completed(alice, project), await completed(alice, project)
    task = await alice.task(project, dependencies=[one.id])
    assert await add(alice, task, one) == task
    assert await add(alice, task, one.id.upper()) == task
    # That it could not be added any more does not matter.
    await move(alice, one, TASK_STATUS_IN_PROGRESS)
    assert await add(alice, task, one) == task
    for other in (two, str(uuid7())):
        assert await remove(alice, task, other) == task
    assert await edges(world, task) == {one.id}


async def test_a_dependency_has_to_be_possible(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    task, pending = await alice.task(project), await alice.task(project)
    upon_it = await completed(alice, project)
    await world.execute("UPDATE tasks SET status = 'completed' WHERE id = $1", task.id)
    await add(alice, upon_it, task)
    elsewhere = await completed(alice, await alice.project())
    wrong = {
        str(uuid7()): Reason.DEPENDENCY_NOT_FOUND,
        elsewhere.id: Reason.DEPENDENCY_OUTSIDE_PROJECT,
        task.id: Reason.DEPENDENCY_CYCLE,
        upon_it.id: Reason.DEPENDENCY_CYCLE,
        pending.id: Reason.DEPENDENCY_NOT_COMPLETED,
    }
    before = await now(alice, task)
    for upon, reason in wrong.items():
        found = await refused(add(alice, task, upon), reason)
        assert found.preconditions == {upon: reason.name}
    assert await now(alice, task) == before
    assert await edges(world, task) == set()


async def test_every_dependency_has_to_be_completed_when_one_is_added(world: World) -> None:
    """As in UpdateTask. To remove one is possible in any case."""
    alice = await world.user()
    project = await alice.project()
    one, two, three = [await completed(alice, project) for _ in range(3)]
    task = await alice.task(project, dependencies=[one.id, two.id])
    for reopened in (one, two):
        await move(alice, reopened, TASK_STATUS_IN_PROGRESS)
    found = await refused(add(alice, task, three), Reason.DEPENDENCY_NOT_COMPLETED)
    assert {*found.preconditions} == {one.id, two.id}
    assert list((await remove(alice, task, two)).dependencies) == [one.id]
    await refused(add(alice, task, three), Reason.DEPENDENCY_NOT_COMPLETED)
    assert list((await remove(alice, task, one)).dependencies) == []
    assert list((await add(alice, task, three)).dependencies) == [three.id]
    assert await edges(world, task) == {three.id}


async def test_a_task_has_a_thousand_dependencies_at_most(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    names = await many_completed(world, project, 1001)
    task = await alice.task(project, dependencies=names[:1000])
    found = await refused(add(alice, task, names[1000]), Reason.LIMIT_EXCEEDED)
    assert found.metadata == {"limit": "1000"}
    assert await add(alice, task, names[999]) == task
    await remove(alice, task, names[0])
    changed = await add(alice, task, names[1000])
    assert list(changed.dependencies) == names[1:]
    assert await edges(world, task) == {*names[1:]}


@pytest.mark.parametrize("call", [add, remove])
async def test_a_revision_has_to_match(world: World, call: Any) -> None:
    alice = await world.user()
    project = await alice.project()
    one, two = await completed(alice, project), await completed(alice, project)
    task = await alice.task(project, dependencies=[one.id])
    for upon in (one, two):
        found = await refused(call(alice, task, upon, revision=7), Reason.REVISION_MISMATCH)
        assert found.metadata == {"revision": "1"}
    assert await now(alice, task) == task
    changed = await call(alice, task, two if call is add else one, revision=1)
    assert changed.revision == 2


@pytest.mark.parametrize("call", [add, remove])
async def test_a_repeated_request_id_gets_the_first_answer(world: World, call: Any) -> None:
    alice = await world.user()
    project = await alice.project()
    one, two = await completed(alice, project), await completed(alice, project)
    task = await alice.task(project, dependencies=[] if call is add else [one.id])
    request_id = str(uuid4())
    first = await call(alice, task, one, request_id=request_id)
    back = remove if call is add else add
    await back(alice, task, one)
    assert await call(alice, task, one, request_id=request_id) == first
    assert (await now(alice, task)).revision == 3
    await refused(call(alice, task, two, request_id=request_id), Reason.REQUEST_ID_REUSED)


@pytest.mark.parametrize("call", [add, remove])
async def test_access_comes_first(world: World, call: Any) -> None:
    alice, bob = await world.user(), await world.user()
    project = await alice.project()
    one = await completed(alice, project)
    task = await alice.task(project, dependencies=[one.id])
    for upon in ("x", "", one.id):
        await refused(call(bob, task, upon), Reason.NOT_PROJECT_OWNER)
        await refused(call(alice, Task(id=str(uuid7())), upon), Reason.TASK_NOT_FOUND)
    for upon in ("x", ""):
        found = await refused(call(alice, task, upon), Reason.INVALID_FIELD)
        assert list(found.fields) == ["depends_on_id"]
    found = await refused(call(alice, task, one, revision=-1), Reason.INVALID_FIELD)
    assert list(found.fields) == ["revision"]
    await refused(call(alice, Task(id="x"), one), Reason.INVALID_FIELD)
    await world.execute("UPDATE projects SET status = 'suspended'")
    await refused(call(alice, task, one), Reason.PROJECT_NOT_ACTIVE)


async def test_two_that_are_added_at_once_are_both_in_the_list(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    names = [(await completed(alice, project)).id for _ in range(8)]
    task = await alice.task(project)
    found = await outcomes(*(add(alice, task, name) for name in names))
    assert found == ["OK"] * 8
    changed = await now(alice, task)
    assert (sorted(changed.dependencies), changed.revision) == (sorted(names), 9)
    assert await edges(world, task) == {*names}


async def test_one_that_is_added_many_times_at_once_is_in_the_list_once(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    one, task = await completed(alice, project), await alice.task(project)
    await asyncio.gather(*(add(alice, task, one) for _ in range(8)))
    changed = await now(alice, task)
    assert (list(changed.dependencies), changed.revision) == ([one.id], 2)


async def test_two_cannot_close_a_circle_together(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    for _ in range(10):
        one, two = await completed(alice, project), await completed(alice, project)
        found = await outcomes(add(alice, one, two), add(alice, two, one))
        assert found == ["DEPENDENCY_CYCLE", "OK"]


async def test_the_graph_is_locked_before_the_task(world: World) -> None:
    """What closes a circle through others has no task in common with the other change."""
    alice = await world.user()
    project = await alice.project()
    one, task = await completed(alice, project), await alice.task(project)
    for call in (add, remove):
        async with under_way(world.url, "SELECT FROM projects FOR NO KEY UPDATE") as blocked:
            waits = asyncio.ensure_future(call(alice, task, one))
            await asyncio.wait_for(blocked.wait(), timeout=4)
            free = "SELECT count(*) FROM (SELECT FROM tasks FOR UPDATE SKIP LOCKED) free"
            assert await world.value(free) == 2
        await waits


async def test_the_list_and_the_edges_agree_whatever_meets(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    for _ in range(6):
        one, two, three, four = [await completed(alice, project) for _ in range(4)]
        task = await alice.task(project, dependencies=[one.id])
        found = await outcomes(
            add(alice, task, two),
            update(alice, ["dependencies"], id=task.id, dependencies=[three.id, four.id]),
            remove(alice, task, one),
            remove(alice, task, three),
            alice.tasks.DeleteTask(DeleteTaskRequest(task_id=four.id, force=True)),
        )
        assert {*found} <= {"OK", "DEPENDENCY_NOT_FOUND"}
        listed = list((await now(alice, task)).dependencies)
        assert len({*listed}) == len(listed)
        assert await edges(world, task) == {*listed}


async def test_a_dependency_that_is_being_reopened_is_waited_for(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    one, task = await completed(alice, project), await alice.task(project)
    reopen = "UPDATE tasks SET status = 'in_progress' WHERE id = $1"
    async with under_way(world.url, reopen, one.id) as blocked:
        waits = asyncio.ensure_future(
            refused(add(alice, task, one), Reason.DEPENDENCY_NOT_COMPLETED)
        )
        await blocked.wait()
    await waits
    assert await edges(world, task) == set()
