"""What the revisions other than 003 change in existing rows."""

import json
from collections.abc import Callable
from uuid import UUID, uuid4

import pytest

from migrations.history import BASE, BASE_WITH_CREATORS, BOUND, WITH_AGENTS
from migrations.transaction import MigrationError
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

ASSIGNED = "005_split_task_assignee"
EDGES = "006_add_task_dependency_edges"


@pytest.fixture
def older(database_at: Callable[[str], Database]) -> Database:
    """A database at the revision that created agents and tasks."""
    return database_at(WITH_AGENTS)


@pytest.fixture
def project(older: Database) -> Project:
    return older.make(add_project)


@pytest.fixture
def other(older: Database) -> Project:
    return older.make(add_project)


def make_task(database: Database, project: Project, **values: object) -> UUID:
    return database.make(lambda connection: add_task(connection, project.id, **values))


def test_a_creator_of_a_key_who_is_not_a_user_is_removed(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    async def work(connection: Connection) -> list[UUID]:
        user = await add_user(connection)
        project = await add(connection, "projects", owner_id=user, slug="p", name="p")
        return [
            await add_key(connection, project, uuid4(), created_by_id=creator)
            for creator in (user, uuid4(), None)
        ]

    database.upgrade(BASE)
    known, unknown, _ = database.make(work)
    database.upgrade(BASE_WITH_CREATORS)
    kept = database.values("SELECT id FROM agent_api_keys WHERE created_by_id IS NOT NULL")
    assert kept == [known]
    assert f"whose creator is not a user; now without a creator: 1\n  {unknown}" in caplog.text


def test_participants_get_the_project_of_their_room(older: Database, project: Project) -> None:
    seat = {"room_id": project.room, "agent_id": project.agent}
    older.make(lambda connection: add(connection, "chat_participants", **seat))
    older.upgrade(BOUND)
    assert older.values("SELECT project_id FROM chat_participants") == [project.id]


def test_a_task_leaves_a_room_of_another_project(
    older: Database, project: Project, other: Project, caplog: pytest.LogCaptureFixture
) -> None:
    stays = make_task(older, project, room_id=project.room)
    leaves = make_task(older, project, room_id=other.room)
    older.upgrade(BOUND)
    assert older.values("SELECT id FROM tasks WHERE room_id IS NOT NULL") == [stays]
    assert f"Tasks in a room of another project; now in no room: 1\n  {leaves}" in caplog.text


def test_a_key_with_an_agent_of_another_project_fails_the_whole_run(
    older: Database, project: Project, other: Project
) -> None:
    key = older.make(lambda connection: add_key(connection, project.id, other.agent))
    with pytest.raises(MigrationError, match=f"first: key {key}"):
        older.upgrade()
    assert older.current() == WITH_AGENTS


def test_existing_assignees_stay_and_others_are_reported(
    older: Database, project: Project, other: Project, caplog: pytest.LogCaptureFixture
) -> None:
    assignees = {
        make_task(older, project, assigned_to=assignee, assigned_to_type=kind): (
            assignee,
            kind,
        )
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
    older.upgrade(ASSIGNED)
    assert set(older.rows(assigned)) == {(task, *assignees[task]) for task in kept}
    assert "Tasks whose assignee does not exist; now unassigned: 3" in caplog.text
    assert all(str(task) in caplog.text for task in dropped)
    older.downgrade(BOUND)
    assert set(older.rows(assigned)) == {(task, *assignees[task]) for task in kept}


def test_dependencies_become_edges_and_dangling_ones_are_dropped(
    older: Database, project: Project, other: Project, caplog: pytest.LogCaptureFixture
) -> None:
    needed = [str(make_task(older, project)) for _ in range(3)][::-1]
    clean = make_task(older, project, dependencies=json.dumps(needed))
    dangling = [needed[1].upper(), "not an id", str(uuid4()), str(other.task), needed[0], needed[1]]
    messy = make_task(older, project, dependencies=json.dumps(dangling))
    older.rows("UPDATE tasks SET dependencies = dependencies || to_jsonb(id) WHERE id = $1", messy)
    strange = make_task(older, project, dependencies='{"not": "a list"}')
    older.upgrade(EDGES)
    lists = dict(older.rows("SELECT id, dependencies FROM tasks"))
    assert json.loads(lists[clean]) == needed
    assert json.loads(lists[messy]) == [needed[1], needed[0]]
    assert json.loads(lists[strange]) == []
    assert set(
        older.rows("SELECT project_id, task_id, depends_on_id::text FROM task_dependencies")
    ) == {
        *((project.id, clean, task) for task in needed),
        *((project.id, messy, task) for task in needed[:2]),
    }
    reported = next(line for line in caplog.messages if "dependencies" in line)
    assert reported.splitlines()[0].endswith(": 2")
    assert str(messy) in reported
    assert str(strange) in reported


def test_existing_rows_start_at_revision_one(older: Database) -> None:
    older.make(add_project)
    older.upgrade()
    for table in ("users", "projects", "agents", "tasks", "chat_rooms"):
        assert older.values(f"SELECT revision FROM {table}") == [1]  # noqa: S608
