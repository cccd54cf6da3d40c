"""Deleting users, with all that hangs on them."""

from uuid import UUID, uuid4

from shared.errors import IDS_NAMED, Reason
from tandem.agent.v1.project_service_pb2 import Project
from tandem.agent.v1.user_service_pb2 import DeleteUserRequest, GetUserRequest
from tandem.task.v1.task_service_pb2 import (
    ASSIGNEE_TYPE_USER,
    TASK_STATUS_IN_PROGRESS,
    TASK_STATUS_PENDING,
    GetTaskRequest,
    Task,
)
from tests.refusals import refused
from tests.task_service.steps import move
from tests.world import User, World

IDENTITY = "INSERT INTO user_identities (issuer, subject, user_id) VALUES ('issuer', $1, $2)"
SEAT = """
INSERT INTO chat_participants (id, project_id, room_id, user_id)
VALUES (gen_random_uuid(), $1, $2, $3)
"""
PROJECTS = """
INSERT INTO projects (id, owner_id, slug, name)
SELECT gen_random_uuid(), $1, 'p-' || n, 'Project' FROM generate_series(1, $2::int) n
"""


async def delete(root: User, user: User, revision: int = 0) -> None:
    await root.users.DeleteUser(DeleteUserRequest(user_id=str(user.id), revision=revision))


async def assigned(owner: User, project: Project, user: User) -> Task:
    """A task of a user."""
    return await owner.task(project, assigned_to=str(user.id), assigned_to_type=ASSIGNEE_TYPE_USER)


async def test_what_hangs_on_a_user_goes_with_it(world: World) -> None:
    root, alice = await world.user(superuser=True), await world.user()
    gone, other = await world.user(), await world.user()
    project = await alice.project()
    room = await alice.room(project)
    for user in (gone, other):
        await world.member(project.id, user, "editor")
        await world.execute(IDENTITY, str(user.id), user.id)
        await world.execute(SEAT, project.id, room.id, user.id)
    await delete(root, gone)
    for table in ("project_members", "user_identities", "chat_participants"):
        ids = f"SELECT array_agg(user_id) FROM {table}"  # noqa: S608
        assert await world.value(ids) == [other.id]
    call = root.users.GetUser(GetUserRequest(user_id=str(gone.id)))
    await refused(call, Reason.USER_NOT_FOUND)
    await refused(delete(root, gone), Reason.USER_NOT_FOUND)


async def test_its_tasks_are_unassigned_in_every_project(world: World) -> None:
    root, alice = await world.user(superuser=True), await world.user()
    gone, other = await world.user(), await world.user()
    tasks: list[Task] = []
    kept: list[Task] = []
    for _ in range(2):
        project = await alice.project()
        for user, of in ((gone, tasks), (other, kept)):
            await world.member(project.id, user, "editor")
            of.append(await assigned(alice, project, user))
    tasks[1] = await move(alice, tasks[1], TASK_STATUS_IN_PROGRESS)
    await delete(root, gone)
    for task in tasks:
        freed = await alice.tasks.GetTask(GetTaskRequest(task_id=task.id))
        assert (freed.status, freed.HasField("started_at")) == (TASK_STATUS_PENDING, False)
        assert (freed.HasField("assigned_to"), freed.revision) == (False, task.revision + 1)
        assert freed.updated_at.ToDatetime() > task.updated_at.ToDatetime()
    for task in kept:
        assert await alice.tasks.GetTask(GetTaskRequest(task_id=task.id)) == task


async def test_what_it_has_created_stays_and_forgets_it(world: World) -> None:
    root, alice, bob = await world.user(superuser=True), await world.user(), await world.user()
    project = await alice.project()
    await world.member(project.id, bob, "editor")
    task, room = await bob.task(project), await bob.room(project)
    await delete(root, bob)
    task.ClearField("created_by")
    assert await alice.tasks.GetTask(GetTaskRequest(task_id=task.id)) == task
    created = "SELECT created_by FROM chat_rooms WHERE id = $1"
    assert await world.value(created, UUID(room.id)) is None


async def test_an_owner_has_to_hand_over_its_projects_first(world: World) -> None:
    root, alice = await world.user(superuser=True), await world.user()
    many = IDS_NAMED + 3
    await world.execute(PROJECTS, alice.id, many)
    found = await refused(delete(root, alice), Reason.USER_OWNS_PROJECTS)
    ids = await world.value("SELECT array_agg(id::text ORDER BY id) FROM projects")
    named = ids[:IDS_NAMED]
    assert found.metadata["project_ids"] == ",".join(named)
    assert found.metadata["total"] == str(many)
    shown = named[: IDS_NAMED - int(found.metadata["omitted"])]
    assert found.preconditions == dict.fromkeys(shown, "USER_OWNS_PROJECTS")
    await world.execute("DELETE FROM projects")
    await delete(root, alice)


async def test_a_revision_has_to_match(world: World) -> None:
    root, alice = await world.user(superuser=True), await world.user()
    found = await refused(delete(root, alice, revision=2), Reason.REVISION_MISMATCH)
    assert found.metadata == {"revision": "1"}
    await delete(root, alice, revision=1)


async def test_the_last_active_superuser_stays(world: World) -> None:
    root, _ = await world.user(superuser=True), await world.user(superuser=True, active=False)
    await refused(delete(root, root), Reason.LAST_SUPERUSER)
    other = await world.user(superuser=True)
    await delete(root, root)
    await refused(delete(other, other), Reason.LAST_SUPERUSER)


async def test_an_id_that_does_not_exist_is_named(world: World) -> None:
    root, missing = await world.user(superuser=True), str(uuid4())
    call = root.users.DeleteUser(DeleteUserRequest(user_id=missing))
    assert (await refused(call, Reason.USER_NOT_FOUND)).metadata == {"user_id": missing}
