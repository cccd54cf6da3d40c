"""Rows for tests of the database itself, written in SQL."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
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
    await insert(connection, table, row)
    assert isinstance(row["id"], UUID)
    return row["id"]


async def insert(connection: Connection, table: str, row: Mapping[str, object]) -> None:
    """Insert one row, whatever its key."""
    places = ", ".join(f"${place}" for place in range(1, len(row) + 1))
    statement = f"INSERT INTO {table} ({', '.join(row)}) VALUES ({places})"  # noqa: S608
    await connection.execute(statement, *row.values())


async def add_user(connection: Connection) -> UUID:
    name = uuid4().hex
    return await add(connection, "users", username=name, email=f"{name}@example.com")


async def add_key(connection: Connection, project: UUID, agent: UUID, **values: object) -> UUID:
    unique = uuid4().hex
    key = {"key_id": unique, "api_key_hash": unique, "key_prefix": "tdm_", **values}
    return await add(connection, "agent_api_keys", project_id=project, agent_id=agent, **key)


async def add_task(connection: Connection, project: UUID, **values: object) -> UUID:
    return await add(connection, "tasks", project_id=project, **{"title": "t", **values})


LATER = datetime.now(UTC) + timedelta(days=1)
# Every column of a task that claims and dependencies use, and that may not be NULL.
HELD: Mapping[str, object] = {
    "status": "in_progress",
    "required_capabilities": "python,sql",
    "ready_at": LATER,
    "max_attempts": 5,
    "attempt": 2,
    "releases": 1,
    "fence": 7,
    "leased": True,
    "dependency_policy": "wait",
    "on_dependency_failure": "cancel",
    "open_dependencies": 1,
    "has_dependents": True,
}
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
    await fill_leases(connection, project)
    await append(connection, project.id, 2)


async def fill_leases(connection: Connection, project: Project) -> None:
    """A task that the agent holds, with an attempt, a question, and what no other task has."""
    agent = {"project_id": project.id, "agent_id": project.agent}
    await connection.execute("UPDATE agents SET max_leases = 2 WHERE id = $1", project.agent)
    await insert(connection, "agent_presence", agent)
    task = await add_task(connection, project.id, **HELD, assigned_agent_id=project.agent)
    await connection.execute("UPDATE tasks SET parent_id = $1 WHERE id = $2", project.task, task)
    held = {"project_id": project.id, "task_id": task}
    lease = {"fence": 7, "pooled": True, "agent_slot": 1, "expires_at": LATER, "seconds": 60}
    await insert(connection, "task_leases", {**agent, **held, **lease})
    await insert(connection, "task_attempts", {**agent, **held, "fence": 7, "attempt": 2})
    await insert(connection, "task_inputs", {**held, "key": "k", "kind": "input", "prompt": "?"})
