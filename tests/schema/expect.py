"""What these tests wait for: a refusal by a certain constraint, a connection that is blocked."""

from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg
import pytest

from tests.schema.rows import Connection
from tests.waiting import until


@contextmanager
def refused_by(constraint: str) -> Iterator[None]:
    with pytest.raises(asyncpg.IntegrityConstraintViolationError) as refusal:
        yield
    assert refusal.value.constraint_name == constraint


async def waiting(observer: Connection, observed: Connection) -> None:
    """Return once `observed` waits for a lock, which is what makes a race real."""
    blocked = "SELECT cardinality(pg_blocking_pids($1)) > 0"

    async def is_blocked() -> bool:
        return bool(await observer.fetchval(blocked, observed.get_server_pid()))

    await until(is_blocked)
