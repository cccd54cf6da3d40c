"""What becomes of a task that waits if those move that it waits for."""

from datetime import UTC, datetime
from typing import Any

import pytest

from shared.dependents import rules
from shared.errors import Reason
from tandem.task.v1.task_service_pb2 import (
    ON_DEPENDENCY_FAILURE_CANCEL,
    ON_DEPENDENCY_FAILURE_FAIL,
    ON_DEPENDENCY_FAILURE_IGNORE,
    DeleteTaskRequest,
    ListTasksRequest,
    OnDependencyFailure,
    Task,
    VerifyDependenciesRequest,
)
from tests.refusals import refused
from tests.task_service.dependents.waits import events_of, moved, now, state, waiting
from tests.task_service.steps import completed, update
from tests.task_service.tasks.test_edges import add, remove
from tests.world import World

PENDING = ("PENDING", "", 0)
POLICIES: "list[tuple[OnDependencyFailure.ValueType, str]]" = [
    (ON_DEPENDENCY_FAILURE_CANCEL, "CANCELLED"),
    (ON_DEPENDENCY_FAILURE_FAIL, "FAILED"),
]


def blocked(number: int, reason: str = "DEPENDENCIES") -> tuple[str, str, int]:
    return "BLOCKED", reason, number


async def test_a_task_waits_until_the_last_of_its_dependencies_is_completed(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    done = await completed(alice, project)
    one, two = await alice.task(project), await alice.task(project)
    task = await waiting(alice, project, done, one, two)
    assert await state(alice, task) == blocked(2)
    assert task.revision == 1
    await moved(alice, one, "completed")
    assert await state(alice, task) == blocked(1)
    await moved(alice, two, "completed")
    assert await state(alice, task) == PENDING
    assert await events_of(world, task) == ["task.created", "task.updated", "task.unblocked"]


async def test_a_task_that_waits_for_nothing_is_pending(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    for upon in ([], [await completed(alice, project)]):
        assert await state(alice, await waiting(alice, project, *upon)) == PENDING


async def test_a_task_is_ready_from_when_it_waits_no_longer(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    first = await alice.task(project)
    task = await waiting(alice, project, first)
    at = datetime(2100, 1, 1, tzinfo=UTC)
    later = await waiting(alice, project, first, ready_at=at)
    listed = ListTasksRequest(project_id=project.id, ready=True)
    assert {each.id for each in (await alice.tasks.ListTasks(listed)).tasks} == {first.id}
    await moved(alice, first, "completed")
    freed = await now(alice, task)
    assert freed.ready_at == freed.updated_at
    assert (await now(alice, later)).ready_at == later.ready_at
    ready = (await alice.tasks.ListTasks(listed)).tasks
    assert {each.id for each in ready} == {first.id, task.id, later.id}


async def test_a_dependency_that_is_reopened_is_waited_for_again(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    first = await alice.task(project)
    pending, begun = await waiting(alice, project, first), await waiting(alice, project, first)
    await moved(alice, first, "completed")
    await moved(alice, begun, "in_progress")
    await moved(alice, first, "in_progress")
    assert await state(alice, pending) == blocked(1)
    assert await state(alice, begun) == ("IN_PROGRESS", "", 1)
    await moved(alice, first, "completed")
    assert await state(alice, pending) == PENDING
    assert await state(alice, begun) == ("IN_PROGRESS", "", 0)


async def test_a_task_shows_that_a_dependency_is_lost_until_none_is(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    one, two = await alice.task(project), await alice.task(project)
    task = await waiting(alice, project, one, two)
    await moved(alice, one, "failed")
    await moved(alice, two, "cancelled")
    assert await state(alice, task) == blocked(2, "DEPENDENCY_FAILED")
    await moved(alice, one, "pending")
    assert await state(alice, task) == blocked(2, "DEPENDENCY_FAILED")
    await moved(alice, two, "pending")
    assert await state(alice, task) == blocked(2)
    await moved(alice, one, "completed")
    await moved(alice, two, "completed")
    assert await state(alice, task) == PENDING


@pytest.mark.parametrize(("policy", "ends_as"), POLICIES)
async def test_a_task_ends_with_its_dependency_and_so_do_those_that_wait_for_it(
    world: World, policy: Any, ends_as: str
) -> None:
    alice = await world.user()
    project = await alice.project()
    first = await alice.task(project)
    second = await waiting(alice, project, first, on_dependency_failure=policy)
    third = await waiting(alice, project, second, on_dependency_failure=policy)
    fourth = await waiting(alice, project, first, third)
    await moved(alice, first, "failed")
    assert await state(alice, second) == (ends_as, "DEPENDENCY_FAILED", 1)
    assert await state(alice, third) == (ends_as, "DEPENDENCY_FAILED", 1)
    assert await state(alice, fourth) == blocked(2, "DEPENDENCY_FAILED")
    assert await events_of(world, third) == ["task.created", f"task.{ends_as.lower()}"]
    # What has ended stays so: only the first is retried.
    await moved(alice, first, "pending")
    assert await state(alice, second) == (ends_as, "DEPENDENCY_FAILED", 1)


async def test_a_dependency_that_is_lost_can_be_ignored(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    one, two = await alice.task(project), await alice.task(project)
    ignores = {"on_dependency_failure": ON_DEPENDENCY_FAILURE_IGNORE}
    task = await waiting(alice, project, one, two, **ignores)
    await moved(alice, one, "failed")
    assert await state(alice, task) == blocked(1)
    await moved(alice, two, "completed")
    assert await state(alice, task) == PENDING
    await moved(alice, one, "pending")
    assert await state(alice, task) == blocked(1)
    await moved(alice, one, "cancelled")
    assert await state(alice, task) == PENDING


async def test_many_that_are_lost_together_are_each_ignored(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice = await world.user()
    project = await alice.project()
    cancels = {"on_dependency_failure": ON_DEPENDENCY_FAILURE_CANCEL}
    ignores = {"on_dependency_failure": ON_DEPENDENCY_FAILURE_IGNORE}
    first, last = await alice.task(project), await alice.task(project)
    middle = [await waiting(alice, project, first, **cancels) for _ in range(3)]
    task = await waiting(alice, project, first, *middle, last, **ignores)
    monkeypatch.setattr(rules, "AT_ONCE", 2)
    await moved(alice, first, "failed")
    assert await state(alice, task) == blocked(1)


async def test_what_is_lost_already_decides_at_once(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    first = await alice.task(project)
    await moved(alice, first, "failed")
    kept = await waiting(alice, project, first)
    assert await state(alice, kept) == blocked(1, "DEPENDENCY_FAILED")
    ignores = {"on_dependency_failure": ON_DEPENDENCY_FAILURE_IGNORE}
    assert await state(alice, await waiting(alice, project, first, **ignores)) == PENDING
    for policy, ends_as in POLICIES:
        task = await waiting(alice, project, first, on_dependency_failure=policy)
        assert await state(alice, task) == (ends_as, "DEPENDENCY_FAILED", 1)
        other = await waiting(alice, project, on_dependency_failure=policy)
        await add(alice, other, first)
        assert await state(alice, other) == (ends_as, "DEPENDENCY_FAILED", 1)


async def test_no_more_tasks_end_with_one_than_the_limit(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules, "MAXIMUM", 3)
    alice = await world.user()
    project = await alice.project()
    chain = [await alice.task(project)]
    for _ in range(4):
        cancels = {"on_dependency_failure": ON_DEPENDENCY_FAILURE_CANCEL}
        chain.append(await waiting(alice, project, chain[-1], **cancels))
    found = await refused(moved(alice, chain[0], "failed"), Reason.LIMIT_EXCEEDED)
    assert found.metadata == {"limit": "3"}
    assert (await state(alice, chain[0]))[0] == "IN_PROGRESS"
    assert await state(alice, chain[-1]) == blocked(1)
    await moved(alice, chain[1], "cancelled")
    assert (await state(alice, chain[-1]))[0] == "CANCELLED"


async def test_dependencies_that_are_added_and_removed_count(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    one, two = await alice.task(project), await alice.task(project)
    done, task = await completed(alice, project), await waiting(alice, project)
    assert (await add(alice, task, done)).open_dependencies == 0
    changed = await add(alice, task, one)
    assert (changed.open_dependencies, changed.revision) == (1, 4)
    assert await state(alice, task) == blocked(1)
    names = [one.id, two.id, done.id]
    changed = await update(alice, ["dependencies"], id=task.id, dependencies=names)
    assert changed == await now(alice, task)
    assert await state(alice, task) == blocked(2)
    await remove(alice, task, one)
    await moved(alice, one, "completed")
    assert await state(alice, task) == blocked(1)
    changed = await remove(alice, task, two)
    assert changed == await now(alice, task)
    assert await state(alice, task) == PENDING


async def test_a_lost_dependency_that_is_removed_is_forgotten(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    one, two = await alice.task(project), await alice.task(project)
    task = await waiting(alice, project, one, two)
    await moved(alice, one, "failed")
    await remove(alice, task, one)
    assert await state(alice, task) == blocked(1)


async def test_a_dependency_that_is_deleted_is_waited_for_no_longer(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    one, two = await alice.task(project), await alice.task(project)
    both, single = await waiting(alice, project, one, two), await waiting(alice, project, one)
    delete = DeleteTaskRequest(task_id=one.id)
    await refused(alice.tasks.DeleteTask(delete), Reason.TASK_HAS_DEPENDENTS)
    await alice.tasks.DeleteTask(DeleteTaskRequest(task_id=one.id, force=True))
    assert await state(alice, both) == blocked(1)
    assert await state(alice, single) == PENDING


async def test_a_task_cannot_wait_for_itself(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    first = await waiting(alice, project)
    second = await waiting(alice, project, first)
    await refused(add(alice, first, second), Reason.DEPENDENCY_CYCLE)
    await refused(add(alice, first, first), Reason.DEPENDENCY_CYCLE)


async def test_a_strict_task_still_needs_what_is_completed(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    first, strict = await alice.task(project), await alice.task(project)
    await refused(alice.task(project, dependencies=[first.id]), Reason.DEPENDENCY_NOT_COMPLETED)
    await refused(add(alice, strict, first), Reason.DEPENDENCY_NOT_COMPLETED)
    await waiting(alice, project, first)
    await moved(alice, first, "completed")
    task = await add(alice, strict, first)
    await moved(alice, first, "in_progress")
    assert await now(alice, strict) == task


async def test_what_a_waiting_task_could_depend_on_is_verified_for_it(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    first = await alice.task(project)
    waits, strict = await waiting(alice, project), await alice.task(project)

    async def verify(task: Task) -> None:
        request = VerifyDependenciesRequest(task_id=task.id, dependencies=[first.id])
        await alice.tasks.VerifyDependencies(request)

    await verify(waits)
    await refused(verify(strict), Reason.DEPENDENCY_NOT_COMPLETED)


async def test_a_task_is_part_of_at_most_10_others(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    task = await alice.task(project)
    for _ in range(10):
        task = await alice.task(project, parent_id=task.id)
    found = await refused(alice.task(project, parent_id=task.id), Reason.INVALID_FIELD)
    assert list(found.fields) == ["task.parent_id"]


async def test_only_who_may_create_tasks_touches_what_one_would_wait_for(world: World) -> None:
    alice, bob = await world.user(), await world.user()
    project = await alice.project()
    first = await alice.task(project)
    await refused(waiting(bob, project, first), Reason.NOT_PROJECT_OWNER)
    marked = "SELECT has_dependents FROM tasks WHERE id = $1"
    assert await world.value(marked, first.id) is False
    await waiting(alice, project, first)
    assert await world.value(marked, first.id) is True
    assert await now(alice, first) == first
