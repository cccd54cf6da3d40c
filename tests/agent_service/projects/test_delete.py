"""Deleting projects with everything in them."""

from uuid import UUID, uuid4

from shared.errors import Reason
from tandem.agent.v1.project_service_pb2 import (
    DeleteProjectRequest,
    GetProjectRequest,
    Project,
    UpdateProjectRequest,
)
from tests.refusals import refused
from tests.world import World

CONTENT = (
    "INSERT INTO chat_rooms (id, project_id, name) VALUES ($2, $1, 'Room')",
    "INSERT INTO agents (id, project_id, name) VALUES ($2, $1, 'Scout')",
    "INSERT INTO chat_participants (id, project_id, room_id, agent_id) VALUES ($2, $1, $2, $2)",
    "INSERT INTO agent_api_keys (id, project_id, agent_id, key_id, api_key_hash, key_prefix)"
    " VALUES ($2, $1, $2, $2::uuid::text, $2::uuid::text, 'tdm')",
    "INSERT INTO tasks (id, project_id, title, assigned_agent_id, room_id)"
    " VALUES ($2, $1, 'Second', $2, $2), (gen_random_uuid(), $1, 'First', NULL, NULL)",
    "INSERT INTO task_dependencies (project_id, task_id, depends_on_id)"
    " SELECT $1, $2, id FROM tasks WHERE project_id = $1 AND id <> $2",
)
TABLES = (
    *("projects", "agents", "agent_api_keys", "chat_rooms", "chat_participants"),
    *("tasks", "task_dependencies"),
)


async def fill(world: World, project: Project) -> None:
    new_id = uuid4()
    for statement in CONTENT:
        await world.execute(statement, UUID(project.id), new_id)


async def test_everything_in_a_project_goes_with_it(world: World) -> None:
    alice = await world.user()
    gone, other = await alice.project(), await alice.project()
    await fill(world, gone)
    await fill(world, other)
    await alice.projects.DeleteProject(DeleteProjectRequest(project_id=gone.id))
    call = alice.projects.GetProject(GetProjectRequest(project_id=gone.id))
    assert (await refused(call, Reason.PROJECT_NOT_FOUND)).metadata == {"project_id": gone.id}
    for table in TABLES:
        assert await world.value(f"SELECT count(*) FROM {table}") in (1, 2)  # noqa: S608
        column = "id" if table == "projects" else "project_id"
        left = f"SELECT count(*) FROM {table} WHERE {column} = $1"  # noqa: S608
        assert await world.value(left, UUID(gone.id)) == 0, table


async def test_a_revision_has_to_match(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    changes = Project(id=project.id, name="Other")
    await alice.projects.UpdateProject(UpdateProjectRequest(project=changes))
    call = alice.projects.DeleteProject(DeleteProjectRequest(project_id=project.id, revision=1))
    assert (await refused(call, Reason.REVISION_MISMATCH)).metadata == {"revision": "2"}
    await alice.projects.DeleteProject(DeleteProjectRequest(project_id=project.id, revision=2))
    call = alice.projects.DeleteProject(DeleteProjectRequest(project_id=project.id))
    await refused(call, Reason.PROJECT_NOT_FOUND)


async def test_one_that_is_not_active_can_be_deleted(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    await world.execute("UPDATE projects SET status = 'archived'")
    await alice.projects.DeleteProject(DeleteProjectRequest(project_id=project.id))
    assert await world.value("SELECT count(*) FROM projects") == 0


async def test_a_malformed_request_deletes_nothing(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    call = alice.projects.DeleteProject(DeleteProjectRequest(project_id=project.id, revision=-1))
    assert list((await refused(call, Reason.INVALID_FIELD)).fields) == ["revision"]
    call = alice.projects.DeleteProject(DeleteProjectRequest(project_id="x"))
    assert list((await refused(call, Reason.INVALID_FIELD)).fields) == ["project_id"]
