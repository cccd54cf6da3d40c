"""What waits to be done, in all projects together. It is looked at if a scrape asks, and not often.

Each process of the task service says the same of the whole database.
"""

import asyncio
from collections.abc import Mapping
from time import monotonic, time

import asyncpg
import structlog

from shared.database.pool import Connection, Record
from shared.database.transaction import Database
from shared.errors import Refusal
from shared.metrics.catalog import (
    LEASES,
    LEASES_EXPIRED,
    QUEUE_AGE,
    TASKS,
    TASKS_READ,
    TASKS_READY,
)
from shared.metrics.instruments import Sample
from task_service.backlog import queries
from task_service.backlog.queries import COUNTED

log = structlog.get_logger()

LOOK_SECONDS = 15.0
# So long a scrape waits for a look, which may go on for longer, until it is cancelled.
PATIENCE_SECONDS = 2.0
TIMEOUT_SECONDS = 5.0
FAILURES = (Refusal, asyncpg.PostgresError, TimeoutError)


class Backlog:
    """Looks at the database for metrics, once in `every` seconds at most."""

    def __init__(self, database: Database, every: float = LOOK_SECONDS) -> None:
        self._database = database
        self._every = every
        self._asked = -every
        self._look: asyncio.Task[None] | None = None
        self._found: list[Sample] = []

    async def samples(self) -> list[Sample]:
        """What the latest look has found; nothing if it has failed."""
        if monotonic() - self._asked >= self._every and (self._look is None or self._look.done()):
            self._asked = monotonic()
            self._look = asyncio.create_task(self._read())
        if self._look:
            await asyncio.wait({self._look}, timeout=PATIENCE_SECONDS)
        return self._found

    async def close(self) -> None:
        """Look no more."""
        if self._look:
            self._look.cancel()
            await asyncio.wait({self._look})

    async def _read(self) -> None:
        found: list[Sample] = []
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                found = await self._database.read(_samples)
        except FAILURES as error:
            log.warning("tasks not counted", cause=repr(error))
        finally:
            self._found = found


async def _samples(connection: Connection) -> list[Sample]:
    estimate = estimated(await queries.ESTIMATE.row(connection))
    counted = await queries.BY_STATUS.rows(connection)
    ready = await queries.READY.row(connection)
    leases = await queries.LEASES.row(connection)
    assert ready and leases, "they count"  # noqa: PT018
    return [
        *(Sample(TASKS, number(row, estimate), (row["status"],)) for row in counted),
        Sample(TASKS_READY, ready["number"]),
        Sample(QUEUE_AGE, ready["age"]),
        Sample(LEASES, leases["number"]),
        Sample(LEASES_EXPIRED, leases["expired"]),
        Sample(TASKS_READ, time()),
    ]


def estimated(row: Record | None) -> Mapping[str, float]:
    """How many tasks of each status the planner believes in, by a row of ESTIMATE."""
    if row is None or row["statuses"] is None:
        return {}
    return {
        status: part * max(0.0, row["number"])
        for status, part in zip(row["statuses"], row["parts"], strict=True)
    }


def number(row: Record, estimate: Mapping[str, float]) -> float:
    """How many tasks of a status there are, by a row of BY_STATUS."""
    if row["number"] < COUNTED:
        return float(row["number"])
    return float(max(COUNTED, round(estimate.get(row["status"], 0.0))))
