"""Rows for tests about the database itself, written by plain SQL."""

from dataclasses import dataclass
from typing import TypeAlias
from uuid import UUID, uuid4

import asyncpg

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


async def add(connection: Connection, table: str, **values: object) -> UUID:
    """Insert one row, with an id of its own unless one is given."""
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


async def depend(connection: Connection, project: UUID, task: UUID, depends_on: UUID) -> None:
    await connection.execute(
        "INSERT INTO task_dependencies (project_id, task_id, depends_on_id) VALUES ($1, $2, $3)",
        project,
        task,
        depends_on,
    )


@dataclass(frozen=True)
class Project:
    """The ids of a project and of one of everything in it."""

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
