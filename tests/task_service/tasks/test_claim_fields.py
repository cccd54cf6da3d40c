"""What a task says of how it is to be claimed, and what it is a part of."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from uuid_utils.compat import uuid7

from shared.auth.access import Reach
from shared.errors import Reason
from shared.resources.pagination import Order
from tandem.event.v1.event_service_pb2 import ListEventsRequest
from tandem.task.v1.task_service_pb2 import (
    DEPENDENCY_POLICY_STRICT,
    DEPENDENCY_POLICY_WAIT,
    ON_DEPENDENCY_FAILURE_CANCEL,
    ON_DEPENDENCY_FAILURE_KEEP_BLOCKED,
    TASK_STATUS_PENDING,
    TASK_STATUS_REASON_ATTEMPTS_EXHAUSTED,
    TASK_STATUS_REASON_NOT_RETRYABLE,
    CountTasksRequest,
    GetTaskRequest,
)
from task_service.tasks.queries import LIST
from tests.plans import plan_of
from tests.refusals import refused
from tests.task_service.steps import update
from tests.task_service.tasks.test_count import counted
from tests.task_service.tasks.test_list import titles
from tests.world import World

LATER = datetime(2100, 5, 6, tzinfo=UTC)
EVERYTHING: dict[str, Any] = {
    "required_capabilities": ["type:coder", "python", "Ä"],
    "ready_at": LATER,
    "max_attempts": 1000,
    "lock_key": "k" * 200,
    "estimate": 0.5,
}


async def test_what_is_not_said_has_its_default(world: World) -> None:
    alice = await world.user()
    task = await alice.task(await alice.project())
    assert not task.required_capabilities
    assert task.ready_at == task.created_at
    assert (task.max_attempts, task.attempt, task.leased) == (3, 0, False)
    assert task.dependency_policy == DEPENDENCY_POLICY_STRICT
    assert task.on_dependency_failure == ON_DEPENDENCY_FAILURE_KEEP_BLOCKED
    for name in ("lock_key", "estimate", "parent_id", "status_message", "cancel_requested_at"):
        assert not task.HasField(name)
    assert (task.status_reason, task.open_dependencies) == (0, 0)


async def test_what_is_said_is_kept_and_capabilities_are_in_order(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    whole = await alice.task(project)
    fixed = {
        "parent_id": whole.id,
        "dependency_policy": DEPENDENCY_POLICY_WAIT,
        "on_dependency_failure": ON_DEPENDENCY_FAILURE_CANCEL,
    }
    task = await alice.task(project, **EVERYTHING, **fixed)
    assert list(task.required_capabilities) == ["python", "type:coder", "Ä"]
    assert task.ready_at.ToDatetime(UTC) == LATER
    for name in ("max_attempts", "lock_key", "estimate", *fixed):
        assert getattr(task, name) == {**EVERYTHING, **fixed}[name]
    assert task.status == TASK_STATUS_PENDING
    assert await alice.tasks.GetTask(GetTaskRequest(task_id=task.id)) == task


async def test_each_is_changed_by_its_name_and_cleared(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    plain = await alice.task(project)
    task = plain
    for name, value in EVERYTHING.items():
        task = await update(alice, [name], id=plain.id, **{name: value})
    assert task.revision == 1 + len(EVERYTHING)
    assert task.ready_at.ToDatetime(UTC) == LATER
    assert await update(alice, [*EVERYTHING], id=plain.id, **EVERYTHING) == task
    cleared = await update(alice, [*EVERYTHING], id=plain.id)
    for name in ("required_capabilities", "max_attempts", "lock_key", "estimate"):
        assert getattr(cleared, name) == getattr(plain, name)
    assert cleared.ready_at == cleared.updated_at, "without a time it is ready now"


@pytest.mark.parametrize(
    ("fields", "bad"),
    [
        ({"required_capabilities": ["a,b"]}, "task.required_capabilities[0]"),
        ({"required_capabilities": ["a", ""]}, "task.required_capabilities[1]"),
        ({"required_capabilities": ["a\0"]}, "task.required_capabilities[0]"),
        ({"required_capabilities": ["a", "a"]}, "task.required_capabilities"),
        ({"required_capabilities": list("abcdefghijk")}, "task.required_capabilities"),
        (
            {"required_capabilities": [f"{n:0100}" for n in range(10)]},
            "task.required_capabilities",
        ),
        ({"ready_at": {"seconds": 10**12}}, "task.ready_at"),
        ({"max_attempts": -1}, "task.max_attempts"),
        ({"max_attempts": 1001}, "task.max_attempts"),
        ({"lock_key": ""}, "task.lock_key"),
        ({"lock_key": "k" * 201}, "task.lock_key"),
        ({"lock_key": "a\0"}, "task.lock_key"),
        ({"estimate": 0.0}, "task.estimate"),
        ({"estimate": 1.1e9}, "task.estimate"),
        ({"estimate": float("nan")}, "task.estimate"),
    ],
)
async def test_a_field_out_of_its_limits_is_refused(
    world: World, fields: dict[str, Any], bad: str
) -> None:
    alice = await world.user()
    project = await alice.project()
    found = await refused(alice.task(project, **fields), Reason.INVALID_FIELD)
    assert list(found.fields) == [bad]
    task = await alice.task(project)
    call = update(alice, [*fields], id=task.id, **fields)
    found = await refused(call, Reason.INVALID_FIELD)
    assert list(found.fields) == [bad]


async def test_as_many_capabilities_as_fit(world: World) -> None:
    alice = await world.user()
    words = [*(f"{n:0100}" for n in range(9)), "9" * 91]
    task = await alice.task(await alice.project(), required_capabilities=words)
    assert list(task.required_capabilities) == words


async def test_a_parent_is_of_the_same_project(world: World) -> None:
    alice = await world.user()
    project, other = await alice.project(), await alice.project()
    elsewhere = await alice.task(other)
    for wrong in (elsewhere.id, str(uuid7())):
        found = await refused(alice.task(project, parent_id=wrong), Reason.TASK_NOT_FOUND)
        assert found.metadata == {"task_id": wrong}
    found = await refused(alice.task(project, parent_id="x"), Reason.INVALID_FIELD)
    assert list(found.fields) == ["task.parent_id"]


async def test_what_is_fixed_at_creation_is_in_no_mask_and_may_be_sent_back(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    whole = await alice.task(project)
    task = await alice.task(project, parent_id=whole.id, dependency_policy=DEPENDENCY_POLICY_WAIT)
    others: dict[str, Any] = {
        "parent_id": str(uuid7()),
        "dependency_policy": DEPENDENCY_POLICY_STRICT,
        "on_dependency_failure": ON_DEPENDENCY_FAILURE_CANCEL,
    }
    for name, other in others.items():
        changed = update(alice, [name], id=task.id, **{name: other})
        await refused(changed, Reason.INVALID_UPDATE_MASK)
        sent = update(alice, [], id=task.id, title="New", **{name: other})
        found = await refused(sent, Reason.INVALID_FIELD)
        assert list(found.fields) == [f"task.{name}"]
        same = {name: getattr(task, name)}
        assert (await update(alice, [], id=task.id, title="Task", **same)).title == "Task"


async def test_parts_are_found_by_their_parent(world: World) -> None:
    alice, bob = await world.user(), await world.user()
    project, other = await alice.project(), await alice.project()
    whole = await alice.task(project)
    for title in ("a", "b", "c", "d"):
        await alice.task(project, title=title, parent_id=whole.id)
    await alice.task(project, title="of none")
    assert await titles(alice, parent_id=whole.id) == list("dcba")
    assert await titles(alice, parent_id=whole.id, order_by="created_at") == list("abcd")
    assert sorted(await titles(alice, parent_id=whole.id, order_by="priority")) == list("abcd")
    assert await titles(alice, parent_id=whole.id, project_id=other.id) == []
    assert await titles(bob, parent_id=whole.id) == []
    assert await counted(alice, parent_id=whole.id) == {"pending": 4}
    assert await counted(bob, parent_id=whole.id) == {}
    await world.execute("DELETE FROM tasks WHERE id = $1", whole.id)
    assert await titles(alice, parent_id=whole.id) == []
    assert len(await titles(alice, project_id=project.id)) == 5


async def test_dead_letters_are_found_by_their_reason(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    for title in ("attempts_exhausted", "not_retryable", "none"):
        await alice.task(project, title=title)
    await world.execute(
        "UPDATE tasks SET status = 'failed', status_reason = title WHERE title <> 'none'"
    )
    exhausted, final = TASK_STATUS_REASON_ATTEMPTS_EXHAUSTED, TASK_STATUS_REASON_NOT_RETRYABLE
    assert await titles(alice, status_reasons=[exhausted]) == ["attempts_exhausted"]
    both = {"attempts_exhausted", "not_retryable"}
    assert {*await titles(alice, status_reasons=[exhausted, final])} == both
    for reasons, number in (([final], 1), ([exhausted, final], 2)):
        request = CountTasksRequest(status_reasons=reasons)
        assert (await alice.tasks.CountTasks(request)).total == number


async def test_a_time_that_is_past_at_creation_is_now(world: World) -> None:
    """No task is put before those that were ready earlier."""
    alice = await world.user()
    project = await alice.project()
    past = datetime.now(UTC) - timedelta(days=1)
    task = await alice.task(project, ready_at=past)
    assert task.ready_at == task.created_at


async def test_events_say_all_of_it(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    whole = await alice.task(project)
    task = await alice.task(project, **EVERYTHING, parent_id=whole.id)
    changed = await update(alice, ["lock_key"], id=task.id, lock_key="other")
    found = await alice.events.ListEvents(ListEventsRequest(project_id=project.id))
    created, updated = [event for event in found.events if event.resource_id == task.id]
    assert created.after.task == task
    assert updated.after.task == changed
    assert list(updated.changed_fields) == ["lock_key"]
    assert dict(updated.before) == {"lock_key": "k" * 200}


MANY = """
INSERT INTO tasks (id, project_id, title, parent_id, created_at)
SELECT gen_random_uuid(), $1, 'Task', $2, now() - n * interval '1 second'
FROM generate_series(1, 10000) AS n
"""


async def test_the_parts_of_a_task_are_read_by_their_index(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    wholes = [await alice.task(project) for _ in range(20)]
    await world.execute(MANY, UUID(project.id), UUID(wholes[0].id))
    await world.execute("ANALYZE tasks")
    newest = Order("created_at", descending=True)
    statement = LIST.page_statement(
        frozenset({"parent_id"}), newest, continued=False, within=Reach.PROJECTS
    )
    caller = {"superuser": False, "caller_id": alice.id, "read_tasks_in": None}
    asked = {"parent_id": UUID(wholes[1].id), "row_limit": 51}
    shown = await plan_of(world.database, statement, **caller, **asked)
    assert "idx_tasks_parent_id on tasks" in shown, shown
