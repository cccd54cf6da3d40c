"""A change in another session that is under way, so that a call has to wait for its end."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Literal

import asyncpg

from tests.waiting import SECONDS

# How many sessions of this database wait for a lock, and not those of a test beside this one.
WAITING = (
    "SELECT count(*) FROM pg_stat_activity"
    " WHERE wait_event_type = 'Lock' AND datname = current_database()"
)
# Ends the connections of this database that wait for a lock, and says how many they were.
CUT_OFF = (
    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
    " WHERE wait_event_type = 'Lock' AND datname = current_database()"
)


class Blocked(asyncio.Event):
    """An event that is waited for as long as any machine may need, so that a test without its lock
    fails."""

    async def wait(self) -> Literal[True]:
        return await asyncio.wait_for(super().wait(), SECONDS)


@asynccontextmanager
async def under_way(url: str, statement: str, *arguments: Any) -> AsyncIterator[asyncio.Event]:
    """Run a statement in a transaction that is committed at the end of the block.

    The event is set once another session of this database waits for a lock.
    """
    connection = await asyncpg.connect(url)
    blocked = Blocked()
    watcher = asyncio.create_task(_watch(url, blocked))
    try:
        async with connection.transaction():
            await connection.execute(statement, *arguments)
            yield blocked
    finally:
        watcher.cancel()
        await asyncio.wait([watcher])
        await connection.close()


async def _watch(url: str, blocked: asyncio.Event) -> None:
    connection = await asyncpg.connect(url)
    try:
        while not await connection.fetchval(WAITING):  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        blocked.set()
    finally:
        connection.terminate()
