"""Creating tasks."""

from datetime import UTC, datetime
from uuid import uuid4

import pytest
from uuid_utils.compat import uuid7

from shared.errors import Reason
from tandem.task.v1.task_service_pb2 import (
    ASSIGNEE_TYPE_AGENT,
    TASK_PRIORITY_HIGH,
    TASK_STATUS_COMPLETED,
    TASK_STATUS_PENDING,
    CreateTaskRequest,
    GetTaskRequest,
    Task,
)
from tests.refusals import refused
from tests.task_service.steps import completed
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
    assert (created.created_by, created.project_id) == (str(alice.id), project.id)
    assert (created.title, created.description) == ("Write", "All of it")
    assert created.priority == TASK_PRIORITY_HIGH
    assert created.due_date.ToDatetime(UTC) == due
    assert dict(created.result) == {"draft": 1}
    assert created.created_at == created.updated_at
    given = {field.name for field, _ in created.ListFields()}
    assert not given & {"started_at", "completed_at", "assigned_to", "room_id", "dependencies"}
    assert await alice.tasks.GetTask(GetTaskRequest(task_id=created.id)) == created


async def test_output_only_fields_are_ignored(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    task = await alice.task(
        project, status=TASK_STATUS_COMPLETED, created_by=str(uuid7()), completed_at=datetime.now()
    )
    assert (task.status, task.created_by) == (TASK_STATUS_PENDING, str(alice.id))
    assert not task.HasField("completed_at")


async def test_dependencies_are_kept_in_the_order_given(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    first, second, third = [await completed(alice, project) for _ in range(3)]
    wanted = [second.id, third.id, first.id]
    task = await alice.task(project, dependencies=wanted)
    assert list(task.dependencies) == wanted
    assert await edges(world, task) == set(wanted)


async def test_an_id_in_capitals_is_the_same_id(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    first = await completed(alice, project)
    task = await alice.task(project, dependencies=[first.id, first.id.upper()])
    assert list(task.dependencies) == [first.id]


async def test_every_failing_dependency_is_named_and_nothing_is_written(world: World) -> None:
    alice, bob = await world.user(), await world.user()
    project = await alice.project()
    unknown = str(uuid7())
    foreign = await completed(bob, await bob.project())
    pending, good = await alice.task(project), await completed(alice, project)
    before = await world.value("SELECT count(*) FROM tasks")
    call = alice.task(project, dependencies=[good.id, pending.id, foreign.id, unknown])
    found = await refused(call, Reason.DEPENDENCY_NOT_FOUND)
    assert found.preconditions == {
        unknown: "DEPENDENCY_NOT_FOUND",
        foreign.id: "DEPENDENCY_OUTSIDE_PROJECT",
        pending.id: "DEPENDENCY_NOT_COMPLETED",
    }
    assert await world.value("SELECT count(*) FROM tasks") == before


async def test_a_room_is_of_the_same_project(world: World) -> None:
    alice = await world.user()
    project, other = await alice.project(), await alice.project()
    here, elsewhere = await room(world, project.id), await room(world, other.id)
    assert (await alice.task(project, room_id=here)).room_id == here
    for wrong in (elsewhere, str(uuid7())):
        found = await refused(alice.task(project, room_id=wrong), Reason.ROOM_NOT_FOUND)
        assert found.metadata == {"room_id": wrong}


async def test_every_bad_field_is_named(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    task = Task(
        project_id=project.id,
        description="d" * 65537,
        room_id="x",
        priority=99,  # type: ignore[arg-type]
        assigned_to="x",
        dependencies=["x"],
    )
    call = alice.tasks.CreateTask(CreateTaskRequest(task=task, request_id="x"))
    found = await refused(call, Reason.INVALID_FIELD)
    assert set(found.fields) == {
        "task.title",
        "task.description",
        "task.room_id",
        "task.priority",
        "task.assigned_to",
        "task.dependencies[0]",
        "request_id",
    }


@pytest.mark.parametrize(
    ("fields", "bad"),
    [
        ({"title": "t" * 501}, "task.title"),
        ({"title": "a\0"}, "task.title"),
        ({"dependencies": [str(uuid7())] * 2}, "task.dependencies"),
        ({"dependencies": [str(uuid7()) for _ in range(1001)]}, "task.dependencies"),
        ({"result": {"text": "x" * 1024 * 1024}}, "task.result"),
        ({"result": {"text": "a\0"}}, "task.result"),
        ({"result": {"number": float("nan")}}, "task.result"),
        ({"due_date": {"seconds": 10**12}}, "task.due_date"),
        ({"assigned_to": str(uuid7())}, "task.assigned_to_type"),
        ({"assigned_to_type": ASSIGNEE_TYPE_AGENT}, "task.assigned_to"),
    ],
)
async def test_a_field_out_of_its_limits_is_refused(
    world: World, fields: dict[str, object], bad: str
) -> None:
    alice = await world.user()
    project = await alice.project()
    found = await refused(alice.task(project, **fields), Reason.INVALID_FIELD)
    assert list(found.fields) == [bad]


async def test_the_largest_task_is_accepted(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    task = await alice.task(
        project,
        title="ü" * 500,
        description="d" * 65536,
        result={"text": "x" * (1024 * 1024 - 20)},
    )
    assert await alice.tasks.GetTask(GetTaskRequest(task_id=task.id)) == task


async def test_access_comes_before_content(world: World) -> None:
    alice, bob = await world.user(), await world.user()
    project = await alice.project()
    for fields in ({"title": ""}, {"title": "Task"}):
        await refused(bob.task(project, **fields), Reason.NOT_PROJECT_OWNER)
    project.id = str(uuid7())
    await refused(alice.task(project, title=""), Reason.PROJECT_NOT_FOUND)
    await refused(alice.task(project), Reason.PROJECT_NOT_FOUND)


async def test_a_project_that_is_not_active_takes_no_tasks(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    await world.execute("UPDATE projects SET status = 'archived'")
    found = await refused(alice.task(project), Reason.PROJECT_NOT_ACTIVE)
    assert found.metadata == {"project_id": project.id, "status": "PROJECT_STATUS_ARCHIVED"}


@pytest.mark.parametrize("dependent", [False, True])
async def test_a_repeated_request_id_gets_the_first_answer(world: World, dependent: bool) -> None:
    alice = await world.user()
    project = await alice.project()
    dependencies = [(await completed(alice, project)).id] if dependent else []
    task = Task(project_id=project.id, title="Task", dependencies=dependencies)
    request = CreateTaskRequest(task=task, request_id=str(uuid4()))
    first = await alice.tasks.CreateTask(request)
    assert await alice.tasks.CreateTask(request) == first
    request.task.title = "Other"
    await refused(alice.tasks.CreateTask(request), Reason.REQUEST_ID_REUSED)


async def edges(world: World, task: Task) -> set[str]:
    ids = await world.value(
        "SELECT array_agg(depends_on_id::text) FROM task_dependencies WHERE task_id::text = $1",
        task.id,
    )
    return set(ids or ())


async def room(world: World, project_id: str) -> str:
    room_id = str(uuid7())
    await world.execute(
        "INSERT INTO chat_rooms (id, project_id, name) VALUES ($1, $2, 'Room')", room_id, project_id
    )
    return room_id


async def test_a_caller_deleted_meanwhile_creates_nothing(world: World) -> None:
    alice, root = await world.user(), await world.user(superuser=True)
    project = await alice.project()
    await root.task(project)  # from now on the task service knows root for a second
    await world.execute("DELETE FROM users WHERE id = $1", root.id)
    await refused(root.task(project), Reason.CALLER_INACTIVE)
