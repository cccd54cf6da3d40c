"""Updating tasks."""

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from uuid_utils.compat import uuid7

from shared.errors import Reason
from tandem.task.v1.task_service_pb2 import (
    ASSIGNEE_TYPE_AGENT,
    TASK_PRIORITY_CRITICAL,
    TASK_PRIORITY_LOW,
    GetTaskRequest,
    Task,
    UpdateTaskRequest,
)
from tests.refusals import refused
from tests.task_service.steps import completed, update
from tests.task_service.tasks.test_create import edges, room
from tests.world import World

FAR = Timestamp(seconds=10**12)
DUE = datetime(2031, 5, 6, tzinfo=UTC)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("title", "New"),
        ("description", "New"),
        ("priority", TASK_PRIORITY_CRITICAL),
        ("due_date", DUE),
        ("result", {"new": True}),
    ],
)
async def test_a_field_is_changed_by_its_name(world: World, name: str, value: Any) -> None:
    alice = await world.user()
    before = await alice.task(await alice.project())
    after = await update(alice, [name], id=before.id, **{name: value})
    assert getattr(after, name) == getattr(Task(**{name: value}), name)
    assert after.revision == 2
    assert after.updated_at.ToNanoseconds() > before.updated_at.ToNanoseconds()
    assert after.created_at == before.created_at
    assert await alice.tasks.GetTask(GetTaskRequest(task_id=before.id)) == after


