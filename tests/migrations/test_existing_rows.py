"""What the later revisions make of rows that are there already."""

import json
from uuid import UUID, uuid4

import pytest

from migrations.run import MigrationError
from tests.migrations.database import Database
from tests.schema.rows import (
    Connection,
    Project,
    add,
    add_key,
    add_project,
    add_task,
    add_user,
)

SEED = "003_create_agent_and_task_tables"
BOUND = "004_bind_rows_to_their_project"
ASSIGNED = "005_split_task_assignee"
EDGES = "006_add_task_dependency_edges"


@pytest.fixture
def seed(database: Database) -> Database:
    """A database as the seed describes it."""
    database.upgrade(SEED)
    return database


@pytest.fixture
def project(seed: Database) -> Project:
    return seed.make(add_project)


@pytest.fixture
def other(seed: Database) -> Project:
    return seed.make(add_project)


def make_task(database: Database, project: Project, **values: object) -> UUID:
    return database.make(lambda connection: add_task(connection, project.id, **values))


def test_a_key_s_creator_who_is_no_user_is_forgotten(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    async def work(connection: Connection) -> list[UUID]:
        user = await add_user(connection)
        project = await add(connection, "projects", owner_id=user, slug="p", name="p")
        return [
            await add_key(connection, project, uuid4(), created_by_id=creator)
            for creator in (user, uuid4(), None)
        ]

    database.upgrade("001_create_base_tables")
    known, unknown, _ = database.make(work)
    database.upgrade("002_add_agent_api_key_user_fk")
    kept = database.values("SELECT id FROM agent_api_keys WHERE created_by_id IS NOT NULL")
    assert kept == [known]
    assert (
        f"1 API keys had a creator that is no user, and have none now:\n  {unknown}" in caplog.text
    )


def test_participants_learn_their_room_s_project(seed: Database, project: Project) -> None:
    seat = {"room_id": project.room, "agent_id": project.agent}
    seed.make(lambda connection: add(connection, "chat_participants", **seat))
    seed.upgrade(BOUND)
    assert seed.values("SELECT project_id FROM chat_participants") == [project.id]


def test_a_task_leaves_a_room_of_another_project(
    seed: Database, project: Project, other: Project, caplog: pytest.LogCaptureFixture
) -> None:
    stays = make_task(seed, project, room_id=project.room)
    leaves = make_task(seed, project, room_id=other.room)
    seed.upgrade(BOUND)
    assert seed.values("SELECT id FROM tasks WHERE room_id IS NOT NULL") == [stays]
    assert f"1 tasks were in a room of another project, and are in none now:\n  {leaves}" in (
        caplog.text
    )


def test_a_key_of_another_project_s_agent_fails_the_run_whole(
    seed: Database, project: Project, other: Project
) -> None:
    key = seed.make(lambda connection: add_key(connection, project.id, other.agent))
    with pytest.raises(MigrationError, match=f"the first: key {key}"):
        seed.upgrade()
    assert seed.current() == SEED


def test_assignees_that_exist_stay_and_others_are_reported(
    seed: Database, project: Project, other: Project, caplog: pytest.LogCaptureFixture
) -> None:
    assignees = {
        make_task(seed, project, assigned_to=assignee, assigned_to_type=kind): (assignee, kind)
        for assignee, kind in (
            (project.agent, "agent"),
            (project.owner, "user"),
            (uuid4(), "agent"),
            (other.agent, "agent"),
            (project.agent, "user"),
        )
    }
    kept, dropped = list(assignees)[:2], list(assignees)[2:]
    assigned = "SELECT id, assigned_to, assigned_to_type FROM tasks WHERE assigned_to IS NOT NULL"
    seed.upgrade(ASSIGNED)
    assert set(seed.rows(assigned)) == {(task, *assignees[task]) for task in kept}
    assert "3 tasks had an assignee that does not exist" in caplog.text
    assert all(str(task) in caplog.text for task in dropped)
    seed.downgrade(BOUND)
    assert set(seed.rows(assigned)) == {(task, *assignees[task]) for task in kept}


def test_dependencies_become_edges_and_what_dangles_is_dropped(
    seed: Database, project: Project, other: Project, caplog: pytest.LogCaptureFixture
) -> None:
    needed = [str(make_task(seed, project)) for _ in range(3)][::-1]
    clean = make_task(seed, project, dependencies=json.dumps(needed))
    dangling = [needed[1].upper(), "not an id", str(uuid4()), str(other.task), needed[0], needed[1]]
    messy = make_task(seed, project, dependencies=json.dumps(dangling))
    seed.rows("UPDATE tasks SET dependencies = dependencies || to_jsonb(id) WHERE id = $1", messy)
    strange = make_task(seed, project, dependencies='{"not": "a list"}')
    seed.upgrade(EDGES)
    lists = dict(seed.rows("SELECT id, dependencies FROM tasks"))
    assert json.loads(lists[clean]) == needed
    assert json.loads(lists[messy]) == [needed[1], needed[0]]
    assert json.loads(lists[strange]) == []
    assert set(
        seed.rows("SELECT project_id, task_id, depends_on_id::text FROM task_dependencies")
    ) == {
        *((project.id, clean, task) for task in needed),
        *((project.id, messy, task) for task in needed[:2]),
    }
    reported = next(line for line in caplog.messages if "listed dependencies" in line)
    assert reported.startswith("2 tasks")
    assert str(messy) in reported
    assert str(strange) in reported


def test_rows_that_are_there_start_at_revision_one(seed: Database) -> None:
    seed.make(add_project)
    seed.upgrade()
    for table in ("projects", "agents", "tasks", "chat_rooms"):
        assert seed.values(f"SELECT revision FROM {table}") == [1]  # noqa: S608
