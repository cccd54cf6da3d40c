"""Expectations: a violation of a certain constraint, a connection that waits for a lock."""

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
    """Return when `observed` waits for a lock, so that a race really takes place."""
    blocked = "SELECT cardinality(pg_blocking_pids($1)) > 0"

    async def is_blocked() -> bool:
        return bool(await observer.fetchval(blocked, observed.get_server_pid()))

    await until(is_blocked)
