"""Counting tasks by status."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from uuid_utils.compat import uuid7

from shared.errors import Reason
from tandem.agent.v1.project_service_pb2 import Project
from tandem.task.v1.task_service_pb2 import (
    ASSIGNEE_TYPE_AGENT,
    ASSIGNEE_TYPE_USER,
    TASK_PRIORITY_HIGH,
    TASK_PRIORITY_UNSPECIFIED,
    TASK_STATUS_COMPLETED,
    TASK_STATUS_IN_PROGRESS,
    TASK_STATUS_PENDING,
    CountTasksRequest,
    CountTasksResponse,
    ListTasksRequest,
)
from task_service.tasks.messages import counted as counted_filters
from tests.refusals import refused
from tests.task_service.steps import completed, move
from tests.task_service.tasks.test_create import room
from tests.world import Client, User, World

ASSIGN = "UPDATE tasks SET assigned_agent_id = NULL, assigned_user_id = $1 WHERE id = $2"
NAMES = {
    TASK_STATUS_PENDING: "pending",
    TASK_STATUS_IN_PROGRESS: "in_progress",
    TASK_STATUS_COMPLETED: "completed",
}


async def counted(client: Client, **filters: Any) -> dict[str, int]:
    """The counts, in their order, which are as many as ListTasks says."""
    found: CountTasksResponse = await client.tasks.CountTasks(CountTasksRequest(**filters))
    request = ListTasksRequest(include_total=True, page_size=1000, **filters)
    listed = await client.tasks.ListTasks(request)
    assert found.total == listed.total_size == len(listed.tasks)
    counts = {NAMES[each.status]: each.count for each in found.counts}
    assert counts == {
        name: number
        for status, name in NAMES.items()
        if (number := [task.status for task in listed.tasks].count(status))
    }
    assert list(counts) == [name for name in NAMES.values() if name in counts]
    return counts


async def filled(alice: User) -> Project:
    """A project with three tasks that are pending, one that is in progress and two completed."""
    project = await alice.project()
    for _ in range(3):
        await alice.task(project)
    await move(alice, await alice.task(project), TASK_STATUS_IN_PROGRESS)
    for _ in range(2):
        await completed(alice, project)
    return project


ALL = {"pending": 3, "in_progress": 1, "completed": 2}


async def test_tasks_are_counted_by_status(world: World) -> None:
    alice, bob = await world.user(), await world.user()
    project, empty = await filled(alice), await alice.project()
    other = await alice.project()
    await alice.task(other)
    await filled(bob)
    assert await counted(alice, project_id=project.id) == ALL
    assert await counted(alice, project_id=empty.id) == {}
    assert await counted(alice) == {**ALL, "pending": 4}
    some = [TASK_STATUS_COMPLETED, TASK_STATUS_PENDING]
    assert await counted(alice, statuses=some) == {"pending": 4, "completed": 2}


async def test_every_filter_of_the_list_counts(world: World) -> None:
    alice = await world.user()
    project = await filled(alice)
    agent, place = await alice.agent(project), await room(world, project.id)
    past, future = (datetime.now(UTC) + timedelta(days=days) for days in (-1, 1))
    done = await completed(alice, project, title="Done")
    task = await alice.task(
        project,
        title="Find me",
        room_id=place,
        priority=TASK_PRIORITY_HIGH,
        due_date=past,
        dependencies=[done.id],
        assigned_to=agent.id,
        assigned_to_type=ASSIGNEE_TYPE_AGENT,
    )
    await move(alice, task, TASK_STATUS_IN_PROGRESS)
    await alice.task(project, due_date=future, dependencies=[done.id])
    one = {"in_progress": 1}
    assert await counted(alice, title_contains="find") == one
    assert await counted(alice, room_id=place) == one
    assert await counted(alice, priorities=[TASK_PRIORITY_HIGH]) == one
    assert await counted(alice, assigned_to=agent.id) == one
    assert await counted(alice, assigned_to=agent.id, project_id=project.id) == one
    assert await counted(alice, assigned_to_type=ASSIGNEE_TYPE_AGENT) == one
    assert await counted(alice, assigned_to_type=ASSIGNEE_TYPE_USER) == {}
    assert await counted(alice, overdue=True) == one
    assert await counted(alice, due_before=future) == one
    assert await counted(alice, due_after=past + timedelta(hours=1)) == {"pending": 1}
    assert await counted(alice, depends_on=done.id) == {"pending": 1, "in_progress": 1}
    assert await counted(alice, created_by=str(uuid7())) == {}
    everything = {"pending": 4, "in_progress": 2, "completed": 3}
    assert await counted(alice, created_by=str(alice.id)) == everything
    assert await counted(alice, ready=True) == everything
    assert await counted(alice, ready=False) == {}
    without = [TASK_PRIORITY_UNSPECIFIED]
    assert await counted(alice, priorities=without) == {**everything, "in_progress": 1}


def test_it_has_the_filters_of_the_list_and_no_others() -> None:
    page = {"page_size", "page_token", "order_by", "include_total"}
    fields = {*ListTasksRequest.DESCRIPTOR.fields_by_name} - page
    assert {*CountTasksRequest.DESCRIPTOR.fields_by_name} == fields
    assert {*counted_filters(CountTasksRequest())} == fields


async def test_a_superuser_counts_the_tasks_of_all_projects(world: World) -> None:
    alice, bob, root = await world.user(), await world.user(), await world.user(superuser=True)
    await filled(alice)
    project = await filled(bob)
    assert await counted(root) == {name: 2 * number for name, number in ALL.items()}
    assert await counted(root, project_id=project.id) == ALL


@pytest.mark.parametrize("role", ["viewer", "editor", "admin"])
async def test_a_member_counts_the_tasks_of_the_project(world: World, role: str) -> None:
    alice, bob = await world.user(), await world.user()
    project = await filled(alice)
    await world.member(project.id, bob, role)
    await filled(bob)
    assert await counted(bob) == {name: 2 * number for name, number in ALL.items()}
    assert await counted(bob, project_id=project.id) == ALL


async def test_an_assigned_user_counts_no_others_where_it_is_no_member(world: World) -> None:
    alice, bob = await world.user(), await world.user()
    project = await filled(alice)
    task = await alice.task(project)
    await world.execute(ASSIGN, bob.id, task.id)
    mine = await bob.project()
    await alice.task(await alice.project())
    for filters in ({}, {"project_id": project.id}, {"assigned_to": str(bob.id)}):
        assert await counted(bob, **filters) == {"pending": 1}
    own = await bob.task(mine)
    await world.execute(ASSIGN, bob.id, own.id)
    assert await counted(bob) == {"pending": 2}
    assert await counted(bob, assigned_to=str(bob.id)) == {"pending": 2}


async def test_an_agent_counts_its_own_tasks_unless_it_may_read_others(world: World) -> None:
    alice = await world.user()
    project = await filled(alice)
    agent = await alice.agent(project)
    await alice.task(project, assigned_to=agent.id, assigned_to_type=ASSIGNEE_TYPE_AGENT)
    await filled(alice)
    calling = await alice.as_agent(agent)
    for filters in ({}, {"project_id": project.id}):
        assert await counted(calling, **filters) == {"pending": 1}
    key = await alice.api_key(agent, scopes=["API_KEY_SCOPE_READ_PROJECT"])
    reading = await alice.exchanged(key.secret)
    for filters in ({}, {"project_id": project.id}):
        assert await counted(reading, **filters) == {**ALL, "pending": 4}


async def test_access_comes_first(world: World) -> None:
    alice, bob = await world.user(), await world.user()
    project = await alice.project()
    for room_id in ("", "x"):
        request = CountTasksRequest(project_id=project.id, room_id=room_id)
        await refused(bob.tasks.CountTasks(request), Reason.NOT_PROJECT_OWNER)
        request = CountTasksRequest(project_id=str(uuid7()), room_id=room_id)
        await refused(alice.tasks.CountTasks(request), Reason.PROJECT_NOT_FOUND)
    for name in ("project_id", "room_id", "assigned_to", "created_by", "depends_on"):
        wrong: dict[str, Any] = {name: "x"}
        call = alice.tasks.CountTasks(CountTasksRequest(**wrong))
        assert list((await refused(call, Reason.INVALID_FIELD)).fields) == [name]
