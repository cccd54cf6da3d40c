"""What a task may depend on, as facts; and what the wire says of it."""

from collections.abc import Iterable
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from uuid_utils.compat import uuid7

from shared.errors import Reason, Refusal
from tandem.agent.v1.project_service_pb2 import Project
from tandem.task.v1.task_service_pb2 import (
    TASK_STATUS_IN_PROGRESS,
    Task,
    UpdateTaskRequest,
    VerifyDependenciesRequest,
)
from task_service.tasks.dependencies import Facts, failures, require_possible
from tests.refusals import Refused, refused
from tests.task_service.steps import completed, move, update
from tests.task_service.tasks.test_create import edges
from tests.world import Client, World

A, B, C = (UUID(int=number) for number in (1, 2, 3))
STATUSES = ("pending", "in_progress", "review", "blocked", "completed", "failed", "cancelled")


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        (Facts({}), Reason.DEPENDENCY_NOT_FOUND),
        (Facts({B: "completed"}), Reason.DEPENDENCY_NOT_FOUND),
        (Facts({}, elsewhere={A}), Reason.DEPENDENCY_OUTSIDE_PROJECT),
        (Facts({A: "completed"}), None),
        *((Facts({A: s}), Reason.DEPENDENCY_NOT_COMPLETED) for s in STATUSES if s != "completed"),
        (Facts({A: "completed"}, dependents={A}), Reason.DEPENDENCY_CYCLE),
        (Facts({A: "pending"}, dependents={A}), Reason.DEPENDENCY_CYCLE),
        (Facts({A: "completed"}, dependents={B}), None),
    ],
)
def test_a_dependency_fails_for_its_most_fundamental_reason(
    facts: Facts, reason: Reason | None
) -> None:
    assert failures([A], facts) == ([(A, reason)] if reason else [])


def test_the_refusal_is_for_the_most_fundamental_of_all() -> None:
    with pytest.raises(Refusal) as raised:
        require_possible([A, B, C], Facts({A: "pending", B: "completed"}, dependents={B}))
    assert raised.value.reason is Reason.DEPENDENCY_NOT_FOUND
    assert [(v.subject, v.type) for v in raised.value.preconditions] == [
        (str(C), "DEPENDENCY_NOT_FOUND"),
        (str(B), "DEPENDENCY_CYCLE"),
        (str(A), "DEPENDENCY_NOT_COMPLETED"),
    ]


ids = st.integers(0, 9).map(lambda number: UUID(int=number))


@given(
    st.lists(ids, unique=True),
    st.dictionaries(ids, st.sampled_from(STATUSES)),
    st.sets(ids),
    st.sets(ids),
)
def test_exactly_the_impossible_ones_fail(
    wanted: list[UUID], statuses: dict[UUID, str], elsewhere: set[UUID], dependents: set[UUID]
) -> None:
    elsewhere -= statuses.keys()
    found = failures(wanted, Facts(statuses, elsewhere, dependents))
    possible = {t for t, s in statuses.items() if s == "completed"} - dependents
    assert {task for task, _ in found} == set(wanted) - possible
    assert len(found) == len({task for task, _ in found})


async def verify(
    client: Client, wanted: Iterable[Task | str], task: Task | None = None, project: str = ""
) -> None:
    names = [w if isinstance(w, str) else w.id for w in wanted]
    target = {"task_id": task.id} if task else {"project_id": project}
    request = VerifyDependenciesRequest(dependencies=names, **target)
    await client.tasks.VerifyDependencies(request)


