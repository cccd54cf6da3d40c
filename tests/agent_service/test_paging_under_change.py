"""Paging through many rows while others insert and delete: no repeat, and no gap."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from tandem.agent.v1.agent_service_pb2 import ListAgentsRequest
from tandem.agent.v1.room_service_pb2 import ListRoomsRequest
from tandem.task.v1.task_service_pb2 import ListTasksRequest
from tests.world import User, World

ROWS = 5_000
PAGE = 250
# In turns with the pages: what changes at its own pace could grow faster than it is read.
CHANGES = 5
ROWS_OF_CHANGE = 10
# Many rows of the same moment, so that ids decide; names and titles in no order of time.
FILL = {
    "agents": "INSERT INTO agents (id, project_id, name, created_at) SELECT gen_random_uuid(), $1,"
    " md5(n::text), now() - (n / 7) * interval '1 second' FROM generate_series(1, $2::int) n",
    "chat_rooms": "INSERT INTO chat_rooms (id, project_id, name, created_at)"
    " SELECT gen_random_uuid(), $1, md5((n % 100)::text), now() - (n / 7) * interval '1 second'"
    " FROM generate_series(1, $2::int) n",
    "tasks": "INSERT INTO tasks (id, project_id, title, created_at) SELECT gen_random_uuid(), $1,"
    " md5(n::text), now() - (n / 7) * interval '1 second' FROM generate_series(1, $2::int) n",
}
LABEL = {"agents": "name", "chat_rooms": "name", "tasks": "title"}


async def disturb(
    connection: "asyncpg.Connection[asyncpg.Record]",
    table: str,
    project_id: UUID,
    touchable: list[UUID],
) -> None:
    """Insert rows all over the order, and delete as many of those that may be touched."""
    insert = (
        f"INSERT INTO {table} (id, project_id, {LABEL[table]}, created_at) SELECT"  # noqa: S608
        " gen_random_uuid(), $1, md5(random()::text || n), now() - random() * interval '12 minutes'"
        " FROM generate_series(1, $2::int) n"
    )
    delete = f"DELETE FROM {table} WHERE id = ANY ($1)"  # noqa: S608
    for _ in range(CHANGES):
        await connection.execute(insert, project_id, ROWS_OF_CHANGE)
        gone = [touchable.pop() for _ in range(ROWS_OF_CHANGE)]
        await connection.execute(delete, gone)


async def agents(alice: User, **asked: Any) -> tuple[list[str], str]:
    found = await alice.agents.ListAgents(ListAgentsRequest(**asked))
    return [row.id for row in found.agents], found.next_page_token


async def rooms(alice: User, **asked: Any) -> tuple[list[str], str]:
    found = await alice.rooms.ListRooms(ListRoomsRequest(**asked))
    return [row.id for row in found.rooms], found.next_page_token


async def tasks(alice: User, **asked: Any) -> tuple[list[str], str]:
    found = await alice.tasks.ListTasks(ListTasksRequest(**asked))
    return [row.id for row in found.tasks], found.next_page_token


ASK: dict[str, Callable[..., Awaitable[tuple[list[str], str]]]] = {
    "agents": agents,
    "chat_rooms": rooms,
    "tasks": tasks,
}


@pytest.mark.parametrize(
    ("table", "order"),
    [
        *(("agents", order) for order in ("", "created_at", "name", "name desc")),
        *(("chat_rooms", order) for order in ("", "name")),
        *(("tasks", order) for order in ("", "created_at", "priority")),
    ],
)
async def test_no_repeat_and_no_gap(fresh_world: World, table: str, order: str) -> None:
    alice = await fresh_world.user()
    project = await alice.project()
    project_id = UUID(project.id)
    await fresh_world.execute(FILL[table], project_id, ROWS)
    ids = await fresh_world.value(f"SELECT array_agg(id ORDER BY random()) FROM {table}")  # noqa: S608
    untouched, touchable = {str(row_id) for row_id in ids[: ROWS // 2]}, ids[ROWS // 2 :]
    others = await asyncpg.connect(fresh_world.url)
    seen, token, pages = [], "", 0
    while token or not pages:
        page = ASK[table](
            alice, project_id=project.id, order_by=order, page_size=PAGE, page_token=token
        )
        change = disturb(others, table, project_id, touchable)
        (found, token), _ = await asyncio.gather(page, change)
        seen += found
        pages += 1
    await others.close()
    assert pages > 10  # so that changes came in between
    assert len(seen) == len(set(seen))
    assert untouched <= set(seen)
