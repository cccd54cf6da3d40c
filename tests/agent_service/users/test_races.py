"""Real concurrent calls about users: no interleaving removes the last superuser or dangles."""

import asyncio
from collections import Counter
from typing import Any

import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from shared.errors import Reason
from tandem.agent.v1.auth_service_pb2 import User as Person
from tandem.agent.v1.user_service_pb2 import (
    CreateUserRequest,
    DeleteUserRequest,
    GetUserRequest,
    UpdateUserRequest,
)
from tandem.task.v1.task_service_pb2 import (
    ASSIGNEE_TYPE_USER,
    AssignTaskRequest,
    CreateTaskRequest,
    Task,
)
from tests.locks import under_way
from tests.refusals import outcomes, refused
from tests.world import User, World

CALLS = 8
ROUNDS = 10
SUPERUSERS = "SELECT count(*) FROM users WHERE is_active AND is_superuser"
# Who is removed before its own call is served may call no more, or not this.
TOO_LATE = ("LAST_SUPERUSER", "CALLER_INACTIVE", "INSUFFICIENT_ROLE")
DEADLOCKS = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"


def demotion(user: User) -> UpdateUserRequest:
    mask = FieldMask(paths=["is_superuser"])
    return UpdateUserRequest(user=Person(id=str(user.id)), update_mask=mask)


def deactivation(user: User) -> UpdateUserRequest:
    return UpdateUserRequest(user=Person(id=str(user.id), is_active=False))


def deletion(user: User) -> DeleteUserRequest:
    return DeleteUserRequest(user_id=str(user.id))


def request(user: User) -> GetUserRequest:
    return GetUserRequest(user_id=str(user.id))


def assignment(task: Task, user: User) -> AssignTaskRequest:
    return AssignTaskRequest(
        task_id=task.id, assigned_to=str(user.id), assigned_to_type=ASSIGNEE_TYPE_USER
    )


def new(task: Task, user: User) -> CreateTaskRequest:
    """Another task of the same project, for a user."""
    assigned: dict[str, Any] = {"assigned_to": str(user.id), "assigned_to_type": ASSIGNEE_TYPE_USER}
    return CreateTaskRequest(task=Task(project_id=task.project_id, title="New", **assigned))


def removal(n: int, by: User, user: User) -> Any:
    """One of the calls that make a user no active superuser any more."""
    calls = (
        lambda: by.users.UpdateUser(demotion(user)),
        lambda: by.users.UpdateUser(deactivation(user)),
        lambda: by.users.DeleteUser(deletion(user)),
    )
    return calls[n % 3]()


async def test_two_superusers_cannot_remove_each_other(world: World) -> None:
    for n in range(ROUNDS):
        one, other = [await world.user(superuser=True) for _ in range(2)]
        found = await outcomes(removal(n, one, other), removal(n + 1, other, one))
        assert found[1:] == ["OK"]
        assert found[0] in TOO_LATE
        assert await world.value(SUPERUSERS) == 1
        await world.clear()


async def test_of_many_superusers_who_remove_each_other_one_stays(world: World) -> None:
    roots = [await world.user(superuser=True) for _ in range(CALLS)]
    found = Counter(await outcomes(*(removal(n, roots[n - 1], roots[n]) for n in range(CALLS))))
    assert {*found} <= {"OK", *TOO_LATE}
    left = await world.value(SUPERUSERS)
    assert left == CALLS - found["OK"]
    assert left >= 1


async def test_the_second_of_two_removals_sees_what_the_first_has_left(world: World) -> None:
    one, other = [await world.user(superuser=True) for _ in range(2)]
    for n in range(3):
        change = "UPDATE users SET is_superuser = false WHERE id = $1"
        async with under_way(world.url, change, other.id) as blocked:
            call = asyncio.ensure_future(removal(n, one, one))
            await blocked.wait()
        await refused(call, Reason.LAST_SUPERUSER)
        await world.execute("UPDATE users SET is_superuser = true")