async def test_a_path_whose_field_is_not_set_clears_it(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    first = await completed(alice, project)
    task = await alice.task(
        project,
        description="d",
        priority=TASK_PRIORITY_LOW,
        due_date=DUE,
        result={"a": 1},
        dependencies=[first.id],
        room_id=await room(world, project.id),
    )
    cleared = await update(alice, ["*"], id=task.id, title="Only")
    assert cleared.title == "Only"
    for name in ("description", "due_date", "result", "room_id"):
        assert not cleared.HasField(name)
    assert not cleared.priority
    assert not cleared.dependencies
    assert await edges(world, task) == set()


async def test_without_a_mask_the_fields_that_are_set_change(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    first = await completed(alice, project)
    task = await alice.task(project, description="stays")
    changed = await update(alice, [], id=task.id, title="New", dependencies=[first.id])
    assert (changed.title, changed.description) == ("New", "stays")
    assert list(changed.dependencies) == [first.id]
    assert await edges(world, task) == {first.id}


async def test_an_update_that_changes_nothing_leaves_the_revision(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    first = await completed(alice, project)
    task = await alice.task(project, title="Same", dependencies=[first.id])
    same = {"id": task.id, "title": "Same", "dependencies": [first.id]}
    assert await update(alice, ["title", "dependencies"], **same) == task
    assert await update(alice, [], id=task.id) == task


async def test_a_room_of_another_project_is_not_found(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    task = await alice.task(project)
    here, elsewhere = (
        await room(world, project.id),
        await room(world, (await alice.project()).id),
    )
    assert (await update(alice, ["room_id"], id=task.id, room_id=here)).room_id == here
    call = update(alice, ["room_id"], id=task.id, room_id=elsewhere)
    await refused(call, Reason.ROOM_NOT_FOUND)


@pytest.mark.parametrize(
    "path", ["status", "assigned_to", "assigned_to_type", "project_id", "created_by", "nonsense"]
)
async def test_only_what_may_be_changed_is_taken(world: World, path: str) -> None:
    alice = await world.user()
    task = await alice.task(await alice.project())
    found = await refused(update(alice, [path], id=task.id), Reason.INVALID_UPDATE_MASK)
    assert path in found.fields["update_mask"]


async def test_bad_values_are_named_and_others_are_not_looked_at(world: World) -> None:
    alice = await world.user()
    task = await alice.task(await alice.project())
    unlooked: dict[str, Any] = {"room_id": "x", "result": {"t": "a\0"}, "due_date": FAR}
    call = update(alice, ["title"], id=task.id, title="t" * 501, revision=-1, **unlooked)
    found = await refused(call, Reason.INVALID_FIELD)
    assert set(found.fields) == {"task.title", "task.revision"}
    found = await refused(update(alice, ["title"], id=task.id), Reason.INVALID_FIELD)
    assert list(found.fields) == ["task.title"]
    changed = await update(alice, ["title"], id=task.id, title="Fine", **unlooked)
    assert changed.title == "Fine"
    for name in unlooked:
        call = update(alice, [name], id=task.id, **unlooked)
        found = await refused(call, Reason.INVALID_FIELD)
        assert list(found.fields) == [f"task.{name}"]


async def test_without_a_mask_what_no_update_changes_has_to_be_as_it_is(world: World) -> None:
    """A client may send back all that it has read, but is not told that it has assigned a task."""
    alice = await world.user()
    project, other = await alice.project(), await alice.project()
    agent, task = await alice.agent(project), await alice.task(project)
    assigned = {"assigned_to": agent.id, "assigned_to_type": ASSIGNEE_TYPE_AGENT}
    for path, fields in (
        ("assigned_to", assigned),
        ("assigned_to", {"assigned_to": "x"}),
        ("assigned_to_type", {"assigned_to_type": ASSIGNEE_TYPE_AGENT}),
        ("project_id", {"project_id": other.id}),
    ):
        call = update(alice, [], id=task.id, title="New", **fields)
        found = await refused(call, Reason.INVALID_FIELD)
        assert list(found.fields) == [f"task.{path}"]
    assert await alice.tasks.GetTask(GetTaskRequest(task_id=task.id)) == task
    read = await alice.task(project, **assigned)
    read.title = "New"
    now = await alice.tasks.UpdateTask(UpdateTaskRequest(task=read))
    assert (now.title, now.assigned_to, now.revision) == ("New", agent.id, 2)
    named = await update(alice, ["title"], id=task.id, title="Named", **assigned)
    assert (named.title, named.assigned_to) == ("Named", "")


async def test_the_revision_has_to_match_where_it_is_given(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    first = await completed(alice, project)
    task = await alice.task(project)
    await update(alice, ["title"], id=task.id, title="Two", revision=1)
    for mask in (["title"], ["dependencies"]):
        call = update(alice, mask, id=task.id, title="Three", dependencies=[first.id], revision=1)
        found = await refused(call, Reason.REVISION_MISMATCH)
        assert found.metadata == {"revision": "2"}
    assert await edges(world, task) == set()


@pytest.mark.parametrize("mask", [["title"], ["dependencies"]])
async def test_access_comes_first(world: World, mask: list[str]) -> None:
    alice, bob, root = await world.user(), await world.user(), await world.user(superuser=True)
    task = await alice.task(await alice.project())
    for title in ("t" * 501, "Fine"):
        call = update(bob, mask, id=task.id, title=title, dependencies=["x"] * (title != "Fine"))
        await refused(call, Reason.NOT_PROJECT_OWNER)
        missing = update(alice, mask, id=str(uuid7()), title=title)
        await refused(missing, Reason.TASK_NOT_FOUND)
    assert (await update(root, mask, id=task.id, title="Fine")).id == task.id
    await refused(update(alice, mask, id="x", title="Fine"), Reason.INVALID_FIELD)
    await world.execute("UPDATE projects SET status = 'suspended'")
    await refused(update(alice, mask, id=task.id, title="F"), Reason.PROJECT_NOT_ACTIVE)


async def test_a_repeated_request_id_gets_the_first_answer(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    first = await completed(alice, project)
    task = await alice.task(project)
    for fields in ({"title": "New"}, {"dependencies": [first.id]}):
        request = UpdateTaskRequest(task=Task(id=task.id, **fields), request_id=str(uuid4()))
        answer = await alice.tasks.UpdateTask(request)
        assert await alice.tasks.UpdateTask(request) == answer
        request.task.title = "Other"
        await refused(alice.tasks.UpdateTask(request), Reason.REQUEST_ID_REUSED)
