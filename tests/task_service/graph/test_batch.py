"""BatchCreateTasks."""

from typing import Any
from uuid import UUID, uuid4

from google.protobuf.struct_pb2 import Struct

from shared.errors import Reason
from tandem.agent.v1.project_service_pb2 import Project
from tandem.task.v1.task_service_pb2 import (
    ASSIGNEE_TYPE_AGENT,
    ASSIGNEE_TYPE_USER,
    DEPENDENCY_POLICY_WAIT,
    ON_DEPENDENCY_FAILURE_CANCEL,
    TASK_PRIORITY_HIGH,
    BatchCreateTasksRequest,
    NewTask,
    Task,
)
from tests.refusals import Refused, refused
from tests.task_service.dependents.waits import moved, now, state, waiting
from tests.task_service.steps import completed
from tests.world import Client, World

COUNT = "SELECT count(*) FROM tasks WHERE project_id = $1"
HEAD = "SELECT last FROM event_heads WHERE project_id = $1"


def new(ref: str = "", *upon: str, parent_ref: str = "", **fields: Any) -> NewTask:
    if upon:
        fields["dependency_policy"] = DEPENDENCY_POLICY_WAIT
    task = Task(**{"title": ref or "Task", **fields})
    return NewTask(task=task, ref=ref, depends_on_refs=upon, parent_ref=parent_ref)


async def create(client: Client, project: Project, *tasks: NewTask, **fields: Any) -> list[Task]:
    request = BatchCreateTasksRequest(project_id=project.id, tasks=tasks, **fields)
    return list((await client.tasks.BatchCreateTasks(request)).tasks)


async def not_created(
    world: World, client: Client, project: Project, reason: Reason, *tasks: NewTask
) -> Refused:
    before = await world.value(COUNT, UUID(project.id))
    found = await refused(create(client, project, *tasks), reason)
    assert await world.value(COUNT, UUID(project.id)) == before
    return found


