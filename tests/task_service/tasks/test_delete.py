"""Deleting tasks."""

from uuid import uuid4

from uuid_utils.compat import uuid7

from shared.errors import Reason
from tandem.task.v1.task_service_pb2 import DeleteTaskRequest, GetTaskRequest, Task
from tests.refusals import refused
from tests.task_service.steps import completed, update
from tests.task_service.tasks.test_create import edges
from tests.task_service.tasks.test_dependencies import many_completed
from tests.world import Client, World


async def delete(client: Client, task: Task, *, revision: int = 0, force: bool = False) -> None:
    request = DeleteTaskRequest(task_id=task.id, revision=revision, force=force)
    await client.tasks.DeleteTask(request)


async def test_a_deleted_task_is_gone_with_its_own_edges(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    first = await completed(alice, project)
    task = await alice.task(project, dependencies=[first.id])
    await delete(alice, task)
    await refused(alice.tasks.GetTask(GetTaskRequest(task_id=task.id)), Reason.TASK_NOT_FOUND)
    assert await edges(world, task) == set()
    await delete(alice, first)


async def test_dependents_are_named_and_keep_it(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    first = await completed(alice, project)
    upon = [await alice.task(project, dependencies=[first.id]) for _ in range(3)]
    found = await refused(delete(alice, first), Reason.TASK_HAS_DEPENDENTS)
    assert found.preconditions == {task.id: "TASK_HAS_DEPENDENTS" for task in upon}
    assert found.metadata["task_ids"].split(",") == sorted(task.id for task in upon)
    assert found.metadata["total"] == "3"
    assert await alice.tasks.GetTask(GetTaskRequest(task_id=first.id)) == first


async def test_force_takes_it_out_of_their_dependencies(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    one, two = await completed(alice, project), await completed(alice, project)
    task = await alice.task(project, dependencies=[one.id, two.id])
    other = await alice.task(project, dependencies=[two.id])
    await delete(alice, one, force=True)
    now = await alice.tasks.GetTask(GetTaskRequest(task_id=task.id))
    assert (list(now.dependencies), now.revision) == ([two.id], 2)
    assert now.updated_at.ToNanoseconds() > task.updated_at.ToNanoseconds()
    assert await edges(world, task) == {two.id}
    assert await alice.tasks.GetTask(GetTaskRequest(task_id=other.id)) == other
    await refused(alice.tasks.GetTask(GetTaskRequest(task_id=one.id)), Reason.TASK_NOT_FOUND)


async def test_force_is_no_harm_where_nothing_depends_on_it(world: World) -> None:
    alice = await world.user()
    task = await alice.task(await alice.project())
    await delete(alice, task, force=True)
    await refused(delete(alice, task, force=True), Reason.TASK_NOT_FOUND)


async def test_a_bounded_number_of_dependents_is_named(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    first = await completed(alice, project)
    names = await many_completed(world, project, 150)
    await world.execute(
        "INSERT INTO task_dependencies (project_id, task_id, depends_on_id)"
        " SELECT $1, unnest($2::uuid[]), $3",
        project.id,
        names,
        first.id,
    )
    found = await refused(delete(alice, first), Reason.TASK_HAS_DEPENDENTS)
    named = sorted(map(str, names))[:100]
    assert found.metadata["task_ids"].split(",") == named
    assert found.metadata["total"] == "150"
    assert list(found.preconditions) == named[: len(found.preconditions)]
    assert len(found.preconditions) + int(found.metadata["omitted"]) == 100


async def test_the_revision_has_to_match_where_it_is_given(world: World) -> None:
    alice = await world.user()
    task = await alice.task(await alice.project())
    await update(alice, ["title"], id=task.id, title="New")
    found = await refused(delete(alice, task, revision=1), Reason.REVISION_MISMATCH)
    assert found.metadata == {"revision": "2"}
    await delete(alice, task, revision=2)


async def test_access_comes_first(world: World) -> None:
    alice, bob = await world.user(), await world.user()
    task = await alice.task(await alice.project())
    for force in (False, True):
        for revision in (-1, 0):
            call = delete(bob, task, revision=revision, force=force)
            await refused(call, Reason.NOT_PROJECT_OWNER)
            missing = delete(alice, Task(id=str(uuid7())), revision=revision, force=force)
            await refused(missing, Reason.TASK_NOT_FOUND)
    await refused(delete(alice, task, revision=-1), Reason.INVALID_FIELD)
    await refused(delete(alice, Task(id="x")), Reason.INVALID_FIELD)


async def test_a_project_that_is_not_active_lets_go_of_its_tasks(world: World) -> None:
    alice = await world.user()
    task = await alice.task(await alice.project())
    await world.execute("UPDATE projects SET status = 'archived'")
    await delete(alice, task)


async def test_a_repeated_request_id_gets_the_first_answer(world: World) -> None:
    alice = await world.user()
    task = await alice.task(await alice.project())
    request = DeleteTaskRequest(task_id=task.id, request_id=str(uuid4()))
    await alice.tasks.DeleteTask(request)
    await alice.tasks.DeleteTask(request)
    request.force = True
    await refused(alice.tasks.DeleteTask(request), Reason.REQUEST_ID_REUSED)
