"""Rows refer only to rows of their own project, and are deleted with it."""

import asyncpg
import pytest

from shared.schema import (
    FK_AGENT_API_KEYS_AGENT,
    FK_CHAT_PARTICIPANTS_AGENT,
    FK_CHAT_PARTICIPANTS_ROOM,
    FK_PROJECTS_OWNER,
    FK_TASK_DEPENDENCIES_DEPENDS_ON,
    FK_TASK_DEPENDENCIES_TASK,
    FK_TASKS_ASSIGNED_AGENT,
    FK_TASKS_ROOM,
    UQ_AGENT_PROJECT_NAME,
    UQ_PROJECTS_SLUG,
    metadata,
)
from tests.schema.expect import refused_by
from tests.schema.rows import (
    Connection,
    Project,
    add,
    add_key,
    add_task,
    add_user,
    depend,
    fill,
)


async def test_a_task_cannot_be_in_another_project_s_room(
    connection: Connection, project: Project, other: Project
) -> None:
    with refused_by(FK_TASKS_ROOM):
        await add_task(connection, project.id, room_id=other.room)


async def test_a_task_cannot_be_assigned_to_another_project_s_agent(
    connection: Connection, project: Project, other: Project
) -> None:
    with refused_by(FK_TASKS_ASSIGNED_AGENT):
        await add_task(connection, project.id, assigned_agent_id=other.agent)


async def test_a_task_cannot_depend_on_another_project_s_task(
    connection: Connection, project: Project, other: Project
) -> None:
    with refused_by(FK_TASK_DEPENDENCIES_DEPENDS_ON):
        await depend(connection, project.id, project.task, other.task)
    with refused_by(FK_TASK_DEPENDENCIES_TASK):
        await depend(connection, project.id, other.task, project.task)


async def test_a_participant_s_room_and_agent_are_of_one_project(
    connection: Connection, project: Project, other: Project
) -> None:
    mixed = {"room_id": project.room, "agent_id": other.agent}
    with refused_by(FK_CHAT_PARTICIPANTS_AGENT):
        await add(connection, "chat_participants", project_id=project.id, **mixed)
    with refused_by(FK_CHAT_PARTICIPANTS_ROOM):
        await add(connection, "chat_participants", project_id=other.id, **mixed)


async def test_a_key_s_agent_is_of_the_key_s_project(
    connection: Connection, project: Project, other: Project
) -> None:
    with refused_by(FK_AGENT_API_KEYS_AGENT):
        await add_key(connection, project.id, other.agent)


async def test_agent_names_are_unique_within_a_project_only(
    connection: Connection, project: Project, other: Project
) -> None:
    await add(connection, "agents", project_id=project.id, name="twin")
    await add(connection, "agents", project_id=other.id, name="twin")
    with refused_by(UQ_AGENT_PROJECT_NAME):
        await add(connection, "agents", project_id=project.id, name="twin")


async def test_slugs_are_unique(connection: Connection, project: Project) -> None:
    await add(connection, "projects", owner_id=project.owner, slug="one", name="p")
    with refused_by(UQ_PROJECTS_SLUG):
        await add(connection, "projects", owner_id=project.owner, slug="one", name="p")


async def test_an_owner_cannot_be_deleted(connection: Connection, project: Project) -> None:
    with refused_by(FK_PROJECTS_OWNER):
        await connection.execute("DELETE FROM users WHERE id = $1", project.owner)


async def test_a_deleted_project_takes_everything_along(
    connection: Connection, project: Project, other: Project
) -> None:
    await fill(connection, project)
    await fill(connection, other)
    owned = [table for table in metadata.tables.values() if "project_id" in table.c]
    before = {table.name: await count(connection, table.name, project) for table in owned}
    await connection.execute("DELETE FROM projects WHERE id = $1", project.id)
    empty = [table for table, rows in before.items() if not rows]
    assert not empty, f"Add rows of {empty} to fill() in tests/schema/rows.py."
    left = {table.name for table in owned if await count(connection, table.name, project)}
    assert left == {"event_heads", "events"}, "a log outlives its project"
    assert {t.name: await count(connection, t.name, other) for t in owned} == before


async def count(connection: Connection, table: str, project: Project) -> int:
    found = await connection.fetchval(
        f"SELECT count(*) FROM {table} WHERE project_id = $1",  # noqa: S608
        project.id,
    )
    assert isinstance(found, int)
    return found


async def test_a_deleted_agent_takes_its_keys_and_its_seats_along(
    connection: Connection, project: Project
) -> None:
    await fill(connection, project)
    # The rules end its leases before: a lease is more than a reference.
    await connection.execute("DELETE FROM task_leases WHERE agent_id = $1", project.agent)
    await connection.execute("UPDATE tasks SET leased = false")
    await connection.execute("DELETE FROM agents WHERE id = $1", project.agent)
    assert await count(connection, "agent_presence", project) == 0
    assert await count(connection, "task_attempts", project) == 1  # outlives its agent
    assert await count(connection, "agent_api_keys", project) == 0
    assert await count(connection, "chat_participants", project) == 1  # the user
    assert await count(connection, "tasks", project) == 6


async def test_a_participant_is_an_agent_or_a_user(
    connection: Connection, project: Project
) -> None:
    user = await add_user(connection)
    room = {"project_id": project.id, "room_id": project.room}
    await add(connection, "chat_participants", **room, user_id=user)
    for seats in ({}, {"user_id": user, "agent_id": project.agent}):
        with refused_by("ck_chat_participants_agent_or_user"):
            await add(connection, "chat_participants", **room, **seats)


@pytest.mark.parametrize("member", ["agent_id", "user_id"])
async def test_no_member_takes_part_in_a_room_twice(
    connection: Connection, project: Project, member: str
) -> None:
    seat = {"project_id": project.id, "room_id": project.room}
    seat[member] = project.agent if member == "agent_id" else project.owner
    await add(connection, "chat_participants", **seat)
    with refused_by(f"uq_chat_participants_room_id_{member}"):
        await add(connection, "chat_participants", **seat)


@pytest.mark.parametrize(
    ("table", "column"),
    [
        ("projects", "status"),
        ("agents", "status"),
        ("tasks", "status"),
        ("tasks", "priority"),
        ("agent_api_keys", "status"),
        ("agent_api_keys", "created_by_type"),
    ],
)
async def test_only_the_values_of_the_contract_are_stored(
    connection: Connection, project: Project, table: str, column: str
) -> None:
    await add_key(connection, project.id, project.agent)
    with pytest.raises(asyncpg.CheckViolationError) as refusal:
        await connection.execute(f"UPDATE {table} SET {column} = 'PENDING'")  # noqa: S608
    assert refusal.value.constraint_name == f"ck_{table}_{column}"
