"""Rows for tests of the database itself, written in SQL."""

import json
from dataclasses import dataclass
from typing import TypeAlias
from uuid import UUID, uuid4

import asyncpg

from tests.event_log import append

Connection: TypeAlias = (
    "asyncpg.Connection[asyncpg.Record] | asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"
)


async def add(connection: Connection, table: str, **values: object) -> UUID:
    """Insert one row, with a new id unless one is given."""
    row = {"id": uuid4(), **values}
    places = ", ".join(f"${place}" for place in range(1, len(row) + 1))
    statement = f"INSERT INTO {table} ({', '.join(row)}) VALUES ({places}) RETURNING id"  # noqa: S608
    added = await connection.fetchval(statement, *row.values())
    assert isinstance(added, UUID)
    return added


async def add_user(connection: Connection) -> UUID:
    name = uuid4().hex
    return await add(connection, "users", username=name, email=f"{name}@example.com")


async def add_key(connection: Connection, project: UUID, agent: UUID, **values: object) -> UUID:
    unique = uuid4().hex
    key = {"key_id": unique, "api_key_hash": unique, "key_prefix": "tdm_", **values}
    return await add(connection, "agent_api_keys", project_id=project, agent_id=agent, **key)


async def add_task(connection: Connection, project: UUID, **values: object) -> UUID:
    return await add(connection, "tasks", project_id=project, **{"title": "t", **values})


IDENTITY = "INSERT INTO user_identities (issuer, subject, user_id) VALUES ('issuer', $1, $2)"


async def depend(connection: Connection, project: UUID, task: UUID, depends_on: UUID) -> None:
    await connection.execute(
        "INSERT INTO task_dependencies (project_id, task_id, depends_on_id) VALUES ($1, $2, $3)",
        project,
        task,
        depends_on,
    )


@dataclass(frozen=True)
class Project:
    """The ids of a project, its owner, and one agent, room and task of it."""

    id: UUID
    owner: UUID
    agent: UUID
    room: UUID
    task: UUID


async def add_project(connection: Connection) -> Project:
    owner = await add_user(connection)
    project = await add(connection, "projects", owner_id=owner, slug=uuid4().hex, name="p")
    return Project(
        id=project,
        owner=owner,
        agent=await add(connection, "agents", project_id=project, name="a"),
        room=await add(connection, "chat_rooms", project_id=project, name="r"),
        task=await add_task(connection, project, created_by=owner),
    )


async def fill(connection: Connection, project: Project) -> None:
    """Add rows of each table to a project, with every kind of reference and a ring of tasks.

    Every column that a migration added to an existing table needs a value in one of them.
    """
    seat = {"project_id": project.id, "room_id": project.room}
    await add(connection, "chat_participants", **seat, agent_id=project.agent)
    await add(connection, "chat_participants", **seat, user_id=project.owner)
    key = {"created_by_id": project.owner, "scopes": ["claim_tasks"]}
    await add_key(connection, project.id, project.agent, **key)
    member = {"user_id": await add_user(connection), "role": "viewer"}
    await add(connection, "project_members", project_id=project.id, **member)
    room = {"project_id": project.id, "created_by_agent_id": project.agent}
    await add(connection, "chat_rooms", name="r", **room)
    await connection.execute(IDENTITY, uuid4().hex, project.owner)
    await add_task(connection, project.id, assigned_user_id=project.owner)
    ring = [uuid4() for _ in range(3)]
    needed = dict(zip(ring, [*ring[1:], ring[0]], strict=True))
    for task, depends_on in needed.items():
        agent = {"assigned_agent_id": project.agent, "created_by_agent_id": project.agent}
        listed = {"room_id": project.room, "dependencies": json.dumps([str(depends_on)])}
        await add_task(connection, project.id, id=task, **listed, **agent)
    for task, depends_on in needed.items():
        await depend(connection, project.id, task, depends_on)
    await append(connection, project.id, 2)
