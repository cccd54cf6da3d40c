"""What these tests wait for: a refusal by a certain constraint, a connection that is blocked."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg
import pytest

from tests.schema.rows import Connection


@contextmanager
def refused_by(constraint: str) -> Iterator[None]:
    with pytest.raises(asyncpg.IntegrityConstraintViolationError) as refusal:
        yield
    assert refusal.value.constraint_name == constraint


async def waiting(observer: Connection, observed: Connection) -> None:
    """Return once `observed` waits for a lock, which is what makes a race real."""
    blocked = "SELECT cardinality(pg_blocking_pids($1)) > 0"
    async with asyncio.timeout(10):
        while not await observer.fetchval(blocked, observed.get_server_pid()):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
