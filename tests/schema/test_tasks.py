"""Assignments and dependencies are never dangling, whatever is deleted."""

import asyncio

import asyncpg
import pytest

from shared.schema import (
    CK_TASK_DEPENDENCIES_NOT_SELF,
    FK_TASK_DEPENDENCIES_DEPENDS_ON,
    FK_TASKS_ASSIGNED_AGENT,
    PK_TASK_DEPENDENCIES,
)
from tests.schema.expect import refused_by, waiting
from tests.schema.rows import Connection, Project, add_task, add_user, depend

ASSIGNMENT = "SELECT assigned_to, assigned_to_type, room_id FROM tasks WHERE id = $1"


async def test_the_agent_of_a_task_is_read_from_the_generated_columns(
    connection: Connection, project: Project
) -> None:
    task = await add_task(connection, project.id, assigned_agent_id=project.agent)
    assert tuple(await one(connection, task)) == (project.agent, "agent", None)


async def test_the_user_of_a_task_is_read_from_the_generated_columns(
    connection: Connection, project: Project
) -> None:
    task = await add_task(connection, project.id, assigned_user_id=project.owner)
    assert tuple(await one(connection, task)) == (project.owner, "user", None)


async def test_an_unassigned_task_has_no_assignee(connection: Connection, project: Project) -> None:
    assert tuple(await one(connection, project.task)) == (None, None, None)


async def test_a_task_has_one_assignee_at_most(connection: Connection, project: Project) -> None:
    both = {"assigned_agent_id": project.agent, "assigned_user_id": project.owner}
    with refused_by("ck_tasks_one_assignee"):
        await add_task(connection, project.id, **both)


async def test_the_generated_columns_cannot_be_written(
    connection: Connection, project: Project
) -> None:
    with pytest.raises(asyncpg.GeneratedAlwaysError):
        await add_task(connection, project.id, assigned_to=project.agent)


async def test_deleting_an_agent_unassigns_its_tasks_and_nothing_else(
    connection: Connection, project: Project
) -> None:
    task = await add_task(
        connection, project.id, assigned_agent_id=project.agent, room_id=project.room
    )
    await connection.execute("DELETE FROM agents WHERE id = $1", project.agent)
    assert tuple(await one(connection, task)) == (None, None, project.room)


async def test_deleting_a_user_unassigns_and_removes_them_as_creator(
    connection: Connection, project: Project
) -> None:
    user = await add_user(connection)
    task = await add_task(connection, project.id, assigned_user_id=user, created_by=user)
    await connection.execute("DELETE FROM users WHERE id = $1", user)
    assert tuple(await one(connection, task)) == (None, None, None)
    assert await connection.fetchval("SELECT created_by FROM tasks WHERE id = $1", task) is None


async def test_deleting_a_room_keeps_its_tasks_and_their_assignee(
    connection: Connection, project: Project
) -> None:
    task = await add_task(
        connection, project.id, assigned_agent_id=project.agent, room_id=project.room
    )
    await connection.execute("DELETE FROM chat_rooms WHERE id = $1", project.room)
    assert tuple(await one(connection, task)) == (project.agent, "agent", None)


async def test_an_agent_that_is_being_deleted_cannot_be_assigned(
    connection: Connection, database_url: str, project: Project
) -> None:
    """The assignment waits for the deletion, and then finds no agent."""
    assigning = await asyncpg.connect(database_url)
    async with connection.transaction():
        await connection.execute("DELETE FROM agents WHERE id = $1", project.agent)
        assignment = asyncio.create_task(
            add_task(assigning, project.id, assigned_agent_id=project.agent)
        )
        await waiting(connection, assigning)
    with refused_by(FK_TASKS_ASSIGNED_AGENT):
        await assignment
    await assigning.close()


async def test_an_agent_that_is_being_assigned_is_unassigned_by_its_deletion(
    connection: Connection, database_url: str, project: Project
) -> None:
    """The deletion waits for the assignment, and then undoes it."""
    deleting = await asyncpg.connect(database_url)
    async with connection.transaction():
        task = await add_task(connection, project.id, assigned_agent_id=project.agent)
        deletion = asyncio.create_task(
            deleting.execute("DELETE FROM agents WHERE id = $1", project.agent)
        )
        await waiting(connection, deleting)
    await deletion
    await deleting.close()
    assert tuple(await one(connection, task)) == (None, None, None)


async def test_a_task_that_others_depend_on_stays(connection: Connection, project: Project) -> None:
    await depend(connection, project.id, await add_task(connection, project.id), project.task)
    with refused_by(FK_TASK_DEPENDENCIES_DEPENDS_ON):
        await connection.execute("DELETE FROM tasks WHERE id = $1", project.task)
    assert await one(connection, project.task)


async def test_the_violation_can_be_raised_before_the_commit(
    connection: Connection, project: Project
) -> None:
    await depend(connection, project.id, await add_task(connection, project.id), project.task)
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute("DELETE FROM tasks WHERE id = $1", project.task)
    with refused_by(FK_TASK_DEPENDENCIES_DEPENDS_ON):
        await connection.execute(f"SET CONSTRAINTS {FK_TASK_DEPENDENCIES_DEPENDS_ON} IMMEDIATE")
    await transaction.rollback()


async def test_a_task_goes_with_its_own_dependencies(
    connection: Connection, project: Project
) -> None:
    task = await add_task(connection, project.id)
    await depend(connection, project.id, task, project.task)
    await connection.execute("DELETE FROM tasks WHERE id = $1", task)
    assert await connection.fetchval("SELECT count(*) FROM task_dependencies") == 0


async def test_an_edge_is_neither_a_loop_nor_a_repeat(
    connection: Connection, project: Project
) -> None:
    with refused_by(CK_TASK_DEPENDENCIES_NOT_SELF):
        await depend(connection, project.id, project.task, project.task)
    task = await add_task(connection, project.id)
    await depend(connection, project.id, task, project.task)
    with refused_by(PK_TASK_DEPENDENCIES):
        await depend(connection, project.id, task, project.task)


async def one(connection: Connection, task: object) -> asyncpg.Record:
    row = await connection.fetchrow(ASSIGNMENT, task)
    assert row is not None
    return row