async def test_verifying_says_what_an_update_would_and_changes_nothing(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    good, task = await completed(alice, project), await alice.task(project)
    pending = await alice.task(project)
    await verify(alice, [good], task)
    await verify(alice, [], task)
    await verify(alice, [good], project=project.id)
    wrong = [good.id, pending.id, task.id, str(uuid7())]

    async def outcome(call: object) -> Refused:
        return await refused(call, Reason.DEPENDENCY_NOT_FOUND)  # type: ignore[arg-type]

    asked = await outcome(verify(alice, wrong, task))
    done = await outcome(update(alice, ["dependencies"], id=task.id, dependencies=wrong))
    assert (asked.message, asked.preconditions) == (done.message, done.preconditions)
    assert asked.preconditions == {
        wrong[1]: "DEPENDENCY_NOT_COMPLETED",
        wrong[2]: "DEPENDENCY_CYCLE",
        wrong[3]: "DEPENDENCY_NOT_FOUND",
    }
    assert await edges(world, task) == set()


async def test_a_task_without_an_id_yet_cannot_close_a_circle(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    pending = await alice.task(project)
    found = await refused(
        verify(alice, [pending], project=project.id), Reason.DEPENDENCY_NOT_COMPLETED
    )
    assert found.preconditions == {pending.id: "DEPENDENCY_NOT_COMPLETED"}


async def test_who_may_verify(world: World) -> None:
    alice, bob = await world.user(), await world.user()
    project = await alice.project()
    task = await alice.task(project)
    await refused(verify(bob, [], task), Reason.NOT_PROJECT_OWNER)
    await refused(verify(bob, ["x"], project=project.id), Reason.NOT_PROJECT_OWNER)
    await refused(verify(alice, [], Task(id=str(uuid7()))), Reason.TASK_NOT_FOUND)
    await refused(verify(alice, [], project=str(uuid7())), Reason.PROJECT_NOT_FOUND)
    for call in (verify(alice, ["x"], task), verify(alice, [], Task(id="x"))):
        await refused(call, Reason.INVALID_FIELD)
    nothing = alice.tasks.VerifyDependencies(VerifyDependenciesRequest())
    await refused(nothing, Reason.INVALID_FIELD)


async def test_a_circle_is_refused_however_long(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    chain = [await completed(alice, project)]
    for _ in range(5):
        chain.append(await completed(alice, project, dependencies=[chain[-1].id]))
    first = chain[0]
    for task in chain:
        call = update(alice, ["dependencies"], id=first.id, dependencies=[task.id])
        found = await refused(call, Reason.DEPENDENCY_CYCLE)
        assert found.preconditions == {task.id: "DEPENDENCY_CYCLE"}
    other = await completed(alice, project)
    await update(alice, ["dependencies"], id=first.id, dependencies=[other.id])
    assert await edges(world, first) == {other.id}


async def test_circles_are_found_as_a_naive_walk_finds_them(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    tasks = [await completed(alice, project) for _ in range(6)]
    graph: dict[str, set[str]] = {task.id: set() for task in tasks}

    def reaches(source: str, target: str) -> bool:
        return source == target or any(reaches(step, target) for step in graph[source])

    for number in range(60):  # every pair comes round, in an order without a pattern
        task, wanted = tasks[number * 7 % 6], tasks[number * 5 // 6 * 7 % 6 - number % 2]
        call = update(alice, ["dependencies"], id=task.id, dependencies=[wanted.id])
        if reaches(wanted.id, task.id):
            await refused(call, Reason.DEPENDENCY_CYCLE)
        else:
            await call
            graph[task.id] = {wanted.id}
        assert await edges(world, task) == graph[task.id]


async def test_every_dependency_is_checked_when_the_list_changes_and_only_then(
    world: World,
) -> None:
    alice = await world.user()
    project = await alice.project()
    old, new = await completed(alice, project), await completed(alice, project)
    task = await alice.task(project, dependencies=[old.id])
    await move(alice, old, TASK_STATUS_IN_PROGRESS)
    same = await update(alice, ["dependencies"], id=task.id, dependencies=[old.id])
    assert same == task
    call = update(alice, ["dependencies"], id=task.id, dependencies=[old.id, new.id])
    found = await refused(call, Reason.DEPENDENCY_NOT_COMPLETED)
    assert found.preconditions == {old.id: "DEPENDENCY_NOT_COMPLETED"}
    changed = await update(alice, ["dependencies"], id=task.id, dependencies=[new.id])
    assert list(changed.dependencies) == [new.id]
    assert await edges(world, task) == {new.id}


async def test_another_order_is_another_list(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    one, two = await completed(alice, project), await completed(alice, project)
    task = await alice.task(project, dependencies=[one.id, two.id])
    turned = await update(alice, ["dependencies"], id=task.id, dependencies=[two.id, one.id])
    assert (list(turned.dependencies), turned.revision) == ([two.id, one.id], 2)
    assert await edges(world, task) == {one.id, two.id}


async def test_a_thousand_dependencies_and_a_thousand_failures(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    names = await many_completed(world, project, 1000)
    task = await alice.task(project, dependencies=names)
    assert list(task.dependencies) == names
    assert await edges(world, task) == set(names)
    await world.execute("UPDATE tasks SET status = 'failed' WHERE id <> $1", task.id)
    request = UpdateTaskRequest(task=Task(id=task.id, dependencies=reversed(names)))
    found = await refused(alice.tasks.UpdateTask(request), Reason.DEPENDENCY_NOT_COMPLETED)
    assert len(found.preconditions) + int(found.metadata["omitted"]) == 1000


async def many_completed(world: World, project: Project, number: int) -> list[str]:
    names = [str(uuid7()) for _ in range(number)]
    await world.execute(
        "INSERT INTO tasks (id, project_id, title, status)"
        " SELECT unnest($1::uuid[]), $2, 'Done', 'completed'",
        names,
        project.id,
    )
    return names