async def test_tasks_refer_to_each_other(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    created = await create(
        alice, project, new("last", "a", "b"), new("a"), new("b", "a", parent_ref="last")
    )
    last, a, b = created
    assert [task.title for task in created] == ["last", "a", "b"]
    assert list(last.dependencies) == [a.id, b.id]
    assert (b.parent_id, list(b.dependencies)) == (last.id, [a.id])
    assert await state(alice, last) == ("BLOCKED", "DEPENDENCIES", 2)
    assert [await now(alice, task) for task in created] == created
    await moved(alice, a, "completed")
    await moved(alice, b, "completed")
    assert await state(alice, last) == ("PENDING", "", 0)


async def test_every_field_is_kept(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    agent, room = await alice.agent(project), await alice.room(project)
    result = Struct()
    result.update({"text": 'ä ☃ \\ "', "numbers": [1, 2.5, -1e300], "nested": {"a": None}})
    fields: dict[str, Any] = {
        "description": "☃\n\t\\u0041",
        "priority": TASK_PRIORITY_HIGH,
        "room_id": room.id,
        "assigned_to": agent.id,
        "assigned_to_type": ASSIGNEE_TYPE_AGENT,
        "due_date": {"seconds": 1893456000, "nanos": 678901000},
        "result": result,
        "required_capabilities": ["b", "a"],
        "max_attempts": 7,
        "lock_key": "key",
        "estimate": 0.1,
    }
    (one,) = await create(alice, project, new("", title="One", **fields))
    other = await alice.task(project, title="One", **fields)
    for name in ("id", "created_at", "updated_at", "ready_at"):
        one.ClearField(name)
        other.ClearField(name)
    assert one == other


async def test_a_thousand_are_one_change_of_the_log(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    before = await world.value(HEAD, UUID(project.id))
    tasks = [new("0"), *(new(str(n), str(n - 1)) for n in range(1, 1000))]
    created = await create(alice, project, *tasks)
    assert [task.title for task in created] == [str(n) for n in range(1000)]
    batches = "SELECT array_agg(DISTINCT batch), count(*) FROM events WHERE sequence > $1"
    assert await world.value(batches, before) == [before + 1]
    assert await world.value(HEAD, UUID(project.id)) == before + 1000
    order = "SELECT array_agg(resource_id::text ORDER BY sequence) FROM events WHERE sequence > $1"
    assert await world.value(order, before) == [task.id for task in created]


async def test_a_batch_is_created_as_a_whole_or_not_at_all(world: World) -> None:
    alice, bob = await world.user(), await world.user()
    project, other = await alice.project(), await alice.project()
    pending, elsewhere = await alice.task(project), await alice.task(other)
    missing, room = str(uuid4()), await alice.room(other)
    cases: list[tuple[Reason, dict[str, Any]]] = [
        (Reason.DEPENDENCY_NOT_FOUND, {"dependencies": [missing]}),
        (Reason.DEPENDENCY_OUTSIDE_PROJECT, {"dependencies": [elsewhere.id]}),
        (Reason.DEPENDENCY_NOT_COMPLETED, {"dependencies": [pending.id]}),
        (Reason.ROOM_NOT_FOUND, {"room_id": room.id}),
        (Reason.TASK_NOT_FOUND, {"parent_id": elsewhere.id}),
        (
            Reason.ASSIGNEE_NOT_FOUND,
            {"assigned_to": missing, "assigned_to_type": ASSIGNEE_TYPE_AGENT},
        ),
        (
            Reason.ASSIGNEE_NOT_FOUND,
            {"assigned_to": str(bob.id), "assigned_to_type": ASSIGNEE_TYPE_USER},
        ),
    ]
    for reason, wrong in cases:
        await not_created(world, alice, project, reason, new("a"), new("b", **wrong))
    await not_created(world, bob, project, Reason.NOT_PROJECT_OWNER, new("a"))
    await not_created(world, alice, project, Reason.DEPENDENCY_CYCLE, new("a", "b"), new("b", "a"))


async def test_what_is_wrong_is_named_by_its_place(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    for path, wrong in [
        ("tasks[1].task.title", NewTask(task=Task(title=""))),
        ("tasks[1].task.title", NewTask(task=Task(title="x" * 501))),
        ("tasks[1].task.project_id", new(project_id=str(uuid4()))),
        ("tasks[1].task.assigned_to_type", new(assigned_to=str(uuid4()))),
        ("tasks[1].ref", new("x" * 101)),
        ("tasks[1].depends_on_refs", new("b", "c")),
        ("tasks[1].depends_on_refs[0]", new("b", "x" * 101)),
    ]:
        found = await not_created(world, alice, project, Reason.INVALID_FIELD, new("a"), wrong)
        assert list(found.fields) == [path]
    for tasks in ([], [new()] * 1001):
        found = await not_created(world, alice, project, Reason.INVALID_FIELD, *tasks)
        assert list(found.fields) == ["tasks"]


async def test_a_part_is_not_too_deep_below_a_task_outside(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    task = await alice.task(project)
    for _ in range(9):
        task = await alice.task(project, parent_id=task.id)
    (part,) = await create(alice, project, new("a", parent_id=task.id))
    assert part.parent_id == task.id
    found = await not_created(
        world,
        alice,
        project,
        Reason.INVALID_FIELD,
        new("a", parent_id=task.id),
        new("b", parent_ref="a"),
    )
    assert list(found.fields) == ["tasks[1].task.parent_id"]


async def test_what_is_outside_is_waited_for_too(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    first, lost = await alice.task(project), await alice.task(project)
    done = await completed(alice, project)
    await moved(alice, lost, "failed")
    upon: dict[str, Any] = {
        "dependencies": [first.id, done.id],
        "dependency_policy": DEPENDENCY_POLICY_WAIT,
    }
    gives_up: dict[str, Any] = {**upon, "dependencies": [lost.id]}
    gives_up["on_dependency_failure"] = ON_DEPENDENCY_FAILURE_CANCEL
    strict = new("s", dependencies=[done.id])
    a, b, c, _ = await create(
        alice, project, new("a", **upon), new("b", **gives_up), new("c", "b"), strict
    )
    assert await state(alice, a) == ("BLOCKED", "DEPENDENCIES", 1)
    assert await state(alice, b) == ("CANCELLED", "DEPENDENCY_FAILED", 1)
    assert await state(alice, c) == ("BLOCKED", "DEPENDENCY_FAILED", 1)
    await moved(alice, first, "completed")
    assert await state(alice, a) == ("PENDING", "", 0)
    assert (await waiting(alice, project, a)).open_dependencies == 1


async def test_a_batch_can_be_repeated(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    request_id = str(uuid4())
    first = await create(alice, project, new("a"), new("b", "a"), request_id=request_id)
    assert await create(alice, project, new("a"), new("b", "a"), request_id=request_id) == first
    assert await world.value(COUNT, UUID(project.id)) == 2


async def test_a_batch_that_is_too_large_is_refused_before_it_is_created(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    tasks = [new(description="x" * 65536)] * 50
    found = await not_created(world, alice, project, Reason.LIMIT_EXCEEDED, *tasks)
    assert found.metadata == {"limit_bytes": str(3 * 1024 * 1024)}


async def test_assignees_are_asked_for_once_each(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    agent = await alice.agent(project)
    to: dict[str, Any] = {"assigned_to": agent.id, "assigned_to_type": ASSIGNEE_TYPE_AGENT}
    mine: dict[str, Any] = {"assigned_to": str(alice.id), "assigned_to_type": ASSIGNEE_TYPE_USER}
    created = await create(alice, project, *[new(**to)] * 20, new(**mine))
    assert [task.assigned_to for task in created] == [agent.id] * 20 + [str(alice.id)]