async def test_a_removal_locks_no_more_than_three_users(world: World) -> None:
    roots = sorted([await world.user(superuser=True) for _ in range(4)], key=lambda root: root.id)
    lock = "SELECT FROM users WHERE id = $1 FOR UPDATE"
    async with under_way(world.url, lock, roots[2].id) as blocked:
        await roots[0].users.UpdateUser(demotion(roots[3]))
        assert not blocked.is_set()


@pytest.mark.parametrize("taken", ["username", "email"])
async def test_one_of_many_gets_a_name_and_an_address(world: World, taken: str) -> None:
    root = await world.user(superuser=True)
    people: list[dict[str, Any]] = [
        {"username": f"ann{n}", "email": f"ann{n}@example.org", taken: value}
        for n, value in enumerate(["ann@example.org", "Ann@Example.org"] * 4)
    ]
    calls = [root.users.CreateUser(CreateUserRequest(user=Person(**each))) for each in people]
    refusals = [f"{taken.upper()}_TAKEN"] * (CALLS - 1)
    assert await outcomes(*calls) == sorted(["OK", *refusals])


async def test_a_deletion_meets_assignments_and_new_projects(world: World) -> None:
    """No task is left to a user who is gone, no project without an owner, and nothing deadlocks."""
    root, alice = await world.user(superuser=True), await world.user()
    before, found = await world.value(DEADLOCKS), Counter[str]()
    for _ in range(ROUNDS):
        gone = await world.user()
        projects = [await alice.project() for _ in range(2)]
        for project in projects:
            await world.member(project.id, gone, "editor")
        tasks = [await alice.task(project) for project in projects for _ in range(2)]
        calls = [
            *(alice.tasks.AssignTask(assignment(task, gone)) for task in tasks),
            root.users.DeleteUser(deletion(gone)),
            gone.project(),
            *(alice.tasks.CreateTask(new(task, gone)) for task in tasks[:2]),
        ]
        found.update(await outcomes(*calls))
        left = "SELECT count(*) FROM tasks WHERE assigned_user_id NOT IN (SELECT id FROM users)"
        assert await world.value(left) == 0
    assert {*found} <= {
        *("OK", "ASSIGNEE_NOT_FOUND", "USER_OWNS_PROJECTS", "CALLER_INACTIVE"),
    }
    assert await world.value(DEADLOCKS) == before


async def test_a_project_created_by_a_user_being_deleted_has_no_owner(world: World) -> None:
    alice = await world.user()
    await alice.users.GetUser(request(alice))
    async with under_way(world.url, "DELETE FROM users WHERE id = $1", alice.id) as blocked:
        call = asyncio.ensure_future(alice.project())
        await blocked.wait()
    await refused(call, Reason.CALLER_INACTIVE)


async def test_a_deletion_waits_for_a_project_of_the_user(world: World) -> None:
    root, alice = await world.user(superuser=True), await world.user()
    insert = "INSERT INTO projects (id, owner_id, slug, name) VALUES ($1, $1, 'slug', 'Project')"
    async with under_way(world.url, insert, alice.id) as blocked:
        call = asyncio.ensure_future(root.users.DeleteUser(deletion(alice)))
        await blocked.wait()
    found = await refused(call, Reason.USER_OWNS_PROJECTS)
    assert found.metadata == {"project_ids": str(alice.id), "total": "1"}


async def test_an_assignment_that_is_under_way_is_undone_by_the_deletion(world: World) -> None:
    root, alice, gone = await world.user(superuser=True), await world.user(), await world.user()
    task = await alice.task(await alice.project())
    assign = "UPDATE tasks SET assigned_user_id = $1, revision = 2"
    async with under_way(world.url, assign, gone.id) as blocked:
        call = asyncio.ensure_future(root.users.DeleteUser(deletion(gone)))
        await blocked.wait()
    await call
    row = "SELECT (assigned_to, revision) FROM tasks WHERE id::text = $1"
    assert await world.value(row, task.id) == (None, 3)
